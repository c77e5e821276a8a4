//! `y = a + b` and `y = a ∘ b`, element by element; b is of a's shape `[m, n]`, or a row `[1, n]` that meets every row of a.
//!
//! | op | da | db | db where b is a row | kept |
//! |---|---|---|---|---|
//! | add | `dy` | `dy` | `Σₜ dy` | nothing |
//! | mul | `dy ∘ b` | `dy ∘ a` | `Σₜ dy ∘ a` | b where a needs a gradient, a where b does |
//!
//! What is kept is shared with its other readers, not copied.

mod cpu;
pub mod reference;

use crate::{
    Backend, Backward, Device, Error, Grads, Result, Scratch, Slice, SliceMut, Slot, Tape, Target, Tensor, Var,
};

/// The device's half of the ops. Where `b` is shorter than `a` it is one row of it.
pub trait Arithmetic: Device {
    /// `y = a + b`.
    fn add(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>) -> Result<()>;

    /// `y = a ∘ b`, or `y += a ∘ b`.
    fn mul(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()>;

    /// `sum[j] += Σₜ a[t, j] b[t, j]`; a and b of one shape, with as many columns as `sum` has elements.
    fn column_dot(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, sum: SliceMut<'_, Self>) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// `a + b`; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] when b is neither of a's shape nor a row of it.
    pub fn add(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>> {
        let [rows, cols] = check("add", a, b)?;
        let (a, b) = (&self.widen(a)?, &self.widen(b)?);
        let mut y = self.scratch(rows * cols)?;
        self.device().add(a.slice(), b.slice(), y.as_mut())?;
        let y = Tensor::new(y, rows, cols);
        if a.slot().is_none() && b.slot().is_none() {
            return Ok(self.constant(y));
        }
        Ok(self.record(y, Add { a: a.slot(), b: b.slot(), cols, b_len: b.slice().len }))
    }

    /// `a ∘ b`, the product element by element; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] when b is neither of a's shape nor a row of it.
    pub fn mul(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>> {
        let [rows, cols] = check("mul", a, b)?;
        let (a, b) = (&self.widen(a)?, &self.widen(b)?);
        let mut y = self.scratch(rows * cols)?;
        self.device().mul(a.slice(), b.slice(), y.as_mut(), false)?;
        let y = Tensor::new(y, rows, cols);
        if a.slot().is_none() && b.slot().is_none() {
            return Ok(self.constant(y));
        }
        let a_with_b = a.slot().map(|slot| (slot, b.tensor().clone()));
        let b_with_a = b.slot().map(|slot| (slot, a.tensor().clone()));
        Ok(self.record(y, Mul { a_with_b, b_with_a, b_len: b.slice().len }))
    }
}

fn check<D: Device>(op: &'static str, a: &Var<D>, b: &Var<D>) -> Result<[usize; 2]> {
    let shape = a.tensor().shape();
    let found = b.tensor().shape();
    if found == shape || found == [1, shape[1]] { Ok(shape) } else { Err(Error::shape(op, "b", &shape, &found)) }
}

struct Add {
    a: Option<Slot>,
    b: Option<Slot>,
    cols: usize,
    /// Shorter than dy where b is a row.
    b_len: usize,
}

impl<D: Backend> Backward<D> for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let device = grads.device();
        if let Some(b) = self.b.filter(|_| self.b_len < dy.len()) {
            let mut db = zeroed_target(grads, b, self.b_len)?;
            device.column_sum(dy.as_ref(), self.cols, 0, db.scratch.as_mut())?;
            grads.put(db);
        }
        // dy itself becomes the gradient of the last that asks for all of it; the one before gets a copy.
        let mut whole = [self.a, self.b.filter(|_| self.b_len == dy.len())].into_iter().flatten();
        match (whole.next(), whole.next()) {
            (Some(first), Some(last)) => {
                let mut da = grads.target(first, dy.len())?;
                match da.accumulate {
                    true => device.accumulate(dy.as_ref(), da.scratch.as_mut())?,
                    false => device.copy(dy.as_ref(), da.scratch.as_mut())?,
                }
                grads.put(da);
                grads.add(last, dy)
            }
            (Some(only), None) => grads.add(only, dy),
            _ => Ok(()),
        }
    }
}

struct Mul<D: Device> {
    /// Each needs the other's value, and only if it needs a gradient.
    a_with_b: Option<(Slot, Tensor<D>)>,
    b_with_a: Option<(Slot, Tensor<D>)>,
    /// Shorter than dy where b is a row.
    b_len: usize,
}

impl<D: Backend> Backward<D> for Mul<D> {
    fn name(&self) -> &'static str {
        "mul"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let device = grads.device();
        if let Some((slot, b)) = &self.a_with_b {
            let mut da = grads.target(*slot, dy.len())?;
            device.mul(dy.as_ref(), b.slice(), da.scratch.as_mut(), da.accumulate)?;
            grads.put(da);
        }
        if let Some((slot, a)) = &self.b_with_a {
            let db = if self.b_len == dy.len() {
                let mut db = grads.target(*slot, dy.len())?;
                device.mul(dy.as_ref(), a.slice(), db.scratch.as_mut(), db.accumulate)?;
                db
            } else {
                let mut db = zeroed_target(grads, *slot, self.b_len)?;
                device.column_dot(dy.as_ref(), a.slice(), db.scratch.as_mut())?;
                db
            };
            grads.put(db);
        }
        Ok(())
    }
}

/// A target for an op that only adds.
fn zeroed_target<D: Device>(grads: &mut Grads<'_, D>, slot: Slot, len: usize) -> Result<Target<D>> {
    let mut target = grads.target(slot, len)?;
    if !target.accumulate {
        grads.device().fill(0.0, target.scratch.as_mut())?;
    }
    Ok(target)
}

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
