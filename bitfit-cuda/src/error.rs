//! The one error type of the crate: what of CUDA is missing, or which call failed and what it said.

use cudarc::driver::{DriverError, sys::CUresult};

/// What can go wrong with a CUDA device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine has no NVIDIA driver.
    #[error("no NVIDIA driver on this machine: libcuda was not found (it comes with the driver, not with the toolkit)")]
    NoDriver,
    /// The libcuda that the loader finds first is none.
    #[error(
        "the libcuda that was found is the toolkit's stub, which programs are linked with: leave its directory out of \
         LD_LIBRARY_PATH, so that the driver's own is found"
    )]
    StubDriver,
    /// The kernels cannot be compiled.
    #[error("NVRTC was not found: libnvrtc, of CUDA 12 or later, must be installed where the loader looks for it")]
    NoCompiler,
    /// The products of matrices have no library.
    #[error(
        "cuBLASLt was not found: libcublasLt, of CUDA 12 or later, must be installed where the loader looks for it"
    )]
    NoProducts,
    /// There is an NVRTC, of before CUDA 12.
    #[error("NVRTC {version} is too old: libnvrtc of CUDA 12 or later is needed")]
    OldCompiler {
        /// The one that was found.
        version: String,
    },
    /// There is a cuBLASLt, of before CUDA 12.
    #[error("cuBLASLt {version} is too old: libcublasLt of CUDA 12 or later is needed")]
    OldProducts {
        /// The one that was found.
        version: String,
    },
    /// The driver does not run what a library of a newer major version makes.
    #[error(
        "the driver is made for CUDA {driver} and does not run what {library} makes: it takes a newer driver, or \
         libraries of CUDA {}",
        .driver.split('.').next().unwrap_or_default()
    )]
    OldDriver {
        /// The version of CUDA that it is made for.
        driver: String,
        /// The library, and its version.
        library: String,
    },
    /// Kernels cannot be compiled for the device.
    #[error(
        "no kernels for compute capability {}.{}: it takes 7.5 (Turing) or newer, and an NVRTC that knows it or one before \
         it; this one, {compiler}, begins at {}.{}",
        .capability / 10, .capability % 10, .oldest / 10, .oldest % 10
    )]
    NoTarget {
        /// The device's, ten times major plus minor.
        capability: u32,
        /// NVRTC's version.
        compiler: String,
        /// The oldest compute capability that this NVRTC compiles for.
        oldest: u32,
    },
    /// There is a driver, but not the device asked for.
    #[error("there is no CUDA device {ordinal}: the driver shows {count}")]
    NoDevice {
        /// The number asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The device has not as much memory as was asked for.
    #[error("out of memory for {bytes} bytes")]
    OutOfMemory {
        /// What was asked for.
        bytes: usize,
    },
    /// A call of the driver failed. After some errors a process can do nothing more with the device.
    #[error("{call} failed: {reason}")]
    Driver {
        /// The driver's function.
        call: &'static str,
        /// The driver's own words.
        reason: String,
    },
    /// A call of NVRTC failed, other than by an error in a kernel.
    #[error("{call} failed: {reason}")]
    Compiler {
        /// NVRTC's function.
        call: &'static str,
        /// Its own words.
        reason: String,
    },
    /// A kernel's source does not compile.
    #[error("the kernels of {source_name} do not compile for {target}:\n{log}")]
    Compile {
        /// Whose kernels.
        source_name: &'static str,
        /// What they were compiled for, such as `sm_90`.
        target: String,
        /// The compiler's messages.
        log: String,
    },
    /// A call of cuBLASLt failed.
    #[error("{call} failed for {product}: {status}")]
    Product {
        /// cuBLASLt's function.
        call: &'static str,
        /// The product's shape and types.
        product: String,
        /// Its own words.
        status: String,
    },
}

/// A result of this crate's own functions; those of the device's traits have core's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether there is no GPU here that could be used, as opposed to one that failed: the driver, a library or the device is
    /// missing, or one of them is too old.
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

    /// A failed call of the driver's.
    pub(crate) fn driver(call: &'static str) -> impl Fn(DriverError) -> Self {
        move |error| Self::Driver { call, reason: words(error) }
    }

    /// A failed request for `bytes` of the device's memory.
    pub(crate) fn allocation(call: &'static str, bytes: usize) -> impl Fn(DriverError) -> Self {
        move |error| match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Self::OutOfMemory { bytes },
            _ => Self::Driver { call, reason: words(error) },
        }
    }
}

/// The driver's name for an error and its description, as far as it gives them.
fn words(error: DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|_| format!("error {}", error.0 as u32));
    match error.error_string() {
        Ok(description) => format!("{name}: {}", description.to_string_lossy()),
        Err(_) => name,
    }
}
