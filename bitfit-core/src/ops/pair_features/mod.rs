//! What a head reads of two texts that were encoded apart: for u and v, the pooled rows of a pair,
//!
//! ```text
//! y = [u, v, |u - v|, u ∘ v]
//! ```
//!
//! x `[2B, H]` holds the two rows of each of B pairs one after the other; y is `[B, 4H]`. These are the features of
//! InferSent (Conneau et al., arXiv 1705.02364, section 3.1).
//!
//! ```text
//! du = dy₁ + s ∘ dy₃ + v ∘ dy₄        dv = dy₂ - s ∘ dy₃ + u ∘ dy₄        s: the sign of u - v, 0 where they are equal
//! ```
//!
//! Saved: x, shared with its other readers.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Error, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// The device's part of the pair features; x has `cols` columns, and twice as many rows as y.
pub trait PairFeatures: Device {
    /// Writes `y = [u, v, |u - v|, u ∘ v]`.
    fn pair_features(&self, x: Slice<'_, Self>, cols: usize, y: SliceMut<'_, Self>) -> Result<()>;

    /// Writes dx, or adds it to dx if `accumulate`; see the [module](self).
    fn pair_features_backward(
        &self,
        dy: Slice<'_, Self>,
        x: Slice<'_, Self>,
        cols: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The features `[B, 4H]` of B pairs from the rows `[2B, H]` of their texts. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Invalid`] for an odd number of rows.
    pub fn pair_features(&mut self, x: &Var<D>) -> Result<Var<D>> {
        let x = &self.to_f32(x)?;
        let [rows, cols] = x.tensor().shape();
        if !rows.is_multiple_of(2) {
            return Err(Error::invalid("pair_features", format!("{rows} rows are not those of pairs")));
        }
        let mut y = self.scratch(rows * cols * 2)?;
        self.device().pair_features(x.slice(), cols, y.as_mut())?;
        let y = Tensor::new(y, rows / 2, 4 * cols)?;
        let Some(slot) = x.slot() else { return Ok(self.constant(y)) };
        Ok(self.record(y, Node { slot, x: x.tensor().clone() }))
    }
}

struct Node<D: Device> {
    slot: Slot,
    x: Tensor<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "pair_features"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let device = grads.device();
        let [rows, cols] = self.x.shape();
        let mut dx = grads.target(self.slot, rows * cols)?;
        let accumulate = dx.accumulate;
        device.pair_features_backward(dy.as_ref(), self.x.slice(), cols, dx.scratch.as_mut(), accumulate)?;
        grads.put(dx);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
