//! What a command prints: lines for people on stderr, and the result as one JSON object on stdout.

use std::fmt;
use std::io::{self, Write};

use anyhow::Result;
use bitfit_bert::Predictor;
use bitfit_bert::data::Dataset;
use bitfit_bert::run::MeanScore;
use bitfit_bert::train::{BestEpoch, Score, StopReason};
use bitfit_core::Backend;
use serde::Serialize;
use serde_json::Value;

use crate::plan::{cut_text, grouped};
use crate::{output, text};

/// The result of `finetune`.
#[derive(Debug, Serialize)]
pub struct FinetuneReport<'a> {
    pub command: &'static str,
    pub model: &'a str,
    pub task: Option<&'static str>,
    pub method: String,
    /// The number of scalars that train, the head's included.
    pub trainable: usize,
    /// The number of those that are biases of the base model.
    pub biases: usize,
    /// The number of parameters of the whole model.
    pub total: usize,
    /// The number of epochs finished.
    pub epochs: usize,
    pub steps: usize,
    pub tokens: usize,
    /// The epoch that the task file holds, with the metric that chose it.
    pub best: Option<BestReport>,
    /// Every score of that epoch.
    pub metrics: Value,
    /// The scores of the probe; null without one.
    pub probe: Option<Value>,
    /// The time spent in training steps alone.
    pub seconds: f64,
    pub tokens_per_s: f64,
    pub peak_rss_bytes: Option<u64>,
    /// The value of `--device`.
    pub device: String,
    /// The value of `--precision`.
    pub precision: String,
    /// The task file; null if the run ended before its first step.
    pub task_file: Option<String>,
    pub task_bytes: Option<u64>,
    /// The directory of the new base model; left out where none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_dir: Option<String>,
    /// How the run ended: `finished`, `finished early`, `stopped` or `diverged`.
    pub end: &'static str,
}

/// The result of `finetune` with several seeds.
#[derive(Debug, Serialize)]
pub struct SeedsReport<'a> {
    pub command: &'static str,
    pub model: &'a str,
    pub task: Option<&'static str>,
    pub method: String,
    pub trainable: usize,
    pub biases: usize,
    pub total: usize,
    /// The runs in the order of the seeds; the last may have been stopped.
    pub seeds: Vec<SeedReport>,
    /// The seed whose task file was copied, with its best epoch.
    pub best: Option<BestSeedReport>,
    /// The means over the runs that came to their end.
    pub metrics: Value,
    /// The standard deviations of these samples; null for a single run.
    pub deviations: Value,
    pub probe: Option<Value>,
    /// The time spent in the training steps of all runs.
    pub seconds: f64,
    pub peak_rss_bytes: Option<u64>,
    pub device: String,
    pub precision: String,
    /// The copy of the best seed's task file.
    pub task_file: Option<String>,
    pub task_bytes: Option<u64>,
    pub end: &'static str,
}

/// The run of a seed.
#[derive(Debug, Serialize)]
pub struct SeedReport {
    pub seed: u64,
    pub epochs: usize,
    pub steps: usize,
    pub tokens: usize,
    pub best: Option<BestReport>,
    pub metrics: Value,
    pub seconds: f64,
    pub task_file: Option<String>,
    pub task_bytes: Option<u64>,
    pub end: &'static str,
}

/// The best seed.
#[derive(Debug, Serialize)]
pub struct BestSeedReport {
    pub seed: u64,
    #[serde(flatten)]
    pub epoch: BestReport,
}

/// The result of `finetune` with folds.
#[derive(Debug, Serialize)]
pub struct FoldsReport<'a> {
    pub command: &'static str,
    pub model: &'a str,
    pub task: Option<&'static str>,
    pub method: String,
    pub trainable: usize,
    pub total: usize,
    /// The number of texts that were dealt to the folds.
    pub rows: usize,
    pub folds: Vec<FoldReport>,
    /// The means of the scores over the folds.
    pub metrics: Value,
    /// Their standard deviations; null for a single run.
    pub deviations: Value,
    /// The file of the answers; null if the runs were stopped.
    pub answers: Option<String>,
    /// The file of the rows whose label is likely to be wrong; null where there are none.
    pub suspects: Option<String>,
    pub peak_rss_bytes: Option<u64>,
    pub device: String,
    pub precision: String,
    pub end: &'static str,
}

/// The run of a fold.
#[derive(Debug, Serialize)]
pub struct FoldReport {
    pub fold: usize,
    /// The number of its texts.
    pub rows: usize,
    pub best: Option<BestReport>,
    pub metrics: Value,
    pub seconds: f64,
    pub task_file: Option<String>,
    pub end: &'static str,
}

/// The result of `calibrate`.
#[derive(Debug, Serialize)]
pub struct CalibrateReport<'a> {
    pub command: &'static str,
    pub model: &'a str,
    /// The calibrated task file.
    pub task_file: String,
    /// The labelled texts, or the out-of-fold answers in their place.
    pub data: Option<String>,
    pub out_of_fold: Option<String>,
    pub rows: usize,
    pub temperature: f32,
    pub before: ReliabilityReport,
    pub after: ReliabilityReport,
    /// The least probability with which a class is given; null where every text is given one.
    pub reject_below: Option<f32>,
    /// The share of the rows that are given one, and the share of these that is right.
    pub answered: Option<f64>,
    pub accuracy: Option<f64>,
    /// The threshold of each label, where a text may have several.
    pub labels: Vec<LabelReport>,
}

/// How far probabilities can be trusted.
#[derive(Debug, Serialize)]
pub struct ReliabilityReport {
    /// The expected calibration error.
    pub ece: f64,
    /// The mean loss.
    pub loss: f64,
}

/// The threshold of a label.
#[derive(Debug, Serialize)]
pub struct LabelReport {
    pub label: String,
    pub threshold: f32,
    /// F1 at a threshold of a half.
    pub f1_before: f64,
    pub f1: f64,
    /// The number of texts that have the label.
    pub support: usize,
}

/// The best epoch.
#[derive(Debug, Serialize)]
pub struct BestReport {
    pub epoch: usize,
    pub metric: &'static str,
    pub value: f64,
}

/// The result of `eval`.
#[derive(Debug, Serialize)]
pub struct EvalReport<'a> {
    pub command: &'static str,
    pub model: &'a str,
    pub task_file: String,
    pub data: String,
    pub kind: &'static str,
    pub rows: usize,
    pub tokens: usize,
    /// The number of texts that were longer than the maximum length and were cut.
    pub cut: usize,
    /// The scores over all texts, those included that are rejected.
    pub metrics: Value,
    /// What is answered; left out for a task that rejects nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<RejectionReport>,
    pub seconds: f64,
    pub tokens_per_s: f64,
    pub peak_rss_bytes: Option<u64>,
    /// The value of `--device`.
    pub device: String,
    /// The value of `--precision`.
    pub precision: String,
}

/// The answers of a task that rejects texts.
#[derive(Debug, Serialize)]
pub struct RejectionReport {
    /// The least probability with which a class is given.
    pub reject_below: f32,
    /// The number of texts that are given one, and of those that are not.
    pub answered: usize,
    pub rejected: usize,
    /// The share of the texts that are given one.
    pub coverage: f64,
    /// The scores over the texts that are given one; empty where there are none.
    pub metrics: Value,
}

/// The result of `export`.
#[derive(Debug, Serialize)]
pub struct ExportReport<'a> {
    pub command: &'static str,
    pub model: &'a str,
    pub task_file: String,
    pub kind: &'static str,
    /// The version of ONNX's operator set.
    pub opset: i64,
    /// The inputs and the outputs: names and extents.
    pub inputs: Value,
    pub outputs: Value,
    pub nodes: usize,
    pub out: String,
    pub bytes: u64,
    /// The file of the weights of a model that is too long for one file; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_bytes: Option<u64>,
}

/// Prints a line on stderr. If stderr is closed, the work goes on.
pub fn say(line: fmt::Arguments<'_>) {
    _ = writeln!(io::stderr(), "{}", text::escape(&line.to_string()));
}

/// Prints an error on stderr, as one line.
pub fn error(message: &str) {
    _ = writeln!(io::stderr(), "error: {}", text::shortened(&text::one_line(message)));
}

/// Prints a result as the last line on stdout.
pub fn print(report: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(report)?;
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{json}").and_then(|()| stdout.flush()) {
        // Its reader does not want it. What the command found, and its exit code, are the same.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(output::stdout_error),
    }
}

/// Reports what was found about a file by looking at it.
pub fn say_found(dataset: &Dataset) {
    if !dataset.found.is_empty() {
        say(format_args!("{}: {}", dataset.path.display(), dataset.found.join(", ")));
    }
}

/// Reports the rows that are skipped.
pub fn say_skipped(dataset: &Dataset) {
    if let [first, ..] = dataset.skipped[..] {
        let lines = dataset.skipped.len();
        say(format_args!(
            "{}: skipped {}, {SKIPPED}, the first of them line {first}",
            dataset.path.display(),
            lines_text(lines)
        ));
    }
}

/// Reports the texts that a task read only in part. `flag` is that of a longer maximum, if the command has one.
pub fn say_cut<D: Backend>(predictor: &Predictor<D>, flag: Option<&str>) {
    let (cut, length) = (predictor.cut(), predictor.max_length());
    if cut.texts == 0 {
        return;
    }
    let most = predictor.base().config().max_length();
    let longer = flag.filter(|_| length < most).map(|flag| format!("; {flag} {most} is the most that the model reads"));
    say(format_args!("note: {}{}", cut_text(&cut, length), longer.unwrap_or_default()));
}

/// Why rows are skipped.
pub const SKIPPED: &str = "malformed, rejected or without a usable label";

/// A number of lines, with its noun.
pub fn lines_text(lines: usize) -> String {
    if lines == 1 { "1 line".into() } else { format!("{} lines", grouped(lines)) }
}

/// Scores as text: `accuracy 0.9123 f1 0.9011`.
pub fn scores(scores: &[Score]) -> String {
    scores.iter().map(|score| format!("{} {:.4}", score.metric, score.value)).collect::<Vec<_>>().join("  ")
}

/// How a run ended, as one word.
pub fn end(stop: &StopReason) -> &'static str {
    match stop {
        StopReason::Finished => "finished",
        StopReason::NoImprovement => "finished early",
        StopReason::Stopped => "stopped",
        StopReason::Diverged { .. } => "diverged",
    }
}

/// What other processes of a sweep are still to make.
pub fn remaining(remaining: usize, of: usize) -> String {
    let verb = if remaining == 1 { "is" } else { "are" };
    format!("{remaining} of {of} runs {verb} left to other processes, the last of which writes the table")
}

/// Whether a process of a sweep has written the table: it sees the results of all runs, or was stopped.
pub fn has_table(runs: usize, remaining: usize, stop: &StopReason) -> bool {
    runs > 0 && (remaining == 0 || *stop == StopReason::Stopped)
}

/// A learning rate as it was written, and not as the nearest f64 of its f32.
pub fn as_written(rate: f32) -> Option<f64> {
    rate.to_string().parse().ok()
}

/// A value of each mean, by metric.
pub fn of_means(means: &[MeanScore], value: fn(&MeanScore) -> Option<f64>) -> Value {
    Value::Object(means.iter().map(|mean| (mean.metric.name().to_owned(), value(mean).into())).collect())
}

/// The epoch that a task file holds, with the score that chose it.
pub fn best(best: Option<&BestEpoch>) -> Option<BestReport> {
    let best = best?;
    let score = best.scores.first()?;
    Some(BestReport { epoch: best.epoch, metric: score.metric.name(), value: score.value })
}

/// The number of tokens in a second; 0 before any time has passed, because JSON has no infinity.
pub fn rate(tokens: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(tokens / seconds, 1) } else { 0.0 }
}

/// A number rounded to `places` decimal places, because further digits of a measured time are noise.
pub fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_always_a_number() {
        assert_eq!((rate(10.0, 4.0), rate(10.0, 0.0)), (2.5, 0.0));
    }
}
