//! SIMD: the instruction sets of the CPU ([`Isa`]), a vector type for each ([`Simd`]), and [`dispatch`], which runs a
//! kernel on one of them.
//!
//! A kernel is written once against [`Simd`]; [`dispatch`] calls it inside a function compiled for the requested
//! instruction set. A kernel's `run` must be `#[inline(always)]`, and so must every function it calls that takes the
//! token; otherwise vectors are passed through memory.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
pub mod math;
mod portable;
mod quad;
#[cfg(target_arch = "x86_64")]
mod round_bf16;
mod slices;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
use half::bf16;
pub use isa::{Isa, UnsupportedIsa};
pub use portable::Portable;
pub use slices::{Map, exp_slice, from_bf16_slice, gelu_slice, map_slice, tanh_slice, to_bf16_slice};

/// The vectors of an instruction set. A value of an implementing type proves that the CPU has the instruction set,
/// which makes the methods safe.
///
/// Lane-wise arithmetic is IEEE single precision, rounded to nearest even. All instruction sets give the same result in
/// each lane, except for [`fma`](Simd::fma), which the portable one rounds twice if the target has no instruction for
/// it.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A vector of [`LANES`](Simd::LANES) `f32`.
    type F32: Copy;
    /// One truth value per lane.
    type Mask: Copy;
    /// A vector of [`LANES`](Simd::LANES) `u32`.
    type U32: Copy;
    /// Lanes of a vector.
    const LANES: usize;

    /// A vector with `v` in every lane.
    fn splat(self, v: f32) -> Self::F32;
    /// Loads the first `LANES` values of `from`, at any alignment. Panics if there are fewer.
    fn load(self, from: &[f32]) -> Self::F32;
    /// Stores the vector to the first `LANES` elements of `to`. Panics if there are fewer.
    fn store(self, to: &mut [f32], v: Self::F32);
    /// Loads the first `min(from.len(), LANES)` values of `from`; the remaining lanes are zero.
    fn load_partial(self, from: &[f32]) -> Self::F32;
    /// Stores the first `min(to.len(), LANES)` lanes.
    fn store_partial(self, to: &mut [f32], v: Self::F32);
    /// As [`load_partial`](Simd::load_partial), from bfloat16.
    fn load_bf16(self, from: &[bf16]) -> Self::F32;
    /// As [`store_partial`](Simd::store_partial), rounded to bfloat16 to nearest even (subnormals may flush to zero).
    fn store_bf16(self, to: &mut [bf16], v: Self::F32);
    /// As [`load_partial`](Simd::load_partial), from int8.
    fn load_i8(self, from: &[i8]) -> Self::F32;
    /// Stores the first `min(to.len(), LANES)` lanes as int8, rounded to nearest even; what is not within ±127 then as
    /// an unspecified value.
    fn store_i8(self, to: &mut [i8], v: Self::F32);
    /// [`store_i8`](Simd::store_i8) of all lanes of four vectors, one after the other. Panics if `to` is shorter.
    #[inline(always)]
    fn store_i8x4(self, to: &mut [i8], v: [Self::F32; 4]) {
        for (to, v) in to[..4 * Self::LANES].chunks_exact_mut(Self::LANES).zip(v) {
            self.store_i8(to, v);
        }
    }
    /// The sum of the elements, of which there are a multiple of 64.
    #[inline(always)]
    fn sum_i8(self, from: &[i8]) -> i32 {
        from.iter().map(|&value| i32::from(value)).sum()
    }

    /// `a + b`.
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`.
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`.
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`.
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `c - a * b`.
    fn fnma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `-a`.
    fn neg(self, a: Self::F32) -> Self::F32;
    /// `|a|`.
    fn abs(self, a: Self::F32) -> Self::F32;
    /// The square root.
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// `if a > b { a } else { b }`: `b` where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `if a < b { a } else { b }`: `b` where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The larger one of two values without a sign; NaN if one of them is, whatever the other.
    fn max_magnitude(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The [`max_magnitude`](Simd::max_magnitude) of `most` and the absolute values of `from`, each of which counts in
    /// one lane.
    #[inline(always)]
    fn max_magnitude_bf16(self, most: Self::F32, from: &[bf16]) -> Self::F32 {
        let mut most = most;
        for from in from.chunks(Self::LANES) {
            most = self.max_magnitude(most, self.abs(self.load_bf16(from)));
        }
        most
    }
    /// The magnitude of `a` with the sign of `sign`.
    fn copysign(self, a: Self::F32, sign: Self::F32) -> Self::F32;
    /// The nearest whole number, ties to even; a zero may have either sign. For `|a| < 2^22`.
    fn round(self, a: Self::F32) -> Self::F32;
    /// `a * 2^n` for whole `n` in `-252..=252`, rounded at most once more than the exact product would be.
    fn scale(self, a: Self::F32, n: Self::F32) -> Self::F32;

    /// `c + a0 * b0 + a1 * b1`, each lane of `a` and `b` being the bits of a pair of bfloat16. The order in
    /// which the two products are added, and whether the first sum is rounded, depend on the instruction set.
    fn dot_bf16(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;

    /// The bits of a pair of bfloat16 in each lane, as [`dot_bf16`](Simd::dot_bf16) takes them: `low` and `high`, each
    /// rounded as by [`store_bf16`](Simd::store_bf16).
    fn pair_bf16(self, low: Self::F32, high: Self::F32) -> Self::F32;

    /// `a < b`, false where either is NaN.
    fn lt(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `yes` in lanes where the mask is true, otherwise `no`.
    fn select(self, mask: Self::Mask, yes: Self::F32, no: Self::F32) -> Self::F32;

    /// A vector with `v` in every lane.
    fn splat_u32(self, v: u32) -> Self::U32;
    /// `first`, `first + 1` and so on, lane by lane, wrapping.
    fn count_u32(self, first: u32) -> Self::U32;
    /// `a ^ b`.
    fn xor_u32(self, a: Self::U32, b: Self::U32) -> Self::U32;
    /// The upper and the lower 32 bits of `a * b`.
    fn multiply_u32(self, a: Self::U32, b: Self::U32) -> (Self::U32, Self::U32);
    /// The upper and the lower 16 bits of each lane, as numbers.
    fn halves_u32(self, a: Self::U32) -> (Self::F32, Self::F32);

    /// The sum of all lanes, by repeatedly adding the upper half to the lower half.
    fn reduce_sum(self, a: Self::F32) -> f32;
    /// The maximum of all lanes.
    fn reduce_max(self, a: Self::F32) -> f32;

    /// Loads `LANES` values from an address.
    ///
    /// # Safety
    /// The values must be readable; the address need only be aligned for an `f32`.
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> Self::F32 {
        // SAFETY: guaranteed by the caller.
        self.load(unsafe { std::slice::from_raw_parts(from, Self::LANES) })
    }
    /// Stores the vector to an address.
    ///
    /// # Safety
    /// `LANES` values must be writable there, and not accessed by anyone else during the call.
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, v: Self::F32) {
        // SAFETY: guaranteed by the caller.
        self.store(unsafe { std::slice::from_raw_parts_mut(to, Self::LANES) }, v);
    }
    /// Writes the transpose of a square of `LANES` by `LANES`; the strides are the distances between rows of `from` and
    /// of `to`. Panics if a slice is too short.
    #[inline(always)]
    fn transpose(self, from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize) {
        for i in 0..Self::LANES {
            for (j, &v) in from[i * from_stride..][..Self::LANES].iter().enumerate() {
                to[j * to_stride + i] = v;
            }
        }
    }
    /// Prefetches the cache line at an address, which need not be readable.
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}

    /// Prefetches a cache line to the L2 cache, where it does not displace what the L1 cache holds.
    #[inline(always)]
    fn prefetch_to_l2(self, _at: *const f32) {}

    /// [`prefetch`](Simd::prefetch) for each line of `len` elements.
    #[inline(always)]
    fn prefetch_all<T>(self, first: *const T, len: usize) {
        for byte in (0..len * size_of::<T>()).step_by(64) {
            self.prefetch(first.wrapping_byte_add(byte).cast());
        }
    }

    /// A vector of zeros.
    #[inline(always)]
    fn zero(self) -> Self::F32 {
        self.splat(0.0)
    }
}

/// Code that is written once and compiled for every instruction set; the [module](self) has an example.
pub trait Kernel {
    /// The result of the kernel.
    type Output;
    /// Runs the kernel with the vectors of `S`. Must be `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` compiled for `isa`, or for the best instruction set of the CPU if it lacks `isa`.
#[inline]
pub fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa.available() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            // SAFETY: `available` returns only instruction sets that this CPU has.
            unsafe { avx2::run(kernel) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            // SAFETY: `available` returns only instruction sets that this CPU has.
            unsafe { avx512::run(kernel) }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 | Isa::Amx => {
            // SAFETY: `available` returns only instruction sets that this CPU has.
            unsafe { avx512::run_bf16(kernel) }
        }
        _ => kernel.run(Portable),
    }
}

#[cfg(test)]
mod tests;
