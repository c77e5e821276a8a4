//! The micro-kernel: a tile of the output in registers, one step of k after the other.
//!
//! Written once over the vectors of [`Simd`] and the element type of the left operand, then compiled for each
//! instruction set and tile size. Rows of the left operand are read as they lie, a broadcast per row and step; the right
//! operand comes as panels, a few vectors per step. Every element is the sum of its products in the order of k, so it
//! does not depend on the tile that holds it.

use std::marker::PhantomData;

use bytemuck::Pod;
use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::amx;
use crate::cpu::simd::{Isa, Portable, Simd};

/// Steps of k between two prefetches of the left operand: a cache line of it.
const PREFETCH_STEPS: usize = 16;

/// How far ahead a row of the left operand is asked for, in steps.
const PREFETCH_AHEAD: usize = 32;

/// How long before its end a tile asks for the output, in cache lines of the left operand. Much earlier, and the panel
/// that streams through the first cache pushes it out again.
const PREFETCH_OUTPUT: usize = 2;

/// One call of the micro-kernel: `c = scale * a·b`, or `c += scale * a·b`.
pub(in crate::cpu::gemm) struct Tile<T> {
    /// Columns of a and rows of b.
    pub k: usize,
    /// Element `(i, k)` of a is at `i * a_strides[0] + k * a_strides[1]`.
    pub a: *const T,
    pub a_strides: [usize; 2],
    /// The panel: step after step, each `b_stride` f32 from the last.
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
/// The CPU must have the instructions it is compiled for. a, b and c must be valid as the fields of [`Tile`] describe
/// them, b for whole vectors, and nobody else may be using c.
pub(in crate::cpu::gemm) type TileFn<T> = unsafe fn(&Tile<T>);

/// An element type of the left operand, and how it meets the right one.
pub(in crate::cpu::gemm) trait Operand: Pod + Send + Sync {
    /// Whether the elements are bfloat16, which tile registers multiply.
    #[cfg(target_arch = "x86_64")]
    const BFLOAT16: bool;
    /// Elements that one step takes; the right operand's lanes hold as many.
    const PER_STEP: usize;
    /// One step's elements of a row, in every lane.
    ///
    /// # Safety
    /// `PER_STEP` elements, `stride` apart, must be readable at `from`.
    unsafe fn broadcast<S: Simd>(s: S, from: *const Self, stride: usize) -> S::F32;
    /// The same where the row ends within the step: what is missing is zero.
    ///
    /// # Safety
    /// One element must be readable at `from`.
    unsafe fn broadcast_last<S: Simd>(s: S, from: *const Self) -> S::F32;
    /// `c + a·b` of one step.
    fn multiply<S: Simd>(s: S, a: S::F32, b: S::F32, c: S::F32) -> S::F32;
}

impl Operand for f32 {
    #[cfg(target_arch = "x86_64")]
    const BFLOAT16: bool = false;
    const PER_STEP: usize = 1;
    #[inline(always)]
    unsafe fn broadcast<S: Simd>(s: S, from: *const f32, _stride: usize) -> S::F32 {
        // SAFETY: the caller's promise.
        s.splat(unsafe { *from })
    }
    #[inline(always)]
    unsafe fn broadcast_last<S: Simd>(s: S, from: *const f32) -> S::F32 {
        // SAFETY: the caller's promise.
        s.splat(unsafe { *from })
    }
    #[inline(always)]
    fn multiply<S: Simd>(s: S, a: S::F32, b: S::F32, c: S::F32) -> S::F32 {
        s.fma(a, b, c)
    }
}

/// Two bfloat16 side by side, in an f32's place: one step of a product whose matrices hold pairs, whatever their strides. A slice
/// of bfloat16 is cast to pairs and back (`bytemuck::cast_slice`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Pair(u32);

impl Operand for Pair {
    #[cfg(target_arch = "x86_64")]
    const BFLOAT16: bool = true;
    const PER_STEP: usize = 1;
    #[inline(always)]
    unsafe fn broadcast<S: Simd>(s: S, from: *const Self, _stride: usize) -> S::F32 {
        // SAFETY: the caller's promise.
        s.splat(f32::from_bits(unsafe { *from }.0))
    }
    #[inline(always)]
    unsafe fn broadcast_last<S: Simd>(s: S, from: *const Self) -> S::F32 {
        // SAFETY: the caller's promise.
        s.splat(f32::from_bits(unsafe { *from }.0))
    }
    #[inline(always)]
    fn multiply<S: Simd>(s: S, a: S::F32, b: S::F32, c: S::F32) -> S::F32 {
        s.dot_bf16(a, b, c)
    }
}

impl Operand for bf16 {
    #[cfg(target_arch = "x86_64")]
    const BFLOAT16: bool = true;
    const PER_STEP: usize = 2;
    #[inline(always)]
    unsafe fn broadcast<S: Simd>(s: S, from: *const bf16, stride: usize) -> S::F32 {
        debug_assert_eq!(stride, 1);
        // SAFETY: the caller's promise: two elements, side by side.
        s.splat(f32::from_bits(unsafe { from.cast::<u32>().read_unaligned() }))
    }
    #[inline(always)]
    unsafe fn broadcast_last<S: Simd>(s: S, from: *const bf16) -> S::F32 {
        // SAFETY: the caller's promise.
        s.splat(f32::from_bits(u32::from(unsafe { *from }.to_bits())))
    }
    #[inline(always)]
    fn multiply<S: Simd>(s: S, a: S::F32, b: S::F32, c: S::F32) -> S::F32 {
        s.dot_bf16(a, b, c)
    }
}

/// A tile of `MR` rows and `NV` vectors.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn tile<S: Simd, T: Operand, const MR: usize, const NV: usize>(s: S, t: &Tile<T>) {
    let [row_stride, col_stride] = t.a_strides;
    let (mut a, mut b) = (t.a, t.b);
    let mut sums = [[s.zero(); NV]; MR];

    macro_rules! step {
        ($a:expr) => {{
            let mut right = [s.zero(); NV];
            for j in 0..NV {
                // SAFETY: b holds NV whole vectors for each of the k steps.
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
                // SAFETY: row i < MR of a, a step within k.
                step!(|i| unsafe { T::broadcast(s, a.add(i * row_stride + u * T::PER_STEP * col_stride), col_stride) });
                b = b.wrapping_add(t.b_stride);
            }
            a = a.wrapping_add(4 * T::PER_STEP * col_stride);
        }
    }
    for _ in 0..steps % PREFETCH_STEPS {
        // SAFETY: as above.
        step!(|i| unsafe { T::broadcast(s, a.add(i * row_stride), col_stride) });
        a = a.wrapping_add(T::PER_STEP * col_stride);
        b = b.wrapping_add(t.b_stride);
    }
    if !t.k.is_multiple_of(T::PER_STEP) {
        // SAFETY: as above, and the row has one element left.
        step!(|i| unsafe { T::broadcast_last(s, a.add(i * row_stride)) });
    }

    let scale = s.splat(t.scale);
    for (i, sums) in sums.into_iter().enumerate() {
        for (j, sum) in sums.into_iter().enumerate() {
            let at = t.c.wrapping_add(i * t.c_stride + j * S::LANES);
            let left = t.cols - (j * S::LANES).min(t.cols);
            if left >= S::LANES {
                // SAFETY: a whole vector of c's row is left at `at`.
                unsafe {
                    let value = if t.accumulate { s.fma(sum, scale, s.load_ptr(at)) } else { s.mul(sum, scale) };
                    s.store_ptr(at, value);
                }
            } else if left > 0 {
                // SAFETY: `left` elements of c's row are left at `at`, and nobody else uses them.
                let to = unsafe { std::slice::from_raw_parts_mut(at, left) };
                let value = if t.accumulate { s.fma(sum, scale, s.load_partial(to)) } else { s.mul(sum, scale) };
                s.store_partial(to, value);
            }
        }
    }
}

/// The micro-kernels of one instruction set, and what the panels that they read look like.
#[derive(Clone, Copy)]
pub(in crate::cpu::gemm) struct Kernels<T: 'static> {
    /// Lanes of a vector.
    pub lanes: usize,
    /// Vectors of the largest tile.
    pub vectors: usize,
    /// Steps of k that a panel holds a multiple of.
    pub steps: usize,
    pub form: Form<T>,
}

/// How a tile is computed.
#[derive(Clone, Copy)]
pub(in crate::cpu::gemm) enum Form<T: 'static> {
    /// In vectors, by the kernel at `table[rows - 1][vectors - 1]`.
    Vectors(&'static [&'static [TileFn<T>]]),
    /// In tile registers.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl<T: Operand> Kernels<T> {
    /// Those for a isa that the CPU has.
    pub fn of(isa: Isa) -> Self {
        let vectors = |lanes, vectors, table| Self { lanes, vectors, steps: 1, form: Form::Vectors(table) };
        match isa.available() {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx if T::BFLOAT16 => Self { lanes: 16, vectors: amx::VECTORS, steps: amx::STEPS, form: Form::Amx },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 | Isa::Amx => vectors(16, 3, Compiled::<T>::AVX512_BF16),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => vectors(16, 3, Compiled::<T>::AVX512),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => vectors(8, 2, Compiled::<T>::AVX2),
            // Eight lanes are two registers of NEON, which has 32 of them, or of SSE, which has 16.
            _ => vectors(Portable::LANES, 1, Compiled::<T>::PORTABLE),
        }
    }

    /// Columns of a whole panel.
    pub fn width(&self) -> usize {
        self.lanes * self.vectors
    }
}

/// The tables, a type so that each element type has its own.
struct Compiled<T>(PhantomData<T>);

/// `MR` times `NV` instances of a kernel as a table.
macro_rules! table {
    ($kernel:ident; $($rows:literal)+; $vectors:tt) => {
        &[$(table!(@row $kernel $rows $vectors)),+]
    };
    (@row $kernel:ident $rows:literal [$($vectors:literal)+]) => {
        &[$($kernel::<T, $rows, $vectors>),+]
    };
}

impl<T: Operand> Compiled<T> {
    #[cfg(target_arch = "aarch64")]
    const PORTABLE: &'static [&'static [TileFn<T>]] = table!(portable; 1 2 3 4 5 6 7 8; [1]);
    #[cfg(not(target_arch = "aarch64"))]
    const PORTABLE: &'static [&'static [TileFn<T>]] = table!(portable; 1 2 3 4; [1]);
    #[cfg(target_arch = "x86_64")]
    const AVX2: &'static [&'static [TileFn<T>]] = table!(avx2; 1 2 3 4 5 6; [1 2]);
    #[cfg(target_arch = "x86_64")]
    const AVX512: &'static [&'static [TileFn<T>]] = table!(avx512; 1 2 3 4 5 6 7 8; [1 2 3]);
    #[cfg(target_arch = "x86_64")]
    const AVX512_BF16: &'static [&'static [TileFn<T>]] = table!(avx512_bf16; 1 2 3 4 5 6 7 8; [1 2 3]);
}

/// # Safety
/// As [`TileFn`].
unsafe fn portable<T: Operand, const MR: usize, const NV: usize>(t: &Tile<T>) {
    // SAFETY: the caller's promise.
    unsafe { tile::<_, T, MR, NV>(Portable, t) }
}

/// A kernel compiled for an instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! compiled {
    ($name:ident, $token:ty, $features:literal) => {
        /// # Safety
        /// As [`TileFn`].
        #[target_feature(enable = $features)]
        unsafe fn $name<T: Operand, const MR: usize, const NV: usize>(t: &Tile<T>) {
            // SAFETY: this function is only run where the CPU has its features; the rest is the caller's promise.
            unsafe { tile::<_, T, MR, NV>(<$token>::assume(), t) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
compiled!(avx2, crate::cpu::simd::Avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
compiled!(avx512, crate::cpu::simd::Avx512<false>, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
compiled!(avx512_bf16, crate::cpu::simd::Avx512<true>, "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
