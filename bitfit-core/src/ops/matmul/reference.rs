//! The specification of the product, as plain loops; `shape` is `[m, k, n]`.

use crate::ops::Real;

/// `y[i, j] = Σₗ a[i, l] b[l, j]`.
pub fn forward<R: Real>([m, k, n]: [usize; 3], a: &[R], b: &[R]) -> Vec<R> {
    let mut y = vec![R::zero(); m * n];
    for i in 0..m {
        for j in 0..n {
            for l in 0..k {
                y[i * n + j] += a[i * k + l] * b[l * n + j];
            }
        }
    }
    y
}

/// The gradients of a and b.
pub fn backward<R: Real>([m, k, n]: [usize; 3], a: &[R], b: &[R], dy: &[R]) -> (Vec<R>, Vec<R>) {
    let (mut da, mut db) = (vec![R::zero(); m * k], vec![R::zero(); k * n]);
    for i in 0..m {
        for j in 0..n {
            for l in 0..k {
                da[i * k + l] += dy[i * n + j] * b[l * n + j];
                db[l * n + j] += dy[i * n + j] * a[i * k + l];
            }
        }
    }
    (da, db)
}
