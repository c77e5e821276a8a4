//! Chosen rows of a matrix: `y[i] = x[at[i]]`; x `[T, H]`, y `[|at|, H]`. BERT's `[CLS]` rows, for one.
//!
//! Backward gives every row of y back to where it came from, `dx[at[i]] += dy[i]`, and leaves the other rows at zero. A row
//! chosen twice gets both gradients. Kept: the list, which is shared.

mod cpu;
mod positions;
pub mod reference;

pub(crate) use positions::Positions;

use crate::{
    Backend, Backward, Device, Error, Grads, Indices, Result, Scratch, Slice, SliceMut, Slot, Tape, Tensor, Var,
};

/// The device's half of the op; matrices of `cols` columns.
pub trait GatherRows: Device {
    /// `y[i] = x[at[i]]`, row by row.
    fn gather_rows(&self, x: Slice<'_, Self>, at: &Self::Indices, cols: usize, y: SliceMut<'_, Self>) -> Result<()>;

    /// `dx[at[i]] += dy[i]`, row by row. `at` may name a row twice, and its rows are added in the list's order.
    fn scatter_rows(&self, dy: Slice<'_, Self>, at: &Self::Indices, cols: usize, dx: SliceMut<'_, Self>) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The rows of x that `at` names; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Invalid`] when `at` names a row that x has not.
    pub fn gather_rows(&mut self, x: &Var<D>, at: &Indices<D>) -> Result<Var<D>> {
        let x = &self.widen(x)?;
        let [rows, cols] = x.tensor().shape();
        if at.bound() > rows {
            let reason = format!("row {} of a matrix of {rows} rows", at.bound() - 1);
            return Err(Error::invalid("gather_rows", reason));
        }
        let mut y = self.scratch(at.len() * cols)?;
        self.device().gather_rows(x.slice(), at.data(), cols, y.as_mut())?;
        let y = Tensor::new(y, at.len(), cols);
        let Some(x) = x.slot() else { return Ok(self.constant(y)) };
        Ok(self.record(y, Node { x, at: at.clone(), shape: [rows, cols] }))
    }
}

struct Node<D: Device> {
    x: Slot,
    at: Indices<D>,
    /// Of x.
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

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
