//! The weighted cross-entropy on the CPU: one sequential pass over the logits of a batch, which are few; everything is
//! computed in f64.

use super::{Input, WeightedCrossEntropy};
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
};

impl WeightedCrossEntropy for Cpu {
    fn weighted_cross_entropy(&self, input: Input<'_, Self>, loss: SliceMut<'_, Self>) -> Result<()> {
        let (weights, smoothing, classes) = (input.weights.f32(), f64::from(input.label_smoothing), input.classes());
        let mut sum = 0.0;
        for (z, &label) in input.logits.f32().chunks_exact(classes).zip(input.labels) {
            let lse = log_sum_exp(z);
            let of = |class: usize| lse - f64::from(z[class]);
            let own = of(label as usize);
            let focal = (-(-own).exp_m1()).powf(f64::from(input.focal_gamma));
            sum += f64::from(weights[label as usize]) * (1.0 - smoothing) * focal * own;
            if smoothing > 0.0 {
                let all: f64 = weights.iter().enumerate().map(|(class, &weight)| f64::from(weight) * of(class)).sum();
                sum += smoothing / classes as f64 * all;
            }
        }
        loss.f32()[0] = (sum / f64::from(input.total)) as f32;
        Ok(())
    }

    fn weighted_cross_entropy_backward(
        &self,
        dloss: Slice<'_, Self>,
        input: Input<'_, Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let (weights, smoothing, classes) = (input.weights.f32(), f64::from(input.label_smoothing), input.classes());
        let gamma = f64::from(input.focal_gamma);
        let scale = f64::from(dloss.f32()[0]) / f64::from(input.total);
        let spread = smoothing / classes as f64;
        let sum_of_weights: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let rows = dlogits.f32().chunks_exact_mut(classes).zip(input.logits.f32().chunks_exact(classes));
        for ((dz, z), &label) in rows.zip(input.labels) {
            let lse = log_sum_exp(z);
            let label = label as usize;
            let own = lse - f64::from(z[label]);
            let miss = -(-own).exp_m1();
            // The limit of l / (1 - p) where p is 1.
            let ratio = if miss > 0.0 { own / miss } else { 1.0 };
            let focal = miss.powf(gamma) * (1.0 + gamma * (-own).exp() * ratio);
            let of_label = f64::from(weights[label]) * (1.0 - smoothing) * focal;
            for (class, (dz, &z)) in dz.iter_mut().zip(z).enumerate() {
                let p = (f64::from(z) - lse).exp();
                // p - 1 of the label keeps its digits as the probability of the others.
                let from_label = if class == label { -miss } else { p };
                let from_all = spread * (p * sum_of_weights - f64::from(weights[class]));
                let gradient = (scale * (of_label * from_label + from_all)) as f32;
                *dz = if accumulate { *dz + gradient } else { gradient };
            }
        }
        Ok(())
    }
}

/// `ln Σ exp(z)`.
fn log_sum_exp(z: &[f32]) -> f64 {
    let max = f64::from(z.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + z.iter().map(|&z| (f64::from(z) - max).exp()).sum::<f64>().ln()
}
