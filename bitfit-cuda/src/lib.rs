//! The CUDA backend of bitfit. **There is none yet**: this crate is its place in the house, and [`available`] says so.
//!
//! What belongs here is a device type that implements `bitfit_core::Device` and the op traits that `bitfit_core::ops::Backend`
//! sums, one folder for each op under the op's name in core, its kernels in a `.cu` file beside the Rust that launches them.
//! The model, the training loop and the optimizer are written against those traits and need no change. The libraries of CUDA
//! are to be found at run time, so that the crate goes on building on a machine that has none of them.
//!
//! ```
//! let error = bitfit_cuda::available().unwrap_err();
//! assert_eq!(error.to_string(), "the CUDA backend is not built yet; the CPU is the only device");
//! ```

/// Why there is no CUDA device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No build of this version holds the backend, whatever the machine has.
    #[error("the CUDA backend is not built yet; the CPU is the only device")]
    NotBuilt,
}

/// Whether a CUDA device can be used: not in this version, on any machine.
///
/// # Errors
/// [`Error::NotBuilt`], always.
pub fn available() -> Result<(), Error> {
    Err(Error::NotBuilt)
}
