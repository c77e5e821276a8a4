//! `loss = Σ (x - t)² / n` over all n elements; predictions x and targets t have the same shape (`[B, 1]` for a
//! regression), the loss is `[1, 1]`.
//!
//! ```text
//! dx = 2 (x - t) / n · dloss
//! ```
//!
//! Saved: x and t, both shared with their other readers, and only if x needs a gradient.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Error, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// The device's part of the mean squared error.
pub trait MeanSquaredError: Device {
    /// Writes the mean of `(x - t)²` to the one element of `loss`.
    fn mse(&self, x: Slice<'_, Self>, targets: Slice<'_, Self>, loss: SliceMut<'_, Self>) -> Result<()>;

    /// `dx = 2 (x - t) / n · dloss`, added to dx if `accumulate`; `dloss` holds one element.
    fn mse_backward(
        &self,
        dloss: Slice<'_, Self>,
        x: Slice<'_, Self>,
        targets: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The mean squared error, `[1, 1]`, of `predictions` against `targets` of the same shape. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes differ; [`Error::Invalid`] if there are no elements.
    pub fn mse(&mut self, predictions: &Var<D>, targets: &Tensor<D>) -> Result<Var<D>> {
        let predictions = &self.to_f32(predictions)?;
        let shape = predictions.tensor().shape();
        if targets.shape() != shape {
            return Err(Error::shape("mse", "the matrix of targets", &shape, &targets.shape()));
        }
        if predictions.slice().len == 0 {
            return Err(Error::invalid("mse", "the predictions have no elements, so there is no mean"));
        }
        let mut loss = self.scratch(1)?;
        self.device().mse(predictions.slice(), targets.slice(), loss.as_mut())?;
        let loss = Tensor::new(loss, 1, 1)?;
        let Some(slot) = predictions.slot() else { return Ok(self.constant(loss)) };
        Ok(self.record(loss, Node { slot, x: predictions.tensor().clone(), targets: targets.clone() }))
    }
}

struct Node<D: Device> {
    slot: Slot,
    x: Tensor<D>,
    targets: Tensor<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "mse"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dx = grads.target(self.slot, self.x.slice().len)?;
        let to = dx.scratch.as_mut();
        grads.device().mse_backward(dy.as_ref(), self.x.slice(), self.targets.slice(), to, dx.accumulate)?;
        grads.put(dx);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
