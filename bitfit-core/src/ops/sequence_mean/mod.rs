//! The mean of the rows of each sequence: x `[T, H]`, y `[B, H]`. This is the mean pooling of sentence encoders
//! (Reimers and Gurevych, arXiv 1908.10084, section 3).
//!
//! ```text
//! y[b] = Σ x[t] / length(b)      over the rows t of sequence b        dx[t] = dy[b] / length(b)
//! ```
//!
//! There is no padding, so that every row counts. Saved: the bounds of the sequences, which are shared.

mod cpu;
pub mod reference;

use super::attention::Sequences;
use crate::{
    Backend, Device, Error, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// The device's part of the mean; matrices have `cols` columns.
pub trait SequenceMean: Device {
    /// `y[b] = Σ x[t] / length(b)`, added up in the order of the rows.
    fn sequence_mean(
        &self,
        x: Slice<'_, Self>,
        sequences: &Sequences<Self>,
        cols: usize,
        y: SliceMut<'_, Self>,
    ) -> Result<()>;

    /// `dx[t] = dy[b] / length(b)`, added to dx if `accumulate`.
    fn sequence_mean_backward(
        &self,
        dy: Slice<'_, Self>,
        sequences: &Sequences<Self>,
        cols: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The mean of the rows of each sequence, as a matrix `[B, H]`. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if x does not have one row for each token of the sequences.
    pub fn sequence_mean(&mut self, x: &Var<D>, sequences: &Sequences<D>) -> Result<Var<D>> {
        let x = &self.to_f32(x)?;
        let [rows, cols] = x.tensor().shape();
        if rows != sequences.tokens() {
            return Err(Error::shape("sequence_mean", "x", &[sequences.tokens(), cols], &[rows, cols]));
        }
        let mut y = self.scratch(sequences.count() * cols)?;
        self.device().sequence_mean(x.slice(), sequences, cols, y.as_mut())?;
        let y = Tensor::new(y, sequences.count(), cols)?;
        let Some(x) = x.slot() else { return Ok(self.constant(y)) };
        Ok(self.record(y, Node { x, sequences: sequences.clone(), cols }))
    }
}

struct Node<D: Device> {
    x: Slot,
    sequences: Sequences<D>,
    cols: usize,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "sequence_mean"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let device = grads.device();
        let mut dx = grads.target(self.x, self.sequences.tokens() * self.cols)?;
        let accumulate = dx.accumulate;
        device.sequence_mean_backward(dy.as_ref(), &self.sequences, self.cols, dx.scratch.as_mut(), accumulate)?;
        grads.put(dx);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
