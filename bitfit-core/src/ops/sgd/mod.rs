//! One step of stochastic gradient descent over all trainable values: gradient norm, clipping, momentum and the step in
//! one fused op.
//!
//! All operands are flat vectors of one length: p the parameters, g their gradient, v the velocity. With η the learning
//! rate, μ the momentum and λ the weight decay, a step is
//!
//! ```text
//! n = √Σ g²                      if n is not finite, the step ends here
//! g = g · min(1, max_norm / (n + 10⁻⁶)) + λ p
//! v = μ v + g
//! p = p - η v                    with Nesterov's momentum: p - η (g + μ v)
//! ```
//!
//! This is `torch.optim.SGD` with a dampening of 0 after `torch.nn.utils.clip_grad_norm_`: the velocity takes the
//! gradient as it is, and the learning rate scales the whole step (Sutskever, Martens, Dahl, Hinton, ICML 2013, with
//! PyTorch's placement of η). The weight decay is part of the gradient, unlike that of
//! [AdamW](super::adamw). Without momentum there is no velocity.

pub(crate) mod cpu;
pub mod reference;

use super::adamw::{RateRun, not_negative};
use crate::{
    Device, Error, Result,
    backend::{Slice, SliceMut},
};

/// The device's part of the step.
pub trait SgdStep: Device {
    /// Runs one step; see the [module](self). Each run of neighbouring elements has its own learning rate, and may have
    /// its own weight decay; the norm, and so the clipping, is that of the whole gradient. If the norm is not finite,
    /// only `norm` is written.
    ///
    /// # Errors
    /// Those of [`SgdUpdate::coefficients_of`], which implementations call first; [`Error::Device`] when a launch
    /// failed.
    fn sgd(&self, update: SgdUpdate<'_, Self>, runs: &[RateRun]) -> Result<()>;
}

/// The hyper-parameters of SGD, except the learning rate, which is an argument of each step. The defaults are those of
/// `torch.optim.SGD`: no momentum and no weight decay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Sgd {
    /// μ, the share of the velocity that a step keeps. Default 0.
    pub momentum: f64,
    /// Whether a step looks ahead by the momentum (Nesterov). Default false.
    pub nesterov: bool,
    /// λ: `λ p` is added to the gradient. Default 0.
    pub weight_decay: f64,
}

impl Sgd {
    /// The same with another momentum μ.
    #[must_use]
    pub fn with_momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// The same with Nesterov's momentum.
    #[must_use]
    pub fn with_nesterov(self) -> Self {
        Self { nesterov: true, ..self }
    }

    /// The same with another weight decay λ.
    #[must_use]
    pub fn with_weight_decay(self, weight_decay: f64) -> Self {
        Self { weight_decay, ..self }
    }

    /// Checks the ranges: the momentum in `[0, 1)`, and more than 0 for Nesterov's; the weight decay finite and not
    /// negative.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the name and value of the field that is out of range.
    pub fn validate(&self) -> Result<()> {
        let momentum = self.momentum;
        if !(0.0..1.0).contains(&momentum) {
            return Err(Error::invalid("sgd", format!("momentum is {momentum}, expected a value in [0, 1)")));
        }
        if self.nesterov && momentum == 0.0 {
            return Err(Error::invalid("sgd", "Nesterov's momentum needs a momentum greater than 0"));
        }
        not_negative("sgd", "weight_decay", self.weight_decay)
    }
}

/// The scalar coefficients of a run of elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdCoefficients {
    /// The learning rate η.
    pub lr: f32,
    /// The momentum μ.
    pub momentum: f32,
    /// The weight decay λ.
    pub weight_decay: f32,
}

/// The arguments of one step. All slices have the same length, except `norm`.
#[derive(Debug)]
pub struct SgdUpdate<'a, D: Device> {
    /// The parameters p, updated in place.
    pub params: SliceMut<'a, D>,
    /// The gradient g before clipping; not modified.
    pub grads: Slice<'a, D>,
    /// The velocity v, updated in place; `None` without momentum.
    pub velocity: Option<SliceMut<'a, D>>,
    /// The hyper-parameters μ and λ.
    pub hyper: Sgd,
    /// The norm that the gradient is clipped to; `None` disables clipping.
    pub max_norm: Option<f32>,
    /// One element that receives n, the norm of g before clipping, whether or not g is clipped.
    pub norm: SliceMut<'a, D>,
}

impl<D: Device> SgdUpdate<'_, D> {
    /// Checks the arguments and returns the coefficients of each run, beside its length.
    ///
    /// # Errors
    /// [`Error::Shape`] if a slice does not have the length of `params`, `norm` does not have one element, or the runs
    /// together do not have the length of `params`; [`Error::Invalid`] as for [`Sgd::validate`], for a learning rate or
    /// weight decay that is negative or not finite, a `max_norm` that is negative or NaN, and a momentum without a
    /// velocity.
    pub fn coefficients_of(&self, runs: &[RateRun]) -> Result<Vec<(usize, SgdCoefficients)>> {
        self.hyper.validate()?;
        let len = self.params.len;
        let velocity = self.velocity.as_ref().map_or(len, |velocity| velocity.len);
        for (what, found) in [("the gradient", self.grads.len), ("the velocity", velocity)] {
            if found != len {
                return Err(Error::shape("sgd", what, &[len], &[found]));
            }
        }
        if self.velocity.is_none() && self.hyper.momentum > 0.0 {
            return Err(Error::invalid("sgd", "a step with momentum needs a velocity"));
        }
        if self.norm.len != 1 {
            return Err(Error::shape("sgd", "the norm", &[1], &[self.norm.len]));
        }
        if let Some(bound) = self.max_norm.filter(|bound| bound.is_nan() || *bound < 0.0) {
            return Err(Error::invalid("sgd", format!("max_norm is {bound}, expected a value that is not negative")));
        }
        let covered = runs.iter().map(|run| run.len).sum();
        if covered != len {
            return Err(Error::shape("sgd", "the sum of the runs", &[len], &[covered]));
        }
        let coefficients = |run: &RateRun| {
            let weight_decay = run.weight_decay.unwrap_or(self.hyper.weight_decay);
            not_negative("sgd", "lr", run.lr)?;
            not_negative("sgd", "weight_decay", weight_decay)?;
            let (momentum, weight_decay) = (self.hyper.momentum as f32, weight_decay as f32);
            Ok((run.len, SgdCoefficients { lr: run.lr, momentum, weight_decay }))
        };
        runs.iter().map(coefficients).collect()
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
