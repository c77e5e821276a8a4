//! The CUDA backend of bitfit: [`Cuda`] is a `bitfit_core::Device` with all the op traits that `bitfit_core::ops::Backend`
//! sums. The model, the training loop and the optimizer are written against those traits and run on it as they are.
//!
//! Nothing of CUDA is needed to build this crate. The driver, NVRTC and cuBLASLt are looked up when a device is first asked
//! for, and one that is missing is an [`Error`] that says so:
//!
//! ```
//! match bitfit_cuda::Cuda::new(0) {
//!     Ok(device) => println!("{device:?}"),
//!     Err(error) => println!("no GPU: {error}"),
//! }
//! ```
//!
//! Kernels stand in `.cu` files beside the Rust that launches them, `ops/<op>/<op>.cu` under core's names of ops. NVRTC
//! compiles a file when its op first runs, for the very device, and the result is kept on disk.

mod cache;
mod compile;
mod device;
mod error;
mod kernels;
mod launch;
mod library;
mod memory;
mod ops;
mod products;
mod staging;
mod sums;

pub use compile::Target;
pub use device::{Cuda, Matrix};
pub use error::{Error, Result};
pub use kernels::{compile_all, source_names};
pub use memory::{Buffer, Indices};
