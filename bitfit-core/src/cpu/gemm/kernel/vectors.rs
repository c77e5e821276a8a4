//! The micro-kernel in vector registers: `C[MR×NR] += A[MR×KC] · B[KC×NR]`.
//!
//! It is written once over the vectors of [`Simd`] and the element type of the left operand, then compiled for each
//! instruction set and tile size. Rows of A are read in place, one broadcast per row and step; B is a packed panel, a
//! few vectors per step. Every element is the sum of its products in the order of k, whichever tile contains it.

use std::marker::PhantomData;

use super::Operand;
use crate::cpu::simd::{Portable, Simd};

/// Steps of k between two prefetches of A: one cache line.
const PREFETCH_STEPS: usize = 16;

/// Prefetch distance in a row of A, in steps.
const PREFETCH_AHEAD: usize = 32;

/// How long before its end a tile prefetches C, in cache lines of A. Much earlier, and the panel that streams through
/// the L1 cache would evict it again.
const PREFETCH_OUTPUT: usize = 2;

/// The arguments of one call of the micro-kernel: `c = scale * a·b`, or `c += scale * a·b` if `accumulate`.
pub(in crate::cpu::gemm) struct VectorTile<T> {
    /// Columns of a and rows of b, in elements.
    pub k: usize,
    /// Element `(i, k)` of a is at `i * a_strides[0] + k * a_strides[1]`.
    pub a: *const T,
    pub a_strides: [usize; 2],
    /// The panel: consecutive steps are `b_stride` f32 apart.
    pub b: *const f32,
    pub b_stride: usize,
    /// Element `(i, j)` of c is at `i * c_stride + j`.
    pub c: *mut f32,
    pub c_stride: usize,
    /// Columns to write; the panel holds whole vectors.
    pub cols: usize,
    pub scale: f32,
    pub accumulate: bool,
}

/// A compiled micro-kernel.
///
/// # Safety
/// The CPU must support the instructions that it is compiled for. a, b and c must be valid as the fields of
/// [`VectorTile`] describe them, b for whole vectors, and c must not be accessed by anyone else during the call.
pub(in crate::cpu::gemm) type VectorKernel<T> = unsafe fn(&VectorTile<T>);

/// The micro-kernel for a tile of `MR` rows and `NV` vectors.
///
/// # Safety
/// As for [`VectorKernel`].
#[inline(always)]
unsafe fn micro_kernel<S: Simd, T: Operand, const MR: usize, const NV: usize>(s: S, t: &VectorTile<T>) {
    let [row_stride, col_stride] = t.a_strides;
    let (mut a, mut b) = (t.a, t.b);
    let mut sums = [[s.zero(); NV]; MR];

    macro_rules! step {
        ($a:expr) => {{
            let mut right = [s.zero(); NV];
            for j in 0..NV {
                // SAFETY: b holds NV whole vectors for each step.
                right[j] = unsafe { s.load_ptr(b.add(j * S::LANES)) };
            }
            for i in 0..MR {
                let left = $a(i);
                for j in 0..NV {
                    sums[i][j] = T::multiply(s, left, right[j], sums[i][j]);
                }
            }
        }};
    }

    let steps = t.k / T::PER_STEP;
    let chunks = steps / PREFETCH_STEPS;
    for chunk in 0..chunks {
        if chunk + PREFETCH_OUTPUT == chunks {
            for i in 0..MR {
                for j in 0..NV {
                    s.prefetch(t.c.wrapping_add(i * t.c_stride + j * S::LANES));
                }
            }
        }
        for i in 0..MR {
            let ahead = a.wrapping_add(i * row_stride + PREFETCH_AHEAD * T::PER_STEP * col_stride);
            s.prefetch(ahead.cast());
        }
        for _ in 0..PREFETCH_STEPS / 4 {
            for u in 0..4 {
                // SAFETY: row i < MR of a, and a step within k.
                step!(|i| unsafe { T::broadcast(s, a.add(i * row_stride + u * T::PER_STEP * col_stride), col_stride) });
                b = b.wrapping_add(t.b_stride);
            }
            a = a.wrapping_add(4 * T::PER_STEP * col_stride);
        }
    }
    for _ in 0..steps % PREFETCH_STEPS {
        // SAFETY: row i < MR of a, and a step within k.
        step!(|i| unsafe { T::broadcast(s, a.add(i * row_stride), col_stride) });
        a = a.wrapping_add(T::PER_STEP * col_stride);
        b = b.wrapping_add(t.b_stride);
    }
    if !t.k.is_multiple_of(T::PER_STEP) {
        // SAFETY: row i < MR of a, in which one element is left.
        step!(|i| unsafe { T::broadcast_last(s, a.add(i * row_stride)) });
    }

    let scale = s.splat(t.scale);
    for (i, sums) in sums.into_iter().enumerate() {
        for (j, sum) in sums.into_iter().enumerate() {
            let at = t.c.wrapping_add(i * t.c_stride + j * S::LANES);
            let left = t.cols - (j * S::LANES).min(t.cols);
            if left >= S::LANES {
                // SAFETY: a whole vector of the row of c is left at `at`.
                unsafe {
                    let value = if t.accumulate { s.fma(sum, scale, s.load_ptr(at)) } else { s.mul(sum, scale) };
                    s.store_ptr(at, value);
                }
            } else if left > 0 {
                // SAFETY: `left` elements of the row of c are left at `at`, and c is not accessed by anyone else.
                let to = unsafe { std::slice::from_raw_parts_mut(at, left) };
                let value = if t.accumulate { s.fma(sum, scale, s.load_partial(to)) } else { s.mul(sum, scale) };
                s.store_partial(to, value);
            }
        }
    }
}

/// The tables of micro-kernels; a type, so that each element type has its own.
pub(super) struct Table<T>(PhantomData<T>);

/// The table of the instances of a micro-kernel for each MR and NV.
macro_rules! table {
    ($kernel:ident; $($rows:literal)+; $vectors:tt) => {
        &[$(table!(@row $kernel $rows $vectors)),+]
    };
    (@row $kernel:ident $rows:literal [$($vectors:literal)+]) => {
        &[$($kernel::<T, $rows, $vectors>),+]
    };
}

impl<T: Operand> Table<T> {
    #[cfg(target_arch = "aarch64")]
    pub const PORTABLE: &'static [&'static [VectorKernel<T>]] = table!(portable; 1 2 3 4 5 6 7 8; [1]);
    #[cfg(not(target_arch = "aarch64"))]
    pub const PORTABLE: &'static [&'static [VectorKernel<T>]] = table!(portable; 1 2 3 4; [1]);
    #[cfg(target_arch = "x86_64")]
    pub const AVX2: &'static [&'static [VectorKernel<T>]] = table!(avx2; 1 2 3 4 5 6; [1 2]);
    #[cfg(target_arch = "x86_64")]
    pub const AVX512: &'static [&'static [VectorKernel<T>]] = table!(avx512; 1 2 3 4 5 6 7 8; [1 2 3]);
    #[cfg(target_arch = "x86_64")]
    pub const AVX512_BF16: &'static [&'static [VectorKernel<T>]] = table!(avx512_bf16; 1 2 3 4 5 6 7 8; [1 2 3]);
}

/// # Safety
/// As for [`VectorKernel`].
unsafe fn portable<T: Operand, const MR: usize, const NV: usize>(t: &VectorTile<T>) {
    // SAFETY: the same contract as this function's.
    unsafe { micro_kernel::<_, T, MR, NV>(Portable, t) }
}

/// Defines the micro-kernel compiled for an instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! compiled {
    ($name:ident, $token:ty, $features:literal) => {
        /// # Safety
        /// As for [`VectorKernel`].
        #[target_feature(enable = $features)]
        unsafe fn $name<T: Operand, const MR: usize, const NV: usize>(t: &VectorTile<T>) {
            // SAFETY: the caller guarantees that the CPU has these features; the rest is the same contract.
            unsafe { micro_kernel::<_, T, MR, NV>(<$token>::assume(), t) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
compiled!(avx2, crate::cpu::simd::Avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
compiled!(avx512, crate::cpu::simd::Avx512<false>, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
compiled!(avx512_bf16, crate::cpu::simd::Avx512<true>, "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
