//! The micro-kernels, and which of them an instruction set uses.
//!
//! - [`Operand`]: the element types of the left operand.
//! - `vectors`: micro-kernels that hold a tile of the output in vector registers, and `transposed`: those that hold the
//!   transpose of one.
//! - `tiles`: micro-kernels that hold it in AMX's tile registers, and `amx`: their products of bfloat16.

#[cfg(target_arch = "x86_64")]
mod amx;
mod operand;
#[cfg(target_arch = "x86_64")]
pub(super) mod tiles;
mod transposed;
mod vectors;

#[cfg(target_arch = "x86_64")]
pub(in crate::cpu::gemm) use amx::AmxProduct;
pub use operand::{Operand, Pair};
pub(in crate::cpu::gemm) use transposed::{TransposedTile, transposed_kernels};
pub(in crate::cpu::gemm) use vectors::{VectorKernel, VectorTile};

use crate::cpu::simd::{Isa, Portable, Simd};

/// The micro-kernels of an instruction set, and the shape of the panels that they read.
#[derive(Clone, Copy)]
pub(in crate::cpu::gemm) struct Kernels<T: 'static> {
    /// f32 lanes of a vector.
    pub lanes: usize,
    /// Vectors across a whole panel.
    pub vectors: usize,
    /// The number of steps of k in a panel is a multiple of this.
    pub depth_multiple: usize,
    pub kind: KernelKind<T>,
}

/// The registers that hold a tile of the output.
#[derive(Clone, Copy)]
pub(in crate::cpu::gemm) enum KernelKind<T: 'static> {
    /// Vector registers; `table[rows - 1][vectors - 1]` is the micro-kernel of a tile.
    Vectors(&'static [&'static [VectorKernel<T>]]),
    /// AMX's tile registers.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl<T: Operand> Kernels<T> {
    /// The micro-kernels of `isa`, or of the best instruction set of this CPU if it lacks `isa`.
    pub fn of(isa: Isa) -> Self {
        let in_vectors =
            |lanes, vectors, table| Self { lanes, vectors, depth_multiple: 1, kind: KernelKind::Vectors(table) };
        match isa.available() {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx if T::IS_BF16 => Self {
                lanes: 16,
                vectors: tiles::NR / tiles::COLS,
                depth_multiple: tiles::STEPS,
                kind: KernelKind::Amx,
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 | Isa::Amx => in_vectors(16, 3, vectors::Table::<T>::AVX512_BF16),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => in_vectors(16, 3, vectors::Table::<T>::AVX512),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => in_vectors(8, 2, vectors::Table::<T>::AVX2),
            // Eight lanes are two registers of NEON, which has 32 of them, or of SSE, which has 16.
            _ => in_vectors(Portable::LANES, 1, vectors::Table::<T>::PORTABLE),
        }
    }

    /// NR: the columns of a whole panel.
    pub fn nr(&self) -> usize {
        self.lanes * self.vectors
    }
}
