//! The specification of the normalization, as plain loops.

use super::EPS;
use crate::ops::Real;

/// max(‖x‖, ε), and whether the length itself is the greater.
fn divisor<R: Real>(x: &[R]) -> (R, bool) {
    let length = x.iter().fold(R::zero(), |sum, &x| sum + x * x).sqrt();
    let eps = R::of(f64::from(EPS));
    if length < eps { (eps, false) } else { (length, true) }
}

/// `y = x / max(‖x‖, ε)` for each row.
pub fn forward<R: Real>(x: &[R], cols: usize) -> Vec<R> {
    x.chunks_exact(cols).flat_map(|x| x.iter().map(|&value| value / divisor(x).0)).collect()
}

/// The gradient of x.
pub fn backward<R: Real>(dy: &[R], x: &[R], cols: usize) -> Vec<R> {
    let row = |(dy, x): (&[R], &[R])| -> Vec<R> {
        let (divisor, is_length) = divisor(x);
        let dot = dy.iter().zip(x).fold(R::zero(), |sum, (&dy, &x)| sum + dy * x / divisor);
        let dot = if is_length { dot } else { R::zero() };
        dy.iter().zip(x).map(|(&dy, &x)| (dy - x / divisor * dot) / divisor).collect()
    };
    dy.chunks_exact(cols).zip(x.chunks_exact(cols)).flat_map(row).collect()
}
