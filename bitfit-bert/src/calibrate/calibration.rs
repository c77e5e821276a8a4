//! What a calibrated task does with its outputs.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::data::Kind;
use crate::heads::{Prediction, THRESHOLD, argmax, logistic, softmax};

/// How outputs become probabilities and answers, fitted to texts that the task was not trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The logits are divided by it (Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, arXiv
    /// 1706.04599). It changes probabilities, and no class.
    pub temperature: f32,
    /// Of one class a text: the least probability with which it is given; `None` if every text is given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject_below: Option<f32>,
    /// Of several labels a text: the least probability with which each is given, in the order of the labels; `None` for
    /// [`THRESHOLD`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f32>>,
}

impl Calibration {
    /// Whether a kind of task can be calibrated.
    pub fn suits(kind: Kind) -> bool {
        matches!(kind, Kind::Classify | Kind::MultiLabel)
    }

    /// What is wrong with it for a kind of task with so many labels, if anything is.
    pub(crate) fn problem(&self, kind: Kind, labels: usize) -> Option<&'static str> {
        let Self { temperature, reject_below, thresholds } = self;
        let is_probability = |value: &f32| (0.0..=1.0).contains(value);
        let is_foreign =
            (reject_below.is_some() && kind != Kind::Classify) || (thresholds.is_some() && kind != Kind::MultiLabel);
        if !Self::suits(kind) {
            Some("this kind of task has none")
        } else if !temperature.is_finite() || *temperature <= 0.0 {
            Some("its temperature is not a number above 0")
        } else if is_foreign {
            Some("its thresholds are those of another kind of task")
        } else if thresholds.as_ref().is_some_and(|thresholds| thresholds.len() != labels) {
            Some("it does not have one threshold for each label")
        } else if !reject_below.iter().chain(thresholds.iter().flatten()).all(is_probability) {
            Some("a threshold is not a probability")
        } else {
            None
        }
    }

    /// The logits of calibrated probabilities, from a task's outputs `[rows, C]`.
    pub(crate) fn logits(&self, outputs: Array2<f32>) -> Array2<f32> {
        outputs / self.temperature
    }

    /// Logits from which metrics read the labels of each row, those above 0: as [`Calibration::decide`] gives them.
    pub(crate) fn scored(&self, outputs: Array2<f32>) -> Array2<f32> {
        let mut logits = self.logits(outputs);
        for (mut column, &threshold) in logits.columns_mut().into_iter().zip(self.thresholds.iter().flatten()) {
            column.mapv_inplace(|logit| if logistic(logit) >= threshold { 1.0 } else { -1.0 });
        }
        logits
    }

    /// Whether a text is given no class, of which the most probable has this probability.
    pub(crate) fn rejects(&self, probability: f32) -> bool {
        self.reject_below.is_some_and(|least| probability < least)
    }

    /// The rows of calibrated logits `[rows, C]` that are given a class; `None` where every text is.
    pub(crate) fn answered(&self, logits: &Array2<f32>) -> Option<Vec<usize>> {
        self.reject_below?;
        let is_answered = |row: usize| {
            let probabilities = softmax(logits.row(row));
            !self.rejects(probabilities[argmax(probabilities.iter().copied())])
        };
        Some((0..logits.nrows()).filter(|&row| is_answered(row)).collect())
    }

    /// The prediction from calibrated probabilities, by the thresholds.
    pub(crate) fn decide(&self, prediction: Prediction) -> Prediction {
        match prediction {
            Prediction::Class { class, probabilities, .. } => {
                let is_rejected = self.rejects(probabilities[class]);
                Prediction::Class { class, probabilities, is_rejected }
            }
            Prediction::Labels { probabilities, .. } => {
                let least = |label: usize| self.thresholds.as_ref().map_or(THRESHOLD, |thresholds| thresholds[label]);
                let labels = (0..probabilities.len()).filter(|&label| probabilities[label] >= least(label)).collect();
                Prediction::Labels { labels, probabilities }
            }
            other => other,
        }
    }
}
