//! [`Gradient`] and [`Snapshot`]: buffers with the length and order of an arena.

use super::Entry;
use crate::{
    Device, Error, Result,
    backend::{Slice, SliceMut},
    ops::arithmetic::Arithmetic,
};

/// A copy of an arena's values, on its device; see [`Arena::snapshot`](super::Arena::snapshot).
#[derive(Debug)]
pub struct Snapshot<D: Device> {
    /// The number of the arena.
    pub(super) arena: u64,
    pub(super) buffer: D::Buffer,
    pub(super) len: usize,
}

/// The gradient of all values of an arena, in the arena's order. Ops add to it.
#[derive(Debug)]
pub struct Gradient<D: Device> {
    /// The number of the arena.
    pub(super) arena: u64,
    pub(super) buffer: D::Buffer,
    pub(super) len: usize,
}

impl<D: Device> Gradient<D> {
    /// All elements, for reading.
    pub fn slice(&self) -> Slice<'_, D> {
        Slice::new(&self.buffer, 0, self.len)
    }

    /// All elements, for writing.
    pub fn slice_mut(&mut self) -> SliceMut<'_, D> {
        SliceMut::new(&mut self.buffer, 0, self.len)
    }

    /// The elements of one entry of the arena, for writing.
    pub(crate) fn entry_mut(&mut self, entry: &Entry) -> SliceMut<'_, D> {
        SliceMut::new(&mut self.buffer, entry.offset, entry.len)
    }

    /// Copies the gradient to the host.
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed.
    pub fn read(&self, device: &D) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.len];
        device.read(self.slice(), &mut values)?;
        Ok(values)
    }

    /// Adds the gradient of another part of a batch, such as a micro-batch that another thread has run. The order of
    /// additions decides the last bits.
    ///
    /// # Errors
    /// [`Error::Foreign`] if it belongs to another arena; [`Error::Device`] if the device fails.
    pub fn add(&mut self, device: &D, other: &Self) -> Result<()> {
        if other.arena != self.arena {
            return Err(Error::foreign("gradient", "the gradient to add", "arena"));
        }
        device.accumulate(other.slice(), self.slice_mut())
    }

    /// Multiplies all elements by `factor`, such as one over the number of micro-batches.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the factor is not finite; [`Error::Device`] if the device fails.
    pub fn scale(&mut self, device: &D, factor: f32) -> Result<()>
    where
        D: Arithmetic,
    {
        if !factor.is_finite() {
            return Err(Error::invalid("gradient", format!("the factor is {factor}, expected a finite number")));
        }
        device.scale_in_place(factor, self.slice_mut())
    }

    /// Sets all elements to zero, for the next step.
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed.
    pub fn clear(&mut self, device: &D) -> Result<()> {
        device.fill(0.0, self.slice_mut())
    }
}
