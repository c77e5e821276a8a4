//! Whether the libraries of CUDA are on this machine. They are looked up at run time, and the crate that binds them
//! panics over one that is missing: so it is asked before anything of it is called.

use crate::{Error, Result};

/// The driver, libcuda.
pub(crate) fn driver() -> Result<()> {
    // SAFETY: runs the initialisers of the library, which is the driver's own.
    present(unsafe { cudarc::driver::sys::is_culib_present() }, Error::NoDriver)
}

/// The compiler of kernels, libnvrtc.
pub(crate) fn compiler() -> Result<()> {
    // SAFETY: as above, with the toolkit's own library.
    present(unsafe { cudarc::nvrtc::sys::is_culib_present() }, Error::NoCompiler)
}

/// The products of matrices, libcublasLt.
pub(crate) fn products() -> Result<()> {
    // SAFETY: as above, with the toolkit's own library.
    present(unsafe { cudarc::cublaslt::sys::is_culib_present() }, Error::NoProducts)
}

fn present(found: bool, missing: Error) -> Result<()> {
    if found { Ok(()) } else { Err(missing) }
}
