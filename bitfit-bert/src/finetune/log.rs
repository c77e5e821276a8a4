//! `metrics.jsonl`: one object a line, for every logged step and every evaluation, written as the run goes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::train::{EpochReport, Observer, Score, StepReport};
use crate::{Error, Result};

/// Writes the log, and passes everything on to the caller's observer.
pub(super) struct MetricsLog<'a> {
    path: PathBuf,
    file: File,
    every: usize,
    tokens: usize,
    seconds: f64,
    inner: &'a mut dyn Observer,
}

impl<'a> MetricsLog<'a> {
    /// Starts an empty log in the place of an earlier one.
    pub(super) fn create(path: &Path, every: usize, inner: &'a mut dyn Observer) -> Result<Self> {
        let file = File::create(path).map_err(Error::io(path))?;
        Ok(Self { path: path.into(), file, every, tokens: 0, seconds: 0.0, inner })
    }

    fn write(&mut self, line: &Value) -> Result<()> {
        writeln!(self.file, "{line}").map_err(Error::io(&self.path))
    }
}

impl Observer for MetricsLog<'_> {
    fn step(&mut self, report: &StepReport) -> Result<()> {
        self.tokens += report.tokens;
        self.seconds += report.seconds;
        if report.step.is_multiple_of(self.every) || report.step == 1 {
            let line = json!({
                "step": report.step,
                "epoch": report.epoch,
                "loss": report.loss,
                "lr": report.learning_rate,
                "grad_norm": report.grad_norm,
                "tokens": report.tokens,
                "tokens_per_s": (self.tokens as f64 / self.seconds).round(),
            });
            self.write(&line)?;
            (self.tokens, self.seconds) = (0, 0.0);
        }
        self.inner.step(report)
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<()> {
        if !report.scores.is_empty() {
            self.write(&json!({ "epoch": report.epoch, "eval": scores(&report.scores) }))?;
        }
        self.inner.epoch(report)
    }

    fn evaluating(&mut self, epoch: usize) {
        self.inner.evaluating(epoch);
    }

    fn should_stop(&self) -> bool {
        self.inner.should_stop()
    }
}

/// Scores as an object from metric to value.
pub(super) fn scores(scores: &[Score]) -> Value {
    Value::Object(
        scores.iter().map(|score| (score.metric.name().to_owned(), score.value.into())).collect::<Map<_, _>>(),
    )
}
