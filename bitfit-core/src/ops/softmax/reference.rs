//! The specification of the row-wise softmax, as plain loops.

use crate::ops::Real;

/// The softmax y `[T, n]` of x `[T, n]`.
pub fn forward<R: Real>(x: &[R], cols: usize) -> Vec<R> {
    let mut y = Vec::new();
    for x in x.chunks_exact(cols) {
        let max = x.iter().fold(R::neg_infinity(), |max, &x| max.max(x));
        let sum = x.iter().fold(R::zero(), |sum, &x| sum + (x - max).exp());
        y.extend(x.iter().map(|&x| (x - max).exp() / sum));
    }
    y
}

/// The gradient dx for a gradient `dy` of y, by the whole Jacobian `∂y[j]/∂x[i] = y[j] (δ[i,j] - y[i])`.
pub fn backward<R: Real>(dy: &[R], y: &[R], cols: usize) -> Vec<R> {
    let mut dx = Vec::new();
    for (dy, y) in dy.chunks_exact(cols).zip(y.chunks_exact(cols)) {
        for i in 0..cols {
            let delta = |j| if i == j { R::one() } else { R::zero() };
            dx.push((0..cols).fold(R::zero(), |sum, j| sum + dy[j] * y[j] * (delta(j) - y[i])));
        }
    }
    dx
}
