//! `y = gelu(x · W₁ᵀ + b₁) · W₂ᵀ`: the feed-forward of an encoder layer with both weights frozen, its second bias left to
//! the op behind ([`crate::ops::add_norm`]).
//!
//! x `[T, H]`, W₁ `[F, H]`, b₁ `[F]`, W₂ `[H', F]`, y `[T, H']`; the exact GELU, by erf (Hendrycks and Gimpel, arXiv
//! 1606.08415). Backward, with z = x · W₁ᵀ + b₁:
//!
//! ```text
//! dz = gelu'(z) ∘ (dy · W₂)      db₁ = Σₜ dz      dx = dz · W₁
//! ```
//!
//! Kept: gelu'(z) alone, neither z nor gelu(z) nor x, and nothing where nothing below or b₁ trains. Being one op, it lets a
//! device apply the activation to a tile of the first product while the tile is in its cache, and the derivative and the
//! bias's column sum to a tile of the backward one.

mod cpu;
pub mod reference;

use crate::{
    Backend, Backward, ColumnSums, Device, Error, FrozenMatrix, Grads, Param, Result, Scratch, Slice, SliceMut, Slot,
    Tape, Tensor, Trained, Var,
};

/// The device's half of the op.
pub trait FeedForward: Device {
    /// See the [module](self). `hidden` is room for `[T, F]`; `derivative` `[T, F]` is filled where backward will read it.
    fn feed_forward(
        &self,
        input: Input<'_, Self>,
        hidden: SliceMut<'_, Self>,
        derivative: Option<SliceMut<'_, Self>>,
        y: SliceMut<'_, Self>,
    ) -> Result<()>;

    /// See the [module](self). `hidden` is room for `[T, F]`.
    fn feed_forward_backward(
        &self,
        input: BackwardInput<'_, Self>,
        hidden: SliceMut<'_, Self>,
        sums: ColumnSums<'_, Self, 1>,
        dx: Option<(SliceMut<'_, Self>, bool)>,
    ) -> Result<()>;
}

/// What forward reads.
#[derive(Debug)]
pub struct Input<'a, D: Device> {
    /// `[T, H]`.
    pub x: Slice<'a, D>,
    /// W₁ `[F, H]`.
    pub up: &'a D::Matrix,
    /// b₁ `[F]`.
    pub bias: Slice<'a, D>,
    /// W₂ `[H', F]`.
    pub down: &'a D::Matrix,
}

/// What backward reads.
#[derive(Debug)]
pub struct BackwardInput<'a, D: Device> {
    /// `[T, H']`.
    pub dy: Slice<'a, D>,
    /// gelu'(z) `[T, F]`.
    pub derivative: Slice<'a, D>,
    /// W₁ `[F, H]`.
    pub up: &'a D::Matrix,
    /// W₂ `[H', F]`.
    pub down: &'a D::Matrix,
}

impl<D: Backend> Tape<'_, D> {
    /// `gelu(x · upᵀ + bias) · downᵀ`; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not follow from one another; [`Error::Invalid`] when the weights are laid out for
    /// different types.
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
        // Its gradient is added to the residual stream's, which is f32.
        let x = &self.widen(x)?;
        if up.dtype() != down.dtype() {
            return Err(Error::invalid("feed_forward", "the weights are laid out for different types"));
        }
        if down.in_features() != ffn {
            let found = [down.out_features(), down.in_features()];
            return Err(Error::shape("feed_forward", "the second weight", &[down.out_features(), ffn], &found));
        }
        let bias_trains = self.trains(bias).cloned();
        let needs = x.slot().is_some() || bias_trains.is_some();
        let mut derivative = needs.then(|| self.scratch_of(up.dtype(), rows * ffn)).transpose()?;
        let mut y = self.scratch_of(down.dtype(), rows * down.out_features())?;
        let mut hidden = self.scratch_of(up.dtype(), rows * ffn)?;
        let input = Input { x: x.slice_in(up.dtype()), up: up.matrix(), bias: self.value(bias), down: down.matrix() };
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
    bias: Option<Trained>,
    up: FrozenMatrix<D>,
    down: FrozenMatrix<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "feed_forward"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut hidden = grads.scratch_of(self.up.dtype(), self.rows * self.up.out_features())?;
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

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
