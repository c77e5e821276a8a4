//! The specification of one step, as a plain loop in f64.

use super::AdamW;

/// The values that a step changes.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The parameters p.
    pub params: Vec<f64>,
    /// The first moment m.
    pub m: Vec<f64>,
    /// The second moment v.
    pub v: Vec<f64>,
}

/// One step with gradient `grads` at learning rate `lr`, the first being `step` 1. Returns the gradient's norm before
/// clipping.
pub fn adamw(state: &mut State, grads: &[f64], hyper: &AdamW, lr: f64, step: u64, max_norm: Option<f64>) -> f64 {
    let norm = grads.iter().map(|g| g * g).sum::<f64>().sqrt();
    if !norm.is_finite() {
        return norm;
    }
    let factor = max_norm.map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0));
    let (mut beta1_to_t, mut beta2_to_t) = (1.0, 1.0);
    for _ in 0..step {
        beta1_to_t *= hyper.beta1;
        beta2_to_t *= hyper.beta2;
    }
    for (i, g) in grads.iter().enumerate() {
        let g = g * factor;
        state.params[i] -= lr * hyper.weight_decay * state.params[i];
        state.m[i] = hyper.beta1 * state.m[i] + (1.0 - hyper.beta1) * g;
        state.v[i] = hyper.beta2 * state.v[i] + (1.0 - hyper.beta2) * g * g;
        let first = state.m[i] / (1.0 - beta1_to_t);
        let second = state.v[i] / (1.0 - beta2_to_t);
        state.params[i] -= lr * first / (second.sqrt() + hyper.eps);
    }
    norm
}
