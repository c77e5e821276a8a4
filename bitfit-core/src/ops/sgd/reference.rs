//! The specification of one step, as a plain loop in f64.

use super::Sgd;

/// One step of the parameters `p` and the velocity `v` with gradient `grads` at learning rate `lr`. Returns the
/// gradient's norm before clipping.
pub fn sgd(p: &mut [f64], v: &mut [f64], grads: &[f64], hyper: &Sgd, lr: f64, max_norm: Option<f64>) -> f64 {
    let norm = grads.iter().map(|g| g * g).sum::<f64>().sqrt();
    if !norm.is_finite() {
        return norm;
    }
    let factor = max_norm.map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0));
    for ((p, v), g) in p.iter_mut().zip(v).zip(grads) {
        let g = g * factor + hyper.weight_decay * *p;
        *v = hyper.momentum * *v + g;
        *p -= lr * if hyper.nesterov { g + hyper.momentum * *v } else { *v };
    }
    norm
}
