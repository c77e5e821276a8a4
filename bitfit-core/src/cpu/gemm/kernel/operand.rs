//! [`Operand`]: how the elements of a product's left operand are read by a micro-kernel.

use bytemuck::Pod;
use half::bf16;

use crate::cpu::simd::Simd;

/// An element type of the left operand of a product.
///
/// A product advances along k in steps. A step takes [`PER_STEP`](Operand::PER_STEP) elements of a row of the left
/// operand, and one f32-sized word of a column of the packed right operand, which holds as many elements.
pub trait Operand: Pod + Default + Send + Sync {
    /// Whether the elements are bfloat16, which AMX multiplies.
    const IS_BF16: bool;
    /// The elements of a row that one step takes.
    const PER_STEP: usize;

    /// The elements of one step of a row, broadcast to every lane.
    ///
    /// # Safety
    /// `PER_STEP` elements, `stride` apart, must be readable at `from`.
    unsafe fn broadcast<S: Simd>(s: S, from: *const Self, stride: usize) -> S::F32;

    /// The elements of the last step of a row that ends within the step; the missing ones are zero.
    ///
    /// # Safety
    /// One element must be readable at `from`.
    unsafe fn broadcast_last<S: Simd>(s: S, from: *const Self) -> S::F32;

    /// `c + a·b` for one step.
    fn multiply<S: Simd>(s: S, a: S::F32, b: S::F32, c: S::F32) -> S::F32;
}

impl Operand for f32 {
    const IS_BF16: bool = false;
    const PER_STEP: usize = 1;

    #[inline(always)]
    unsafe fn broadcast<S: Simd>(s: S, from: *const f32, _stride: usize) -> S::F32 {
        // SAFETY: the caller guarantees one readable element.
        s.splat(unsafe { *from })
    }

    #[inline(always)]
    unsafe fn broadcast_last<S: Simd>(s: S, from: *const f32) -> S::F32 {
        // SAFETY: the caller guarantees one readable element.
        s.splat(unsafe { *from })
    }

    #[inline(always)]
    fn multiply<S: Simd>(s: S, a: S::F32, b: S::F32, c: S::F32) -> S::F32 {
        s.fma(a, b, c)
    }
}

/// Two bfloat16 that are neighbours along k, in the place of one f32.
///
/// A matrix of pairs can have any strides, unlike one of bfloat16, whose rows must be contiguous. A slice of bfloat16
/// is cast to pairs and back with `bytemuck::cast_slice`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Pair(u32);

impl Operand for Pair {
    const IS_BF16: bool = true;
    const PER_STEP: usize = 1;

    #[inline(always)]
    unsafe fn broadcast<S: Simd>(s: S, from: *const Self, _stride: usize) -> S::F32 {
        // SAFETY: the caller guarantees one readable element.
        s.splat(f32::from_bits(unsafe { *from }.0))
    }

    #[inline(always)]
    unsafe fn broadcast_last<S: Simd>(s: S, from: *const Self) -> S::F32 {
        // SAFETY: the caller guarantees one readable element.
        s.splat(f32::from_bits(unsafe { *from }.0))
    }

    #[inline(always)]
    fn multiply<S: Simd>(s: S, a: S::F32, b: S::F32, c: S::F32) -> S::F32 {
        s.dot_bf16(a, b, c)
    }
}

impl Operand for bf16 {
    const IS_BF16: bool = true;
    const PER_STEP: usize = 2;

    #[inline(always)]
    unsafe fn broadcast<S: Simd>(s: S, from: *const bf16, stride: usize) -> S::F32 {
        debug_assert_eq!(stride, 1);
        // SAFETY: the caller guarantees two readable elements, which are contiguous, as all rows of bfloat16 are.
        s.splat(f32::from_bits(unsafe { from.cast::<u32>().read_unaligned() }))
    }

    #[inline(always)]
    unsafe fn broadcast_last<S: Simd>(s: S, from: *const bf16) -> S::F32 {
        // SAFETY: the caller guarantees one readable element.
        s.splat(f32::from_bits(u32::from(unsafe { *from }.to_bits())))
    }

    #[inline(always)]
    fn multiply<S: Simd>(s: S, a: S::F32, b: S::F32, c: S::F32) -> S::F32 {
        s.dot_bf16(a, b, c)
    }
}
