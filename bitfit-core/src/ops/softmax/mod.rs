//! Row-wise softmax: x and y `[T, n]`, `y[j] = exp(x[j] - max x) / Σᵢ exp(x[i] - max x)` for each row.
//!
//! Subtracting the maximum keeps the exponentials from overflowing and does not change the quotient.
//!
//! Backward reads only y, so x is not saved. For one row, with δ the Kronecker symbol and `e[j] = exp x[j]`, `s = Σ e`:
//!
//! ```text
//! ∂y[j]/∂x[i] = ∂(e[j] / s)/∂x[i]
//!             = δ[i,j] e[j] / s - e[j] e[i] / s²
//!             = y[j] (δ[i,j] - y[i])
//! dx[i] = Σⱼ dy[j] ∂y[j]/∂x[i]
//!       = y[i] dy[i] - y[i] Σⱼ dy[j] y[j]
//!       = y[i] (dy[i] - c),    c = Σⱼ dy[j] y[j]
//! ```
//!
//! The Jacobian is a diagonal matrix minus an outer product, so applying it costs one dot product, not n² operations.

mod cpu;
pub mod reference;

pub(crate) use cpu::softmax_row;

use crate::{
    Backend, Device, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// The device's part of the softmax; matrices have `cols` columns.
pub trait Softmax: Device {
    /// Writes the softmax of each row of x to y; see the [module](self).
    fn softmax(&self, x: Slice<'_, Self>, cols: usize, y: SliceMut<'_, Self>) -> Result<()>;

    /// `dx = y ∘ (dy - c)`, added to dx if `accumulate`; see the [module](self).
    fn softmax_backward(
        &self,
        dy: Slice<'_, Self>,
        y: Slice<'_, Self>,
        cols: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The softmax of each row of x, of x's shape; see the [module](self). A row of -∞ only becomes NaN.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn softmax(&mut self, x: &Var<D>) -> Result<Var<D>> {
        let x = &self.to_f32(x)?;
        let [rows, cols] = x.tensor().shape();
        let mut y = self.scratch(rows * cols)?;
        self.device().softmax(x.slice(), cols, y.as_mut())?;
        let y = Tensor::new(y, rows, cols)?;
        let Some(x) = x.slot() else { return Ok(self.constant(y)) };
        Ok(self.record(y.clone(), Node { x, y }))
    }
}

struct Node<D: Device> {
    x: Slot,
    y: Tensor<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dx = grads.target(self.x, dy.len())?;
        let to = dx.scratch.as_mut();
        grads.device().softmax_backward(dy.as_ref(), self.y.slice(), self.y.cols(), to, dx.accumulate)?;
        grads.put(dx);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
