//! A trained parameter as a matrix on the tape, so that any op can read it and every op's gradient reaches it.
//!
//! The value is copied, `[rows, cols]` as a [`Mask`](crate::Mask) sees the shape: rows over the first dimension, columns
//! over the others; a vector is one row. Backward adds the entries that the mask chooses to the arena's gradient. Nothing
//! is kept. Ops that read a parameter in place ([`linear`](super::linear), [`embedding`](super::embedding),
//! [`add_norm`](super::add_norm)) are spared the copy. No device needs more for this than its memory.

use crate::{Backend, Backward, Device, Grads, Result, Scratch, Tape, Tensor, Trained, Var, params::matrix};

impl<D: Backend> Tape<'_, D> {
    /// The parameter's whole tensor as a matrix; see the [module](self). A constant in inference.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn parameter(&mut self, trained: &Trained) -> Result<Var<D>> {
        let (rows, cols) = matrix(trained.shape());
        let mut y = self.scratch(rows * cols)?;
        self.device().copy(self.arena().value(trained), y.as_mut())?;
        let y = Tensor::new(y, rows, cols);
        Ok(if self.is_training() { self.record(y, Node(trained.clone())) } else { self.constant(y) })
    }
}

struct Node(Trained);

impl<D: Device> Backward<D> for Node {
    fn name(&self) -> &'static str {
        "parameter"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        grads.column_sums([Some(&self.0)], |device, mut sums| {
            sums.part(0, dy.len()).map_or(Ok(()), |sum| device.accumulate(dy.as_ref(), sum))
        })
    }
}

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
