//! The device's memory: buffers that the workspace lends, and buffers of the backend's own that come back to a pool.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bitfit_core::{
    DType,
    backend::{Slice, SliceMut},
};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, result, sys::CUmemPool_attribute};

use crate::{Cuda, Error, Result, launch::bytes_of};

/// A run of 32-bit words on the device.
pub struct Buffer {
    words: CudaSlice<u32>,
    address: u64,
}

impl Buffer {
    /// Room for `words` words, of no particular contents.
    pub(crate) fn new(stream: &Arc<CudaStream>, words: usize) -> Result<Self> {
        // A request for nothing is refused by the driver.
        let words = words.max(1);
        // SAFETY: device memory is never read by the host but through copies, for which any bits are a u32.
        let words = unsafe { stream.alloc::<u32>(words) }.map_err(Error::allocation("cuMemAlloc", words * 4))?;
        // The address stays the same for the buffer's life.
        let (address, _) = words.device_ptr(stream);
        Ok(Self { address, words })
    }

    /// Words it holds.
    pub(crate) fn words(&self) -> usize {
        self.words.len()
    }

    /// The memory itself, for copies.
    pub(crate) fn memory(&self) -> &CudaSlice<u32> {
        &self.words
    }

    /// The memory itself, for copies.
    pub(crate) fn memory_mut(&mut self) -> &mut CudaSlice<u32> {
        &mut self.words
    }

    /// The address of a window's first element.
    ///
    /// # Panics
    /// When the window reaches out of the buffer.
    pub(crate) fn pointer(&self, offset: usize, len: usize, dtype: DType) -> u64 {
        let size = bytes_of(dtype);
        let end = (offset + len) * size;
        assert!(end <= self.words() * 4, "{len} elements of {dtype:?} at {offset} of {} bytes", self.words() * 4);
        self.address + (offset * size) as u64
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} words)", self.words())
    }
}

/// Lets the driver keep what is freed for the allocations to come. Without it, it gives the memory back to the system whenever
/// the host waits for the device, which it does in every step, and fetches it again where a batch is larger than those before.
pub(crate) fn keep_what_is_freed(context: &CudaContext) -> Result<()> {
    // A device without pools allocates the other way.
    if !context.has_async_alloc() {
        return Ok(());
    }
    // SAFETY: the device is the context's.
    let pool = unsafe { result::device::get_mem_pool(context.cu_device()) };
    let pool = pool.map_err(Error::driver("cuDeviceGetMemPool"))?;
    let mut everything = u64::MAX;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the pool is the device's, and the attribute is a u64.
    unsafe { result::mem_pool::set_attribute(pool, attribute, (&raw mut everything).cast()) }
        .map_err(Error::driver("cuMemPoolSetAttribute"))
}

/// The most bytes that were allocated at a time, by everything in this process that uses the device; `None` without pools.
pub(crate) fn peak(context: &CudaContext) -> Result<Option<u64>> {
    if !context.has_async_alloc() {
        return Ok(None);
    }
    // SAFETY: the device is the context's.
    let pool = unsafe { result::device::get_mem_pool(context.cu_device()) };
    let pool = pool.map_err(Error::driver("cuDeviceGetMemPool"))?;
    let mut bytes = 0u64;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    // SAFETY: the pool is the device's, and the attribute is a u64.
    unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()) }
        .map_err(Error::driver("cuMemPoolGetAttribute"))?;
    Ok(Some(bytes))
}

/// Buffers that the backend needs for itself, and that come back: sums of blocks, matrices rounded for a product, the lists
/// of a batch. After the first step of a shape none is allocated.
///
/// A buffer may be lent again as soon as the last kernel that uses it is queued: the next one is queued behind it.
#[derive(Debug)]
pub(crate) struct Pool {
    stream: Arc<CudaStream>,
    /// By the power of two that is their size.
    free: Mutex<Vec<Vec<Buffer>>>,
}

impl Pool {
    pub fn new(stream: Arc<CudaStream>) -> Arc<Self> {
        Arc::new(Self { stream, free: Mutex::default() })
    }

    /// Lends room for `words` words.
    pub fn lend(self: &Arc<Self>, words: usize) -> Result<PooledBuffer> {
        let class = words.max(64).next_power_of_two().trailing_zeros() as usize;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).get_mut(class).and_then(Vec::pop);
        let buffer = match free {
            Some(buffer) => buffer,
            None => Buffer::new(&self.stream, 1 << class)?,
        };
        Ok(PooledBuffer { buffer: Some(buffer), class, pool: Arc::clone(self) })
    }
}

/// A buffer on loan from a [`Pool`]; goes back when dropped.
pub(crate) struct PooledBuffer {
    /// `None` only while being dropped.
    buffer: Option<Buffer>,
    class: usize,
    pool: Arc<Pool>,
}

impl PooledBuffer {
    pub fn buffer(&self) -> &Buffer {
        self.buffer.as_ref().expect("a loan holds its buffer until it is dropped")
    }

    pub fn buffer_mut(&mut self) -> &mut Buffer {
        self.buffer.as_mut().expect("a loan holds its buffer until it is dropped")
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

/// A matrix of the backend's own for the length of an op, for what the traits have no buffer for.
#[derive(Debug)]
pub(crate) struct Temporary {
    lent: PooledBuffer,
    len: usize,
    dtype: DType,
}

impl Temporary {
    pub fn as_ref(&self) -> Slice<'_, Cuda> {
        Slice { buffer: self.lent.buffer(), offset: 0, len: self.len, dtype: self.dtype }
    }

    pub fn as_mut(&mut self) -> SliceMut<'_, Cuda> {
        SliceMut { buffer: self.lent.buffer_mut(), offset: 0, len: self.len, dtype: self.dtype }
    }
}

/// A list of u32 on the device.
#[derive(Debug)]
pub struct Indices {
    lent: PooledBuffer,
    len: usize,
}

impl Indices {
    pub(crate) fn new(lent: PooledBuffer, len: usize) -> Self {
        Self { lent, len }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of the first.
    pub(crate) fn pointer(&self) -> u64 {
        self.lent.buffer().pointer(0, self.len, DType::F32)
    }
}

impl Cuda {
    /// Lends a buffer of `len` elements with unspecified contents for the length of an op.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] when the device is out of memory.
    pub(crate) fn temporary(&self, dtype: DType, len: usize) -> bitfit_core::Result<Temporary> {
        let lent = self.pool().lend(dtype.words(len)).map_err(|error| self.error(error))?;
        Ok(Temporary { lent, len, dtype })
    }
}
