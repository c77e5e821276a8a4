//! The specification of the feed-forward, in terms of the linear layer's.

use crate::ops::{Real, linear::reference as linear};

/// The inputs of the feed-forward: x `[rows, H]`, W₁ `[F, H]`, b₁ `[F]`, W₂ `[H', F]`.
#[derive(Clone, Debug)]
pub struct Inputs<R> {
    /// The input x `[rows, H]`.
    pub x: Vec<R>,
    /// The first weight W₁ `[F, H]`.
    pub up: Vec<R>,
    /// The first bias b₁ `[F]`.
    pub bias: Vec<R>,
    /// The second weight W₂ `[H', F]`.
    pub down: Vec<R>,
}

impl<R: Real> Inputs<R> {
    fn width(&self) -> usize {
        self.up.len() / self.bias.len()
    }

    fn z(&self) -> Vec<R> {
        linear::forward(&self.x, &self.up, &self.bias, self.width())
    }

    fn no_bias(&self) -> Vec<R> {
        vec![R::zero(); self.down.len() / self.bias.len()]
    }
}

/// The output y `[rows, H']`.
pub fn forward<R: Real>(inputs: &Inputs<R>) -> Vec<R> {
    let a: Vec<R> = inputs.z().iter().map(|z| z.gelu().0).collect();
    linear::forward(&a, &inputs.down, &inputs.no_bias(), inputs.bias.len())
}

/// The gradients dx and db₁, and those of W₁ and W₂, for a gradient `dy` of y.
pub fn backward<R: Real>(inputs: &Inputs<R>, dy: &[R]) -> (Vec<R>, Vec<R>, [Vec<R>; 2]) {
    let z = inputs.z();
    let a: Vec<R> = z.iter().map(|z| z.gelu().0).collect();
    let (da, down, _) = linear::backward(dy, &a, &inputs.down, inputs.bias.len());
    let dz: Vec<R> = da.iter().zip(&z).map(|(&da, z)| da * z.gelu().1).collect();
    let (dx, up, db) = linear::backward(&dz, &inputs.x, &inputs.up, inputs.width());
    (dx, db, [up, down])
}

/// Bounds of the errors in dx, db₁ and the gradient of W₁ that an error of gelu'(z) of at most `error` causes.
pub fn errors_of_derivative(inputs: &Inputs<f64>, dy: &[f64], error: f64) -> [Vec<f64>; 3] {
    let sizes = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.abs()).collect() };
    let (da, _, _) = linear::backward(&sizes(dy), &inputs.z(), &sizes(&inputs.down), inputs.bias.len());
    let dz: Vec<f64> = da.iter().map(|da| error * da).collect();
    let (dx, up, db) = linear::backward(&dz, &sizes(&inputs.x), &sizes(&inputs.up), inputs.width());
    [dx, db, up]
}
