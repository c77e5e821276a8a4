//! [`Slice`] and [`SliceMut`]: ranges of elements of a device's buffers.

use std::ops::Range;

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

    /// Some rows of a matrix with `cols` columns.
    ///
    /// # Panics
    /// If it does not have them.
    #[must_use]
    pub fn rows(self, rows: &Range<usize>, cols: usize) -> Self {
        assert!(rows.start <= rows.end && rows.end * cols <= self.len, "rows {rows:?} of a slice of {}", self.len);
        Self { offset: self.offset + rows.start * cols, len: rows.len() * cols, ..self }
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

    /// Some rows of a matrix with `cols` columns.
    ///
    /// # Panics
    /// If it does not have them.
    #[must_use]
    pub fn rows(self, rows: &Range<usize>, cols: usize) -> Self {
        assert!(rows.start <= rows.end && rows.end * cols <= self.len, "rows {rows:?} of a slice of {}", self.len);
        Self { offset: self.offset + rows.start * cols, len: rows.len() * cols, ..self }
    }

    /// The same range, for reading.
    pub fn as_slice(&self) -> Slice<'_, D> {
        Slice { buffer: self.buffer, offset: self.offset, len: self.len, dtype: self.dtype }
    }
}
