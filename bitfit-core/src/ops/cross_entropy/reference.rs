//! The specification of the mean cross-entropy, as plain loops.

use crate::ops::{Real, softmax};

/// `-Σ ln softmax(z)[label] / B`; z `[B, classes]`.
pub fn forward<R: Real>(logits: &[R], labels: &[u32], classes: usize) -> R {
    let mut sum = R::zero();
    for (z, &label) in logits.chunks_exact(classes).zip(labels) {
        let max = z.iter().fold(R::neg_infinity(), |max, &z| max.max(z));
        let lse = z.iter().fold(R::zero(), |sum, &z| sum + (z - max).exp()).ln();
        sum += lse - (z[label as usize] - max);
    }
    sum / R::of(labels.len() as f64)
}

/// The gradient dz for a gradient `dloss` of the mean.
pub fn backward<R: Real>(logits: &[R], labels: &[u32], classes: usize, dloss: R) -> Vec<R> {
    let scale = dloss / R::of(labels.len() as f64);
    let mut dz = softmax::reference::forward(logits, classes);
    for (dz, &label) in dz.chunks_exact_mut(classes).zip(labels) {
        dz[label as usize] -= R::one();
        dz.iter_mut().for_each(|dz| *dz *= scale);
    }
    dz
}
