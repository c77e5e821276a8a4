//! The specification of the activations, as plain loops.

use super::Activation;
use crate::ops::Real;

/// `f(x)` and `f'(x)`.
fn value_and_slope<R: Real>(f: Activation, x: R) -> (R, R) {
    match f {
        Activation::Relu => {
            if x > R::zero() {
                (x, R::one())
            } else {
                (R::zero(), R::zero())
            }
        }
        Activation::Gelu => x.gelu(),
        Activation::Sigmoid => {
            let y = R::one() / (R::one() + (-x).exp());
            (y, y * (R::one() - y))
        }
        Activation::Exp => (x.exp(), x.exp()),
        Activation::Tanh => (x.tanh(), R::one() - x.tanh() * x.tanh()),
    }
}

/// `y[i] = f(x[i])`.
pub fn forward<R: Real>(f: Activation, x: &[R]) -> Vec<R> {
    x.iter().map(|&x| value_and_slope(f, x).0).collect()
}

/// `dx[i] = dy[i] f'(x[i])`.
pub fn backward<R: Real>(f: Activation, x: &[R], dy: &[R]) -> Vec<R> {
    x.iter().zip(dy).map(|(&x, &dy)| dy * value_and_slope(f, x).1).collect()
}
