//! [`Slice`] and [`SliceMut`]: ranges of elements of a device's buffers.

use super::{DType, Device};

/// A range of elements of a buffer, for reading.
#[derive(Debug)]
pub struct Slice<'a, D: Device> {
    /// The buffer.
    pub buffer: &'a D::Buffer,
    /// The first element.
    pub offset: usize,
    /// The number of elements.
    pub len: usize,
    /// The type of the elements; `offset` and `len` count elements of this type.
    pub dtype: DType,
}

impl<'a, D: Device> Slice<'a, D> {
    /// A range of f32 elements.
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

/// A range of elements of a buffer, for writing.
#[derive(Debug)]
pub struct SliceMut<'a, D: Device> {
    /// The buffer.
    pub buffer: &'a mut D::Buffer,
    /// The first element.
    pub offset: usize,
    /// The number of elements.
    pub len: usize,
    /// The type of the elements; `offset` and `len` count elements of this type.
    pub dtype: DType,
}

impl<'a, D: Device> SliceMut<'a, D> {
    /// A range of f32 elements.
    pub fn new(buffer: &'a mut D::Buffer, offset: usize, len: usize) -> Self {
        Self { buffer, offset, len, dtype: DType::F32 }
    }

    /// Reborrows the range for a shorter lifetime.
    pub fn reborrow(&mut self) -> SliceMut<'_, D> {
        SliceMut { buffer: self.buffer, offset: self.offset, len: self.len, dtype: self.dtype }
    }

    /// The same range, for reading.
    pub fn as_slice(&self) -> Slice<'_, D> {
        Slice { buffer: self.buffer, offset: self.offset, len: self.len, dtype: self.dtype }
    }
}
