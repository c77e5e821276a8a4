//! [`Error`]: a missing library or device, or a failed call with its message.

use cudarc::driver::{DriverError, sys::CUresult};

/// What can go wrong with a CUDA device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no NVIDIA driver.
    #[error("no NVIDIA driver on this machine: libcuda was not found (it comes with the driver, not with the toolkit)")]
    NoDriver,
    /// The first libcuda that the loader finds is the toolkit's stub.
    #[error(
        "the libcuda that was found is the toolkit's stub for linking: remove its directory from LD_LIBRARY_PATH, so that \
         the driver's own is found"
    )]
    StubDriver,
    /// There is no NVRTC, so kernels cannot be compiled.
    #[error("NVRTC was not found: libnvrtc, of CUDA 12 or later, must be installed where the loader looks for it")]
    NoCompiler,
    /// There is no cuBLASLt, so there is no library for matrix products.
    #[error(
        "cuBLASLt was not found: libcublasLt, of CUDA 12 or later, must be installed where the loader looks for it"
    )]
    NoProducts,
    /// NVRTC is older than CUDA 12.
    #[error("NVRTC {version} is too old: libnvrtc of CUDA 12 or later is required")]
    OldCompiler {
        /// The version that was found.
        version: String,
    },
    /// cuBLASLt is older than CUDA 12.
    #[error("cuBLASLt {version} is too old: libcublasLt of CUDA 12 or later is required")]
    OldProducts {
        /// The version that was found.
        version: String,
    },
    /// The driver is older than the major version of CUDA of a library, whose code it cannot run.
    #[error(
        "the driver supports CUDA {driver} and cannot run code of {library}: install a newer driver, or libraries of \
         CUDA {}",
        .driver.split('.').next().unwrap_or_default()
    )]
    OldDriver {
        /// The version of CUDA that the driver supports.
        driver: String,
        /// The name and version of the library.
        library: String,
    },
    /// Kernels cannot be compiled for the architecture of the device.
    #[error(
        "no kernels for compute capability {}.{}: 7.5 (Turing) or newer is required, and an NVRTC that supports it or an \
         older one; NVRTC {compiler} starts at {}.{}",
        .capability / 10, .capability % 10, .oldest / 10, .oldest % 10
    )]
    NoTarget {
        /// The compute capability of the device, ten times major plus minor.
        capability: u32,
        /// The version of NVRTC.
        compiler: String,
        /// The oldest compute capability that this NVRTC compiles for.
        oldest: u32,
    },
    /// The driver does not have the requested device.
    #[error("no CUDA device {ordinal}: the driver has {count}")]
    NoDevice {
        /// The number of the requested device.
        ordinal: usize,
        /// The number of devices.
        count: usize,
    },
    /// The device is out of memory.
    #[error("out of memory for {bytes} bytes")]
    OutOfMemory {
        /// The size of the request, in bytes.
        bytes: usize,
    },
    /// `BITFIT_CUDA_MEMORY` has an unknown value.
    #[error("BITFIT_CUDA_MEMORY is \"{found}\", expected heap or separate")]
    Memory {
        /// The value.
        found: String,
    },
    /// A call of the driver failed. After some errors the process cannot use the device any more.
    #[error("{call} failed: {reason}")]
    Driver {
        /// The function of the driver.
        call: &'static str,
        /// The message of the driver.
        reason: String,
    },
    /// A call of NVRTC failed, for another reason than an error in a kernel.
    #[error("{call} failed: {reason}")]
    Compiler {
        /// The function of NVRTC.
        call: &'static str,
        /// The status that the library returned.
        reason: String,
    },
    /// A kernel's source does not compile.
    #[error("the kernels of {source_name} do not compile for {target}:\n{log}")]
    Compile {
        /// The name of the source.
        source_name: &'static str,
        /// The target, such as `sm_90`.
        target: String,
        /// The messages of the compiler.
        log: String,
    },
    /// A call of cuBLASLt failed.
    #[error("{call} failed for {product}: {status}")]
    Product {
        /// The function of cuBLASLt.
        call: &'static str,
        /// The shape and types of the product.
        product: String,
        /// The status that the library returned.
        status: String,
    },
    /// There is no NCCL, through which several GPUs exchange messages.
    #[error("NCCL was not found: {reason}; install it where the loader looks for it")]
    NoNccl {
        /// What the loader says.
        reason: String,
    },
    /// NCCL does not have a function that is used.
    #[error("this NCCL has no {function}: libnccl 2.13 or later is required")]
    OldNccl {
        /// The function.
        function: &'static str,
    },
    /// A call of NCCL failed, or the work that it queued.
    #[error("{call} failed: {reason} (with NCCL_DEBUG=WARN in the environment NCCL prints more)")]
    Nccl {
        /// The function of NCCL.
        call: &'static str,
        /// What the library says.
        reason: String,
    },
    /// NCCL does not reach another rank any more: that one has an error of its own, or its process has ended.
    #[error("{call} failed, because another rank has ended or is not reached: {reason}")]
    OtherRank {
        /// The function of NCCL.
        call: &'static str,
        /// What the library says.
        reason: String,
    },
    /// Ranks exchanged nothing more through NCCL after an error.
    #[error("an exchange through NCCL failed before: start the ranks again")]
    Disconnected,
}

/// The result type of this crate's own functions; the device traits use that of `bitfit_core`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether no usable GPU is present, as opposed to one that failed: the driver, a library or the device is missing
    /// or too old.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NoDriver
                | Self::StubDriver
                | Self::NoCompiler
                | Self::NoProducts
                | Self::NoDevice { .. }
                | Self::OldDriver { .. }
                | Self::OldCompiler { .. }
                | Self::OldProducts { .. }
                | Self::NoTarget { .. }
        )
    }

    /// The error of a failed call of the driver.
    pub(crate) fn driver(call: &'static str) -> impl Fn(DriverError) -> Self {
        move |error| Self::Driver { call, reason: words(error) }
    }

    /// The error of a failed allocation of `bytes` bytes.
    pub(crate) fn allocation(call: &'static str, bytes: usize) -> impl Fn(DriverError) -> Self {
        move |error| match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Self::OutOfMemory { bytes },
            _ => Self::Driver { call, reason: words(error) },
        }
    }
}

/// The driver's name and description of an error, if it has them.
fn words(error: DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|_| format!("error {}", error.0 as u32));
    match error.error_string() {
        Ok(description) => format!("{name}: {}", description.to_string_lossy()),
        Err(_) => name,
    }
}
