//! `y = x` in f32: where a narrow matrix meets an op that reckons in f32. Nothing is kept; backward rounds dy to x's type.
//!
//! The general ops call it on what they are given, so that a network runs in either precision without saying where.

use crate::{Backend, Backward, DType, Grads, Result, Scratch, Slot, Tape, Tensor, Var};

impl<D: Backend> Tape<'_, D> {
    /// x itself where it is f32, otherwise a copy that is.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device is out of memory.
    pub fn widen(&mut self, x: &Var<D>) -> Result<Var<D>> {
        if x.dtype() == DType::F32 {
            return Ok(x.clone());
        }
        let mut y = self.scratch(x.rows() * x.cols())?;
        self.device().copy(x.slice(), y.as_mut())?;
        let y = Tensor::new(y, x.rows(), x.cols());
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
        "widen"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dx = grads.scratch_for(self.x, dy.len())?;
        grads.device().copy(dy.as_ref(), dx.as_mut())?;
        grads.add(self.x, dx)
    }
}

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
