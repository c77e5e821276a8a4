//! The specification of the pair features, as plain loops.

use crate::ops::Real;

/// `y = [u, v, |u - v|, u ∘ v]`, u and v two rows of x that follow each other.
pub fn forward<R: Real>(x: &[R], cols: usize) -> Vec<R> {
    let mut y = Vec::new();
    for pair in x.chunks_exact(2 * cols) {
        let (u, v) = pair.split_at(cols);
        y.extend(u);
        y.extend(v);
        y.extend(u.iter().zip(v).map(|(&u, &v)| (u - v).abs()));
        y.extend(u.iter().zip(v).map(|(&u, &v)| u * v));
    }
    y
}

/// The gradient of x.
pub fn backward<R: Real>(dy: &[R], x: &[R], cols: usize) -> Vec<R> {
    let mut dx = Vec::new();
    for (dy, pair) in dy.chunks_exact(4 * cols).zip(x.chunks_exact(2 * cols)) {
        let (u, v) = pair.split_at(cols);
        let (mut du, mut dv) = (Vec::new(), Vec::new());
        for j in 0..cols {
            let difference = u[j] - v[j];
            let sign = match difference {
                difference if difference > R::zero() => R::one(),
                difference if difference < R::zero() => -R::one(),
                _ => R::zero(),
            };
            let (of_difference, of_product) = (sign * dy[2 * cols + j], dy[3 * cols + j]);
            du.push(dy[j] + of_difference + v[j] * of_product);
            dv.push(dy[cols + j] - of_difference + u[j] * of_product);
        }
        dx.extend([du, dv].concat());
    }
    dx
}
