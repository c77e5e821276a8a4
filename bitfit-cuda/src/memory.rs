//! The memory of the device: buffers of the workspace, and a pool of buffers for the backend itself.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bitfit_core::{
    DType,
    backend::{Slice, SliceMut},
};
use cudarc::driver::{CudaContext, CudaSlice, DevicePtr, result, sys::CUmemPool_attribute};

use crate::{Cuda, Error, Result, launch::bytes_of, queue::Queue};

/// A buffer of 32-bit words on the device.
pub struct Buffer {
    /// `None` only during `drop`.
    words: Option<CudaSlice<u32>>,
    address: u64,
    queue: Arc<Queue>,
}

impl Buffer {
    /// Allocates `words` words with unspecified contents.
    pub(crate) fn new(queue: &Arc<Queue>, words: usize) -> Result<Self> {
        // The driver rejects an allocation of zero bytes.
        let words = words.max(1);
        queue.direct(|stream| {
            // SAFETY: the host reads device memory only by copying it, and any bits are a valid u32.
            let words = unsafe { stream.alloc::<u32>(words) }.map_err(Error::allocation("cuMemAlloc", words * 4))?;
            // The address does not change during the lifetime of the buffer.
            let (address, _) = words.device_ptr(stream);
            Ok(Self { address, words: Some(words), queue: Arc::clone(queue) })
        })
    }

    /// The number of words.
    pub(crate) fn words(&self) -> usize {
        self.memory().len()
    }

    /// The allocation, for copies.
    pub(crate) fn memory(&self) -> &CudaSlice<u32> {
        self.words.as_ref().expect("a buffer has its memory until it is dropped")
    }

    /// The allocation, for copies.
    pub(crate) fn memory_mut(&mut self) -> &mut CudaSlice<u32> {
        self.words.as_mut().expect("a buffer has its memory until it is dropped")
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
        // The memory is freed after the kernels that use it, in the order of the queue.
        let words = self.words.take();
        self.queue.release(|| drop(words));
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} words)", self.words())
    }
}

/// Configures the driver to keep freed memory for later allocations. Otherwise it returns the memory to the system
/// whenever the host waits for the device, which happens in every step.
pub(crate) fn keep_what_is_freed(context: &CudaContext) -> Result<()> {
    // Without memory pools, the driver allocates synchronously and there is nothing to configure.
    if !context.has_async_alloc() {
        return Ok(());
    }
    // SAFETY: the device handle is that of a live context.
    let pool = unsafe { result::device::get_mem_pool(context.cu_device()) };
    let pool = pool.map_err(Error::driver("cuDeviceGetMemPool"))?;
    let mut everything = u64::MAX;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the pool belongs to the device, and the attribute is a u64.
    unsafe { result::mem_pool::set_attribute(pool, attribute, (&raw mut everything).cast()) }
        .map_err(Error::driver("cuMemPoolSetAttribute"))
}

/// The peak of the memory that this process allocated on the device, in bytes; `None` without memory pools.
pub(crate) fn peak(context: &CudaContext) -> Result<Option<u64>> {
    if !context.has_async_alloc() {
        return Ok(None);
    }
    // SAFETY: the device handle is that of a live context.
    let pool = unsafe { result::device::get_mem_pool(context.cu_device()) };
    let pool = pool.map_err(Error::driver("cuDeviceGetMemPool"))?;
    let mut bytes = 0u64;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    // SAFETY: the pool belongs to the device, and the attribute is a u64.
    unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()) }
        .map_err(Error::driver("cuMemPoolGetAttribute"))?;
    Ok(Some(bytes))
}

/// A pool of buffers for the backend itself: partial sums, matrices rounded for a product, index lists of a batch.
/// After the first step of a shape none is allocated.
///
/// A buffer can be reused as soon as the last kernel that uses it is queued, because the next kernel is queued after
/// it.
#[derive(Debug)]
pub(crate) struct Pool {
    queue: Arc<Queue>,
    /// The free buffers, by the binary logarithm of their size.
    free: Mutex<Vec<Vec<Buffer>>>,
}

impl Pool {
    pub fn new(queue: Arc<Queue>) -> Arc<Self> {
        Arc::new(Self { queue, free: Mutex::default() })
    }

    /// A buffer of at least `words` words, taken from the pool or allocated.
    pub fn take(self: &Arc<Self>, words: usize) -> Result<PooledBuffer> {
        let class = words.max(64).next_power_of_two().trailing_zeros() as usize;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).get_mut(class).and_then(Vec::pop);
        let buffer = match free {
            Some(buffer) => buffer,
            None => Buffer::new(&self.queue, 1 << class)?,
        };
        Ok(PooledBuffer { buffer: Some(buffer), class, pool: Arc::clone(self) })
    }
}

/// A buffer of a [`Pool`]; returned to the pool when dropped.
pub(crate) struct PooledBuffer {
    /// `None` only during `drop`.
    buffer: Option<Buffer>,
    class: usize,
    pool: Arc<Pool>,
}

impl PooledBuffer {
    pub fn buffer(&self) -> &Buffer {
        self.buffer.as_ref().expect("a pooled buffer has its buffer until it is dropped")
    }

    pub fn buffer_mut(&mut self) -> &mut Buffer {
        self.buffer.as_mut().expect("a pooled buffer has its buffer until it is dropped")
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() <= self.class {
                free.resize_with(self.class + 1, Vec::new);
            }
            free[self.class].push(buffer);
        }
    }
}

impl fmt::Debug for PooledBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.buffer.fmt(f)
    }
}

/// A temporary matrix of the backend during an op.
#[derive(Debug)]
pub(crate) struct Temporary {
    pooled: PooledBuffer,
    len: usize,
    dtype: DType,
}

impl Temporary {
    pub fn as_ref(&self) -> Slice<'_, Cuda> {
        Slice { buffer: self.pooled.buffer(), offset: 0, len: self.len, dtype: self.dtype }
    }

    pub fn as_mut(&mut self) -> SliceMut<'_, Cuda> {
        SliceMut { buffer: self.pooled.buffer_mut(), offset: 0, len: self.len, dtype: self.dtype }
    }
}

/// A list of u32 on the device.
#[derive(Debug)]
pub struct Indices {
    pooled: PooledBuffer,
    len: usize,
}

impl Indices {
    pub(crate) fn new(pooled: PooledBuffer, len: usize) -> Self {
        Self { pooled, len }
    }

    /// The number of indices.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of the first index.
    pub(crate) fn pointer(&self) -> u64 {
        self.pooled.buffer().pointer(0, self.len, DType::F32)
    }
}

impl Cuda {
    /// A temporary matrix of `len` elements with unspecified contents.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if the device is out of memory.
    pub(crate) fn temporary(&self, dtype: DType, len: usize) -> bitfit_core::Result<Temporary> {
        let pooled = self.pool().take(dtype.words(len)).map_err(|error| self.error(error))?;
        Ok(Temporary { pooled, len, dtype })
    }
}
