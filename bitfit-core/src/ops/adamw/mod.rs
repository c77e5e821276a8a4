//! One optimizer step over all trainable values: gradient norm, clipping and AdamW in one fused op.
//!
//! All operands are flat vectors of one length: p the parameters, g their gradient, m and v the moments. With t the
//! step counted from 1, η the learning rate and λ the weight decay, a step is
//!
//! ```text
//! n = √Σ g²                      if n is not finite, the step ends here
//! g = g · min(1, max_norm / (n + 10⁻⁶))
//! p = p · (1 - η λ)
//! m = m + (1 - β₁)(g - m)
//! v = β₂ v + (1 - β₂) g²
//! p = p - η/(1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)
//! ```
//!
//! This is AdamW (Loshchilov and Hutter, arXiv 1711.05101) in the operation order and rounding of `torch.optim.AdamW`
//! after `torch.nn.utils.clip_grad_norm_`: scalars that depend only on t and η are computed in f64 and rounded once;
//! elements are f32. On a CPU with fused multiply-add, m and v are bit-identical to PyTorch's; p may differ in the last
//! bit, because PyTorch's square root is not correctly rounded.
//!
//! The step does not use the tape, and its only state is m and v.

pub(crate) mod cpu;
pub mod reference;
#[cfg(feature = "engine")]
mod step;

#[cfg(feature = "engine")]
pub use step::{AdamWStep, RateRun, Update};

use std::fmt::Display;

use crate::{Error, Result};

/// The hyper-parameters of AdamW, except the learning rate, which is an argument of each step. The defaults are those
/// of `torch.optim.AdamW` except the weight decay, which is 0: BitFit (arXiv 2106.10199) trains without weight decay.
///
/// The fields are f64, as in Python: computing `1 - beta2` from a β₂ rounded to f32 has a relative error of 10⁻⁵.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdamW {
    /// β₁, the decay rate of the first moment. Default 0.9.
    pub beta1: f64,
    /// β₂, the decay rate of the second moment. Default 0.999.
    pub beta2: f64,
    /// ε, added to the square root of the second moment. Default 10⁻⁸.
    pub eps: f64,
    /// λ, the decoupled weight decay: every step multiplies each parameter by `1 - lr · weight_decay`. Default 0.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl AdamW {
    /// The same with other decay rates β₁ and β₂ of the moments.
    #[must_use]
    pub fn with_betas(self, beta1: f64, beta2: f64) -> Self {
        Self { beta1, beta2, ..self }
    }

    /// The same with another ε.
    #[must_use]
    pub fn with_eps(self, eps: f64) -> Self {
        Self { eps, ..self }
    }

    /// The same with another weight decay λ.
    #[must_use]
    pub fn with_weight_decay(self, weight_decay: f64) -> Self {
        Self { weight_decay, ..self }
    }

    /// Checks the ranges: β₁ and β₂ in `[0, 1)`, ε and the weight decay finite and not negative.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the name and value of the field that is out of range.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::invalid("adamw", format!("{name} is {value}, expected a value in [0, 1)")));
            }
        }
        not_negative("adamw", "eps", self.eps)?;
        not_negative("adamw", "weight_decay", self.weight_decay)
    }

    /// The scalar coefficients of step `step`, counted from 1, at learning rate `lr`.
    ///
    /// # Errors
    /// [`Error::Invalid`] as [`AdamW::validate`], for a learning rate that is negative or not finite, and for step 0.
    pub fn coefficients(&self, lr: f32, step: u64) -> Result<Coefficients> {
        self.validate()?;
        not_negative("adamw", "lr", lr)?;
        let lr = f64::from(lr);
        if step == 0 {
            return Err(Error::invalid("adamw", "step is 0; steps are counted from 1"));
        }
        let t = step as f64;
        Ok(Coefficients {
            keep: (1.0 - lr * self.weight_decay) as f32,
            one_minus_beta1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            one_minus_beta2: (1.0 - self.beta2) as f32,
            root: (1.0 - self.beta2.powf(t)).sqrt() as f32,
            eps: self.eps as f32,
            step_size: (lr / (1.0 - self.beta1.powf(t))) as f32,
        })
    }
}

/// Checks a hyper-parameter of the op `op`. The message has it in the digits of its own type.
pub(crate) fn not_negative(op: &'static str, name: &str, value: impl Copy + Into<f64> + Display) -> Result<()> {
    if (0.0..f64::INFINITY).contains(&value.into()) {
        return Ok(());
    }
    Err(Error::invalid(op, format!("{name} is {value}, expected a finite value that is not negative")))
}

/// The scalar coefficients of one step, which are the same for all elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// The factor of the weight decay, `1 - η λ`.
    pub keep: f32,
    /// `1 - β₁`. If it is at least 0.5, implementations compute m's update as `g - β₁ (g - m)`, as PyTorch's `lerp`
    /// does; otherwise a gradient much smaller than m would be lost to rounding.
    pub one_minus_beta1: f32,
    /// β₂, the decay rate of the second moment.
    pub beta2: f32,
    /// `1 - β₂`, the weight of the squared gradient.
    pub one_minus_beta2: f32,
    /// The bias correction of the second moment's square root, `√(1 - β₂ᵗ)`.
    pub root: f32,
    /// ε, added to the divisor.
    pub eps: f32,
    /// The learning rate with the bias correction of the first moment, `η / (1 - β₁ᵗ)`.
    pub step_size: f32,
}

/// The factor that scales a gradient of norm `norm` to a norm of at most `max_norm`, in f32 as PyTorch computes it.
///
/// A `max_norm` that is negative or NaN is treated as 0.
pub fn clip_factor(norm: f32, max_norm: f32) -> f32 {
    (max_norm.max(0.0) / (norm + 1e-6)).min(1.0)
}

#[cfg(all(feature = "engine", any(test, feature = "conformance")))]
pub(crate) mod conformance;
#[cfg(all(test, feature = "engine"))]
mod tests;
