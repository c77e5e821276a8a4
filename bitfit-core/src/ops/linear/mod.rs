//! Linear layer `y = x · Wᵀ + b`: x `[T, in]`, W `[out, in]` as in PyTorch, b `[out]`, y `[T, out]`.
//!
//! | gradient | formula | needs |
//! |---|---|---|
//! | of x | `dx = dy · W` | W |
//! | of b | `db[o] = Σₜ dy[t, o]` | nothing |
//! | of W | `dW[o, i] = Σₜ dy[t, o] x[t, i]`, the entries of W's masks only | x; for a mask of columns, those of x |
//!
//! A linear layer with a frozen weight therefore saves nothing: of the three products of training a linear layer, the
//! one for the gradient of the weight is not computed, and the input is not saved for it. Weight and bias can be given
//! in parts, such as those of query, key and value, each frozen or trainable. y has the activation type of the weight's
//! precision; x may have any type.

mod cpu;
pub mod reference;
mod saved_input;

pub(crate) use saved_input::SavedInput;

use std::ops::Range;

use crate::{
    Backend, DType, Device, Error, Mask, Param, Precision, Result, Tape, Tensor, Trainable, Var, Weight,
    backend::{Slice, SliceMut},
    memory::Scratch,
    params::{named, of},
    tape::{Backward, ColumnSums, Grads, Slot},
};

/// The device's part of a linear layer.
pub trait Linear: Device {
    /// `y = x · Wᵀ + b`; the parts of `bias` have `out` elements together, or there are none.
    fn linear(
        &self,
        x: Slice<'_, Self>,
        weight: &Self::Matrix,
        bias: &[Slice<'_, Self>],
        y: SliceMut<'_, Self>,
    ) -> Result<()>;

    /// `dx = dy · W`, or `dx += dy · W` if `accumulate`.
    ///
    /// # Panics
    ///
    /// The CPU's, if it is to add to bfloat16.
    fn linear_input(
        &self,
        dy: Slice<'_, Self>,
        weight: &Self::Matrix,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;

    /// Adds to `dw` the entries of `dyᵀ · x` that a mask chooses, in the mask's order.
    fn weight_gradient(&self, input: WeightGradient<'_, Self>, dw: SliceMut<'_, Self>) -> Result<()>;

    /// Writes the chosen columns of x `[T, cols]` as a matrix `[T, chosen]` of f32.
    fn select_columns(&self, x: Slice<'_, Self>, cols: usize, chosen: &[u32], to: SliceMut<'_, Self>) -> Result<()>;

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

/// The operands of the gradient of a weight `[out, in]`.
#[derive(Debug)]
pub struct WeightGradient<'a, D: Device> {
    /// The gradient of the product, `[T, dy_cols]`, of which `out` columns from `first` on belong to the weight.
    pub dy: Slice<'a, D>,
    /// The number of columns of dy.
    pub dy_cols: usize,
    /// The first column of dy that belongs to the weight.
    pub first: usize,
    /// The input of the product, `[T, in]`; for a mask of columns the chosen ones alone, `[T, chosen]` in f32.
    pub x: Slice<'a, D>,
    /// The shape `[out, in]`.
    pub shape: [usize; 2],
    /// The entries that are computed.
    pub mask: &'a Mask,
    /// The precision of the product.
    pub precision: Precision,
}

impl<D: Backend> Tape<'_, D> {
    /// `x · Wᵀ + b`: x `[T, in]`, the result `[T, out]`; see the [module](self). `bias` is empty, or the lengths of its
    /// parts add up to `out`.
    ///
    /// # Errors
    /// [`Error::Shape`] if x does not have `in` columns or the bias not `out` elements.
    pub fn linear(&mut self, x: &Var<D>, weight: &Weight<D>, bias: &[&Param<D>]) -> Result<Var<D>> {
        self.check("linear", x)?;
        let [out_features, in_features] = weight.shape();
        if x.cols() != in_features {
            let what = of("the input", weight.name());
            return Err(Error::shape("linear", what, &[x.rows(), in_features], &x.tensor().shape()));
        }
        let bias_len: usize = bias.iter().map(|part| part.len()).sum();
        if !bias.is_empty() && bias_len != out_features {
            let names: Option<Vec<&str>> = bias.iter().map(|part| part.name()).collect();
            let what = named("the bias", names.map(|names| names.join(", ")).as_deref());
            return Err(Error::shape("linear", of(&what, weight.name()), &[out_features], &[bias_len]));
        }

        let precision = weight.precision();
        let x = if precision == Precision::F32 { self.to_f32(x)? } else { x.clone() };
        let mut y = self.scratch_of(precision.activation_dtype(), x.rows() * out_features)?;
        let parts = bias.iter().map(|part| self.value(part)).collect::<Result<Vec<Slice<'_, D>>>>()?;
        let factor = x.slice_in(precision.product_dtype());
        self.device().linear(factor, self.arena().matrix(weight)?, &parts, y.as_mut())?;
        let y = Tensor::new(y, x.rows(), out_features)?;

        let weight_trains = weight.trains() && self.is_training();
        let bias_trains = bias.iter().any(|part| self.trains(part).is_some());
        if x.slot().is_none() && !weight_trains && !bias_trains {
            return Ok(self.constant(y));
        }
        let node = Node {
            x: x.slot(),
            saved_x: SavedInput::new(self, x.tensor_in(precision.product_dtype()), weight)?,
            rows: x.rows(),
            weight: weight.clone(),
            bias: bias.iter().map(|part| (self.trains(part).cloned(), part.len())).collect(),
        };
        Ok(self.record(y, node))
    }
}

/// The number of parts of a bias whose gradients are summed at once: those of query, key and value.
const PARTS: usize = 3;

/// What backward reads.
struct Node<D: Device> {
    x: Option<Slot>,
    saved_x: SavedInput<D>,
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
        grads.by_part(self.rows, |grads, rows| {
            let dy = dy.as_ref().rows(&rows, out_features);
            let mut end = 0;
            for biases in self.bias.chunks(PARTS) {
                let trainable: [_; PARTS] = std::array::from_fn(|i| biases.get(i)?.0.as_ref());
                let columns = std::array::from_fn(|i| {
                    let first = end;
                    end += biases.get(i).map_or(0, |(_, len)| *len);
                    first..end
                });
                grads.column_sums(trainable, |device, sums| device.column_sums(dy, out_features, columns, sums))?;
            }
            self.saved_x.add_gradient(grads, &rows, dy, &self.weight)
        })?;
        if let Some(x) = self.x {
            let mut target = grads.target(x, self.rows * in_features)?;
            if target.accumulate && target.scratch.dtype() == DType::Bf16 {
                // Adding to bfloat16 is rare: the gradient is computed separately and then added.
                grads.put(target);
                target = grads.fresh_target(x, self.rows * in_features)?;
            }
            let weight = grads.matrix(&self.weight)?;
            device.linear_input(dy.as_ref(), weight, target.scratch.as_mut(), target.accumulate)?;
            grads.merge(target)?;
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
