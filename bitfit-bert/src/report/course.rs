//! How a run went, from its log.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::files::read_bounded;
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
    /// The loss of the logged steps.
    pub loss: Series,
    /// Their learning rate.
    pub rate: Series,
    /// The scores of each evaluation, by metric.
    pub scores: Vec<Series>,
}

impl Course {
    /// Reads `metrics.jsonl` of a run.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::DataRow`] for a line that is not one of a log.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_bounded(path, MAX_LOG)?;
        let mut course = Self {
            loss: Series { name: "loss".into(), points: Vec::new() },
            rate: Series { name: "learning rate".into(), points: Vec::new() },
            scores: Vec::new(),
        };
        let mut scores: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        let mut order = Vec::new();
        let mut last = 0.0;
        for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let refuse = |reason: &str| Error::DataRow { path: path.into(), line: number + 1, reason: reason.into() };
            let line: Value = serde_json::from_slice(line).map_err(|_| refuse("not a line of a log of a run"))?;
            let step = line["step"].as_f64();
            last = step.unwrap_or(last);
            match (line["loss"].as_f64(), line["lr"].as_f64(), line["eval"].as_object()) {
                (Some(loss), Some(rate), _) => {
                    course.loss.points.push((last, loss));
                    course.rate.points.push((last, rate));
                }
                (_, _, Some(eval)) => {
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
