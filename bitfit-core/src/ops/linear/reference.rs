//! The specification of the linear layer, as plain loops.

use crate::ops::Real;

/// `y[t, o] = Σᵢ x[t, i] w[o, i] + b[o]`; x `[rows, in]`, w `[out, in]`, b `[out]`.
pub fn forward<R: Real>(x: &[R], w: &[R], b: &[R], in_features: usize) -> Vec<R> {
    let mut y = Vec::new();
    for x in x.chunks_exact(in_features) {
        for (w, &b) in w.chunks_exact(in_features).zip(b) {
            y.push(x.iter().zip(w).fold(b, |sum, (&x, &w)| sum + x * w));
        }
    }
    y
}

/// The gradients of x, w and b for a gradient `dy` `[rows, out]`.
pub fn backward<R: Real>(dy: &[R], x: &[R], w: &[R], in_features: usize) -> (Vec<R>, Vec<R>, Vec<R>) {
    let out_features = w.len() / in_features;
    let (mut dx, mut dw, mut db) = (vec![R::zero(); x.len()], vec![R::zero(); w.len()], vec![R::zero(); out_features]);
    for (t, dy) in dy.chunks_exact(out_features).enumerate() {
        for (o, &dy) in dy.iter().enumerate() {
            db[o] += dy;
            for i in 0..in_features {
                dx[t * in_features + i] += dy * w[o * in_features + i];
                dw[o * in_features + i] += dy * x[t * in_features + i];
            }
        }
    }
    (dx, dw, db)
}
