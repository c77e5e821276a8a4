//! `y = a · b`: a `[m, k]`, b `[k, n]`, y `[m, n]`.
//!
//! | gradient | formula | needs |
//! |---|---|---|
//! | of a | `da = dy · bᵀ` | b |
//! | of b | `db = aᵀ · dy` | a |
//!
//! So b is kept only where a needs a gradient, a only where b does, and neither is copied. A product with a weight is
//! better written as a [`linear`](super::linear): that lays a frozen weight out once, reads a trained one in place, and
//! makes only the entries of its gradient that its mask chooses.

mod cpu;
pub mod reference;

use crate::{Backend, Backward, Device, Error, Grads, Result, Scratch, Slice, SliceMut, Slot, Tape, Tensor, Var};

/// The products of two matrices and of their gradients; `shape` is `[m, k, n]`.
pub trait Matmul: Device {
    /// `y = a · b`.
    fn matmul(&self, shape: [usize; 3], a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>) -> Result<()>;

    /// `da = dy · bᵀ`, or `da += dy · bᵀ`.
    fn matmul_left(
        &self,
        shape: [usize; 3],
        dy: Slice<'_, Self>,
        b: Slice<'_, Self>,
        da: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;

    /// `db = aᵀ · dy`, or `db += aᵀ · dy`.
    fn matmul_right(
        &self,
        shape: [usize; 3],
        a: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        db: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// `a · b`; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] when b has not as many rows as a has columns.
    pub fn matmul(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>> {
        let (a, b) = (&self.widen(a)?, &self.widen(b)?);
        let shape = [a.rows(), a.cols(), b.cols()];
        let [m, k, n] = shape;
        if b.rows() != k {
            return Err(Error::shape("matmul", "b", &[k, n], &b.tensor().shape()));
        }
        let mut y = self.scratch(m * n)?;
        self.device().matmul(shape, a.slice(), b.slice(), y.as_mut())?;
        let y = Tensor::new(y, m, n);
        if a.slot().is_none() && b.slot().is_none() {
            return Ok(self.constant(y));
        }
        let a_with_b = a.slot().map(|slot| (slot, b.tensor().clone()));
        let b_with_a = b.slot().map(|slot| (slot, a.tensor().clone()));
        Ok(self.record(y, Node { shape, a_with_b, b_with_a }))
    }
}

struct Node<D: Device> {
    shape: [usize; 3],
    /// Each needs the other's value, and only if it needs a gradient.
    a_with_b: Option<(Slot, Tensor<D>)>,
    b_with_a: Option<(Slot, Tensor<D>)>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let device = grads.device();
        let [m, k, n] = self.shape;
        if let Some((slot, b)) = &self.a_with_b {
            let mut da = grads.target(*slot, m * k)?;
            device.matmul_left(self.shape, dy.as_ref(), b.slice(), da.scratch.as_mut(), da.accumulate)?;
            grads.put(da);
        }
        if let Some((slot, a)) = &self.b_with_a {
            let mut db = grads.target(*slot, k * n)?;
            device.matmul_right(self.shape, a.slice(), dy.as_ref(), db.scratch.as_mut(), db.accumulate)?;
            grads.put(db);
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
