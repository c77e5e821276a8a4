//! The memory of the device: buffers, temporary matrices and lists, which are all taken from the heap.

mod blocks;
mod heap;

use std::{fmt, sync::Arc};

use bitfit_core::{
    DType,
    backend::{Slice, SliceMut},
};

pub(crate) use heap::Heap;

use crate::{Cuda, Result, launch::bytes_of};

/// A buffer of 32-bit words on the device.
pub struct Buffer {
    address: u64,
    words: usize,
    heap: Arc<Heap>,
}

impl Buffer {
    /// A buffer of `words` words with unspecified contents.
    pub(crate) fn new(heap: &Arc<Heap>, words: usize) -> Result<Self> {
        // The driver rejects an allocation of zero bytes.
        let words = words.max(1);
        Ok(Self { address: heap.take(words * 4)?, words, heap: Arc::clone(heap) })
    }

    /// The number of words.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// The heap that the buffer is of, as a number that distinguishes it from those of other devices.
    pub(crate) fn heap_id(&self) -> usize {
        Arc::as_ptr(&self.heap).addr()
    }

    /// The address of the first element of a slice.
    ///
    /// # Panics
    /// If the slice is out of bounds.
    pub(crate) fn pointer(&self, offset: usize, len: usize, dtype: DType) -> u64 {
        let size = bytes_of(dtype);
        let end = (offset + len) * size;
        assert!(end <= self.words() * 4, "{len} elements of {dtype:?} at {offset} of {} bytes", self.words() * 4);
        self.address + (offset * size) as u64
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.heap.give(self.address, self.words * 4);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} words)", self.words())
    }
}

/// A temporary matrix of the backend: of an op, or until its sums are added.
#[derive(Debug)]
pub(crate) struct Temporary {
    buffer: Buffer,
    len: usize,
    dtype: DType,
}

impl Temporary {
    pub fn as_ref(&self) -> Slice<'_, Cuda> {
        Slice { buffer: &self.buffer, offset: 0, len: self.len, dtype: self.dtype }
    }

    pub fn as_mut(&mut self) -> SliceMut<'_, Cuda> {
        SliceMut { buffer: &mut self.buffer, offset: 0, len: self.len, dtype: self.dtype }
    }
}

/// A list of u32 on the device, alone in its buffer or with others that were copied with it.
#[derive(Debug)]
pub struct Indices {
    buffer: Arc<Buffer>,
    first: usize,
    len: usize,
}

impl Indices {
    /// The list of `len` words of a buffer from `first` on.
    pub(crate) fn new(buffer: Arc<Buffer>, first: usize, len: usize) -> Self {
        Self { buffer, first, len }
    }

    /// The number of indices.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// As [`Buffer::heap_id`].
    pub(crate) fn heap_id(&self) -> usize {
        self.buffer.heap_id()
    }

    /// The address of the first index.
    pub(crate) fn pointer(&self) -> u64 {
        self.buffer.pointer(self.first, self.len, DType::F32)
    }
}

impl Cuda {
    /// A temporary matrix of `len` elements with unspecified contents.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if the device is out of memory.
    pub(crate) fn temporary(&self, dtype: DType, len: usize) -> bitfit_core::Result<Temporary> {
        let buffer = Buffer::new(self.heap(), dtype.words(len)).map_err(|error| self.error(error))?;
        Ok(Temporary { buffer, len, dtype })
    }
}
