//! Row gather: `y[i] = x[at[i]]`; x `[T, H]`, y `[|at|, H]`. Used for BERT's `[CLS]` rows, for example.
//!
//! Backward adds every row of dy to the row that it was taken from, `dx[at[i]] += dy[i]`; the other rows are zero. A
//! row that is chosen twice receives the sum of both gradients. Saved: the index list, which is shared.

mod cpu;
mod positions;
pub mod reference;

pub(crate) use positions::Positions;

use crate::{
    Backend, Device, Error, Indices, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// The device's part of the row gather; matrices have `cols` columns.
pub trait GatherRows: Device {
    /// `y[i] = x[at[i]]`, where x\[i\] is row i of x.
    fn gather_rows(&self, x: Slice<'_, Self>, at: &Self::Indices, cols: usize, y: SliceMut<'_, Self>) -> Result<()>;

    /// `dx[at[i]] += dy[i]`, where dx\[i\] is row i of dx. An index may occur more than once; its rows are added in the
    /// order of the list.
    fn scatter_rows(&self, dy: Slice<'_, Self>, at: &Self::Indices, cols: usize, dx: SliceMut<'_, Self>) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The rows of x at the indices `at`, as a matrix `[|at|, H]`. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Invalid`] if an index is out of range.
    pub fn gather_rows(&mut self, x: &Var<D>, at: &Indices<D>) -> Result<Var<D>> {
        let x = &self.to_f32(x)?;
        let [rows, cols] = x.tensor().shape();
        if at.bound() > rows {
            let reason = format!("row {} is out of range for a matrix of {rows} rows", at.bound() - 1);
            return Err(Error::invalid("gather_rows", reason));
        }
        let mut y = self.scratch(at.len() * cols)?;
        self.device().gather_rows(x.slice(), at.data(), cols, y.as_mut())?;
        let y = Tensor::new(y, at.len(), cols)?;
        let Some(x) = x.slot() else { return Ok(self.constant(y)) };
        Ok(self.record(y, Node { x, at: at.clone(), shape: [rows, cols] }))
    }
}

struct Node<D: Device> {
    x: Slot,
    at: Indices<D>,
    /// The shape of x.
    shape: [usize; 2],
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "gather_rows"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let device = grads.device();
        let [rows, cols] = self.shape;
        let mut dx = grads.target(self.x, rows * cols)?;
        if !dx.accumulate {
            device.fill(0.0, dx.scratch.as_mut())?;
        }
        device.scatter_rows(dy.as_ref(), self.at.data(), cols, dx.scratch.as_mut())?;
        grads.put(dx);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
