//! `y = a · b`: a `[m, k]`, b `[k, n]`, y `[m, n]`.
//!
//! | gradient | formula | needs |
//! |---|---|---|
//! | of a | `da = dy · bᵀ` | b |
//! | of b | `db = aᵀ · dy` | a |
//!
//! So b is saved only if a needs a gradient, a only if b does, and neither is copied. For a product with a weight, use
//! [`linear`](super::linear): it packs a frozen weight once, reads a trainable one in place, and computes only the
//! entries of its gradient that the mask chooses.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Error, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

/// The device's part of matrix multiplication; `shape` is `[m, k, n]`.
pub trait Matmul: Device {
    /// `y = a · b`.
    fn matmul(&self, shape: [usize; 3], a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>) -> Result<()>;

    /// `da = dy · bᵀ`, or `da += dy · bᵀ` if `accumulate`.
    fn matmul_left(
        &self,
        shape: [usize; 3],
        dy: Slice<'_, Self>,
        b: Slice<'_, Self>,
        da: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;

    /// `db = aᵀ · dy`, or `db += aᵀ · dy` if `accumulate`.
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
    /// The matrix product `a · b`: a `[m, k]`, b `[k, n]`, result `[m, n]`. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of rows of b is not the number of columns of a.
    pub fn matmul(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>> {
        let (a, b) = (&self.to_f32(a)?, &self.to_f32(b)?);
        let shape = [a.rows(), a.cols(), b.cols()];
        let [m, k, n] = shape;
        if b.rows() != k {
            return Err(Error::shape("matmul", "b", &[k, n], &b.tensor().shape()));
        }
        let mut y = self.scratch(m * n)?;
        self.device().matmul(shape, a.slice(), b.slice(), y.as_mut())?;
        let y = Tensor::new(y, m, n)?;
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
    /// The slot of each operand with the value of the other, present if the operand needs a gradient.
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

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
