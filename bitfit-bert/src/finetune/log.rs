//! `metrics.jsonl`: one object a line, for every logged step and every evaluation, written as the run goes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::train::{EpochReport, Observer, Outcome, Score, StepReport};
use crate::{Error, Result};

/// Writes the log, and passes everything on to the caller's observer.
///
/// The file takes an earlier one's place with its first line, so a run that is refused before its first step leaves the
/// earlier one alone. A log that cannot be written ends the run, but not before what was reached is saved:
/// [`MetricsLog::finish`].
pub(super) struct MetricsLog<'a> {
    path: PathBuf,
    file: Option<File>,
    failed: Option<Error>,
    every: usize,
    tokens: usize,
    seconds: f64,
    inner: &'a mut dyn Observer,
}

impl<'a> MetricsLog<'a> {
    /// A log at `path` with every so many steps.
    pub(super) fn new(path: &Path, every: usize, inner: &'a mut dyn Observer) -> Self {
        Self { path: path.into(), file: None, failed: None, every, tokens: 0, seconds: 0.0, inner }
    }

    /// Reports what kept the log from being written, if anything did.
    pub(super) fn finish(self) -> Result<()> {
        self.failed.map_or(Ok(()), Err)
    }

    fn write(&mut self, line: &Value) {
        if self.failed.is_none() {
            self.failed = self.try_write(line).map_err(Error::io(&self.path)).err();
        }
    }

    fn try_write(&mut self, line: &Value) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::create(&self.path)?),
        };
        writeln!(file, "{line}")
    }
}

impl Observer for MetricsLog<'_> {
    fn step(&mut self, report: &StepReport) -> Result<()> {
        self.tokens += report.tokens;
        self.seconds += report.seconds;
        if report.step.is_multiple_of(self.every) || report.step == 1 {
            self.write(&json!({
                "step": report.step,
                "epoch": report.epoch,
                "loss": report.loss,
                "lr": report.learning_rate,
                "grad_norm": report.grad_norm,
                "tokens": report.tokens,
                "tokens_per_s": (self.tokens as f64 / self.seconds).round(),
            }));
            (self.tokens, self.seconds) = (0, 0.0);
        }
        self.inner.step(report)
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<()> {
        if !report.scores.is_empty() {
            self.write(&json!({ "epoch": report.epoch, "eval": scores(&report.scores) }));
        }
        self.inner.epoch(report)
    }

    fn evaluating(&mut self, epoch: usize) {
        self.inner.evaluating(epoch);
    }

    fn keep(&mut self, outcome: &Outcome, values: &[f32]) -> Result<()> {
        self.inner.keep(outcome, values)
    }

    fn should_stop(&self) -> bool {
        self.failed.is_some() || self.inner.should_stop()
    }
}

/// Scores as an object from metric to value.
pub(super) fn scores(scores: &[Score]) -> Value {
    Value::Object(
        scores.iter().map(|score| (score.metric.name().to_owned(), score.value.into())).collect::<Map<_, _>>(),
    )
}
