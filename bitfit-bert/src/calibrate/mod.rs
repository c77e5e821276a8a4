//! Fits the temperature and the thresholds of a task to its outputs for labelled texts that it was not trained on, and
//! measures how far its probabilities can be trusted.
//!
//! ```text
//! Predictor::calibrate, or a file of out-of-fold answers (OutOfFold)
//!   -> outputs [rows, C], targets
//!   -> Fit: temperature -> probabilities -> thresholds; ECE and loss before and after
//! ```

mod calibration;
mod error;
mod out_of_fold;
mod temperature;
mod thresholds;

use ndarray::Array2;

pub use calibration::Calibration;
pub use error::{BINS, Bin, Reliability};
pub use out_of_fold::{OutOfFold, OutOfFoldRow, OutOfFoldWriter};
pub use temperature::TEMPERATURES;
pub use thresholds::LabelThreshold;

use crate::heads::{Targets, logistic};
use crate::{Error, Result};

/// What was fitted, and what it changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// What was fitted.
    pub calibration: Calibration,
    /// How far probabilities could be trusted before.
    pub before: Reliability,
    /// The same with the temperature.
    pub after: Reliability,
    /// The share of the rows that are answered where some are rejected, and the accuracy of these answers.
    pub answered: Option<(f64, f64)>,
    /// The threshold of each label, where a text may have several.
    pub labels: Vec<LabelThreshold>,
}

impl Fit {
    /// Fits to outputs `[rows, C]`, which are logits as the model computes them. Where `min_accuracy` is given, rows
    /// are rejected below the least probability above which so many of the answers are right.
    ///
    /// # Errors
    /// [`Error::Metric`] for targets of a kind of task that is not calibrated, no rows, or an accuracy that cannot be
    /// reached or does not apply.
    pub fn new(outputs: &Array2<f32>, targets: &Targets, min_accuracy: Option<f64>) -> Result<Self> {
        let refuse = |reason: &str| Error::Metric { metric: "calibration", reason: reason.into() };
        if outputs.is_empty() || outputs.nrows() != targets.len() {
            return Err(refuse("there is not one row of outputs for each text"));
        }
        match targets {
            Targets::Classes(classes) => {
                let temperature = temperature::of_classes(outputs.view(), classes);
                let [before, after] =
                    [1.0, temperature].map(|temperature| Reliability::of_classes(&(outputs / temperature), classes));
                let calibrated = outputs / temperature;
                let rejection = min_accuracy
                    .map(|accuracy| {
                        thresholds::rejection(&calibrated, classes, accuracy).ok_or_else(|| {
                            refuse("no threshold reaches the least accuracy on these texts: ask for less")
                        })
                    })
                    .transpose()?;
                let reject_below = rejection.map(|rejection| rejection.threshold);
                Ok(Self {
                    calibration: Calibration { temperature, reject_below, thresholds: None },
                    before,
                    after,
                    answered: rejection.map(|rejection| (rejection.answered, rejection.accuracy)),
                    labels: Vec::new(),
                })
            }
            Targets::Indicators(indicators) => {
                if min_accuracy.is_some() {
                    return Err(refuse("a text with any number of labels is never rejected"));
                }
                let temperature = temperature::of_labels(outputs.view(), indicators.view());
                let [before, after] =
                    [1.0, temperature].map(|temperature| Reliability::of_labels(&(outputs / temperature), indicators));
                let labels = thresholds::of_labels(&(outputs / temperature).mapv(logistic), indicators);
                let thresholds = Some(labels.iter().map(|label| label.threshold).collect());
                let calibration = Calibration { temperature, reject_below: None, thresholds };
                Ok(Self { calibration, before, after, answered: None, labels })
            }
            _ => Err(refuse("only classes and several labels have probabilities that can be calibrated")),
        }
    }
}

#[cfg(test)]
mod tests;
