//! The CUDA backend of bitfit: [`Cuda`] implements `bitfit_core::Device` and all op traits that `bitfit_core::Backend`
//! sums. The model, the training loop and the optimizer are written against these traits and run on it unchanged.
//!
//! Building this crate requires nothing of CUDA. The driver, NVRTC and cuBLASLt are loaded when the first device is
//! opened, and a missing library is an [`Error`]:
//!
//! ```
//! match bitfit_cuda::Cuda::new(0) {
//!     Ok(device) => println!("{device:?}"),
//!     Err(error) => println!("no GPU: {error}"),
//! }
//! ```
//!
//! Kernels are in `.cu` files next to the Rust code that launches them, `ops/<op>/<op>.cu`. NVRTC compiles a file for
//! the device when its op first runs, and the result is cached on disk.

mod cache;
mod compile;
mod device;
mod error;
mod kernels;
mod launch;
mod library;
mod memory;
#[cfg(feature = "nccl")]
mod nccl;
mod ops;
mod products;
mod queue;
mod staging;
mod sums;

pub use compile::Target;
pub use device::{Cuda, Matrix};
pub use error::{Error, Result};
pub use kernels::{compile_all, source_names};
pub use memory::{Buffer, Indices};
#[cfg(feature = "nccl")]
pub use nccl::NcclRank;
