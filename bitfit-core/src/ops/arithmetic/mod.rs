//! `y = a + b`, `y = a - b` and `y = a ∘ b`, element by element; b has a's shape `[m, n]`, or is one row `[1, n]` that
//! is broadcast. And `y = c a` for a number c.
//!
//! | op | da | db | db if b is a row | saved |
//! |---|---|---|---|---|
//! | add | `dy` | `dy` | `Σₜ dy` | nothing |
//! | sub | `dy` | `-dy` | `-Σₜ dy` | nothing |
//! | scale | `c dy` | | | c |
//! | mul | `dy ∘ b` | `dy ∘ a` | `Σₜ dy ∘ a` | b if a needs a gradient, a if b does |
//!
//! Saved tensors are shared with their other readers, not copied.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Error, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    tape::{Backward, Grads, Slot, Target},
};

/// The device's part of sum, difference, product and scaling. If `b` is shorter than `a`, it is one row that is
/// broadcast.
pub trait Arithmetic: Device {
    /// `y = a + b`.
    fn add(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>) -> Result<()>;

    /// `y = a - b`.
    fn sub(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>) -> Result<()>;

    /// `y = factor x`, or `y += factor x` if `accumulate`.
    fn scale(&self, x: Slice<'_, Self>, factor: f32, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()>;

    /// `x = factor x`, in place.
    fn scale_in_place(&self, factor: f32, x: SliceMut<'_, Self>) -> Result<()>;

    /// `y = a ∘ b`, or `y += a ∘ b` if `accumulate`.
    fn mul(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()>;

    /// `sum[j] += Σₜ a[t, j] b[t, j]`; a and b have the same shape, with as many columns as `sum` has elements.
    fn column_dot(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, sum: SliceMut<'_, Self>) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The sum `a + b`, of a's shape `[m, n]`; b is `[m, n]` or `[1, n]`. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if b has neither a's shape nor that of one of its rows.
    pub fn add(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>> {
        let [rows, cols] = check("add", a, b)?;
        let (a, b) = (&self.to_f32(a)?, &self.to_f32(b)?);
        let mut y = self.scratch(rows * cols)?;
        self.device().add(a.slice(), b.slice(), y.as_mut())?;
        let y = Tensor::new(y, rows, cols)?;
        if a.slot().is_none() && b.slot().is_none() {
            return Ok(self.constant(y));
        }
        Ok(self.record(y, Add { a: a.slot(), b: b.slot(), cols, b_len: b.slice().len }))
    }

    /// The difference `a - b`, of a's shape `[m, n]`; b is `[m, n]` or `[1, n]`. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if b has neither a's shape nor that of one of its rows.
    pub fn sub(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>> {
        let [rows, cols] = check("sub", a, b)?;
        let (a, b) = (&self.to_f32(a)?, &self.to_f32(b)?);
        let mut y = self.scratch(rows * cols)?;
        self.device().sub(a.slice(), b.slice(), y.as_mut())?;
        let y = Tensor::new(y, rows, cols)?;
        if a.slot().is_none() && b.slot().is_none() {
            return Ok(self.constant(y));
        }
        Ok(self.record(y, Sub { a: a.slot(), b: b.slot(), cols, b_len: b.slice().len }))
    }

    /// The matrix times a number, `factor x`, of x's shape. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Invalid`] if the factor is not finite.
    pub fn scale(&mut self, x: &Var<D>, factor: f32) -> Result<Var<D>> {
        if !factor.is_finite() {
            return Err(Error::invalid("scale", format!("the factor is {factor}, expected a finite number")));
        }
        let x = &self.to_f32(x)?;
        let [rows, cols] = x.tensor().shape();
        let mut y = self.scratch(rows * cols)?;
        self.device().scale(x.slice(), factor, y.as_mut(), false)?;
        let y = Tensor::new(y, rows, cols)?;
        let Some(x) = x.slot() else { return Ok(self.constant(y)) };
        Ok(self.record(y, Scale { x, factor }))
    }

    /// The element-wise product `a ∘ b`, of a's shape `[m, n]`; b is `[m, n]` or `[1, n]`. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if b has neither a's shape nor that of one of its rows.
    pub fn mul(&mut self, a: &Var<D>, b: &Var<D>) -> Result<Var<D>> {
        let [rows, cols] = check("mul", a, b)?;
        let (a, b) = (&self.to_f32(a)?, &self.to_f32(b)?);
        let mut y = self.scratch(rows * cols)?;
        self.device().mul(a.slice(), b.slice(), y.as_mut(), false)?;
        let y = Tensor::new(y, rows, cols)?;
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
    /// The number of elements of b: less than dy's if b is a row.
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
        // The last input that takes the whole of dy takes the buffer itself; an input before it gets a copy.
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

struct Sub {
    a: Option<Slot>,
    b: Option<Slot>,
    cols: usize,
    /// The number of elements of b: less than dy's if b is a row.
    b_len: usize,
}

impl<D: Backend> Backward<D> for Sub {
    fn name(&self) -> &'static str {
        "sub"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let device = grads.device();
        if let Some(b) = self.b {
            let mut sum = (self.b_len < dy.len()).then(|| grads.scratch(self.b_len)).transpose()?;
            if let Some(sum) = &mut sum {
                device.fill(0.0, sum.as_mut())?;
                device.column_sum(dy.as_ref(), self.cols, 0, sum.as_mut())?;
            }
            let mut db = grads.target(b, self.b_len)?;
            let from = sum.as_ref().unwrap_or(&dy).as_ref();
            device.scale(from, -1.0, db.scratch.as_mut(), db.accumulate)?;
            grads.put(db);
        }
        self.a.map_or(Ok(()), |a| grads.add(a, dy))
    }
}

struct Scale {
    x: Slot,
    factor: f32,
}

impl<D: Backend> Backward<D> for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dx = grads.target(self.x, dy.len())?;
        grads.device().scale(dy.as_ref(), self.factor, dx.scratch.as_mut(), dx.accumulate)?;
        grads.put(dx);
        Ok(())
    }
}

struct Mul<D: Device> {
    /// The slot of each operand with the value of the other, present if the operand needs a gradient.
    a_with_b: Option<(Slot, Tensor<D>)>,
    b_with_a: Option<(Slot, Tensor<D>)>,
    /// The number of elements of b: less than dy's if b is a row.
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

/// A gradient buffer for a device function that only adds: zeroed unless it already holds a gradient.
fn zeroed_target<D: Device>(grads: &mut Grads<'_, D>, slot: Slot, len: usize) -> Result<Target<D>> {
    let mut target = grads.target(slot, len)?;
    if !target.accumulate {
        grads.device().fill(0.0, target.scratch.as_mut())?;
    }
    Ok(target)
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
