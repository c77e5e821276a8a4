//! Windows of a device's buffers.

use super::{DType, Device};

/// A window of a device buffer, for reading.
#[derive(Debug)]
pub struct Slice<'a, D: Device> {
    /// The buffer that holds it.
    pub buffer: &'a D::Buffer,
    /// The first element.
    pub offset: usize,
    /// The number of elements.
    pub len: usize,
    /// Their type; `offset` and `len` count such elements.
    pub dtype: DType,
}

impl<'a, D: Device> Slice<'a, D> {
    /// A window of f32.
    pub fn new(buffer: &'a D::Buffer, offset: usize, len: usize) -> Self {
        Self { buffer, offset, len, dtype: DType::F32 }
    }
}

impl<D: Device> Clone for Slice<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Slice<'_, D> {}

/// A window of a device buffer, for writing.
#[derive(Debug)]
pub struct SliceMut<'a, D: Device> {
    /// The buffer that holds it.
    pub buffer: &'a mut D::Buffer,
    /// The first element.
    pub offset: usize,
    /// The number of elements.
    pub len: usize,
    /// Their type; `offset` and `len` count such elements.
    pub dtype: DType,
}

impl<'a, D: Device> SliceMut<'a, D> {
    /// A window of f32.
    pub fn new(buffer: &'a mut D::Buffer, offset: usize, len: usize) -> Self {
        Self { buffer, offset, len, dtype: DType::F32 }
    }

    /// The same window for a shorter time.
    pub fn reborrow(&mut self) -> SliceMut<'_, D> {
        SliceMut { buffer: self.buffer, offset: self.offset, len: self.len, dtype: self.dtype }
    }

    /// The same window, read-only.
    pub fn as_slice(&self) -> Slice<'_, D> {
        Slice { buffer: self.buffer, offset: self.offset, len: self.len, dtype: self.dtype }
    }
}
