//! How far probabilities can be trusted: the expected calibration error and the mean loss.
//!
//! The rows are put into [`BINS`] bins of equal width by their probability; the error is the mean distance between the
//! probability and the share that is right, weighted by rows (Guo et al., arXiv 1706.04599, section 2).

use ndarray::{Array2, ArrayView1};

use crate::heads::{argmax, logistic, softmax};

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
    /// Of the most probable class of each row, from its logits.
    pub fn of_classes(logits: &Array2<f32>, classes: &[usize]) -> Self {
        let loss = |(row, &class): (ArrayView1<'_, f32>, &usize)| {
            let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            max + row.iter().map(|&z| (f64::from(z) - max).exp()).sum::<f64>().ln() - f64::from(row[class])
        };
        let losses: f64 = logits.rows().into_iter().zip(classes).map(loss).sum();
        Self::new(confidences(logits, classes), losses / classes.len() as f64)
    }

    /// Of every label of every row, from their logits; indicators are 1 where the row has the label.
    pub fn of_labels(logits: &Array2<f32>, indicators: &Array2<f32>) -> Self {
        let each = || logits.iter().zip(indicators);
        let losses = each().map(|(&z, &t)| {
            let z = f64::from(z);
            z.max(0.0) - z * f64::from(t) + (-z.abs()).exp().ln_1p()
        });
        let losses: f64 = losses.sum();
        Self::new(each().map(|(&z, &t)| (logistic(z), t == 1.0)).collect(), losses / logits.len() as f64)
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

/// The greatest probability of each row of logits, and whether it is that of the right class.
pub(super) fn confidences(logits: &Array2<f32>, classes: &[usize]) -> Vec<(f32, bool)> {
    let confidence = |(row, &right): (ArrayView1<'_, f32>, &usize)| {
        let probabilities = softmax(row);
        let class = argmax(probabilities.iter().copied());
        (probabilities[class], class == right)
    };
    logits.rows().into_iter().zip(classes).map(confidence).collect()
}
