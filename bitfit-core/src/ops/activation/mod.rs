//! Element-wise functions `y = f(x)`, most of them activations; x and y have the same shape.
//!
//! | f | y | dx | saved |
//! |---|---|---|---|
//! | ReLU | `max(0, x)` | `dy` where `y > 0`, else 0 | y |
//! | GELU | `x Φ(x)`, Φ the normal distribution (arXiv 1606.08415) | `dy ∘ (Φ(x) + x φ(x))` | the derivative |
//! | tanh | `tanh x` | `dy ∘ (1 - y²)` | y |
//! | sigmoid | `1 / (1 + exp(-x))` | `dy ∘ y (1 - y)` | y |
//! | exp | `exp x` | `dy ∘ y` | y |
//!
//! y is saved without a copy: the node shares the tensor with its other readers. The derivative of GELU is not a
//! function of y, because GELU is not monotonic; forward computes it together with y from the same exponential, so that
//! x is not saved.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// An element-wise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// ReLU, `max(0, x)`.
    Relu,
    /// The exact GELU, `x Φ(x)`.
    Gelu,
    /// The hyperbolic tangent.
    Tanh,
    /// The logistic function, `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The exponential function.
    Exp,
}

impl Activation {
    /// The function's name, which is the name of its method on the tape.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Exp => "exp",
        }
    }
}

/// The device's part of the activations: `f` and its gradient, element by element.
pub trait Activations: Device {
    /// `y = f(x)`. Writes `f'(x)` to `slope` if it is given, which is allowed for [`Activation::Gelu`] only.
    fn activate(
        &self,
        f: Activation,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
        slope: Option<SliceMut<'_, Self>>,
    ) -> Result<()>;

    /// `dx = dy ∘ f'`, or `dx += dy ∘ f'` if `accumulate`; `saved` is y, or the derivative for [`Activation::Gelu`].
    fn activate_backward(
        &self,
        f: Activation,
        dy: Slice<'_, Self>,
        saved: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// ReLU of every element, `max(0, x)`; the result has x's shape. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn relu(&mut self, x: &Var<D>) -> Result<Var<D>> {
        self.activate(Activation::Relu, x)
    }

    /// The exact GELU of every element; the result has x's shape. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn gelu(&mut self, x: &Var<D>) -> Result<Var<D>> {
        self.activate(Activation::Gelu, x)
    }

    /// The hyperbolic tangent of every element; the result has x's shape. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn tanh(&mut self, x: &Var<D>) -> Result<Var<D>> {
        self.activate(Activation::Tanh, x)
    }

    /// The logistic function of every element, `1 / (1 + exp(-x))`; the result has x's shape. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn sigmoid(&mut self, x: &Var<D>) -> Result<Var<D>> {
        self.activate(Activation::Sigmoid, x)
    }

    /// The exponential of every element; the result has x's shape. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn exp(&mut self, x: &Var<D>) -> Result<Var<D>> {
        self.activate(Activation::Exp, x)
    }

    /// The function `f` of every element; the result has x's shape. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn activate(&mut self, f: Activation, x: &Var<D>) -> Result<Var<D>> {
        let x = &self.to_f32(x)?;
        let [rows, cols] = x.tensor().shape();
        let mut y = self.scratch(rows * cols)?;
        let mut slope = match (f, x.slot()) {
            (Activation::Gelu, Some(_)) => Some(self.scratch(rows * cols)?),
            _ => None,
        };
        self.device().activate(f, x.slice(), y.as_mut(), slope.as_mut().map(Scratch::as_mut))?;
        let y = Tensor::new(y, rows, cols)?;
        let Some(x) = x.slot() else { return Ok(self.constant(y)) };
        let saved = slope.map_or_else(|| Ok(y.clone()), |slope| Tensor::new(slope, rows, cols))?;
        Ok(self.record(y, Node { f, x, saved }))
    }
}

struct Node<D: Device> {
    f: Activation,
    x: Slot,
    /// y, or the derivative for GELU.
    saved: Tensor<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        self.f.name()
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dx = grads.target(self.x, dy.len())?;
        let to = dx.scratch.as_mut();
        grads.device().activate_backward(self.f, dy.as_ref(), self.saved.slice(), to, dx.accumulate)?;
        grads.put(dx);
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
