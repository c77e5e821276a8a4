//! `loss = mean over all elements of -(t ln σ(z) + (1 - t) ln(1 - σ(z)))`, σ the logistic function; logits z and
//! targets t, in general 0 or 1, have the same shape `[B, C]`, the loss is `[1, 1]`. PyTorch's `BCEWithLogitsLoss`.
//!
//! An element's loss is computed as `max(z, 0) - z t + ln(1 + exp(-|z|))`, which is the same: no exponential overflows,
//! and no logarithm is taken of a probability that has underflowed to zero.
//!
//! ```text
//! dz = (σ(z) - t) / (B C) · dloss
//! ```
//!
//! Saved: z and t, both shared with their other readers, and only if z needs a gradient.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Error, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// The device's part of the binary cross-entropy.
pub trait BinaryCrossEntropy: Device {
    /// Writes the mean loss over the elements of `logits` to the one element of `loss`.
    fn binary_cross_entropy(
        &self,
        logits: Slice<'_, Self>,
        targets: Slice<'_, Self>,
        loss: SliceMut<'_, Self>,
    ) -> Result<()>;

    /// `dz = (σ(z) - t) / n · dloss` for n elements, added to `dlogits` if `accumulate`; `dloss` holds one element.
    fn binary_cross_entropy_backward(
        &self,
        dloss: Slice<'_, Self>,
        logits: Slice<'_, Self>,
        targets: Slice<'_, Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The mean binary cross-entropy, `[1, 1]`, of `logits` against `targets` of the same shape. See the
    /// [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes differ; [`Error::Invalid`] if there are no elements.
    pub fn binary_cross_entropy(&mut self, logits: &Var<D>, targets: &Tensor<D>) -> Result<Var<D>> {
        const OP: &str = "binary_cross_entropy";
        let logits = &self.to_f32(logits)?;
        let shape = logits.tensor().shape();
        if targets.shape() != shape {
            return Err(Error::shape(OP, "the matrix of targets", &shape, &targets.shape()));
        }
        if logits.slice().len == 0 {
            return Err(Error::invalid(OP, "the logits have no elements, so there is no mean"));
        }
        let mut loss = self.scratch(1)?;
        self.device().binary_cross_entropy(logits.slice(), targets.slice(), loss.as_mut())?;
        let loss = Tensor::new(loss, 1, 1)?;
        let Some(slot) = logits.slot() else { return Ok(self.constant(loss)) };
        Ok(self.record(loss, Node { slot, logits: logits.tensor().clone(), targets: targets.clone() }))
    }
}

struct Node<D: Device> {
    slot: Slot,
    logits: Tensor<D>,
    targets: Tensor<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "binary_cross_entropy"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let (logits, targets) = (self.logits.slice(), self.targets.slice());
        let mut dlogits = grads.target(self.slot, logits.len)?;
        let to = dlogits.scratch.as_mut();
        grads.device().binary_cross_entropy_backward(dy.as_ref(), logits, targets, to, dlogits.accumulate)?;
        grads.put(dlogits);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
