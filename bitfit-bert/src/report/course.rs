//! How a run went, from its log.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::files::read_bounded;
use crate::task_file::Best;
use crate::{Error, Result};

/// The largest log that is read: that of a million lines.
const MAX_LOG: u64 = 256 << 20;

/// Values over the steps of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// What the values are.
    pub name: String,
    /// The steps, from 1, with the value of each.
    pub points: Vec<(f64, f64)>,
}

/// The course of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// At each logged step the mean loss of the steps since the one before.
    pub loss: Series,
    /// The learning rate of the logged steps.
    pub rate: Series,
    /// The scores of each evaluation, by metric.
    pub scores: Vec<Series>,
    /// The step whose values were kept; `None` where those of the end were.
    pub kept: Option<f64>,
}

impl Course {
    /// Reads `metrics.jsonl` of a run, of which the values of the evaluation `best` were kept.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::DataRow`] for a line that is not one of a log.
    pub fn read(path: &Path, best: Option<&Best>) -> Result<Self> {
        let bytes = read_bounded(path, MAX_LOG)?;
        let mut course = Self {
            loss: Series { name: "mean loss".into(), points: Vec::new() },
            rate: Series { name: "learning rate".into(), points: Vec::new() },
            scores: Vec::new(),
            // A probe, from which the run began.
            kept: best.filter(|best| best.epoch == 0).map(|_| 0.0),
        };
        let mut scores: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        let mut order = Vec::new();
        let mut last = 0.0;
        for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let refuse = |reason: &str| Error::DataRow { path: path.into(), line: number + 1, reason: reason.into() };
            let line: Value = serde_json::from_slice(line).map_err(|_| refuse("not a line of a log of a run"))?;
            let step = line["step"].as_f64();
            last = step.unwrap_or(last);
            match (line["mean_loss"].as_f64(), line["lr"].as_f64(), line["eval"].as_object()) {
                (Some(loss), Some(rate), _) => {
                    course.loss.points.push((last, loss));
                    course.rate.points.push((last, rate));
                }
                (_, _, Some(eval)) => {
                    let is_of = |best: &&Best| {
                        line["epoch"].as_u64() == Some(best.epoch as u64)
                            && best.step.is_none_or(|step| line["step"].as_u64() == Some(step as u64))
                    };
                    course.kept = best.filter(is_of).map(|_| last).or(course.kept);
                    for (metric, value) in eval {
                        let points = scores.entry(metric.clone()).or_insert_with(|| {
                            order.push(metric.clone());
                            Vec::new()
                        });
                        points.push((last, value.as_f64().ok_or_else(|| refuse("a score is not a number"))?));
                    }
                }
                _ => return Err(refuse("not a line of a log of a run")),
            }
        }
        let series = |name: String| Series { points: scores.remove(&name).unwrap_or_default(), name };
        course.scores = order.into_iter().map(series).collect();
        Ok(course)
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.loss.points.is_empty() && self.scores.is_empty()
    }
}
