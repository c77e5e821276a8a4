//! `y = gelu(x · W₁ᵀ + b₁) · W₂ᵀ`: the feed-forward network of an encoder layer with both weights frozen. The second
//! bias is added by the op that follows, [`crate::ops::add_norm`].
//!
//! x `[T, H]`, W₁ `[F, H]`, b₁ `[F]`, W₂ `[H', F]`, y `[T, H']`; the exact GELU, by erf (Hendrycks and Gimpel, arXiv
//! 1606.08415). Backward, with z = x · W₁ᵀ + b₁:
//!
//! ```text
//! dz = gelu'(z) ∘ (dy · W₂)      db₁ = Σₜ dz      dx = dz · W₁
//! ```
//!
//! Saved: gelu'(z) only, neither z nor gelu(z) nor x; and nothing if neither x needs a gradient nor b₁ trains. As one
//! op, it lets a device apply the activation to a tile of the first product while the tile is in cache, and the
//! derivative and the column sum of the bias gradient to a tile of the product of backward.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Error, FrozenMatrix, Param, Result, Tape, Tensor, Trainable, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, ColumnSums, Grads, Slot},
};

/// The device's part of the feed-forward.
pub trait FeedForward: Device {
    /// Writes y `[T, H']`; see the [module](self). `hidden` `[T, F]` is scratch memory; `derivative` `[T, F]`, if
    /// given, receives gelu'(z).
    fn feed_forward(
        &self,
        input: Input<'_, Self>,
        hidden: SliceMut<'_, Self>,
        derivative: Option<SliceMut<'_, Self>>,
        y: SliceMut<'_, Self>,
    ) -> Result<()>;

    /// Adds db₁ to the one sum of `sums`, and writes dx, or adds to it if its flag is set; see the [module](self).
    /// `hidden` `[T, F]` is scratch memory.
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
    /// The derivative gelu'(z) `[T, F]` that forward wrote.
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
    /// [`Error::Shape`] if the shapes do not match; [`Error::Invalid`] if the weights have different precisions.
    pub fn feed_forward(
        &mut self,
        x: &Var<D>,
        up: &FrozenMatrix<D>,
        bias: &Param<D>,
        down: &FrozenMatrix<D>,
    ) -> Result<Var<D>> {
        let (rows, ffn) = (x.rows(), up.out_features());
        if x.cols() != up.in_features() {
            return Err(Error::shape("feed_forward", "the input", &[rows, up.in_features()], &x.tensor().shape()));
        }
        if bias.len() != ffn {
            return Err(Error::shape("feed_forward", "the bias", &[ffn], bias.shape()));
        }
        // The gradient of x is added to that of the residual stream, which is f32.
        let x = &self.to_f32(x)?;
        let precision = up.precision();
        if precision != down.precision() {
            return Err(Error::invalid("feed_forward", "the weights have different precisions"));
        }
        if down.in_features() != ffn {
            let found = [down.out_features(), down.in_features()];
            return Err(Error::shape("feed_forward", "the second weight", &[down.out_features(), ffn], &found));
        }
        let bias_trains = self.trains(bias).cloned();
        let needs = x.slot().is_some() || bias_trains.is_some();
        let mut derivative = needs.then(|| self.scratch_of(precision.activation_dtype(), rows * ffn)).transpose()?;
        let mut y = self.scratch_of(precision.activation_dtype(), rows * down.out_features())?;
        let mut hidden = self.scratch_of(precision.product_dtype(), rows * ffn)?;
        let product_dtype = precision.product_dtype();
        let input =
            Input { x: x.slice_in(product_dtype), up: up.matrix(), bias: self.value(bias), down: down.matrix() };
        self.device().feed_forward(input, hidden.as_mut(), derivative.as_mut().map(Scratch::as_mut), y.as_mut())?;
        let y = Tensor::new(y, rows, down.out_features());
        Ok(match derivative {
            None => self.constant(y),
            Some(derivative) => self.record(
                y,
                Node { x: x.slot(), derivative, rows, bias: bias_trains, up: up.clone(), down: down.clone() },
            ),
        })
    }
}

struct Node<D: Device> {
    x: Option<Slot>,
    derivative: Scratch<D>,
    rows: usize,
    bias: Option<Trainable>,
    up: FrozenMatrix<D>,
    down: FrozenMatrix<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "feed_forward"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut hidden = grads.scratch_of(self.up.precision().product_dtype(), self.rows * self.up.out_features())?;
        let mut target = self.x.map(|x| grads.target(x, self.rows * self.up.in_features())).transpose()?;
        grads.column_sums([self.bias.as_ref()], |device, sums| {
            let input = BackwardInput {
                dy: dy.as_ref(),
                derivative: self.derivative.as_ref(),
                up: self.up.matrix(),
                down: self.down.matrix(),
            };
            let dx = target.as_mut().map(|target| (target.scratch.as_mut(), target.accumulate));
            device.feed_forward_backward(input, hidden.as_mut(), sums, dx)
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
