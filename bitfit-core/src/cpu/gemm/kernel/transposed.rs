//! The micro-kernel of a product with the transpose of the matrix that panels hold, which computes the transpose of a
//! tile of it: `Cᵀ[MR×NR] += A[MR×k] · B[k×NR]`, A the panels and B the transpose of the other factor.
//!
//! Rows of the panels are read in place, one broadcast per row and step. Every element is the sum of its products in
//! the order of k, as in [`vectors`](super::vectors): both compute the same bits.

#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::{Avx2, Avx512};
use crate::{
    cpu::simd::{Isa, Portable, Simd},
    memory::Line,
};

/// The arguments of one call: `sums += a·b` for `panels * steps` steps of k.
pub(in crate::cpu::gemm) struct TransposedTile {
    /// Panels to read, `panel_stride` f32 apart.
    pub panels: usize,
    pub panel_stride: usize,
    /// Columns of each panel to read, each of them a step.
    pub steps: usize,
    /// Element `(i, step)` of a panel is at `i * a_stride + step`.
    pub a: *const f32,
    pub a_stride: usize,
    /// Whole vectors for each step, consecutive steps `b_stride` f32 apart.
    pub b: *const f32,
    pub b_stride: usize,
    /// Rows of whole vectors, `sums_stride` f32 apart.
    pub sums: *mut f32,
    pub sums_stride: usize,
}

/// A compiled micro-kernel.
///
/// # Safety
/// The CPU must support the instructions that it is compiled for. a, b and sums must be valid as the fields of
/// [`TransposedTile`] describe them, and sums must not be accessed by anyone else during the call.
pub(in crate::cpu::gemm) type TransposedKernel = unsafe fn(&TransposedTile);

/// The micro-kernels of `isa`, for the vectors of up to 32 lanes; `[rows - 1][vectors - 1]` is that of a tile.
pub(in crate::cpu::gemm) fn transposed_kernels(isa: Isa) -> &'static [&'static [TransposedKernel]] {
    macro_rules! table {
        ($kernel:ident; $($rows:literal)+; $vectors:tt) => {
            &[$(table!(@row $kernel $rows $vectors)),+]
        };
        (@row $kernel:ident $rows:literal [$($vectors:literal)+]) => {
            &[$($kernel::<$rows, $vectors>),+]
        };
    }
    match isa.available() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => table!(avx512; 1 2 3 4 5 6 7 8; [1 2]),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => table!(avx2; 1 2 3 4 5 6; [1 2]),
        _ => table!(portable; 1 2 3 4; [1]),
    }
}

/// The micro-kernel for a tile of `MR` rows of the panels and `NV` vectors.
///
/// # Safety
/// As for [`TransposedKernel`].
#[inline(always)]
unsafe fn micro_kernel<S: Simd, const MR: usize, const NV: usize>(s: S, t: &TransposedTile) {
    let sums_at = |i: usize, j: usize| t.sums.wrapping_add(i * t.sums_stride + j * S::LANES);
    let mut b = t.b;
    let mut sums = [[s.zero(); NV]; MR];
    for (i, sums) in sums.iter_mut().enumerate() {
        for (j, sum) in sums.iter_mut().enumerate() {
            // SAFETY: NV whole vectors of row i < MR of the sums.
            *sum = unsafe { s.load_ptr(sums_at(i, j)) };
        }
    }

    macro_rules! step {
        ($a:expr) => {{
            let mut right = [s.zero(); NV];
            for (j, right) in right.iter_mut().enumerate() {
                // SAFETY: b holds NV whole vectors for each step.
                *right = unsafe { s.load_ptr(b.wrapping_add(j * S::LANES)) };
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: row i < MR of a, and one of the steps.
                let left = s.splat(unsafe { *$a.wrapping_add(i * t.a_stride) });
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = s.fma(left, right, *sum);
                }
            }
            b = b.wrapping_add(t.b_stride);
        }};
    }

    for panel in 0..t.panels {
        let mut a = t.a.wrapping_add(panel * t.panel_stride);
        for _ in 0..t.steps / Line::LEN {
            // What the next tile reads of the panel, which is too short for the CPU's own prefetcher.
            for i in MR..2 * MR {
                s.prefetch(a.wrapping_add(i * t.a_stride));
            }
            for _ in 0..Line::LEN / 4 {
                for u in 0..4 {
                    step!(a.wrapping_add(u));
                }
                a = a.wrapping_add(4);
            }
        }
        for at in 0..t.steps % Line::LEN {
            step!(a.wrapping_add(at));
        }
    }

    for (i, sums) in sums.into_iter().enumerate() {
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: NV whole vectors of row i < MR of the sums, which no one else accesses.
            unsafe { s.store_ptr(sums_at(i, j), sum) };
        }
    }
}

/// # Safety
/// As for [`TransposedKernel`].
unsafe fn portable<const MR: usize, const NV: usize>(t: &TransposedTile) {
    // SAFETY: the same contract as this function's.
    unsafe { micro_kernel::<_, MR, NV>(Portable, t) }
}

/// # Safety
/// As for [`TransposedKernel`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const MR: usize, const NV: usize>(t: &TransposedTile) {
    // SAFETY: the caller guarantees that the CPU has these features; the rest is the same contract.
    unsafe { micro_kernel::<_, MR, NV>(Avx2::assume(), t) }
}

/// # Safety
/// As for [`TransposedKernel`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512<const MR: usize, const NV: usize>(t: &TransposedTile) {
    // SAFETY: the caller guarantees that the CPU has these features; the rest is the same contract.
    unsafe { micro_kernel::<_, MR, NV>(Avx512::<false>::assume(), t) }
}
