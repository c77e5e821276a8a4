//! The specification of the mean squared error, as plain loops.

use crate::ops::Real;

/// `Σ (x - t)² / n`.
pub fn forward<R: Real>(x: &[R], targets: &[R]) -> R {
    let sum = x.iter().zip(targets).fold(R::zero(), |sum, (&x, &t)| sum + (x - t) * (x - t));
    sum / R::of(x.len() as f64)
}

/// The gradient dx for a gradient `dloss` of the mean.
pub fn backward<R: Real>(x: &[R], targets: &[R], dloss: R) -> Vec<R> {
    let scale = R::of(2.0) / R::of(x.len() as f64) * dloss;
    x.iter().zip(targets).map(|(&x, &t)| scale * (x - t)).collect()
}
