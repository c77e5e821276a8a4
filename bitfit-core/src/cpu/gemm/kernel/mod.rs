//! The micro-kernels.

#[cfg(target_arch = "x86_64")]
mod amx;
mod vectors;

#[cfg(target_arch = "x86_64")]
pub(in crate::cpu::gemm) use amx::InTiles;
pub use vectors::Pair;
pub(in crate::cpu::gemm) use vectors::{Form, Kernels, Operand, Tile, TileFn};
