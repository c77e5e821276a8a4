//! `y = m ∘ x` with a random mask m: 0 with probability p, otherwise `1/(1-p)` (Srivastava et al., JMLR 15, 2014;
//! scaled in training, so that inference is the identity).
//!
//! Backward is the same function, `dx = m ∘ dy`. m is a function of seed, step, site and element ([`Dropout`]), so
//! backward generates it again and nothing is saved. In inference, or if p = 0, y is x itself, without a copy.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    rng::{Dropout, RowsOf},
    tape::{Backward, Grads, Slot},
};

/// The device's part of dropout.
pub trait DropoutMask: Device {
    /// `y = m ∘ x`, or `y += m ∘ x` if `accumulate`; element i of x is multiplied by factor i of `dropout`.
    fn dropout(&self, dropout: Dropout, x: Slice<'_, Self>, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// Zeroes elements of x with probability p, rounded to a multiple of 2⁻¹⁶, and scales the rest; the result has x's
    /// shape. `of` is what x has rows of, which matters in a pass over a part of a batch ([`Tape::at`]). See the
    /// [module](self).
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) unless `0 <= p < 1`.
    pub fn dropout(&mut self, x: &Var<D>, p: f32, of: RowsOf) -> Result<Var<D>> {
        let x = &self.to_f32(x)?;
        let [rows, cols] = x.tensor().shape();
        let Some(dropout) = self.dropout_site(p, of, rows, cols as u64)? else { return Ok(x.clone()) };
        let mut y = self.scratch(rows * cols)?;
        self.device().dropout(dropout, x.slice(), y.as_mut(), false)?;
        let y = Tensor::new(y, rows, cols)?;
        let Some(x) = x.slot() else { return Ok(self.constant(y)) };
        Ok(self.record(y, Node { x, dropout }))
    }
}

struct Node {
    x: Slot,
    dropout: Dropout,
}

impl<D: Backend> Backward<D> for Node {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dx = grads.target(self.x, dy.len())?;
        grads.device().dropout(self.dropout, dy.as_ref(), dx.scratch.as_mut(), dx.accumulate)?;
        grads.put(dx);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
