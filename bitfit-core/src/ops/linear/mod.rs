//! Linear layer `y = x · Wᵀ + b`: x `[T, in]`, W `[out, in]` as in PyTorch, b `[out]`, y `[T, out]`.
//!
//! | gradient | formula | needs |
//! |---|---|---|
//! | of x | `dx = dy · W` | W |
//! | of b | `db[o] = Σₜ dy[t, o]` | nothing |
//! | of W | `dW[o, i] = Σₜ dy[t, o] x[t, i]`, the entries of W's mask only | x |
//!
//! A linear layer with a frozen weight therefore saves nothing: of the three products of training a linear layer, the
//! one for the gradient of the weight is not computed, and the input is not saved for it. The bias can be given in
//! parts, such as those of query, key and value, each frozen or trainable. With a frozen weight, y has the activation
//! type of its precision; x may have any type.

mod cpu;
pub mod reference;

use std::ops::Range;

use crate::{
    Backend, DType, Device, Error, FrozenMatrix, Mask, Param, Precision, Result, Tape, Tensor, Trainable, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, ColumnSums, Grads, Slot},
};

/// The device's part of a linear layer.
pub trait Linear: Device {
    /// `y = x · Wᵀ + b` with a frozen W; the parts of `bias` have `out` elements together, or there are none.
    fn linear(
        &self,
        x: Slice<'_, Self>,
        weight: &Self::Matrix,
        bias: &[Slice<'_, Self>],
        y: SliceMut<'_, Self>,
    ) -> Result<()>;

    /// `dx = dy · W`, or `dx += dy · W` if `accumulate`, with a frozen W.
    fn linear_input(
        &self,
        dy: Slice<'_, Self>,
        weight: &Self::Matrix,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;

    /// `y = x · Wᵀ + b` with a trainable W `[out, in]`.
    fn linear_trainable(
        &self,
        x: Slice<'_, Self>,
        weight: Dense<'_, Self>,
        bias: &[Slice<'_, Self>],
        y: SliceMut<'_, Self>,
    ) -> Result<()>;

    /// `dx = dy · W`, or `dx += dy · W` if `accumulate`, with a trainable W `[out, in]`.
    fn linear_trainable_input(
        &self,
        dy: Slice<'_, Self>,
        weight: Dense<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;

    /// Adds to `dw` the entries of `dyᵀ · x` that `mask` chooses, in the mask's order; `shape` is `[out, in]`.
    fn linear_weight(
        &self,
        dy: Slice<'_, Self>,
        x: Slice<'_, Self>,
        shape: [usize; 2],
        mask: &Mask,
        dw: SliceMut<'_, Self>,
    ) -> Result<()>;

    /// `sum[j] += Σₜ dy[t, first + j]` for each element of `sum`; dy has `cols` columns.
    fn column_sum(&self, dy: Slice<'_, Self>, cols: usize, first: usize, sum: SliceMut<'_, Self>) -> Result<()>;

    /// Computes [`Linear::column_sum`] for several ranges of columns, each added to its part of `sums`; ranges whose
    /// parameter does not train are skipped. A device can override it to compute all of them at once.
    fn column_sums<const N: usize>(
        &self,
        dy: Slice<'_, Self>,
        cols: usize,
        columns: [Range<usize>; N],
        mut sums: ColumnSums<'_, Self, N>,
    ) -> Result<()> {
        for (index, columns) in columns.into_iter().enumerate() {
            if let Some(sum) = sums.part(index, columns.len()) {
                self.column_sum(dy, cols, columns.start, sum)?;
            }
        }
        Ok(())
    }
}

/// A trainable weight: a plain `[out, in]` matrix.
#[derive(Debug)]
pub struct Dense<'a, D: Device> {
    /// The elements of the weight, row-major.
    pub data: Slice<'a, D>,
    /// The number of rows.
    pub out_features: usize,
    /// The number of columns.
    pub in_features: usize,
}

/// The weight of a linear layer: frozen and packed, or trainable.
#[derive(Debug)]
pub enum Weight<D: Device> {
    /// A packed weight, which never changes and has no gradient.
    Frozen(FrozenMatrix<D>),
    /// A weight with trainable entries; the shape of the whole tensor is `[out, in]`.
    Trainable(Trainable),
}

impl<D: Device> Weight<D> {
    /// The shape `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Frozen(weight) => [weight.out_features(), weight.in_features()],
            Self::Trainable(weight) => {
                let (out, inner) = crate::params::matrix(weight.shape());
                [out, inner]
            }
        }
    }

    /// The handle of a trainable weight; `None` if it is frozen.
    pub fn trainable(&self) -> Option<&Trainable> {
        match self {
            Self::Frozen(_) => None,
            Self::Trainable(trainable) => Some(trainable),
        }
    }
}

impl<D: Device> Clone for Weight<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Frozen(weight) => Self::Frozen(weight.clone()),
            Self::Trainable(weight) => Self::Trainable(weight.clone()),
        }
    }
}

impl<D: Device> From<FrozenMatrix<D>> for Weight<D> {
    fn from(weight: FrozenMatrix<D>) -> Self {
        Self::Frozen(weight)
    }
}

impl<D: Device> From<Trainable> for Weight<D> {
    fn from(weight: Trainable) -> Self {
        Self::Trainable(weight)
    }
}

impl<D: Backend> Tape<'_, D> {
    /// `x · Wᵀ + b`: x `[T, in]`, the result `[T, out]`; see the [module](self). `bias` is empty, or the lengths of its
    /// parts add up to `out`.
    ///
    /// # Errors
    /// [`Error::Shape`] if x does not have `in` columns or the bias not `out` elements.
    pub fn linear(&mut self, x: &Var<D>, weight: &Weight<D>, bias: &[&Param<D>]) -> Result<Var<D>> {
        let [out_features, in_features] = weight.shape();
        if x.cols() != in_features {
            return Err(Error::shape("linear", "the input", &[x.rows(), in_features], &x.tensor().shape()));
        }
        let bias_len: usize = bias.iter().map(|part| part.len()).sum();
        if !bias.is_empty() && bias_len != out_features {
            return Err(Error::shape("linear", "the bias", &[out_features], &[bias_len]));
        }

        let (x, dtype) = match weight {
            Weight::Frozen(weight) if weight.precision() == Precision::Bf16 => {
                (x.clone(), weight.precision().activation_dtype())
            }
            _ => (self.to_f32(x)?, DType::F32),
        };
        let device = self.device();
        let mut y = self.scratch_of(dtype, x.rows() * out_features)?;
        let parts: Vec<Slice<'_, D>> = bias.iter().map(|part| self.value(part)).collect();
        match weight {
            Weight::Frozen(weight) => {
                device.linear(x.slice_in(weight.precision().product_dtype()), weight.matrix(), &parts, y.as_mut())?;
            }
            Weight::Trainable(trainable) => {
                let weight = Dense { data: self.arena().value(trainable), out_features, in_features };
                device.linear_trainable(x.slice(), weight, &parts, y.as_mut())?;
            }
        }
        let y = Tensor::new(y, x.rows(), out_features);

        let weight_trains = matches!(weight, Weight::Trainable(_)) && self.is_training();
        let bias_trains = bias.iter().any(|part| self.trains(part).is_some());
        if x.slot().is_none() && !weight_trains && !bias_trains {
            return Ok(self.constant(y));
        }
        let node = Node {
            x: x.slot(),
            saved_x: weight_trains.then(|| x.tensor().clone()),
            rows: x.rows(),
            weight: weight.clone(),
            bias: bias.iter().map(|part| (self.trains(part).cloned(), part.len())).collect(),
        };
        Ok(self.record(y, node))
    }
}

/// The number of parts of a bias whose gradients are summed at once: those of query, key and value.
const PARTS: usize = 3;

/// What backward reads; `saved_x` only if the weight trains.
struct Node<D: Device> {
    x: Option<Slot>,
    saved_x: Option<Tensor<D>>,
    rows: usize,
    weight: Weight<D>,
    bias: Vec<(Option<Trainable>, usize)>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let device = grads.device();
        let [out_features, in_features] = self.weight.shape();
        let mut end = 0;
        for parts in self.bias.chunks(PARTS) {
            let trainable: [_; PARTS] = std::array::from_fn(|i| parts.get(i)?.0.as_ref());
            let columns = std::array::from_fn(|i| {
                let first = end;
                end += parts.get(i).map_or(0, |(_, len)| *len);
                first..end
            });
            grads
                .column_sums(trainable, |device, sums| device.column_sums(dy.as_ref(), out_features, columns, sums))?;
        }
        if let (Weight::Trainable(weight), Some(x)) = (&self.weight, &self.saved_x) {
            let dw = grads.masked(weight);
            device.linear_weight(dy.as_ref(), x.slice(), [out_features, in_features], weight.mask(), dw)?;
        }
        if let Some(x) = self.x {
            let mut target = grads.target(x, self.rows * in_features)?;
            if target.accumulate && target.scratch.dtype() == DType::Bf16 {
                // Adding to bfloat16 is rare: the gradient is computed separately and then added.
                grads.put(target);
                target = grads.fresh_target(x, self.rows * in_features)?;
            }
            match &self.weight {
                Weight::Frozen(weight) => {
                    device.linear_input(dy.as_ref(), weight.matrix(), target.scratch.as_mut(), target.accumulate)?;
                }
                Weight::Trainable(weight) => {
                    let weight = Dense { data: grads.trainable_value(weight), out_features, in_features };
                    device.linear_trainable_input(dy.as_ref(), weight, target.scratch.as_mut(), target.accumulate)?;
                }
            }
            grads.merge(target)?;
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
