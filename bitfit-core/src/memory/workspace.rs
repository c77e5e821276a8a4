//! [`Workspace`]: a device and its pool of buffers. [`Scratch`]: one of these buffers, in use.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ndarray::ArrayView2;

use super::{
    Tensor,
    pool::{self, Loan, Pool},
};
use crate::{
    DType, Device, Result,
    backend::{Slice, SliceMut},
};

/// A device and its pool of free buffers. Clones share the pool.
pub struct Workspace<D: Device> {
    shared: Arc<SharedPool<D>>,
}

/// The device and pool that clones of a workspace and its buffers share.
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
    /// A workspace on `device` with no buffers yet.
    pub fn new(device: D) -> Self {
        Self { shared: Arc::new(SharedPool { device, pool: Mutex::new(Pool::new()) }) }
    }

    /// The device of the buffers.
    pub fn device(&self) -> &D {
        &self.shared.device
    }

    /// The size in bytes of all buffers, in use or free, that the workspace keeps; none on a device that
    /// [reuses memory](Device::reuses_memory) itself. It is constant from the second step of a shape on. Over steps
    /// of many shapes, it is at most half more than what the largest step needs by itself.
    pub fn allocated_bytes(&self) -> usize {
        self.shared.lock().held() * size_of::<f32>()
    }

    /// Frees every buffer that is not in use. Work of another size can then begin as on a new workspace.
    pub fn clear(&self) {
        let free = self.shared.lock().clear();
        drop(free);
    }

    /// Marks the start of a pass through a network. Buffers that the pass does not use may be used for other sizes, or
    /// be freed when it needs new ones.
    pub(crate) fn begin_pass(&self) {
        self.shared.lock().begin_pass();
    }

    /// A buffer of `len` f32 with unspecified contents.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device is out of memory.
    pub fn scratch(&self, len: usize) -> Result<Scratch<D>> {
        self.scratch_of(DType::F32, len)
    }

    /// A buffer of `len` elements of type `dtype` with unspecified contents.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device is out of memory.
    pub fn scratch_of(&self, dtype: DType, len: usize) -> Result<Scratch<D>> {
        if self.device().reuses_memory() {
            let buffer = self.device().allocate(dtype.words(len))?;
            return Ok(self.scratch_in(Place::Own(buffer), dtype, len));
        }
        let class = pool::class(dtype.words(len));
        let reused = self.shared.lock().take(class);
        let loan = match reused {
            Some(loan) => loan,
            None => {
                let room = self.shared.lock().make_room(class);
                drop(room);
                let buffer = self.shared.device.allocate(pool::class_len(class))?;
                self.shared.lock().add_new(class, buffer)
            }
        };
        Ok(self.scratch_in(Place::Lent(loan), dtype, len))
    }

    fn scratch_in(&self, place: Place<D::Buffer>, dtype: DType, len: usize) -> Scratch<D> {
        Scratch { place: Some(place), len, dtype, shared: Arc::clone(&self.shared) }
    }

    /// A tensor `[rows, cols]` with a copy of `values`, row-major.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if there are not `rows * cols` values;
    /// [`Error::Device`](crate::Error::Device) if the device is out of memory.
    pub fn matrix(&self, rows: usize, cols: usize, values: &[f32]) -> Result<Tensor<D>> {
        if rows.checked_mul(cols) != Some(values.len()) {
            return Err(crate::Error::shape("input", "the data", &[rows, cols], &[values.len()]));
        }
        let mut scratch = self.scratch(values.len())?;
        self.device().write(values, scratch.as_mut())?;
        Tensor::new(scratch, rows, cols)
    }

    /// A tensor with a copy of `array`; [`Workspace::matrix`] takes a slice.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device is out of memory.
    pub fn tensor(&self, array: ArrayView2<'_, f32>) -> Result<Tensor<D>> {
        let mut scratch = self.scratch(array.len())?;
        match array.as_slice() {
            Some(data) => self.device().write(data, scratch.as_mut())?,
            None => self.device().write(&array.iter().copied().collect::<Vec<_>>(), scratch.as_mut())?,
        }
        Tensor::new(scratch, array.nrows(), array.ncols())
    }
}

impl<D: Device> fmt::Debug for Workspace<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").field("device", self.device()).field("bytes", &self.allocated_bytes()).finish()
    }
}

impl<D: Device> SharedPool<D> {
    fn lock(&self) -> MutexGuard<'_, Pool<D::Buffer>> {
        // The pool is consistent after every call, so a poisoned lock is harmless.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a scratch's buffer comes from.
enum Place<B> {
    /// From a device that reuses memory itself.
    Own(B),
    /// From the pool.
    Lent(Loan<B>),
}

/// A buffer of a [`Workspace`], with exclusive access; returned to the workspace when dropped.
pub struct Scratch<D: Device> {
    /// `None` only during `drop`.
    place: Option<Place<D::Buffer>>,
    len: usize,
    dtype: DType,
    shared: Arc<SharedPool<D>>,
}

impl<D: Device> Scratch<D> {
    /// The number of elements that were requested.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether the buffer has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements, for reading.
    pub fn as_ref(&self) -> Slice<'_, D> {
        Slice {
            buffer: match self.place.as_ref().expect("a scratch has its buffer until it is dropped") {
                Place::Own(buffer) => buffer,
                Place::Lent(loan) => &loan.buffer,
            },
            offset: 0,
            len: self.len,
            dtype: self.dtype,
        }
    }

    /// The elements, for writing.
    pub fn as_mut(&mut self) -> SliceMut<'_, D> {
        SliceMut {
            buffer: match self.place.as_mut().expect("a scratch has its buffer until it is dropped") {
                Place::Own(buffer) => buffer,
                Place::Lent(loan) => &mut loan.buffer,
            },
            offset: 0,
            len: self.len,
            dtype: self.dtype,
        }
    }
}

impl<D: Device> Drop for Scratch<D> {
    fn drop(&mut self) {
        if let Some(Place::Lent(loan)) = self.place.take() {
            self.shared.lock().put(loan);
        }
    }
}

impl<D: Device> fmt::Debug for Scratch<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<D: Device> Scratch<D> {
    /// The device of the buffer.
    pub(super) fn device(&self) -> &D {
        &self.shared.device
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    #[test]
    fn values_of_a_slice_come_back_and_another_number_is_refused() {
        let workspace = Workspace::new(Cpu::default());
        let matrix = workspace.matrix(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!((matrix.shape(), matrix.to_vec().unwrap()), ([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        for (rows, cols) in [(2, 2), (usize::MAX, 2)] {
            let message = workspace.matrix(rows, cols, &[0.0; 3]).unwrap_err().to_string();
            assert_eq!(message, format!("input: the data has shape [3], expected [{rows}, {cols}]"));
        }
        let message = matrix.item().unwrap_err().to_string();
        assert_eq!(message, "item: the matrix has shape [2, 3], expected [1, 1]");
        assert_eq!(workspace.matrix(1, 1, &[7.0]).unwrap().item().unwrap(), 7.0);
    }

    #[test]
    fn a_dropped_buffer_is_reused() {
        let workspace = Workspace::new(Cpu::default());
        drop(workspace.scratch(1000).unwrap());
        let before = workspace.allocated_bytes();
        let a = workspace.scratch(990).unwrap();
        assert_eq!(workspace.allocated_bytes(), before);
        let _b = workspace.scratch(990).unwrap();
        assert!(workspace.allocated_bytes() > before);
        assert_eq!(a.len(), 990);
    }
}
