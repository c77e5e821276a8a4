//! Functions of one element: `y = f(x)`, x and y of any one shape.
//!
//! | f | y | dx | kept |
//! |---|---|---|---|
//! | ReLU | `max(0, x)` | `dy` where `y > 0`, else 0 | y |
//! | GELU | `x Φ(x)`, the exact one with Φ the normal distribution (arXiv 1606.08415) | `dy ∘ (Φ(x) + x φ(x))` | the factor |
//! | tanh | `tanh x` | `dy ∘ (1 - y²)` | y |
//!
//! y is kept without a copy: the node shares it with whoever reads it next. The GELU's derivative is no function of y, as
//! the GELU falls and rises; it is made in forward, beside y and out of the same exponential, so that x need not be kept.

mod cpu;
pub mod reference;

use crate::{Backend, Backward, Device, Grads, Result, Scratch, Slice, SliceMut, Slot, Tape, Tensor, Var};

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `x Φ(x)`.
    Gelu,
    /// `tanh x`.
    Tanh,
}

impl Activation {
    /// Its name, as in the tape's methods.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::Tanh => "tanh",
        }
    }
}

/// The device's half of the op.
pub trait Activations: Device {
    /// `y = f(x)`; writes the derivative to `slope` where it is given, which it may be for [`Activation::Gelu`] alone.
    fn activate(
        &self,
        f: Activation,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
        slope: Option<SliceMut<'_, Self>>,
    ) -> Result<()>;

    /// `dx = dy ∘ f'`, or `dx += dy ∘ f'`; `kept` is y, for [`Activation::Gelu`] the derivative.
    fn activate_backward(
        &self,
        f: Activation,
        dy: Slice<'_, Self>,
        kept: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// `max(0, x)`, element by element; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn relu(&mut self, x: &Var<D>) -> Result<Var<D>> {
        self.activate(Activation::Relu, x)
    }

    /// The exact GELU, element by element; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn gelu(&mut self, x: &Var<D>) -> Result<Var<D>> {
        self.activate(Activation::Gelu, x)
    }

    /// `tanh x`, element by element; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the device is out of memory.
    pub fn tanh(&mut self, x: &Var<D>) -> Result<Var<D>> {
        self.activate(Activation::Tanh, x)
    }

    fn activate(&mut self, f: Activation, x: &Var<D>) -> Result<Var<D>> {
        let x = &self.widen(x)?;
        let [rows, cols] = x.tensor().shape();
        let mut y = self.scratch(rows * cols)?;
        let mut slope = match (f, x.slot()) {
            (Activation::Gelu, Some(_)) => Some(self.scratch(rows * cols)?),
            _ => None,
        };
        self.device().activate(f, x.slice(), y.as_mut(), slope.as_mut().map(Scratch::as_mut))?;
        let y = Tensor::new(y, rows, cols);
        let Some(x) = x.slot() else { return Ok(self.constant(y)) };
        let kept = slope.map_or_else(|| y.clone(), |slope| Tensor::new(slope, rows, cols));
        Ok(self.record(y, Node { f, x, kept }))
    }
}

struct Node<D: Device> {
    f: Activation,
    x: Slot,
    /// y; the derivative for GELU.
    kept: Tensor<D>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        self.f.name()
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dx = grads.target(self.x, dy.len())?;
        let to = dx.scratch.as_mut();
        grads.device().activate_backward(self.f, dy.as_ref(), self.kept.slice(), to, dx.accumulate)?;
        grads.put(dx);
        Ok(())
    }
}

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
