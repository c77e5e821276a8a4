//! The specification of dropout, as a plain loop. Its backward is the same function.

use crate::{ops::Real, rng::Dropout};

/// `y[i] = m[i] x[i]`.
pub fn forward<R: Real>(dropout: Dropout, x: &[R]) -> Vec<R> {
    x.iter().enumerate().map(|(i, &x)| R::of(dropout.factor(i as u64).into()) * x).collect()
}
