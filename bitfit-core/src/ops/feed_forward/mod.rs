//! `y = gelu(x · W₁ᵀ + b₁) · W₂ᵀ`: the feed-forward network of an encoder layer. The second bias is added by the op
//! that follows, [`crate::ops::add_norm`].
//!
//! x `[T, H]`, W₁ `[F, H]`, b₁ `[F]`, W₂ `[H', F]`, y `[T, H']`; the exact GELU, by erf (Hendrycks and Gimpel, arXiv
//! 1606.08415). Backward, with z = x · W₁ᵀ + b₁:
//!
//! ```text
//! dz = gelu'(z) ∘ (dy · W₂)      db₁ = Σₜ dz      dx = dz · W₁
//! dW₁ = dzᵀ · x                  dW₂ = dyᵀ · gelu(z)
//! ```
//!
//! Saved: gelu'(z) only, neither z nor gelu(z) nor x; x if W₁ trains and gelu(z) if W₂ does, of a mask of columns those
//! columns; and nothing if neither x needs a gradient nor anything trains. A step saves more values of the derivative
//! than of anything else: between bfloat16 activations they are kept in steps of [`DERIVATIVE_STEP`], a byte each.
//!
//! As one op, it lets a device apply the activation to a tile of the first product while the tile is in cache, and the
//! derivative and the column sum of the bias gradient to a tile of the product of backward. In a pass over parts of a
//! batch ([`crate::tape::Parts`]), db₁ is summed for each part from dz as it was stored, in bfloat16 where products
//! are.

mod cpu;
pub mod reference;

use crate::{
    Backend, DType, Device, Error, Param, Result, Tape, Tensor, Trainable, Var, Weight,
    backend::{Slice, SliceMut},
    memory::Scratch,
    ops::linear::SavedInput,
    params::{named, of},
    tape::{Backward, ColumnSums, Grads, Slot},
};

/// The distance between the values in which gelu'(z) is kept in a byte; 0 and 1 are among them. The greatest error,
/// 0.0025, is about that of bfloat16 near 1.
pub const DERIVATIVE_STEP: f32 = 0.005;

/// The type and the number of elements of a buffer for `len` values of gelu'(z), between activations of type `dtype`.
fn derivative_buffer(dtype: DType, len: usize) -> (DType, usize) {
    match dtype {
        DType::F32 => (DType::F32, len),
        // Two bytes to an element.
        DType::Bf16 => (DType::Bf16, len.div_ceil(2)),
    }
}

/// The device's part of the feed-forward.
pub trait FeedForward: Device {
    /// Writes y `[T, H']`; see the [module](self). `hidden` `[T, F]` receives gelu(z).
    ///
    /// `derivative`, if given, receives gelu'(z): an f32 for each element, or between bfloat16 activations a byte, in
    /// half as many elements of bfloat16, rounded up. Which byte stands for which multiple of [`DERIVATIVE_STEP`] is
    /// the device's choice; only the device itself reads it.
    fn feed_forward(
        &self,
        input: Input<'_, Self>,
        hidden: SliceMut<'_, Self>,
        derivative: Option<SliceMut<'_, Self>>,
        y: SliceMut<'_, Self>,
    ) -> Result<()>;

    /// Adds db₁ to the one sum of `sums`, and writes dx, or adds to it if its flag is set; see the [module](self).
    /// `hidden` `[T, F]` receives dz.
    fn feed_forward_backward(
        &self,
        input: BackwardInput<'_, Self>,
        hidden: SliceMut<'_, Self>,
        sums: ColumnSums<'_, Self, 1>,
        dx: Option<(SliceMut<'_, Self>, bool)>,
    ) -> Result<()>;
}

/// The operands of forward.
#[derive(Debug)]
pub struct Input<'a, D: Device> {
    /// The input x `[T, H]`.
    pub x: Slice<'a, D>,
    /// The first weight W₁ `[F, H]`.
    pub up: &'a D::Matrix,
    /// The first bias b₁ `[F]`.
    pub bias: Slice<'a, D>,
    /// The second weight W₂ `[H', F]`.
    pub down: &'a D::Matrix,
}

/// The operands of backward.
#[derive(Debug)]
pub struct BackwardInput<'a, D: Device> {
    /// The gradient of y, `[T, H']`.
    pub dy: Slice<'a, D>,
    /// The derivative gelu'(z) of `[T, F]`, as forward wrote it.
    pub derivative: Slice<'a, D>,
    /// The first weight W₁ `[F, H]`.
    pub up: &'a D::Matrix,
    /// The second weight W₂ `[H', F]`.
    pub down: &'a D::Matrix,
}

impl<D: Backend> Tape<'_, D> {
    /// `gelu(x · upᵀ + bias) · downᵀ`: x `[T, H]`, up `[F, H]`, bias `[F]`, down `[H', F]`, result `[T, H']`. See the
    /// [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not match; [`Error::Invalid`] if one weight is f32 and the other is
    /// not.
    pub fn feed_forward(&mut self, x: &Var<D>, up: &Weight<D>, bias: &Param<D>, down: &Weight<D>) -> Result<Var<D>> {
        let ([ffn, in_features], [out_features, down_features], rows) = (up.shape(), down.shape(), x.rows());
        if x.cols() != in_features {
            let what = of("the input", up.name());
            return Err(Error::shape("feed_forward", what, &[rows, in_features], &x.tensor().shape()));
        }
        if bias.len() != ffn {
            return Err(Error::shape("feed_forward", named("the bias", bias.name()), &[ffn], bias.shape()));
        }
        // The gradient of x is added to that of the residual stream, which is f32.
        let x = &self.to_f32(x)?;
        let precision = up.precision();
        if precision.product_dtype() != down.precision().product_dtype() {
            let [up, down] = [("the first weight", up), ("the second weight", down)]
                .map(|(what, weight)| format!("{} is {}", named(what, weight.name()), weight.precision()));
            return Err(Error::invalid("feed_forward", format!("{up} and {down}, expected both f32 or neither")));
        }
        if down_features != ffn {
            let what = named("the second weight", down.name());
            return Err(Error::shape("feed_forward", what, &[out_features, ffn], &[out_features, down_features]));
        }
        let bias_trains = self.trains(bias).cloned();
        let weights_train = self.is_training() && (up.trains() || down.trains());
        let needs = x.slot().is_some() || bias_trains.is_some() || weights_train;
        let (dtype, len) = derivative_buffer(precision.activation_dtype(), rows * ffn);
        let mut derivative = needs.then(|| self.scratch_of(dtype, len)).transpose()?;
        let mut y = self.scratch_of(precision.activation_dtype(), rows * out_features)?;
        let product_dtype = precision.product_dtype();
        let mut hidden = self.scratch_of(product_dtype, rows * ffn)?;
        let (arena, device) = (self.arena(), self.device());
        let (x_there, bias) = (x.slice_in(product_dtype), self.value(bias)?);
        let input = Input { x: x_there, up: arena.matrix(up)?, bias, down: arena.matrix(down)? };
        device.feed_forward(input, hidden.as_mut(), derivative.as_mut().map(Scratch::as_mut), y.as_mut())?;
        let y = Tensor::new(y, rows, out_features)?;
        let Some(derivative) = derivative else { return Ok(self.constant(y)) };
        let node = Node {
            x: x.slot(),
            derivative,
            rows,
            bias: bias_trains,
            saved_x: SavedInput::new(self, x.tensor_in(product_dtype), up)?,
            saved_hidden: SavedInput::new(self, &Tensor::new(hidden, rows, ffn)?, down)?,
            up: up.clone(),
            down: down.clone(),
        };
        Ok(self.record(y, node))
    }
}

struct Node<D: Device> {
    x: Option<Slot>,
    derivative: Scratch<D>,
    rows: usize,
    bias: Option<Trainable>,
    saved_x: SavedInput<D>,
    saved_hidden: SavedInput<D>,
    up: Weight<D>,
    down: Weight<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "feed_forward"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let ([ffn, in_features], [out_features, _]) = (self.up.shape(), self.down.shape());
        let mut hidden = grads.scratch_of(self.up.precision().product_dtype(), self.rows * ffn)?;
        let mut target = self.x.map(|x| grads.target(x, self.rows * in_features)).transpose()?;
        let (up, down) = (grads.matrix(&self.up)?, grads.matrix(&self.down)?);
        // The sum in the product's epilogue is over all rows.
        let has_parts = grads.has_parts();
        grads.column_sums([self.bias.as_ref().filter(|_| !has_parts)], |device, sums| {
            let input = BackwardInput { dy: dy.as_ref(), derivative: self.derivative.as_ref(), up, down };
            let dx = target.as_mut().map(|target| (target.scratch.as_mut(), target.accumulate));
            device.feed_forward_backward(input, hidden.as_mut(), sums, dx)
        })?;
        grads.by_part(self.rows, |grads, rows| {
            let (dy, dz) = (dy.as_ref().rows(&rows, out_features), hidden.as_ref().rows(&rows, ffn));
            if has_parts {
                let sum = |device: &D, mut sums: ColumnSums<'_, D, 1>| match sums.part(0, ffn) {
                    Some(sum) => device.column_sum(dz, ffn, 0, sum),
                    None => Ok(()),
                };
                grads.column_sums([self.bias.as_ref()], sum)?;
            }
            self.saved_hidden.add_gradient(grads, &rows, dy, &self.down)?;
            self.saved_x.add_gradient(grads, &rows, dz, &self.up)
        })?;
        if let Some(target) = target {
            grads.put(target);
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
