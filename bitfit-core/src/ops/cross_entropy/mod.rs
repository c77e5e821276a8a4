//! `loss = mean over rows of -ln softmax(z)[label]`; logits z `[B, C]`, labels `[B]`, loss `[1, 1]`.
//!
//! A row's loss is computed as `ln Σ exp(z - max z) - (z[label] - max z)`: no exponential overflows, and no logarithm
//! is taken of a probability that has underflowed to zero. With p the softmax of the row,
//!
//! ```text
//! dz = (p - onehot(label)) / B · dloss
//! ```
//!
//! Saved: p, and only if z needs a gradient.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Error, Indices, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// The device's part of the cross-entropy; logits are `[B, classes]`.
pub trait CrossEntropy: Device {
    /// Writes the mean loss to the one element of `loss`, and the softmax of the rows to `probabilities` if it is
    /// given.
    fn cross_entropy(
        &self,
        logits: Slice<'_, Self>,
        labels: &Self::Indices,
        classes: usize,
        loss: SliceMut<'_, Self>,
        probabilities: Option<SliceMut<'_, Self>>,
    ) -> Result<()>;

    /// `dz = (p - onehot) / B · dloss`, added to `dlogits` if `accumulate`.
    fn cross_entropy_backward(
        &self,
        input: BackwardInput<'_, Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

/// The operands of backward.
#[derive(Debug)]
pub struct BackwardInput<'a, D: Device> {
    /// The gradient of the loss, one element.
    pub dloss: Slice<'a, D>,
    /// The softmax of the rows `[B, classes]`, which forward wrote.
    pub probabilities: Slice<'a, D>,
    /// The class of each row.
    pub labels: &'a D::Indices,
    /// The number of classes, C.
    pub classes: usize,
}

impl<D: Backend> Tape<'_, D> {
    /// The mean cross-entropy, `[1, 1]`, of the rows of `logits` `[B, C]` against one class per row. See the
    /// [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of labels is not the number of rows; [`Error::Invalid`] if there are no rows, or
    /// a label is not below C.
    pub fn cross_entropy(&mut self, logits: &Var<D>, labels: &Indices<D>) -> Result<Var<D>> {
        let logits = &self.to_f32(logits)?;
        const OP: &str = "cross_entropy";
        let [rows, classes] = logits.tensor().shape();
        if labels.len() != rows {
            return Err(Error::shape(OP, "the list of labels", &[rows], &[labels.len()]));
        }
        if rows == 0 {
            return Err(Error::invalid(OP, "the logits have no rows, so there is no mean"));
        }
        if labels.bound() > classes {
            return Err(Error::invalid(
                OP,
                format!("label {} is out of range for {classes} classes", labels.bound() - 1),
            ));
        }
        let mut loss = self.scratch(1)?;
        let mut saved = logits.slot().map(|_| self.scratch(rows * classes)).transpose()?;
        let probabilities = saved.as_mut().map(Scratch::as_mut);
        self.device().cross_entropy(logits.slice(), labels.data(), classes, loss.as_mut(), probabilities)?;
        let loss = Tensor::new(loss, 1, 1)?;
        Ok(match logits.slot().zip(saved) {
            Some((logits, probabilities)) => {
                self.record(loss, Node { logits, labels: labels.clone(), classes, probabilities })
            }
            None => self.constant(loss),
        })
    }
}

struct Node<D: Device> {
    logits: Slot,
    labels: Indices<D>,
    classes: usize,
    probabilities: Scratch<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dlogits = grads.target(self.logits, self.probabilities.len())?;
        let to = dlogits.scratch.as_mut();
        let input = BackwardInput {
            dloss: dy.as_ref(),
            probabilities: self.probabilities.as_ref(),
            labels: self.labels.data(),
            classes: self.classes,
        };
        grads.device().cross_entropy_backward(input, to, dlogits.accumulate)?;
        grads.put(dlogits);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
