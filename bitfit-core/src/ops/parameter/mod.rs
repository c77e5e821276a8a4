//! A trainable parameter as a matrix on the tape, so that any op can read it and return a gradient to it.
//!
//! The value is copied to a matrix `[rows, cols]` with the shape that a [`Mask`](crate::Mask) refers to: the first
//! dimension gives the rows, all others the columns; a vector is one row. Backward adds the entries that the mask
//! chooses to the arena's gradient. Nothing is saved. Ops that take a [`Param`](crate::Param)
//! ([`linear`](super::linear), [`embedding`](super::embedding), [`add_norm`](super::add_norm)) read it in place without
//! this copy. There is no device trait: [`Device`] suffices.

use crate::{
    Backend, Device, Result, Tape, Tensor, Trainable, Var,
    memory::Scratch,
    params::matrix,
    tape::{Backward, Grads},
};

impl<D: Backend> Tape<'_, D> {
    /// The whole tensor of a parameter as a matrix; a constant in inference. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn parameter(&mut self, trainable: &Trainable) -> Result<Var<D>> {
        let (rows, cols) = matrix(trainable.shape());
        let mut y = self.scratch(rows * cols)?;
        self.device().copy(self.arena().value(trainable)?, y.as_mut())?;
        let y = Tensor::new(y, rows, cols)?;
        Ok(if self.is_training() { self.record(y, Node(trainable.clone())) } else { self.constant(y) })
    }
}

struct Node(Trainable);

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

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
