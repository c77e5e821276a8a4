//! The specification of the embedding, as plain loops.

use crate::ops::Real;

/// `y[t] = table[at[t]]`; table `[V, cols]`, y `[T, cols]`.
pub fn forward<R: Real>(at: &[u32], table: &[R], cols: usize) -> Vec<R> {
    at.iter().flat_map(|&row| table[row as usize * cols..][..cols].iter().copied()).collect()
}

/// The gradient of the whole table `[rows, cols]`; a mask chooses from it.
pub fn backward<R: Real>(dy: &[R], at: &[u32], rows: usize, cols: usize) -> Vec<R> {
    let mut dtable = vec![R::zero(); rows * cols];
    for (dy, &row) in dy.chunks_exact(cols).zip(at) {
        for (j, &dy) in dy.iter().enumerate() {
            dtable[row as usize * cols + j] += dy;
        }
    }
    dtable
}
