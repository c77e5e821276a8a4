//! The cross-entropy of the softmax of each row against a class, with weights of the classes, smoothed labels or the
//! focal factor; logits z `[B, C]`, labels y `[B]`, loss `[1, 1]`. With `l[c] = -ln softmax(z)[c]` and W the sum of the
//! weights `w[y]` of all rows,
//!
//! ```text
//! loss = Σ over rows of w[y] (1 - p[y])^γ ((1 - ε) l[y]) + ε / C Σ_c w[c] l[c], all divided by W
//! ```
//!
//! where only one of ε and γ is not 0. Weights and ε are those of PyTorch's `CrossEntropyLoss`; γ is the exponent of
//! the focal loss (Lin, Goyal, Girshick, He, Dollár: Focal Loss for Dense Object Detection, arXiv 1708.02002), which
//! counts rows that are already right for less.
//!
//! ```text
//! dz[c] = w[y] ((1 - ε) (p[c] - hit) + ε / C (p[c] Σ w - w[c]) / w[y]) / W · dloss
//! dz[c] = w[y] (1 - p[y])^γ (1 + γ p[y] l[y] / (1 - p[y])) (p[c] - hit) / W · dloss
//! ```
//!
//! `1 - p[y]` is computed as `-expm1(-l[y])`, so that a row that is nearly right keeps its digits: on the CPU in f64,
//! on a GPU in f32, where it is 0 below 6e-8.
//!
//! Saved: z, shared with its other readers, and only if it needs a gradient.

mod cpu;
pub mod reference;

use ndarray::ArrayView2;

use crate::{
    Backend, Device, Error, Indices, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// How rows and classes count.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassWeighting {
    /// The weight of each class, not below 0.
    pub weights: Vec<f32>,
    /// ε: the share of a label that is spread over all classes, at least 0 and below 1.
    pub label_smoothing: f32,
    /// γ: the exponent of the focal factor, at least 0.
    pub focal_gamma: f32,
}

impl ClassWeighting {
    /// The sum of the weights of rows of these labels, by which their losses are divided.
    ///
    /// # Panics
    /// If a label has no weight.
    pub fn total(&self, labels: &[u32]) -> f64 {
        labels.iter().map(|&label| f64::from(self.weights[label as usize])).sum()
    }

    fn validate(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::invalid(OP, what));
        if let Some(weight) = self.weights.iter().find(|weight| !weight.is_finite() || **weight < 0.0) {
            return refuse(format!("a class has the weight {weight}, expected a number of at least 0"));
        }
        let (smoothing, gamma) = (self.label_smoothing, self.focal_gamma);
        if !(0.0..1.0).contains(&smoothing) {
            return refuse(format!("a label smoothing of {smoothing}, expected at least 0 and below 1"));
        }
        if !gamma.is_finite() || gamma < 0.0 {
            return refuse(format!("a focal exponent of {gamma}, expected a number of at least 0"));
        }
        if smoothing > 0.0 && gamma > 0.0 {
            return refuse("label smoothing together with a focal exponent".into());
        }
        Ok(())
    }
}

/// The operands of the weighted cross-entropy.
#[derive(Debug)]
pub struct Input<'a, D: Device> {
    /// The logits `[B, C]`.
    pub logits: Slice<'a, D>,
    /// The class of each row.
    pub labels: &'a D::Indices,
    /// The weight of each class `[C]`.
    pub weights: Slice<'a, D>,
    /// The number of rows, B.
    pub rows: usize,
    /// ε.
    pub label_smoothing: f32,
    /// γ.
    pub focal_gamma: f32,
    /// W, above 0.
    pub total: f32,
}

impl<D: Device> Input<'_, D> {
    /// The number of classes, C.
    pub fn classes(&self) -> usize {
        self.weights.len
    }
}

/// The device's part of the weighted cross-entropy.
pub trait WeightedCrossEntropy: Device {
    /// Writes the loss to the one element of `loss`.
    fn weighted_cross_entropy(&self, input: Input<'_, Self>, loss: SliceMut<'_, Self>) -> Result<()>;

    /// Writes dz to `dlogits`, or adds it if `accumulate`; `dloss` holds one element.
    fn weighted_cross_entropy_backward(
        &self,
        dloss: Slice<'_, Self>,
        input: Input<'_, Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

const OP: &str = "weighted_cross_entropy";

impl<D: Backend> Tape<'_, D> {
    /// The weighted cross-entropy, `[1, 1]`, of the rows of `logits` `[B, C]` against one class per row. See the
    /// [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of labels is not the number of rows, or that of weights not C;
    /// [`Error::Invalid`] if there are no rows, a label is not below C, the weights of all rows are 0, or the weighting
    /// is not as its fields say.
    pub fn weighted_cross_entropy(
        &mut self,
        logits: &Var<D>,
        labels: &[u32],
        weighting: &ClassWeighting,
    ) -> Result<Var<D>> {
        let known = labels.iter().filter_map(|&label| weighting.weights.get(label as usize));
        let total = known.map(|&weight| f64::from(weight)).sum();
        self.weighted_cross_entropy_of_part(logits, labels, weighting, total)
    }

    /// As [`Tape::weighted_cross_entropy`], of the rows of a part of a batch: `total` is W of the whole batch, so that
    /// the losses of its parts add up to its loss.
    ///
    /// # Errors
    /// As [`Tape::weighted_cross_entropy`], of W.
    pub fn weighted_cross_entropy_of_part(
        &mut self,
        logits: &Var<D>,
        labels: &[u32],
        weighting: &ClassWeighting,
        total: f64,
    ) -> Result<Var<D>> {
        let logits = &self.to_f32(logits)?;
        let [rows, classes] = logits.tensor().shape();
        if labels.len() != rows {
            return Err(Error::shape(OP, "the list of labels", &[rows], &[labels.len()]));
        }
        if weighting.weights.len() != classes {
            return Err(Error::shape(OP, "the list of weights", &[classes], &[weighting.weights.len()]));
        }
        if rows == 0 {
            return Err(Error::invalid(OP, "the logits have no rows, so there is no mean"));
        }
        if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
            return Err(Error::invalid(OP, format!("label {label} is out of range for {classes} classes")));
        }
        weighting.validate()?;
        let total = total as f32;
        if total <= 0.0 {
            return Err(Error::invalid(OP, "the classes of all rows have the weight 0, so there is no mean"));
        }
        let weights = ArrayView2::from_shape((1, classes), &weighting.weights).expect("one row");
        let saved = Saved {
            logits: logits.tensor().clone(),
            labels: Indices::new(self.device(), labels)?,
            weights: self.workspace().tensor(weights)?,
            label_smoothing: weighting.label_smoothing,
            focal_gamma: weighting.focal_gamma,
            total,
        };
        let mut loss = self.scratch(1)?;
        self.device().weighted_cross_entropy(saved.input(), loss.as_mut())?;
        let loss = Tensor::new(loss, 1, 1)?;
        Ok(match logits.slot() {
            Some(slot) => self.record(loss, Node { slot, saved }),
            None => self.constant(loss),
        })
    }
}

struct Saved<D: Device> {
    logits: Tensor<D>,
    labels: Indices<D>,
    weights: Tensor<D>,
    label_smoothing: f32,
    focal_gamma: f32,
    total: f32,
}

impl<D: Backend> Saved<D> {
    fn input(&self) -> Input<'_, D> {
        Input {
            logits: self.logits.slice(),
            labels: self.labels.data(),
            weights: self.weights.slice(),
            rows: self.labels.len(),
            label_smoothing: self.label_smoothing,
            focal_gamma: self.focal_gamma,
            total: self.total,
        }
    }
}

struct Node<D: Device> {
    slot: Slot,
    saved: Saved<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        OP
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let input = self.saved.input();
        let mut dlogits = grads.target(self.slot, input.logits.len)?;
        let to = dlogits.scratch.as_mut();
        grads.device().weighted_cross_entropy_backward(dy.as_ref(), input, to, dlogits.accumulate)?;
        grads.put(dlogits);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
