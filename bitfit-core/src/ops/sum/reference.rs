//! The specification of sum and mean, as plain loops.

use crate::ops::Real;

/// `Σ x / divisor`.
pub fn forward<R: Real>(x: &[R], divisor: usize) -> R {
    x.iter().fold(R::zero(), |sum, &x| sum + x) / R::of(divisor as f64)
}

/// The gradient of x, of which there are `len` elements, for a gradient `dy` of the result.
pub fn backward<R: Real>(dy: R, divisor: usize, len: usize) -> Vec<R> {
    vec![dy / R::of(divisor as f64); len]
}
