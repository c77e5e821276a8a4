//! `eval`: a task file's scores on labelled texts.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use bitfit_bert::data::{Dataset, ReadOptions};
use bitfit_bert::infer::{Answered, Evaluation};
use bitfit_bert::metrics::Metric;
use bitfit_bert::run::scores_as_json;
use bitfit_core::Backend;

use crate::args::{EvalArgs, name_of};
use crate::last_resort;
use crate::memory;
use crate::output;
use crate::page::{self, Page};
use crate::plan::{grouped, rows_text};
use crate::report::{self, EvalReport, RejectionReport};
use crate::setup::{self, FoundTask, Job, Loaded};

/// Runs the command.
pub fn run(args: EvalArgs) -> Result<ExitCode> {
    check(&args)?;
    setup::on_device(&args.machine, Scoring(&args))
}

/// Refuses flags that contradict each other, inputs that do not exist, and a report in the place of one of them.
fn check(args: &EvalArgs) -> Result<()> {
    args.read.file.check()?;
    last_resort::check_stdout()?;
    setup::check_task_file(&args.trained.task_file)?;
    setup::check_input(&args.data)?;
    page::check(args.report.as_ref(), &[("the task file", &args.trained.task_file), ("the data", &args.data)], &[])
}

/// The command, ready for its device.
struct Scoring<'a>(&'a EvalArgs);

impl Job for Scoring<'_> {
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode> {
        score(self.0, device)
    }
}

fn score<D: Backend>(args: &EvalArgs, device: &D) -> Result<ExitCode> {
    let task = FoundTask::find(args.trained.model.as_deref(), &args.trained.task_file, args.machine.quiet)?;
    args.report.iter().try_for_each(|report| output::spare_model("--report", report, &task.dir))?;
    let loaded = Loaded::open(device, task, &args.trained.task_file, args.max_length)?;
    let kind = loaded.predictor.info().kind;
    let task = loaded.preset(args.task, &args.trained.task_file)?;
    let read = args.read.options(kind, args.task)?;
    let dataset = Dataset::read(&args.data, &ReadOptions { task, ..read })?;
    let metrics = metrics(args, &loaded);
    let start = Instant::now();
    let (Evaluation { scores, tokens, answered }, analysis) = match &args.report {
        None => (loaded.predictor.evaluate(&dataset, &metrics)?, None),
        Some(path) => {
            let analysis = loaded.predictor.analyse(&dataset, &metrics)?;
            let (scores, answered) = (analysis.scores.clone(), analysis.answered.clone());
            (Evaluation { scores, tokens: analysis.tokens, answered }, Some((path, analysis)))
        }
    };
    let seconds = start.elapsed().as_secs_f64();

    let rows = dataset.examples.len();
    if !args.machine.quiet {
        report::say_found(&dataset);
        report::say_skipped(&dataset);
        report::say_cut(&loaded.predictor, Some("--max-length"));
        report::say(format_args!("{}  ({}, {seconds:.1} s)", report::scores(&scores), rows_text(rows)));
        if let Some(answered) = &answered {
            say_answered(answered);
        }
    }
    report::print(&EvalReport {
        command: "eval",
        model: &loaded.model,
        task_file: args.trained.task_file.display().to_string(),
        data: args.data.display().to_string(),
        kind: kind.name(),
        rows,
        tokens,
        cut: loaded.predictor.cut().texts,
        metrics: scores_as_json(&scores),
        rejection: answered.as_ref().map(|answered| RejectionReport {
            reject_below: answered.reject_below,
            answered: answered.rows,
            rejected: answered.rejected,
            coverage: answered.coverage(),
            metrics: scores_as_json(&answered.scores),
        }),
        seconds: report::rounded(seconds, 3),
        tokens_per_s: report::rate(tokens as f64, seconds),
        peak_rss_bytes: memory::peak_since_start(),
        device: args.machine.device.to_string(),
        precision: name_of(args.machine.precision()),
    })?;
    if let Some((path, analysis)) = analysis {
        let machine = format!("{}, {}", args.machine.device, name_of(args.machine.precision()));
        let page = Page {
            path,
            task_file: &args.trained.task_file,
            log: None,
            analysis: Some((&args.data, analysis)),
            data: Vec::new(),
            facts: vec![("evaluated on".into(), machine), ("evaluation".into(), format!("{seconds:.1} s"))],
            quiet: args.machine.quiet,
        };
        page.write(&loaded.predictor)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows how many texts a task answers that rejects some, and how well.
fn say_answered(answered: &Answered) {
    let Answered { reject_below, rows, rejected, scores } = answered;
    let (rows, all) = (grouped(*rows), grouped(rows + rejected));
    let scores = if scores.is_empty() { "none".into() } else { report::scores(scores) };
    let (share, rejected) = (answered.coverage() * 100.0, grouped(*rejected));
    report::say(format_args!(
        "answered: {scores}  ({rows} of {all} rows, {share:.1} %; {rejected} below a probability of {reject_below:.4} \
         rejected)"
    ));
}

/// The metrics of `--task`, or else those that the task was trained for; with accuracy where texts are rejected.
fn metrics<D: Backend>(args: &EvalArgs, loaded: &Loaded<D>) -> Vec<Metric> {
    let info = loaded.predictor.info();
    let trained = &info.hyperparameters.metrics;
    let mut metrics = args.task.map_or_else(|| trained.clone(), |task| task.preset().metrics.to_vec());
    let rejects = info.calibration.as_ref().is_some_and(|calibration| calibration.reject_below.is_some());
    if rejects && !metrics.contains(&Metric::Accuracy) {
        metrics.push(Metric::Accuracy);
    }
    metrics
}
