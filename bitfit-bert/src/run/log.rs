//! `metrics.jsonl`: one object per line for every logged step and every evaluation, written during the run. A step has
//! its own loss, and the mean over the steps since the line before.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::tensorboard::EventFile;
use crate::files::AtomicFile;
use crate::train::{EpochReport, Events, Place, ProbeReport, SavedState, Score, State, StepReport};
use crate::{Error, Result, as_text};

/// The name of the log in the output directory.
pub const METRICS_LOG: &str = "metrics.jsonl";

/// Writes the log, and passes every event on to the caller's.
///
/// The file replaces an earlier one when its first line is written, so a run that is refused before its first step
/// keeps the earlier one. If the log cannot be written, the run ends after saving what was reached, and
/// [`MetricsLog::finish`] returns the error.
pub(super) struct MetricsLog<'a> {
    path: PathBuf,
    file: Option<File>,
    failed: Option<Error>,
    every: usize,
    place: LogPlace,
    tensorboard: TensorBoard,
    inner: &'a mut dyn Events,
}

/// The same numbers in an event file, which begins with the first line.
enum TensorBoard {
    /// None is wanted.
    Off,
    /// Not begun yet; with the steps before it of a run that is resumed.
    Waiting {
        out: PathBuf,
        resumed: Option<usize>,
    },
    Begun(EventFile),
}

/// A point of the log between two steps, from which a run that is resumed goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogPlace {
    /// The bytes that are written.
    bytes: u64,
    /// The steps since the last line of one.
    steps: usize,
    /// Their tokens.
    tokens: usize,
    /// Their time.
    #[serde(with = "as_text")]
    seconds: f64,
    /// The sum of their losses.
    #[serde(with = "as_text")]
    loss: f64,
}

impl<'a> MetricsLog<'a> {
    /// A log at `path` with one line for every `every` steps.
    pub(super) fn new(path: &Path, every: usize, inner: &'a mut dyn Events) -> Self {
        let (place, tensorboard) = (LogPlace::default(), TensorBoard::Off);
        Self { path: path.into(), file: None, failed: None, every, place, tensorboard, inner }
    }

    /// The log with an event file of TensorBoard beside it, in the output directory `out`.
    pub(super) fn with_tensorboard(self, out: &Path) -> Self {
        Self { tensorboard: TensorBoard::Waiting { out: out.into(), resumed: None }, ..self }
    }

    /// A log that goes on from a point of an earlier one: what stands behind it will be written again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn resume(path: &Path, every: usize, place: LogPlace, inner: &'a mut dyn Events) -> Result<Self> {
        let whole = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            whole => whole.map_err(Error::io(path))?,
        };
        let kept = &whole[..whole.len().min(place.bytes as usize)];
        // A power cut may have taken a part of a line.
        let end = kept.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        // In a new file: a process that the run was taken over from may have the old one open, and come back.
        let mut file = AtomicFile::create(path)?;
        file.write(&kept[..end])?;
        file.finish()?;
        let (file, end) = (File::options().append(true).open(path).map_err(Error::io(path))?, end as u64);
        Ok(Self { file: Some(file), place: LogPlace { bytes: end, ..place }, ..Self::new(path, every, inner) })
    }

    /// Where the log is.
    pub(super) fn place(&self) -> LogPlace {
        self.place
    }

    /// Returns the error that kept the log from being written, if there was one.
    pub(super) fn finish(self) -> Result<()> {
        self.failed.map_or(Ok(()), Err)
    }

    fn write(&mut self, line: &Value) {
        if self.failed.is_none() {
            self.failed = self.try_write(line).and_then(|()| self.write_event(line)).err();
        }
    }

    fn write_event(&mut self, line: &Value) -> Result<()> {
        if let TensorBoard::Waiting { out, resumed } = &self.tensorboard {
            let begun = match resumed {
                None => EventFile::begin(out)?,
                Some(steps) => EventFile::resume(out, steps + 1)?,
            };
            self.tensorboard = TensorBoard::Begun(begun);
        }
        match &mut self.tensorboard {
            TensorBoard::Begun(events) => events.line(line),
            TensorBoard::Off | TensorBoard::Waiting { .. } => Ok(()),
        }
    }

    fn try_write(&mut self, line: &Value) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                // A new file replaces an earlier log; the target of a link is not changed.
                AtomicFile::create(&self.path)?.finish()?;
                none.insert(File::options().append(true).open(&self.path).map_err(Error::io(&self.path))?)
            }
        };
        // Each line is one write, so that killing the process does not leave a partial line.
        let line = format!("{line}\n");
        file.write_all(line.as_bytes()).map_err(Error::io(&self.path))?;
        self.place.bytes += line.len() as u64;
        Ok(())
    }
}

impl Events for MetricsLog<'_> {
    fn step(&mut self, report: &StepReport) -> Result<()> {
        let LogPlace { steps, tokens, seconds, loss, .. } = &mut self.place;
        *steps += 1;
        *tokens += report.tokens;
        *seconds += report.seconds;
        *loss += f64::from(report.loss);
        if report.step.is_multiple_of(self.every) || report.step == 1 {
            self.write(&json!({
                "step": report.step,
                "epoch": report.epoch,
                "loss": shortest(report.loss),
                "mean_loss": shortest((self.place.loss / self.place.steps as f64) as f32),
                "lr": shortest(report.learning_rate),
                "grad_norm": shortest(report.grad_norm),
                "tokens": report.tokens,
                "tokens_per_s": (self.place.tokens as f64 / self.place.seconds).round(),
            }));
            self.place = LogPlace { bytes: self.place.bytes, ..LogPlace::default() };
        }
        self.inner.step(report)
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<()> {
        if !report.scores.is_empty() {
            let eval = scores_as_json(&report.scores);
            self.write(&json!({ "epoch": report.epoch, "step": report.step, "eval": eval }));
        }
        self.inner.epoch(report)
    }

    fn probe(&mut self, report: &ProbeReport) {
        self.inner.probe(report);
    }

    fn evaluating(&mut self, epoch: usize) {
        self.inner.evaluating(epoch);
    }

    fn keep(&mut self, state: &State, values: &[f32]) -> Result<()> {
        self.inner.keep(state, values)
    }

    fn pause(&mut self, is_end: bool, read: &dyn Fn() -> Result<SavedState>) -> Result<()> {
        self.inner.pause(is_end, read)
    }

    fn resumed(&mut self, state: &State, place: Place) {
        if let TensorBoard::Waiting { resumed, .. } = &mut self.tensorboard {
            *resumed = Some(state.steps);
        }
        self.inner.resumed(state, place);
    }

    fn should_stop(&self) -> bool {
        self.failed.is_some() || self.inner.should_stop()
    }
}

/// Scores as an object from metric to value.
pub fn scores_as_json(scores: &[Score]) -> Value {
    Value::Object(
        scores.iter().map(|score| (score.metric.name().to_owned(), score.value.into())).collect::<Map<_, _>>(),
    )
}

/// The f64 with the fewest digits that is `value` in f32: JSON would have 0.01 as 0.009999999776482582, the f64 of the
/// same bits.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_short_as_it_is_read() {
        for (value, text) in
            [(0.01, "0.01"), (1e-4, "0.0001"), (0.1, "0.1"), (1.0, "1.0"), (16_777_216.0, "16777216.0")]
        {
            assert_eq!(json!(shortest(value)).to_string(), text);
        }
        for value in [f32::MIN_POSITIVE, f32::MAX, 1.0 / 3.0, -0.7] {
            assert_eq!(shortest(value) as f32, value);
        }
    }
}
