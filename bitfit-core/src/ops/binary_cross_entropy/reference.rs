//! The specification of the mean binary cross-entropy, as plain loops.

use crate::ops::Real;

/// The mean of `max(z, 0) - z t + ln(1 + exp(-|z|))`.
pub fn forward<R: Real>(logits: &[R], targets: &[R]) -> R {
    let loss = |(&z, &t): (&R, &R)| z.max(R::zero()) - z * t + (-z.abs()).exp().ln_1p();
    let sum = logits.iter().zip(targets).map(loss).fold(R::zero(), |sum, loss| sum + loss);
    sum / R::of(logits.len() as f64)
}

/// The gradient dz for a gradient `dloss` of the mean.
pub fn backward<R: Real>(logits: &[R], targets: &[R], dloss: R) -> Vec<R> {
    let scale = dloss / R::of(logits.len() as f64);
    logits.iter().zip(targets).map(|(&z, &t)| scale * (R::one() / (R::one() + (-z).exp()) - t)).collect()
}
