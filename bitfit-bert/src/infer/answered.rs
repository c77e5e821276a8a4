//! What a task that rejects texts answers of labelled texts, and how well.

use bitfit_core::Backend;
use ndarray::{Array2, Axis};

use crate::Result;
use crate::calibrate::Calibration;
use crate::heads::{Examples, Head};
use crate::metrics::Metric;
use crate::train::{self, Score};

/// The texts that a task gives a class, where it rejects those of a low probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The least probability with which a class is given.
    pub reject_below: f32,
    /// The number of texts that are given one.
    pub rows: usize,
    /// The number of texts that are rejected.
    pub rejected: usize,
    /// The scores over the texts that are given one; empty where there are none.
    pub scores: Vec<Score>,
}

impl Answered {
    /// Of calibrated logits `[rows, C]` of labelled texts; `None` for a task that rejects nothing.
    pub(super) fn new<D: Backend>(
        calibration: &Calibration,
        head: &dyn Head<D>,
        metrics: &[Metric],
        logits: &Array2<f32>,
        examples: &Examples,
    ) -> Result<Option<Self>> {
        let (Some(reject_below), Some(answered)) = (calibration.reject_below, calibration.answered(logits)) else {
            return Ok(None);
        };
        let (rows, rejected) = (answered.len(), logits.nrows() - answered.len());
        let scores = match rows {
            0 => Vec::new(),
            _ => train::scores(head, metrics, &logits.select(Axis(0), &answered), &examples.of_texts(&answered))?,
        };
        Ok(Some(Self { reject_below, rows, rejected, scores }))
    }

    /// The share of the texts that are given a class, 0 to 1.
    pub fn coverage(&self) -> f64 {
        self.rows as f64 / (self.rows + self.rejected).max(1) as f64
    }
}
