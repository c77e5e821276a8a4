//! The specification of sum and product, as plain loops. b holds as many elements as a, or one row that is repeated.

use crate::ops::Real;

/// `y[i] = a[i] + b[i mod |b|]`.
pub fn add<R: Real>(a: &[R], b: &[R]) -> Vec<R> {
    (0..a.len()).map(|i| a[i] + b[i % b.len()]).collect()
}

/// The gradients of a and b.
pub fn add_backward<R: Real>(dy: &[R], b: &[R]) -> (Vec<R>, Vec<R>) {
    let mut db = vec![R::zero(); b.len()];
    for (i, &dy) in dy.iter().enumerate() {
        db[i % b.len()] += dy;
    }
    (dy.to_vec(), db)
}

/// `y[i] = a[i] b[i mod |b|]`.
pub fn mul<R: Real>(a: &[R], b: &[R]) -> Vec<R> {
    (0..a.len()).map(|i| a[i] * b[i % b.len()]).collect()
}

/// The gradients of a and b.
pub fn mul_backward<R: Real>(dy: &[R], a: &[R], b: &[R]) -> (Vec<R>, Vec<R>) {
    let mut db = vec![R::zero(); b.len()];
    for (i, &dy) in dy.iter().enumerate() {
        db[i % b.len()] += dy * a[i];
    }
    (mul(dy, b), db)
}
