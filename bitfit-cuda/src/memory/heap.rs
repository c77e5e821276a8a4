//! The memory of a device that buffers take: a range of addresses to which the driver adds memory at the end, and whose
//! blocks the host gives out.
//!
//! An allocation by the driver takes 10 to 20 µs, a block of the heap a tenth of one. Work is executed in order, so a
//! block can be used again as soon as the last kernel that uses it is queued. Memory that was added stays until the
//! heap is dropped.
//!
//! `BITFIT_CUDA_MEMORY=separate` takes every buffer from the driver instead. compute-sanitizer and the emulated driver
//! then find an access beyond a buffer, and a use of one that was freed.

use std::{
    ffi::OsStr,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::driver::{
    CudaContext, result,
    sys::{self, CUdevice_attribute, CUmemPool_attribute, CUresult},
};

use super::blocks::Blocks;
use crate::{Error, Result, queue::Queue};

/// The variable that chooses where buffers come from.
const VARIABLE: &str = "BITFIT_CUDA_MEMORY";

/// The size of the range of addresses, larger than the memory of any device.
const RESERVED: usize = 1 << 39;

/// The memory that is added at least, unless the device has less: fewer calls of the driver in a first step.
const GROWTH: u64 = 16 << 20;

/// The memory of a device.
#[derive(Debug)]
pub(crate) struct Heap {
    context: Arc<CudaContext>,
    queue: Arc<Queue>,
    /// `None` if every buffer is the driver's.
    range: Option<Mutex<Range>>,
}

/// A range of addresses, and the memory in it.
#[derive(Debug)]
struct Range {
    base: u64,
    blocks: Blocks,
    /// The memory from the beginning on, in the order in which it was added, and the size of each part.
    parts: Vec<(sys::CUmemGenericAllocationHandle, u64)>,
    mapped: u64,
    granularity: u64,
}

impl Heap {
    /// The heap of a device whose context is the thread's current one.
    pub fn new(context: &Arc<CudaContext>, queue: &Arc<Queue>) -> Result<Arc<Self>> {
        let separate = match std::env::var_os(VARIABLE).as_deref().map(OsStr::to_string_lossy).as_deref() {
            None | Some("heap") => false,
            Some("separate") => true,
            Some(other) => return Err(Error::Memory { found: other.to_owned() }),
        };
        let supported = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED;
        let supported = context.attribute(supported).map_err(Error::driver("cuDeviceGetAttribute"))? == 1;
        let range = if supported && !separate { Range::new(context)?.map(Mutex::new) } else { None };
        if range.is_none() {
            keep_what_is_freed(context)?;
        }
        Ok(Arc::new(Self { context: Arc::clone(context), queue: Arc::clone(queue), range }))
    }

    /// The address of `bytes` bytes, at least one, with unspecified contents.
    pub fn take(&self, bytes: usize) -> Result<u64> {
        match &self.range {
            Some(range) => range.lock().unwrap_or_else(PoisonError::into_inner).take(&self.context, bytes as u64),
            None => self.queue.direct(|stream| {
                let taken = if self.context.has_async_alloc() {
                    // SAFETY: the stream is live.
                    unsafe { result::malloc_async(stream.cu_stream(), bytes) }
                } else {
                    // SAFETY: a context is current.
                    unsafe { result::malloc_sync(bytes) }
                };
                taken.map_err(Error::allocation("cuMemAlloc", bytes))
            }),
        }
    }

    /// Returns what [`Heap::take`] gave for `bytes`, after everything that was queued before.
    pub fn give(&self, address: u64, bytes: usize) {
        match &self.range {
            Some(range) => {
                self.queue.reuse(address..address + bytes as u64);
                let range = &mut *range.lock().unwrap_or_else(PoisonError::into_inner);
                range.blocks.give(address - range.base, bytes as u64);
            }
            None => self.queue.release(|stream| {
                // An error cannot be handled, and the next call of the driver reports it too.
                let _ = if self.context.has_async_alloc() {
                    // SAFETY: the memory was allocated by `take`, and nothing that is queued later uses it.
                    unsafe { result::free_async(address, stream.cu_stream()) }
                } else {
                    // SAFETY: as above; the call waits for what is queued.
                    unsafe { result::free_sync(address) }
                };
            }),
        }
    }

    /// The peak of the memory, in bytes; `None` if it is the driver's and it has no pools.
    pub fn peak(&self) -> Result<Option<u64>> {
        if let Some(range) = &self.range {
            return Ok(Some(range.lock().unwrap_or_else(PoisonError::into_inner).mapped));
        }
        if !self.context.has_async_alloc() {
            return Ok(None);
        }
        // SAFETY: the device handle is that of a live context.
        let pool = unsafe { result::device::get_mem_pool(self.context.cu_device()) };
        let pool = pool.map_err(Error::driver("cuDeviceGetMemPool"))?;
        let mut bytes = 0u64;
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        // SAFETY: the pool belongs to the device, and the attribute is a u64.
        unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()) }
            .map_err(Error::driver("cuMemPoolGetAttribute"))?;
        Ok(Some(bytes))
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        if let Some(range) = &mut self.range {
            // Memory is not removed while a kernel may use it.
            self.queue.end();
            range.get_mut().unwrap_or_else(PoisonError::into_inner).free();
        }
    }
}

/// The description of memory on the device of a context.
fn properties(context: &CudaContext) -> sys::CUmemAllocationProp {
    sys::CUmemAllocationProp {
        type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
        location: location(context),
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    }
}

fn location(context: &CudaContext) -> sys::CUmemLocation {
    sys::CUmemLocation { type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, id: context.ordinal() as i32 }
}

/// The result of a call of the driver.
fn done(status: CUresult, call: &'static str) -> Result<()> {
    status.result().map_err(Error::driver(call))
}

impl Range {
    /// A range without memory; `None` if there are not enough addresses.
    fn new(context: &CudaContext) -> Result<Option<Self>> {
        let (mut granularity, mut base) = (0usize, 0u64);
        let option = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_RECOMMENDED;
        // SAFETY: the driver reads the properties and writes the number.
        let status = unsafe { sys::cuMemGetAllocationGranularity(&mut granularity, &properties(context), option) };
        done(status, "cuMemGetAllocationGranularity")?;
        // SAFETY: the driver writes the address.
        if unsafe { sys::cuMemAddressReserve(&mut base, RESERVED, 0, 0, 0) } != CUresult::CUDA_SUCCESS {
            return Ok(None);
        }
        let granularity = granularity.max(1) as u64;
        Ok(Some(Self { base, blocks: Blocks::default(), parts: Vec::new(), mapped: 0, granularity }))
    }

    fn take(&mut self, context: &CudaContext, bytes: u64) -> Result<u64> {
        let start = self.blocks.take(bytes);
        let missing = self.blocks.end().saturating_sub(self.mapped);
        if missing > 0 {
            let grown = match self.grow(context, missing.max(GROWTH)) {
                Err(Error::OutOfMemory { .. }) if missing < GROWTH => self.grow(context, missing),
                other => other,
            };
            if let Err(error) = grown {
                self.blocks.give(start, bytes);
                return Err(match error {
                    Error::OutOfMemory { .. } => Error::OutOfMemory { bytes: bytes as usize },
                    other => other,
                });
            }
        }
        Ok(self.base + start)
    }

    /// Adds memory at the end.
    fn grow(&mut self, context: &CudaContext, bytes: u64) -> Result<()> {
        context.bind_to_thread().map_err(Error::driver("cuCtxSetCurrent"))?;
        let bytes = bytes.next_multiple_of(self.granularity);
        if self.mapped + bytes > RESERVED as u64 {
            return Err(Error::OutOfMemory { bytes: bytes as usize });
        }
        let (size, at) = (bytes as usize, self.base + self.mapped);
        let mut handle = 0;
        // SAFETY: the driver reads the properties and writes the handle.
        unsafe { sys::cuMemCreate(&mut handle, size, &properties(context), 0) }
            .result()
            .map_err(Error::allocation("cuMemCreate", size))?;
        let access = sys::CUmemAccessDesc {
            location: location(context),
            flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        // SAFETY: the addresses are in the reserved range, behind those that have memory; the handle is that of memory
        // of this size.
        let mapped = done(unsafe { sys::cuMemMap(at, size, 0, handle, 0) }, "cuMemMap").and_then(|()| {
            // SAFETY: the addresses have memory now.
            let status = unsafe { sys::cuMemSetAccess(at, size, &access, 1) };
            done(status, "cuMemSetAccess").inspect_err(|_| {
                // SAFETY: nothing uses the addresses yet.
                let _ = unsafe { sys::cuMemUnmap(at, size) };
            })
        });
        if let Err(error) = mapped {
            // SAFETY: the memory is not mapped.
            let _ = unsafe { sys::cuMemRelease(handle) };
            return Err(error);
        }
        self.parts.push((handle, bytes));
        self.mapped += bytes;
        Ok(())
    }

    /// Gives everything back to the driver.
    fn free(&mut self) {
        let mut at = self.base;
        for (handle, bytes) in self.parts.drain(..) {
            // SAFETY: the memory was mapped here by `grow`, and nothing uses it any more. Errors cannot be handled.
            let _ = unsafe { (sys::cuMemUnmap(at, bytes as usize), sys::cuMemRelease(handle)) };
            at += bytes;
        }
        // SAFETY: the range was reserved by `new`, and has no memory.
        let _ = unsafe { sys::cuMemAddressFree(self.base, RESERVED) };
    }
}

/// Configures the driver to keep freed memory for later allocations. Otherwise it returns the memory to the system
/// whenever the host waits for the device, which happens in every step.
fn keep_what_is_freed(context: &CudaContext) -> Result<()> {
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
