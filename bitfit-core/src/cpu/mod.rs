//! The CPU backend: [`Cpu`], with memory and operations on whole buffers. The ops are in each op's `cpu.rs`, and use
//! the SIMD vectors of `simd` and the matrix products of `gemm`.
//!
//! Work is split into fixed blocks of rows, whatever the number of threads, and sums over blocks are added in their
//! order, so results are bit-identical for any number of threads.

#[cfg(feature = "engine")]
mod buffer;
#[cfg(feature = "engine")]
mod device;
#[cfg(feature = "engine")]
mod float;
#[cfg(feature = "engine")]
pub(crate) mod gemm;
#[cfg(feature = "engine")]
mod matrix;
mod rows;
pub(crate) mod simd;

pub(crate) use rows::{load, store};
pub use simd::{Isa, UnsupportedIsa};

#[cfg(feature = "engine")]
pub use {buffer::Buffer, device::Cpu, matrix::Matrix};

#[cfg(feature = "engine")]
pub(crate) use {
    float::{Elements, ElementsMut, Float},
    rows::{ELEMENT_BLOCK, ROW_BLOCK, blocks, blocks_of, optional_blocks, sum_columns},
};
