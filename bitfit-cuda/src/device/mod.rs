//! [`Cuda`]: a GPU, the queue of work for it, and its kernels and memory pools.

mod lists;
mod matrix;
mod pass;
pub(crate) mod transfer;

use std::{fmt, sync::Arc};

use bitfit_core::Precision;
use cudarc::driver::{CudaContext, DriverError, sys::CUresult};

pub use matrix::Matrix;

use crate::{
    Error, Result, kernels::Kernels, library, memory::Heap, products::Products, queue::Queue, staging::Staging,
};

/// A GPU as a device. Clones share its queue and its memory.
#[derive(Clone)]
pub struct Cuda {
    shared: Arc<Shared>,
    precision: Precision,
    /// Whether f32 products round their factors to TF32.
    tf32: bool,
    /// Whether all products use this crate's own kernel.
    plain: bool,
}

/// The state that clones of a device share.
struct Shared {
    /// The name in messages, such as `cuda:0`.
    short_name: String,
    /// The name and architecture of the GPU.
    description: String,
    context: Arc<CudaContext>,
    queue: Arc<Queue>,
    kernels: Kernels,
    heap: Arc<Heap>,
    products: Products,
    lists: lists::Lists,
    staging: Staging,
    pass: pass::Pass,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What waits in the queue keeps buffers of the heap, and the heap keeps the queue. The kernels and the library
        // of products go next.
        self.queue.end();
    }
}

impl Cuda {
    /// The number of devices of the driver.
    ///
    /// # Errors
    /// [`Error::NoDriver`] if there is no driver; [`Error::Driver`] if it fails.
    pub fn count() -> Result<usize> {
        library::driver()?;
        match CudaContext::device_count() {
            Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
            Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(0),
            Err(error) => Err(Error::driver("cuInit")(error)),
        }
    }

    /// Opens device number `ordinal`, counted from 0 in the driver's order, in f32.
    ///
    /// # Errors
    /// [`Error::NoDriver`], [`Error::NoCompiler`] or [`Error::NoProducts`] if a library is missing;
    /// [`Error::OldDriver`], [`Error::OldCompiler`] or [`Error::OldProducts`] if one is too old;
    /// [`Error::NoDevice`]; [`Error::NoTarget`] if kernels cannot be compiled for the device; [`Error::Driver`] if the
    /// driver fails.
    pub fn new(ordinal: usize) -> Result<Self> {
        library::fit(library::driver()?, library::compiler()?, library::products()?)?;
        let count = Self::count()?;
        if ordinal >= count {
            return Err(Error::NoDevice { ordinal, count });
        }
        let context = CudaContext::new(ordinal).map_err(Error::driver("cuDevicePrimaryCtxRetain"))?;
        // SAFETY: the events would order the work of several streams, and there is only one. Pinned memory, for which
        // the host has to wait, has its own events (`staging`).
        unsafe { context.disable_event_tracking() };
        let queue = Queue::new(context.new_stream().map_err(Error::driver("cuStreamCreate"))?);
        let heap = Heap::new(&context, &queue)?;
        let (major, minor) = context.compute_capability().map_err(Error::driver("cuDeviceGetAttribute"))?;
        let capability = (10 * major + minor) as u32;
        let name = context.name().map_err(Error::driver("cuDeviceGetName"))?;
        Ok(Self {
            shared: Arc::new(Shared {
                short_name: format!("cuda:{ordinal}"),
                description: format!("{name}, sm_{capability}"),
                kernels: Kernels::new(capability)?,
                products: Products::new(&heap)?,
                lists: lists::Lists::default(),
                heap,
                staging: Staging::new(Arc::clone(&context)),
                pass: pass::Pass::default(),
                context,
                queue,
            }),
            precision: Precision::F32,
            tf32: false,
            plain: false,
        })
    }

    /// The same device with another precision.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same device with products of f32 on tensor cores that round the factors to TF32, 10 bits of mantissa. Has no
    /// effect in bfloat16.
    #[must_use]
    pub fn with_tf32(self) -> Self {
        Self { tf32: true, ..self }
    }

    /// The same device with all products computed by this crate's own kernel, which is otherwise used only if cuBLASLt
    /// has no algorithm. It is much slower and never uses TF32; it serves to find out whether cuBLASLt causes a wrong
    /// result.
    #[must_use]
    pub fn without_cublaslt(self) -> Self {
        Self { plain: true, ..self }
    }

    /// The same device without CUDA graphs, which serve to launch commands that come again and change no result; nor do
    /// clones of the device use them. It serves to find out whether they cause a wrong result.
    #[must_use]
    pub fn without_graphs(self) -> Self {
        self.shared.queue.disable_graphs();
        self
    }

    /// The number of CUDA graphs that were launched.
    pub fn graphs_launched(&self) -> u64 {
        self.shared.queue.graphs_launched()
    }

    /// The number of distinct products, by shape, types and alignment, for which cuBLASLt had no algorithm. They are
    /// computed by this crate's own kernel.
    pub fn products_refused(&self) -> usize {
        self.shared.products.refused()
    }

    /// The peak of this device's memory on the GPU in bytes: weights, activations, gradients and the workspace of
    /// products, and what lies between them, in parts of 16 MiB, without the memory of the driver itself. `None` if
    /// every buffer is the driver's and it has no memory pools, and so does not record it.
    ///
    /// # Errors
    /// [`Error::Driver`] if the driver fails.
    pub fn peak_memory(&self) -> Result<Option<u64>> {
        self.heap().peak()
    }

    /// Whether products use cuBLASLt.
    pub(crate) fn uses_cublaslt(&self) -> bool {
        !self.plain
    }

    /// Whether products of f32 round their factors to TF32.
    pub(crate) fn uses_tf32(&self) -> bool {
        self.tf32 && self.precision == Precision::F32
    }

    /// The compute capability that the kernels are compiled for, ten times major plus minor.
    pub fn capability(&self) -> u32 {
        self.shared.kernels.capability()
    }

    pub(crate) fn context(&self) -> &Arc<CudaContext> {
        &self.shared.context
    }

    pub(crate) fn work(&self) -> &Arc<Queue> {
        &self.shared.queue
    }

    pub(crate) fn kernels(&self) -> &Kernels {
        &self.shared.kernels
    }

    pub(crate) fn products(&self) -> &Products {
        &self.shared.products
    }

    pub(crate) fn heap(&self) -> &Arc<Heap> {
        &self.shared.heap
    }

    /// Converts an error to that of `bitfit_core`.
    pub(crate) fn error(&self, error: Error) -> bitfit_core::Error {
        bitfit_core::Error::Device { device: self.shared.short_name.clone(), reason: error.to_string() }
    }

    fn full_name(&self) -> String {
        let precision = if self.uses_tf32() { "tf32" } else { self.precision.name() };
        format!("{} ({}, {precision})", self.shared.short_name, self.shared.description)
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cuda").field(&self.full_name()).finish()
    }
}
