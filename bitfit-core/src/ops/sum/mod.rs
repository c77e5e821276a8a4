//! The sum `y = Σ x` and the mean `y = Σ x / n` over all n elements of x; y is `[1, 1]`.
//!
//! ```text
//! sum: dx = dy        mean: dx = dy / n
//! ```
//!
//! Saved: nothing. The sum is taken in f64 and rounded once.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Error, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// The device's part of sum and mean.
pub trait Sum: Device {
    /// Writes `Σ x / divisor` to the one element of `y`.
    fn sum(&self, x: Slice<'_, Self>, divisor: usize, y: SliceMut<'_, Self>) -> Result<()>;

    /// `dx = dy / divisor` for every element, added to dx if `accumulate`; `dy` holds one element.
    fn sum_backward(&self, dy: Slice<'_, Self>, divisor: usize, dx: SliceMut<'_, Self>, accumulate: bool)
    -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The sum of all elements, `[1, 1]`; 0 of a matrix without elements. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`] when the device is out of memory.
    pub fn sum(&mut self, x: &Var<D>) -> Result<Var<D>> {
        self.reduce("sum", x, 1)
    }

    /// The mean of all elements, `[1, 1]`. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are no elements.
    pub fn mean(&mut self, x: &Var<D>) -> Result<Var<D>> {
        let len = x.rows() * x.cols();
        if len == 0 {
            return Err(Error::invalid("mean", "x has no elements, so there is no mean"));
        }
        self.reduce("mean", x, len)
    }

    fn reduce(&mut self, name: &'static str, x: &Var<D>, divisor: usize) -> Result<Var<D>> {
        let x = &self.to_f32(x)?;
        let mut y = self.scratch(1)?;
        self.device().sum(x.slice(), divisor, y.as_mut())?;
        let y = Tensor::new(y, 1, 1)?;
        let Some(slot) = x.slot() else { return Ok(self.constant(y)) };
        Ok(self.record(y, Node { name, x: slot, len: x.slice().len, divisor }))
    }
}

struct Node {
    name: &'static str,
    x: Slot,
    len: usize,
    divisor: usize,
}

impl<D: Backend> Backward<D> for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dx = grads.target(self.x, self.len)?;
        grads.device().sum_backward(dy.as_ref(), self.divisor, dx.scratch.as_mut(), dx.accumulate)?;
        grads.put(dx);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
