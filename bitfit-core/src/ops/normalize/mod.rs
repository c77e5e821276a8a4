//! Rows of length one: `y = x / max(‖x‖, ε)` for each row of x `[T, H]`, with ε = 1e-12, as
//! `torch.nn.functional.normalize` computes it. Sentence encoders that are compared by cosine end in it.
//!
//! ```text
//! dx = (dy - y Σⱼ dy[j] y[j]) / ‖x‖        where ‖x‖ ≥ ε;  dx = dy / ε elsewhere, where the divisor is constant
//! ```
//!
//! Saved: y, shared with its other readers, and one number per row.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// ε: the smallest length by which a row is divided.
pub const EPS: f32 = 1e-12;

/// The device's part of the normalization; matrices have `cols` columns.
pub trait Normalize: Device {
    /// Writes y, and to `inverse` `[T]` the factor `1 / max(‖x‖, ε)` of each row.
    fn normalize(
        &self,
        x: Slice<'_, Self>,
        cols: usize,
        y: SliceMut<'_, Self>,
        inverse: SliceMut<'_, Self>,
    ) -> Result<()>;

    /// Writes dx, or adds it to dx if `accumulate`; see the [module](self). A row's length was below ε where its
    /// `inverse` is `1 / ε`.
    fn normalize_backward(
        &self,
        dy: Slice<'_, Self>,
        y: Slice<'_, Self>,
        inverse: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The rows of x, each divided by its Euclidean length; the result has x's shape. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn normalize(&mut self, x: &Var<D>) -> Result<Var<D>> {
        let x = &self.to_f32(x)?;
        let [rows, cols] = x.tensor().shape();
        let mut y = self.scratch(rows * cols)?;
        let mut inverse = self.scratch(rows)?;
        self.device().normalize(x.slice(), cols, y.as_mut(), inverse.as_mut())?;
        let y = Tensor::new(y, rows, cols)?;
        let Some(x) = x.slot() else { return Ok(self.constant(y)) };
        Ok(self.record(y.clone(), Node { x, y, inverse }))
    }
}

struct Node<D: Device> {
    x: Slot,
    y: Tensor<D>,
    inverse: Scratch<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let device = grads.device();
        let mut dx = grads.target(self.x, dy.len())?;
        let (y, inverse, accumulate) = (self.y.slice(), self.inverse.as_ref(), dx.accumulate);
        device.normalize_backward(dy.as_ref(), y, inverse, dx.scratch.as_mut(), accumulate)?;
        grads.put(dx);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
