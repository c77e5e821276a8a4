//! Four lanes with the baseline instructions of the target: SSE2 on x86-64, NEON on aarch64, plain floats elsewhere.
//! Compilers do not vectorise a kernel that keeps its sums in registers by themselves.
//!
//! Each file has the same functions over its own `Quad` and `Mask`, with the meanings of [`Simd`](super::Simd)'s.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(test, not(any(target_arch = "aarch64", target_arch = "x86_64"))))]
mod plain;
#[cfg(target_arch = "x86_64")]
mod sse2;

#[cfg(target_arch = "aarch64")]
pub(super) use neon::*;
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
pub(super) use plain::*;
#[cfg(target_arch = "x86_64")]
pub(super) use sse2::*;
