//! How far probabilities can be trusted: the expected calibration error and the mean loss.
//!
//! The rows are put into [`BINS`] bins of equal width by their probability; the error is the mean distance between the
//! probability and the share that is right, weighted by rows (Guo et al., arXiv 1706.04599, section 2).

use ndarray::Array2;

use super::{confidences, one_hot};

/// The number of bins, that of the paper.
pub const BINS: usize = 15;

/// Rows of about the same probability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Their number.
    pub rows: usize,
    /// The mean of their probabilities.
    pub probability: f64,
    /// The share that is right.
    pub right: f64,
}

/// How far probabilities agree with what is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Reliability {
    /// The expected calibration error, 0 to 1.
    pub ece: f64,
    /// The mean loss: minus the logarithm of the probability of what is right.
    pub loss: f64,
    /// The bins, from 0 to 1.
    pub bins: [Bin; BINS],
}

impl Reliability {
    /// Of the most probable class of each row.
    pub fn of_classes(probabilities: &Array2<f32>, classes: &[usize]) -> Self {
        let indicators = one_hot(classes, probabilities.ncols());
        let losses = classes.iter().enumerate().map(|(row, &class)| loss(probabilities[[row, class]]));
        Self::new(confidences(probabilities, indicators.view()), losses.sum::<f64>() / classes.len() as f64)
    }

    /// Of every label of every row.
    pub fn of_labels(probabilities: &Array2<f32>, indicators: &Array2<f32>) -> Self {
        let each = || probabilities.iter().zip(indicators).map(|(&probability, &t)| (probability, t == 1.0));
        let losses = each().map(|(probability, has)| loss(if has { probability } else { 1.0 - probability }));
        Self::new(each().collect(), losses.sum::<f64>() / probabilities.len() as f64)
    }

    fn new(all: Vec<(f32, bool)>, loss: f64) -> Self {
        let mut bins = [Bin::default(); BINS];
        for &(probability, is_right) in &all {
            let bin = (f64::from(probability) * BINS as f64).ceil() as usize;
            let bin = &mut bins[bin.clamp(1, BINS) - 1];
            bin.rows += 1;
            bin.probability += f64::from(probability);
            bin.right += f64::from(u8::from(is_right));
        }
        let mut ece = 0.0;
        for bin in bins.iter_mut().filter(|bin| bin.rows > 0) {
            bin.probability /= bin.rows as f64;
            bin.right /= bin.rows as f64;
            ece += bin.rows as f64 / all.len() as f64 * (bin.probability - bin.right).abs();
        }
        Self { ece, loss, bins }
    }
}

/// Minus the logarithm of a probability, which may have underflowed.
fn loss(probability: f32) -> f64 {
    -f64::from(probability.max(f32::MIN_POSITIVE)).ln()
}
