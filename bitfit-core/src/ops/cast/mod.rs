//! Conversion to f32, `y = x`, of a bfloat16 matrix for an op that computes in f32. Nothing is saved; backward rounds
//! dy to the type of x.
//!
//! The general ops call it on their inputs, so that a network runs in either precision without explicit conversions.

use crate::{
    Backend, DType, Result, Tape, Tensor, Var,
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

impl<D: Backend> Tape<'_, D> {
    /// x itself if it is f32, otherwise a copy in f32; the result has x's shape.
    ///
    /// # Errors
    /// [`crate::Error::Foreign`] if x belongs to another tape; [`crate::Error::Device`] when the device is out of
    /// memory.
    pub fn to_f32(&mut self, x: &Var<D>) -> Result<Var<D>> {
        self.check("to_f32", x)?;
        if x.dtype() == DType::F32 {
            return Ok(x.clone());
        }
        let mut y = self.scratch(x.rows() * x.cols())?;
        self.device().copy(x.slice(), y.as_mut())?;
        let y = Tensor::new(y, x.rows(), x.cols())?;
        Ok(match x.slot() {
            Some(slot) => self.record(y, Node { x: slot }),
            None => self.constant(y),
        })
    }
}

struct Node {
    x: Slot,
}

impl<D: Backend> Backward<D> for Node {
    fn name(&self) -> &'static str {
        "to_f32"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dx = grads.scratch_for(self.x, dy.len())?;
        grads.device().copy(dy.as_ref(), dx.as_mut())?;
        grads.add(self.x, dx)
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
