//! The specification of the mean over sequences, as plain loops.

use crate::ops::Real;

/// `y[b] = Σ x[t] / length(b)`; x `[T, cols]`, `lengths` of the sequences, y `[B, cols]`.
pub fn forward<R: Real>(x: &[R], lengths: &[usize], cols: usize) -> Vec<R> {
    let mut rows = x.chunks_exact(cols);
    let mut y = Vec::new();
    for &length in lengths {
        let mut sum = vec![R::zero(); cols];
        for row in rows.by_ref().take(length) {
            sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        }
        y.extend(sum.into_iter().map(|sum| sum / R::of(length as f64)));
    }
    y
}

/// `dx[t] = dy[b] / length(b)`.
pub fn backward<R: Real>(dy: &[R], lengths: &[usize], cols: usize) -> Vec<R> {
    let row = |(dy, &length): (&[R], &usize)| {
        let dx: Vec<R> = dy.iter().map(|&dy| dy / R::of(length as f64)).collect();
        dx.repeat(length)
    };
    dy.chunks_exact(cols).zip(lengths).flat_map(row).collect()
}
