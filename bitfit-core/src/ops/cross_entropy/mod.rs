//! `loss = mean over rows of -ln softmax(z)[label]`; logits z `[B, C]`, labels `[B]`, loss `[1, 1]`.
//!
//! A row's loss is taken as `ln Σ exp(z - max z) - (z[label] - max z)`: no exponential overflows, and no logarithm is taken
//! of a probability that has become zero. With p the softmax of the row,
//!
//! ```text
//! dz = (p - onehot(label)) / B · dloss
//! ```
//!
//! Kept: p, and only where z needs a gradient.

mod cpu;
pub mod reference;

use crate::{
    Backend, Backward, Device, Error, Grads, Indices, Result, Scratch, Slice, SliceMut, Slot, Tape, Tensor, Var,
};

/// The device's half of the op; logits `[B, classes]`.
pub trait CrossEntropy: Device {
    /// Writes the mean loss to the one element of `loss`, and the rows' softmax where it will be needed.
    fn cross_entropy(
        &self,
        logits: Slice<'_, Self>,
        labels: &Self::Indices,
        classes: usize,
        loss: SliceMut<'_, Self>,
        probabilities: Option<SliceMut<'_, Self>>,
    ) -> Result<()>;

    /// `dz = (p - onehot) / B · dloss`, or `dz += `; `dloss` holds one element.
    fn cross_entropy_backward(
        &self,
        dloss: Slice<'_, Self>,
        probabilities: Slice<'_, Self>,
        labels: &Self::Indices,
        classes: usize,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The mean cross-entropy of the rows of `logits` `[B, C]` against a class a row, `[1, 1]`; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not as many labels as rows; [`Error::Invalid`] when there is no row, or a label is
    /// not below C.
    pub fn cross_entropy(&mut self, logits: &Var<D>, labels: &Indices<D>) -> Result<Var<D>> {
        let logits = &self.widen(logits)?;
        const OP: &str = "cross_entropy";
        let [rows, classes] = logits.tensor().shape();
        if labels.len() != rows {
            return Err(Error::shape(OP, "the labels", &[rows], &[labels.len()]));
        }
        if rows == 0 {
            return Err(Error::invalid(OP, "no row to take the mean of"));
        }
        if labels.bound() > classes {
            return Err(Error::invalid(OP, format!("label {} of {classes} classes", labels.bound() - 1)));
        }
        let mut loss = self.scratch(1)?;
        let mut kept = logits.slot().map(|_| self.scratch(rows * classes)).transpose()?;
        let probabilities = kept.as_mut().map(Scratch::as_mut);
        self.device().cross_entropy(logits.slice(), labels.data(), classes, loss.as_mut(), probabilities)?;
        let loss = Tensor::new(loss, 1, 1);
        Ok(match logits.slot().zip(kept) {
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
        let (probabilities, labels) = (self.probabilities.as_ref(), self.labels.data());
        let device = grads.device();
        device.cross_entropy_backward(dy.as_ref(), probabilities, labels, self.classes, to, dlogits.accumulate)?;
        grads.put(dlogits);
        Ok(())
    }
}

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
