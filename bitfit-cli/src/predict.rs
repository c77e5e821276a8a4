//! `predict`: a task file's answers to texts from a file, or from stdin as they come.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::slice;
use std::sync::mpsc;
use std::thread;

use anyhow::{Result, anyhow, bail};
use bitfit_bert::Predictor;
use bitfit_bert::data::{Dataset, Example, Format, Labels, ReadOptions, read_lines};
use bitfit_bert::heads::Prediction;
use bitfit_core::Backend;
use serde::{Serialize, Serializer};

use crate::args::{OutputFormat, PredictArgs};
use crate::output::Sink;
use crate::setup::{self, Job, Loaded};
use crate::{interrupt, report};

/// Texts answered at once. Answers do not depend on it.
const BATCH: usize = 64;

/// Runs the command.
pub fn run(args: PredictArgs) -> Result<ExitCode> {
    setup::on_device(&args.machine, Answering(&args))
}

/// The command, up to its device.
struct Answering<'a>(&'a PredictArgs);

impl Job for Answering<'_> {
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode> {
        answer(self.0, device)
    }
}

fn answer<D: Backend>(args: &PredictArgs, device: &D) -> Result<ExitCode> {
    let loaded = Loaded::open(device, args.model.as_deref(), &args.task_file, args.max_length, args.machine.quiet)?;
    let is_stdin = args.input == Path::new("-");
    if args.out.is_some() {
        interrupt::quit_on_signal()?;
    }
    let mut answers =
        Answers { predictor: &loaded.predictor, format: args.output_format, sink: Sink::open(args.out.as_deref())? };
    if is_stdin && matches!(args.read.format, None | Some(Format::Lines)) {
        refuse_columns(args)?;
        answer_lines(&mut answers, args.machine.quiet)?;
    } else {
        let dataset = read(args, &loaded, is_stdin)?;
        loaded.predictor.check_pairs(&dataset.path, &dataset.examples)?;
        for examples in dataset.examples.chunks(BATCH) {
            answers.give(examples)?;
        }
    }
    answers.sink.finish()?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses flags that choose columns, where there are none.
fn refuse_columns(args: &PredictArgs) -> Result<()> {
    let flags = [
        ("--text", !args.read.text.is_empty()),
        ("--header", args.read.header),
        ("--no-header", args.read.no_header),
        ("--task", args.task.is_some()),
    ];
    match flags.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => bail!("{flag} is about columns, but stdin is plain lines; say what it is with --format"),
    }
}

/// The texts of a file, or of a table on stdin.
fn read<D: Backend>(args: &PredictArgs, loaded: &Loaded<D>, is_stdin: bool) -> Result<Dataset> {
    let read = args.read.options(args.task, None, false);
    // Plain texts come as .txt, and no preset has columns for them; the preset's own files are .tsv.
    let is_text = args.input.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"));
    let preset = loaded.preset().filter(|_| !is_text && read.format != Some(Format::Lines));
    let options = ReadOptions { task: read.task.or(preset), ..read };
    Ok(if is_stdin {
        Dataset::from_reader(io::stdin().lock(), Path::new("<stdin>"), &options)?
    } else {
        Dataset::read(&args.input, &options)?
    })
}

/// Answers lines as they come: a program that writes one and waits gets its answer, and many at once are answered together.
fn answer_lines<D: Backend>(answers: &mut Answers<'_, D>, quiet: bool) -> Result<()> {
    if io::stdin().is_terminal() && !quiet {
        report::say(format_args!("one text a line, a tab between the two of a pair; Ctrl-D ends"));
    }
    let (sender, lines) = mpsc::sync_channel(BATCH);
    // The thread waits for lines, so that here it is known whether one is there. It ends with the stream or the
    // process.
    thread::Builder::new().name("stdin".into()).spawn(move || {
        for line in read_lines(io::stdin().lock()) {
            let is_last = line.is_err();
            if sender.send(line).is_err() || is_last {
                return;
            }
        }
    })?;
    while let Ok(first) = lines.recv() {
        let (mut batch, mut failed) = (Vec::new(), None);
        for line in std::iter::once(first).chain(lines.try_iter().take(BATCH - 1)) {
            let checked = line.and_then(|example| {
                answers.predictor.check_pairs(Path::new("<stdin>"), slice::from_ref(&example)).map(|()| example)
            });
            match checked {
                Ok(example) => batch.push(example),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // What came before a broken line has an answer.
        answers.give(&batch)?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Gives answers in one format to one place.
struct Answers<'a, D: Backend> {
    predictor: &'a Predictor<D>,
    format: OutputFormat,
    sink: Sink,
}

impl<D: Backend> Answers<'_, D> {
    /// Answers some texts, in their order.
    fn give(&mut self, examples: &[Example]) -> Result<()> {
        if examples.is_empty() {
            return Ok(());
        }
        let texts: Vec<_> = examples.iter().map(|example| (example.text.as_str(), example.pair.as_deref())).collect();
        let mut lines = String::new();
        for (example, prediction) in examples.iter().zip(self.predictor.predict(&texts)?) {
            let answer = Answer::new(self.predictor, example, &prediction)?;
            match self.format {
                OutputFormat::Text => lines += &answer.to_text(),
                OutputFormat::Jsonl => lines += &serde_json::to_string(&answer)?,
            }
            lines.push('\n');
        }
        self.sink.write(lines.as_bytes())
    }
}

/// One line of output; its serialisation is the JSON that is promised.
#[derive(Serialize)]
struct Answer<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<&'a str>,
    #[serde(flatten)]
    verdict: Verdict<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Verdict<'a> {
    Class {
        label: &'a str,
        probability: f32,
        #[serde(serialize_with = "as_object")]
        probabilities: Vec<(&'a str, f32)>,
    },
    Score {
        score: f32,
    },
}

impl<'a> Answer<'a> {
    fn new<D: Backend>(predictor: &'a Predictor<D>, example: &'a Example, prediction: &Prediction) -> Result<Self> {
        let verdict = match prediction {
            Prediction::Class { class, probabilities } => {
                let names = predictor.labels().map(Labels::names).unwrap_or_default();
                let probabilities: Vec<_> =
                    names.iter().map(String::as_str).zip(probabilities.iter().copied()).collect();
                let &(label, probability) =
                    probabilities.get(*class).ok_or_else(|| anyhow!("class {class} has no name"))?;
                Verdict::Class { label, probability, probabilities }
            }
            Prediction::Score(score) => Verdict::Score { score: *score },
        };
        Ok(Self { text: &example.text, pair: example.pair.as_deref(), verdict })
    }

    fn to_text(&self) -> String {
        let mut fields = match &self.verdict {
            Verdict::Class { label, probability, .. } => vec![in_field(label), format!("{probability:.4}")],
            Verdict::Score { score } => vec![format!("{score:.4}")],
        };
        fields.extend([Some(self.text), self.pair].into_iter().flatten().map(in_field));
        fields.join("\t")
    }
}

/// A text without what would end its field.
fn in_field(text: &str) -> String {
    text.replace("\r\n", " ").replace(['\t', '\n', '\r'], " ")
}

/// Pairs as an object, in their order.
fn as_object<S: Serializer>(pairs: &[(&str, f32)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}
