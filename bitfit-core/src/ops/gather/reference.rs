//! The specification of the row gather, as plain loops.

use crate::ops::Real;

/// `y[i] = x[at[i]]`; x `[T, cols]`, y `[|at|, cols]`.
pub fn forward<R: Real>(x: &[R], at: &[u32], cols: usize) -> Vec<R> {
    at.iter().flat_map(|&row| x[row as usize * cols..][..cols].iter().copied()).collect()
}

/// `dx[at[i]] = Σ dy[i]`; dx of `rows` rows.
pub fn backward<R: Real>(dy: &[R], at: &[u32], rows: usize, cols: usize) -> Vec<R> {
    let mut dx = vec![R::zero(); rows * cols];
    for (dy, &row) in dy.chunks_exact(cols).zip(at) {
        for (j, &dy) in dy.iter().enumerate() {
            dx[row as usize * cols + j] += dy;
        }
    }
    dx
}
