//! `predict`: the predictions of a task for the texts of a file, or for those of stdin as they arrive.

mod answer;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::slice;
use std::sync::mpsc;

use anyhow::{Result, anyhow, bail};
use bitfit_bert::Predictor;
use bitfit_bert::data::{Contents, Dataset, Example, Format, Kind, Lines, ReadOptions, read_lines};
use bitfit_bert::presets::{Submission, TestSet};
use bitfit_core::Backend;

use crate::args::{OutputFormat, PredictArgs, unreadable};
use crate::output::{self, Sink};
use crate::plan::{grouped, header_text, rows_text};
use crate::setup::{self, FoundTask, Job, Loaded};
use crate::{report, threads};
pub use answer::Answer;

/// The name of stdin in errors.
const STDIN: &str = "<stdin>";
/// Why there are no answers in SQuAD's format.
const NO_IDS: &str =
    "--output-format squad: it has answers by the id of their question, which only a JSON file of them gives";
/// The number of texts answered at once. Answers do not depend on it.
const BATCH: usize = 64;

/// Runs the command.
pub fn run(args: PredictArgs) -> Result<ExitCode> {
    check(&args)?;
    setup::on_device(&args.machine, Answering(&args))
}

/// Refuses flags that contradict each other, and files that do not exist.
fn check(args: &PredictArgs) -> Result<()> {
    check_flags(args)?;
    setup::check_task_file(&args.trained.task_file)?;
    if is_stdin(args) { Ok(()) } else { setup::check_input(&args.input) }
}

fn is_stdin(args: &PredictArgs) -> bool {
    args.input == Path::new("-")
}

/// Whether the texts are lines of stdin, answered as they arrive.
fn reads_lines(args: &PredictArgs) -> bool {
    is_stdin(args) && args.glue.is_none() && matches!(args.read.format, None | Some(Format::Lines))
}

/// The command, ready for its device.
struct Answering<'a>(&'a PredictArgs);

impl Job for Answering<'_> {
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode> {
        answer(self.0, device)
    }
}

fn answer<D: Backend>(args: &PredictArgs, device: &D) -> Result<ExitCode> {
    let task = FoundTask::find(args.trained.model.as_deref(), &args.trained.task_file, args.machine.quiet)?;
    check_target(args, &task)?;
    let loaded = Loaded::open(device, task, &args.trained.task_file, args.max_length)?;
    if let Some(archive) = &args.glue {
        return submit(args, &loaded, archive);
    }
    if args.output_format == OutputFormat::Squad && loaded.predictor.info().kind != Kind::Span {
        bail!(NO_IDS);
    }
    let sink = Sink::open(args.out.as_deref())?;
    let mut answers = Answers { predictor: &loaded.predictor, format: args.output_format, sink, count: 0 };
    if reads_lines(args) {
        answer_lines(&mut answers, args.read.format.is_some(), args.machine.quiet)?;
    } else {
        let dataset = read(args, &loaded)?;
        if !args.machine.quiet {
            report::say_found(&dataset);
            if let Some(first) = dataset.possible_header() {
                report::say(format_args!("note: {}", header_text(first.line, "answered", &first.text)));
            }
        }
        loaded.predictor.check_texts(&dataset.path, &dataset.examples)?;
        for examples in dataset.examples.chunks(BATCH) {
            answers.write(examples)?;
        }
    }
    answers.finish()?;
    say_cut(args, &loaded);
    Ok(ExitCode::SUCCESS)
}

/// Reports the texts that were answered without their end.
fn say_cut<D: Backend>(args: &PredictArgs, loaded: &Loaded<D>) {
    if !args.machine.quiet {
        report::say_cut(&loaded.predictor, Some("--max-length"));
    }
}

/// Puts the answers to a test set of GLUE into a submission.
fn submit<D: Backend>(args: &PredictArgs, loaded: &Loaded<D>, archive: &Path) -> Result<ExitCode> {
    let task = loaded.preset(args.task, &args.trained.task_file)?.ok_or_else(|| {
        let path = args.trained.task_file.display();
        anyhow!("--glue: {path} was not trained with --task, so no test set of GLUE is its own; name one with --task")
    })?;
    let set = TestSet::of(task, &args.input)?;
    let labels = loaded.predictor.labels();
    set.check_labels(&args.trained.task_file, labels)?;
    // What is no submission is refused before the texts are answered.
    Submission::open(archive)?;
    let dataset = read(args, loaded)?;
    loaded.predictor.check_pairs(&dataset.path, &dataset.examples)?;
    let mut predictions = Vec::new();
    for examples in dataset.examples.chunks(BATCH) {
        predictions.extend(loaded.predictor.predict_examples(examples)?);
    }
    let submission = Submission::add(archive, set, set.table(labels, &predictions))?;
    say_cut(args, loaded);
    if !args.machine.quiet {
        let (rows, expected) = (rows_text(predictions.len()), grouped(set.rows));
        report::say(format_args!("{}: {} ({rows})", archive.display(), set.file));
        if predictions.len() != set.rows {
            report::say(format_args!(
                "note: GLUE's own test set has {expected} rows; its server refuses another number"
            ));
        }
        let missing: Vec<&str> = submission.missing().map(|set| set.file).collect();
        if !missing.is_empty() {
            report::say(format_args!("still missing: {}", missing.join(", ")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses answers in the place of what they are made from, or that cannot be written.
fn check_target(args: &PredictArgs, task: &FoundTask) -> Result<()> {
    let flag = if args.glue.is_some() { "--glue" } else { "--out" };
    let Some(out) = args.out.as_ref().or(args.glue.as_ref()) else { return Ok(()) };
    output::check_target(flag, out, &[("the task file", &args.trained.task_file), ("the input", &args.input)])?;
    output::spare_model(flag, out, &task.dir)
}

/// Refuses flags that contradict each other, whatever the task is: those that choose columns, or answers by the ids of
/// questions, where plain lines have none.
fn check_flags(args: &PredictArgs) -> Result<()> {
    let columns = args.read.of_columns().or(args.task.is_some().then_some("--task"));
    if let Some(flag) = columns.filter(|_| reads_lines(args)) {
        let reason = match args.read.format {
            None => "stdin is read as plain lines; give its format with --format",
            Some(_) => "stdin is read as plain lines, as --format says",
        };
        return Err(unreadable(anyhow!("{flag} chooses columns, but {reason}")));
    }
    if reads_lines(args) && args.output_format == OutputFormat::Squad {
        return Err(unreadable(anyhow!(NO_IDS)));
    }
    args.read.check()
}

/// The texts of a file, or of a table on stdin.
fn read<D: Backend>(args: &PredictArgs, loaded: &Loaded<D>) -> Result<Dataset> {
    let read = args.read.options(args.task, None, false);
    let read = ReadOptions { contents: Contents::of(loaded.predictor.info().kind), ..read };
    // A .txt file may be plain texts, which have no columns for a preset to choose; a preset's own files are .tsv.
    let name = args.input.to_string_lossy().to_ascii_lowercase();
    let is_text = name.strip_suffix(".gz").unwrap_or(&name).ends_with(".txt");
    let has_columns = args.task.is_some() || (!is_text && read.format != Some(Format::Lines));
    let preset = loaded.preset(args.task, &args.trained.task_file)?.filter(|_| has_columns);
    let options = ReadOptions { task: preset, ..read };
    Ok(if is_stdin(args) {
        Dataset::from_reader(io::stdin().lock(), Path::new(STDIN), &options)?
    } else {
        Dataset::read(&args.input, &options)?
    })
}

/// Answers lines as they arrive: a single line at once, and lines that arrive together in one batch. A first line that
/// looks like another format is a text where lines are asked for (`is_certain`).
fn answer_lines<D: Backend>(answers: &mut Answers<'_, D>, is_certain: bool, quiet: bool) -> Result<()> {
    if io::stdin().is_terminal() && !quiet {
        report::say(format_args!(
            "reading texts from stdin: one a line, with a tab between the two of a pair; Ctrl-D ends the input"
        ));
    }
    let (sender, lines) = mpsc::sync_channel(BATCH);
    // A separate thread waits for lines, so that this one can check whether another has arrived. It ends with the
    // stream or with the process.
    let reader = threads::spawn("stdin", move || {
        let stdin = io::stdin().lock();
        let lines = if is_certain { Lines::new(stdin, Path::new(STDIN)) } else { read_lines(stdin) };
        for line in lines {
            let is_last = line.is_err();
            if sender.send(line).is_err() || is_last {
                return;
            }
        }
    });
    reader.map_err(|error| anyhow!("cannot start a thread that reads stdin: {error}"))?;
    while let Ok(first) = lines.recv() {
        let (mut batch, mut failed) = (Vec::new(), None);
        for line in std::iter::once(first).chain(lines.try_iter().take(BATCH - 1)) {
            let checked = line.and_then(|example| {
                answers.predictor.check_texts(Path::new(STDIN), slice::from_ref(&example)).map(|()| example)
            });
            match checked {
                Ok(example) => batch.push(example),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // The lines before a malformed one are answered.
        answers.write(&batch)?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Writes answers in one format to one place.
struct Answers<'a, D: Backend> {
    predictor: &'a Predictor<D>,
    format: OutputFormat,
    sink: Sink,
    /// The number of answers so far.
    count: usize,
}

impl<D: Backend> Answers<'_, D> {
    /// Answers texts, in their order.
    fn write(&mut self, examples: &[Example]) -> Result<()> {
        if examples.is_empty() {
            return Ok(());
        }
        let mut lines = String::new();
        for (example, prediction) in examples.iter().zip(self.predictor.predict_examples(examples)?) {
            let answer = Answer::new(self.predictor, example, &prediction)?;
            match self.format {
                OutputFormat::Text => lines += &answer.to_text(),
                OutputFormat::Jsonl => lines += &serde_json::to_string(&answer)?,
                OutputFormat::Squad => {
                    lines += if self.count == 0 { "{" } else { ",\n" };
                    lines += &answer.to_squad().ok_or_else(|| {
                        anyhow!("--output-format squad: the question of line {} has no id", example.line)
                    })?;
                }
            }
            if self.format != OutputFormat::Squad {
                lines.push('\n');
            }
            self.count += 1;
        }
        self.sink.write(lines.as_bytes())
    }

    fn finish(mut self) -> Result<()> {
        if self.format == OutputFormat::Squad {
            self.sink.write(b"}\n")?;
        }
        self.sink.finish()
    }
}
