//! One optimizer step over everything that trains: the gradient's norm, clipping and AdamW, fused.
//!
//! All of it is flat: p the parameters, g their gradient, m and v the moments, of the same length. With t the step counted
//! from 1, η the learning rate and λ the weight decay, a step is
//!
//! ```text
//! n = √Σ g²                      nothing below happens where n is not finite
//! g = g · min(1, max_norm / (n + 10⁻⁶))
//! p = p · (1 - η λ)
//! m = m + (1 - β₁)(g - m)
//! v = β₂ v + (1 - β₂) g²
//! p = p - η/(1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)
//! ```
//!
//! that is AdamW (Loshchilov and Hutter, arXiv 1711.05101) in the order and rounding of `torch.optim.AdamW`, behind
//! `torch.nn.utils.clip_grad_norm_`: what depends on t and η alone is computed in f64 and rounded once, the elements are
//! f32. On a CPU with fused multiply-add, m and v have PyTorch's bits; p may be off by its last one, because PyTorch's
//! square root is.
//!
//! Nothing here goes through the tape, and nothing is kept but m and v.

pub(crate) mod cpu;
pub mod reference;

use crate::{Device, Error, Result, Slice, SliceMut};

/// The device's half of the op.
pub trait AdamWStep: Device {
    /// One step; see the [module](self). Where the gradient's norm is not finite, only `norm` is written.
    ///
    /// # Errors
    /// Those of [`Update::coefficients`], which implementations call first; [`Error::Device`] when a launch failed.
    fn adamw(&self, update: Update<'_, Self>) -> Result<()>;
}

/// The hyper-parameters of AdamW but for the learning rate, which belongs to the step. The defaults are those of
/// `torch.optim.AdamW`, save that nothing decays: BitFit (arXiv 2106.10199) trains without weight decay.
///
/// They are f64, as Python's are: `1 - beta2` of a β₂ rounded to f32 is off by 10⁻⁵.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// β₁, how much of the first moment stays: 0.9.
    pub beta1: f64,
    /// β₂, how much of the second moment stays: 0.999.
    pub beta2: f64,
    /// ε, added to the second moment's root: 10⁻⁸.
    pub eps: f64,
    /// λ: every step takes `lr · weight_decay` of each parameter away, whatever its gradient. 0.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl AdamW {
    /// Whether these can be: β in `[0, 1)`, ε and the decay finite and not negative.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the name and value of the field that cannot.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::invalid("adamw", format!("{name} is {value}, it must lie in 0..1")));
            }
        }
        not_negative("eps", self.eps)?;
        not_negative("weight_decay", self.weight_decay)
    }

    /// The scalars of step `step`, counted from 1, at learning rate `lr`.
    ///
    /// # Errors
    /// [`Error::Invalid`] as [`AdamW::validate`], for a learning rate that is negative or not finite, and for step 0.
    pub fn coefficients(&self, lr: f32, step: u64) -> Result<Coefficients> {
        self.validate()?;
        let lr = f64::from(lr);
        not_negative("lr", lr)?;
        if step == 0 {
            return Err(Error::invalid("adamw", "step is 0, the first step is 1"));
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

fn not_negative(name: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid("adamw", format!("{name} is {value}, it must be finite and not negative")))
}

/// What one step multiplies and adds elements with: the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// `1 - η λ`.
    pub keep: f32,
    /// `1 - β₁`. From 0.5 on, implementations write m's update as `g - β₁ (g - m)`, as PyTorch's `lerp` does: a gradient
    /// that is far smaller than m would else be rounded away.
    pub one_minus_beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// `1 - β₂`.
    pub one_minus_beta2: f32,
    /// `√(1 - β₂ᵗ)`.
    pub root: f32,
    /// ε.
    pub eps: f32,
    /// `η / (1 - β₁ᵗ)`.
    pub step_size: f32,
}

/// One step's arguments. The windows have the same length, but for `norm`.
#[derive(Debug)]
pub struct Update<'a, D: Device> {
    /// p.
    pub params: SliceMut<'a, D>,
    /// g, before clipping; it stays as it is.
    pub grads: Slice<'a, D>,
    /// The first moment.
    pub m: SliceMut<'a, D>,
    /// The second moment.
    pub v: SliceMut<'a, D>,
    /// β₁, β₂, ε and λ.
    pub hyper: AdamW,
    /// η.
    pub lr: f32,
    /// t: this step, the first being 1.
    pub step: u64,
    /// What g is clipped to; `None` where it is not.
    pub max_norm: Option<f32>,
    /// One element, for n: the norm of g before clipping, written whether g is clipped or not.
    pub norm: SliceMut<'a, D>,
}

impl<D: Device> Update<'_, D> {
    /// Checks the arguments, and gives the scalars of the step.
    ///
    /// # Errors
    /// [`Error::Shape`] when a window has another length than `params`, or `norm` not one element; [`Error::Invalid`] as
    /// [`AdamW::coefficients`], and for a `max_norm` that is negative or NaN.
    pub fn coefficients(&self) -> Result<Coefficients> {
        let len = self.params.len;
        let windows = [("the gradient", self.grads.len), ("m", self.m.len), ("v", self.v.len)];
        for (what, found) in windows {
            if found != len {
                return Err(Error::shape("adamw", what, &[len], &[found]));
            }
        }
        if self.norm.len != 1 {
            return Err(Error::shape("adamw", "the norm", &[1], &[self.norm.len]));
        }
        if let Some(bound) = self.max_norm.filter(|bound| bound.is_nan() || *bound < 0.0) {
            return Err(Error::invalid("adamw", format!("max_norm is {bound}, it must not be negative")));
        }
        self.hyper.coefficients(self.lr, self.step)
    }
}

/// What a gradient of norm `norm` is multiplied by to have at most `max_norm`, in f32 as PyTorch computes it.
///
/// A `max_norm` that is negative or NaN counts as 0.
pub fn clip_factor(norm: f32, max_norm: f32) -> f32 {
    (max_norm.max(0.0) / (norm + 1e-6)).min(1.0)
}

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
