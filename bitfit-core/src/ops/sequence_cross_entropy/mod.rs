//! The cross-entropy of choosing a row of each sequence, once for each column: logits z `[T, K]`, loss `[1, 1]`. With
//! two columns it is the loss of a span, whose first and last token are chosen (Devlin et al., arXiv 1810.04805,
//! section 4.2).
//!
//! ```text
//! loss = mean over b, k of -ln softmax(z[rows of b, k])[target(b, k)]        p = that softmax
//! dz[t, k] = (p[t, k] - [t = target(b, k)]) / (B K) · dloss                  for the rows t of sequence b
//! ```
//!
//! As in the cross-entropy of rows, no exponential overflows, and no logarithm is taken of a probability that has
//! underflowed. Saved: p, and only if z needs a gradient.

mod cpu;
pub mod reference;

use super::attention::Sequences;
use crate::{
    Backend, Device, Error, Indices, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// The device's part of the cross-entropy over sequences.
pub trait SequenceCrossEntropy: Device {
    /// Writes the mean loss to the one element of `loss`, and the softmax over the rows of each sequence to
    /// `probabilities` if it is given.
    fn sequence_cross_entropy(
        &self,
        logits: Slice<'_, Self>,
        choice: &Choice<Self>,
        loss: SliceMut<'_, Self>,
        probabilities: Option<SliceMut<'_, Self>>,
    ) -> Result<()>;

    /// The gradient of the logits, added to `dlogits` if `accumulate`.
    fn sequence_cross_entropy_backward(
        &self,
        dloss: Slice<'_, Self>,
        probabilities: Slice<'_, Self>,
        choice: &Choice<Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

/// Which row of each sequence is right, in each column.
#[derive(Clone, Debug)]
pub struct Choice<D: Device> {
    /// The bounds of the B sequences.
    pub sequences: Sequences<D>,
    /// The right rows `[B, K]`, among all T; each is one of its sequence.
    pub rows: Indices<D>,
    /// K: the number of columns.
    pub columns: usize,
}

impl<D: Backend> Tape<'_, D> {
    /// The mean cross-entropy, `[1, 1]`, of choosing a row of each sequence in each column of `logits` `[T, K]`.
    /// `targets` `[B, K]` are the right rows, counted from the first of their sequence. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not one row for each token of the sequences, or one target for each sequence and
    /// column; [`Error::Invalid`] for a target that is not in its sequence, and without columns.
    pub fn sequence_cross_entropy(
        &mut self,
        logits: &Var<D>,
        sequences: &Sequences<D>,
        targets: &[u32],
    ) -> Result<Var<D>> {
        const OP: &str = "sequence_cross_entropy";
        let logits = &self.to_f32(logits)?;
        let [tokens, columns] = logits.tensor().shape();
        if tokens != sequences.tokens() {
            return Err(Error::shape(OP, "the matrix of logits", &[sequences.tokens(), columns], &[tokens, columns]));
        }
        if columns == 0 {
            return Err(Error::invalid(OP, "the logits have no columns, so there is no mean"));
        }
        if targets.len() != sequences.count() * columns {
            return Err(Error::shape(OP, "the list of targets", &[sequences.count() * columns], &[targets.len()]));
        }
        let mut rows = Vec::with_capacity(targets.len());
        for (sequence, targets) in targets.chunks_exact(columns).enumerate() {
            let range = sequences.range(sequence);
            for &target in targets {
                if target as usize >= range.len() {
                    let reason = format!("row {target} of sequence {sequence}, which has {}", range.len());
                    return Err(Error::invalid(OP, reason));
                }
                rows.push(range.start as u32 + target);
            }
        }
        let choice = Choice { sequences: sequences.clone(), rows: Indices::new(self.device(), &rows)?, columns };
        let mut loss = self.scratch(1)?;
        let mut saved = logits.slot().map(|_| self.scratch(tokens * columns)).transpose()?;
        let probabilities = saved.as_mut().map(Scratch::as_mut);
        self.device().sequence_cross_entropy(logits.slice(), &choice, loss.as_mut(), probabilities)?;
        let loss = Tensor::new(loss, 1, 1)?;
        Ok(match logits.slot().zip(saved) {
            Some((logits, probabilities)) => self.record(loss, Node { logits, choice, probabilities }),
            None => self.constant(loss),
        })
    }
}

struct Node<D: Device> {
    logits: Slot,
    choice: Choice<D>,
    probabilities: Scratch<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "sequence_cross_entropy"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dlogits = grads.target(self.logits, self.probabilities.len())?;
        let (to, accumulate) = (dlogits.scratch.as_mut(), dlogits.accumulate);
        let probabilities = self.probabilities.as_ref();
        grads.device().sequence_cross_entropy_backward(dy.as_ref(), probabilities, &self.choice, to, accumulate)?;
        grads.put(dlogits);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
