//! The specification of sum, difference, product and scaling, as plain loops. b holds as many elements as a, or one row
//! that is repeated.

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

/// `y[i] = a[i] - b[i mod |b|]`.
pub fn sub<R: Real>(a: &[R], b: &[R]) -> Vec<R> {
    (0..a.len()).map(|i| a[i] - b[i % b.len()]).collect()
}

/// The gradients of a and b.
pub fn sub_backward<R: Real>(dy: &[R], b: &[R]) -> (Vec<R>, Vec<R>) {
    let (da, db) = add_backward(dy, b);
    (da, db.into_iter().map(|db| -db).collect())
}

/// `y[i] = factor x[i]`, which is also the gradient of x for a gradient `x` of y.
pub fn scale<R: Real>(x: &[R], factor: R) -> Vec<R> {
    x.iter().map(|&x| factor * x).collect()
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
