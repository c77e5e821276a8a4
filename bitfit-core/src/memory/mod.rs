//! Buffers that are lent out and come back: after the first step of a shape, a step allocates no activation.
//!
//! A [`Workspace`] is a device and its pool of buffers. A [`Scratch`] is one buffer on loan, with one owner who may write
//! it; a [`Tensor`] is a finished matrix that any number may read. When the last owner lets go, the buffer is free again:
//! what a step keeps is exactly what the tape's nodes hold on to.

mod host;
mod line;
mod pool;
mod thread_scratch;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use ndarray::{Array2, ArrayView2};

pub use self::host::{HostTensor, SharedBytes};
use self::pool::{Loan, Pool};
pub(crate) use self::{
    line::Line,
    thread_scratch::{ThreadScratch, with_thread_value},
};
use crate::{
    DType, Device, Error, Result,
    backend::{Slice, SliceMut},
};

/// A device and the buffers it has free.
pub struct Workspace<D: Device> {
    shared: Arc<SharedPool<D>>,
}

struct SharedPool<D: Device> {
    device: D,
    pool: Mutex<Pool<D::Buffer>>,
}

impl<D: Device> Clone for Workspace<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<D: Device> Workspace<D> {
    /// An empty workspace on `device`.
    pub fn new(device: D) -> Self {
        Self { shared: Arc::new(SharedPool { device, pool: Mutex::new(Pool::new()) }) }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.shared.device
    }

    /// Bytes held on the device now, lent or free. Constant from the second step of a shape on; over steps of many
    /// shapes at most half more than the one that needs most holds alone.
    pub fn allocated_bytes(&self) -> usize {
        self.shared.lock().held() * size_of::<f32>()
    }

    /// Tells that a new pass through a network begins: buffers that it does not ask for may serve other sizes, or be
    /// given back to the device, once it asks for new ones.
    pub(crate) fn begin_pass(&self) {
        self.shared.lock().begin_pass();
    }

    /// Lends a buffer of `len` f32 with unspecified contents.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is out of memory.
    pub fn scratch(&self, len: usize) -> Result<Scratch<D>> {
        self.scratch_of(DType::F32, len)
    }

    /// Lends a buffer of `len` elements of a type with unspecified contents.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is out of memory.
    pub fn scratch_of(&self, dtype: DType, len: usize) -> Result<Scratch<D>> {
        let class = pool::class(dtype.words(len));
        let reused = self.shared.lock().lend(class);
        let loan = match reused {
            Some(loan) => loan,
            None => {
                let room = self.shared.lock().make_room(class);
                drop(room);
                let buffer = self.shared.device.allocate(pool::class_len(class))?;
                self.shared.lock().lend_new(class, buffer)
            }
        };
        Ok(Scratch { loan: Some(loan), len, dtype, shared: Arc::clone(&self.shared) })
    }

    /// A tensor that holds a copy of `array`.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is out of memory.
    pub fn tensor(&self, array: ArrayView2<'_, f32>) -> Result<Tensor<D>> {
        let mut scratch = self.scratch(array.len())?;
        match array.as_slice() {
            Some(data) => self.device().write(data, scratch.as_mut())?,
            None => self.device().write(&array.iter().copied().collect::<Vec<_>>(), scratch.as_mut())?,
        }
        Ok(Tensor::new(scratch, array.nrows(), array.ncols()))
    }
}

impl<D: Device> fmt::Debug for Workspace<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").field("device", self.device()).field("bytes", &self.allocated_bytes()).finish()
    }
}

impl<D: Device> SharedPool<D> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Pool<D::Buffer>> {
        // The pool is consistent after every call, so a panic elsewhere cannot have broken it.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer on loan from a [`Workspace`], with one owner who may write it. Goes back when dropped.
pub struct Scratch<D: Device> {
    /// `None` only while being dropped.
    loan: Option<Loan<D::Buffer>>,
    len: usize,
    dtype: DType,
    shared: Arc<SharedPool<D>>,
}

impl<D: Device> Scratch<D> {
    /// The number of elements asked for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Their type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The buffer, for reading.
    pub fn as_ref(&self) -> Slice<'_, D> {
        Slice {
            buffer: &self.loan.as_ref().expect("a scratch holds its buffer until it is dropped").buffer,
            offset: 0,
            len: self.len,
            dtype: self.dtype,
        }
    }

    /// The buffer, for writing.
    pub fn as_mut(&mut self) -> SliceMut<'_, D> {
        SliceMut {
            buffer: &mut self.loan.as_mut().expect("a scratch holds its buffer until it is dropped").buffer,
            offset: 0,
            len: self.len,
            dtype: self.dtype,
        }
    }
}

impl<D: Device> Drop for Scratch<D> {
    fn drop(&mut self) {
        if let Some(loan) = self.loan.take() {
            self.shared.lock().put(loan);
        }
    }
}

impl<D: Device> fmt::Debug for Scratch<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A finished matrix `[rows, cols]` on the device, row-major. Cloning shares it.
pub struct Tensor<D: Device> {
    data: Arc<Scratch<D>>,
    rows: usize,
    cols: usize,
}

impl<D: Device> Tensor<D> {
    /// Makes a filled buffer readable to all as a `[rows, cols]` matrix.
    ///
    /// # Panics
    /// When the buffer does not hold `rows * cols` elements.
    pub fn new(data: Scratch<D>, rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a [{rows}, {cols}] tensor over a buffer of {} f32", data.len());
        Self { data: Arc::new(data), rows, cols }
    }

    /// Rows: tokens, sequences, table entries.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: features, classes.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `[rows, cols]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// The elements' type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements, row by row.
    pub fn slice(&self) -> Slice<'_, D> {
        self.data.as_ref().as_ref()
    }

    /// A copy on the host, after everything that writes it is done.
    ///
    /// # Errors
    /// [`Error::Device`] when an earlier launch failed.
    pub fn to_array(&self) -> Result<Array2<f32>> {
        let mut array = Array2::zeros((self.rows, self.cols));
        let to = array.as_slice_mut().ok_or_else(|| Error::invalid("to_array", "the new array is not contiguous"))?;
        self.data.shared.device.read(self.slice(), to)?;
        Ok(array)
    }
}

impl<D: Device> Clone for Tensor<D> {
    fn clone(&self) -> Self {
        Self { data: Arc::clone(&self.data), rows: self.rows, cols: self.cols }
    }
}

impl<D: Device> fmt::Debug for Tensor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tensor").field("rows", &self.rows).field("cols", &self.cols).finish_non_exhaustive()
    }
}

/// A list of indices on the device whose bound is known on the host, so that an op can refuse it before it runs.
pub struct Indices<D: Device> {
    data: Arc<D::Indices>,
    len: usize,
    bound: usize,
}

impl<D: Device> Indices<D> {
    /// Copies `indices` to the device.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is out of memory.
    pub fn new(device: &D, indices: &[u32]) -> Result<Self> {
        let bound = indices.iter().max().map_or(0, |&max| max as usize + 1);
        Ok(Self { data: Arc::new(device.indices(indices)?), len: indices.len(), bound })
    }

    /// The device's list.
    pub fn data(&self) -> &D::Indices {
        &self.data
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more than the greatest.
    pub fn bound(&self) -> usize {
        self.bound
    }
}

impl<D: Device> Clone for Indices<D> {
    fn clone(&self) -> Self {
        Self { data: Arc::clone(&self.data), ..*self }
    }
}

impl<D: Device> fmt::Debug for Indices<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Indices").field("len", &self.len).field("bound", &self.bound).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    #[test]
    fn a_dropped_buffer_is_lent_again() {
        let workspace = Workspace::new(Cpu::default());
        drop(workspace.scratch(1000).unwrap());
        let before = workspace.allocated_bytes();
        let a = workspace.scratch(990).unwrap();
        assert_eq!(workspace.allocated_bytes(), before);
        let _b = workspace.scratch(990).unwrap();
        assert!(workspace.allocated_bytes() > before);
        assert_eq!(a.len(), 990);
    }

    #[test]
    fn a_tensor_comes_back_as_it_was_given_transposed_or_not() {
        let workspace = Workspace::new(Cpu::default());
        let array = Array2::from_shape_fn((3, 5), |(i, j)| (i * 10 + j) as f32);
        assert_eq!(workspace.tensor(array.view()).unwrap().to_array().unwrap(), array);
        assert_eq!(workspace.tensor(array.t()).unwrap().to_array().unwrap(), array.t());
    }
}
