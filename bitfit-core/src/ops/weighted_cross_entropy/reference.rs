//! The specification of the weighted cross-entropy, as plain loops in f64.

use super::ClassWeighting;
use crate::ops::softmax;

/// The loss; z `[B, C]`.
pub fn forward(logits: &[f64], labels: &[u32], weighting: &ClassWeighting) -> f64 {
    let classes = weighting.weights.len();
    let weight = |class: usize| f64::from(weighting.weights[class]);
    let (smoothing, gamma) = (f64::from(weighting.label_smoothing), f64::from(weighting.focal_gamma));
    let mut sum = 0.0;
    for (z, &label) in logits.chunks_exact(classes).zip(labels) {
        let max = z.iter().fold(f64::NEG_INFINITY, |max, &z| max.max(z));
        let lse = max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
        let label = label as usize;
        let own = lse - z[label];
        sum += weight(label) * (1.0 - (-own).exp()).powf(gamma) * (1.0 - smoothing) * own;
        sum += smoothing / classes as f64 * (0..classes).map(|class| weight(class) * (lse - z[class])).sum::<f64>();
    }
    sum / weighting.total(labels)
}

/// The gradient dz for a gradient `dloss` of the loss.
pub fn backward(logits: &[f64], labels: &[u32], weighting: &ClassWeighting, dloss: f64) -> Vec<f64> {
    let classes = weighting.weights.len();
    let weight = |class: usize| f64::from(weighting.weights[class]);
    let (smoothing, gamma) = (f64::from(weighting.label_smoothing), f64::from(weighting.focal_gamma));
    let scale = dloss / weighting.total(labels);
    let sum: f64 = (0..classes).map(weight).sum();
    let mut dz = softmax::reference::forward(logits, classes);
    for (dz, &label) in dz.chunks_exact_mut(classes).zip(labels) {
        let label = label as usize;
        let p = dz[label];
        let focal = match gamma {
            0.0 => 1.0,
            _ => (1.0 - p).powf(gamma) - gamma * (1.0 - p).powf(gamma - 1.0) * p * p.ln(),
        };
        for (class, dz) in dz.iter_mut().enumerate() {
            let hit = if class == label { 1.0 } else { 0.0 };
            let from_label = weight(label) * (1.0 - smoothing) * focal * (*dz - hit);
            *dz = scale * (from_label + smoothing / classes as f64 * (*dz * sum - weight(class)));
        }
    }
    dz
}
