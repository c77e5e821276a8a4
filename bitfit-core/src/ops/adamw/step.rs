//! The step of a device: its trait, and its operands.

use super::{AdamW, Coefficients};
use crate::{
    Device, Error, Result,
    backend::{Slice, SliceMut},
};

/// The device's part of the optimizer step.
pub trait AdamWStep: Device {
    /// Runs one step; see the [module](super). If the gradient's norm is not finite, only `norm` is written.
    ///
    /// # Errors
    /// Those of [`Update::coefficients`], which implementations call first; [`Error::Device`] when a launch failed.
    fn adamw(&self, update: Update<'_, Self>) -> Result<()>;

    /// Runs one step in which each run of neighbouring elements has a learning rate of its own, in place of that of
    /// `update`, and may have a weight decay of its own. The norm, and so the clipping, is that of the whole gradient.
    ///
    /// # Errors
    /// Those of [`Update::coefficients_of`], which implementations call first; [`Error::Device`] when a launch failed.
    fn adamw_in_runs(&self, update: Update<'_, Self>, runs: &[RateRun]) -> Result<()>;
}

/// So many neighbouring elements with one learning rate and one weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateRun {
    /// The number of elements.
    pub len: usize,
    /// Their learning rate η.
    pub lr: f32,
    /// Their weight decay λ; `None` for that of the hyper-parameters.
    pub weight_decay: Option<f64>,
}

/// The arguments of one step. All slices have the same length, except `norm`.
#[derive(Debug)]
pub struct Update<'a, D: Device> {
    /// The parameters p, updated in place.
    pub params: SliceMut<'a, D>,
    /// The gradient g before clipping; not modified.
    pub grads: Slice<'a, D>,
    /// The first moment m, updated in place.
    pub m: SliceMut<'a, D>,
    /// The second moment v, updated in place.
    pub v: SliceMut<'a, D>,
    /// The hyper-parameters β₁, β₂, ε and λ.
    pub hyper: AdamW,
    /// The learning rate η.
    pub lr: f32,
    /// The number t of this step, counted from 1.
    pub step: u64,
    /// The norm that the gradient is clipped to; `None` disables clipping.
    pub max_norm: Option<f32>,
    /// One element that receives n, the norm of g before clipping, whether or not g is clipped.
    pub norm: SliceMut<'a, D>,
}

impl<D: Device> Update<'_, D> {
    /// Checks the arguments and returns the scalar coefficients of the step.
    ///
    /// # Errors
    /// [`Error::Shape`] if a slice does not have the length of `params`, or `norm` does not have one element;
    /// [`Error::Invalid`] as for [`AdamW::coefficients`], and for a `max_norm` that is negative or NaN.
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
            return Err(Error::invalid("adamw", format!("max_norm is {bound}, expected a value that is not negative")));
        }
        self.hyper.coefficients(self.lr, self.step)
    }

    /// As [`Update::coefficients`], those of runs of elements with a learning rate each, beside the length of each run.
    ///
    /// # Errors
    /// As [`Update::coefficients`]; [`Error::Shape`] if the runs together do not have the length of `params`.
    pub fn coefficients_of(&self, runs: &[RateRun]) -> Result<Vec<(usize, Coefficients)>> {
        self.coefficients()?;
        let len = runs.iter().map(|run| run.len).sum();
        if len != self.params.len {
            return Err(Error::shape("adamw", "the sum of the runs", &[self.params.len], &[len]));
        }
        let coefficients = |run: &RateRun| {
            let weight_decay = run.weight_decay.unwrap_or(self.hyper.weight_decay);
            Ok((run.len, AdamW { weight_decay, ..self.hyper }.coefficients(run.lr, self.step)?))
        };
        runs.iter().map(coefficients).collect()
    }
}
