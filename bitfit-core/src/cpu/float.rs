//! The element types of matrices on the CPU: [`Float`], and slices of either type.

use half::bf16;

use super::{
    Cpu,
    gemm::{Operand, Pair},
    simd::Simd,
};
use crate::backend::{Slice, SliceMut};

/// A type of matrix elements: f32, or bfloat16, which is loaded as f32 and rounded when it is stored.
pub trait Float: Operand {
    /// The type that fills one f32-sized word of a product's operand: f32, or a [`Pair`] of bfloat16.
    type Word: Operand;

    /// The nearest value of this type.
    fn from_f32(value: f32) -> Self;
    /// The exact value as f32.
    fn to_f32(self) -> f32;
    /// The word that holds the elements of one step of k, `element(0)` first.
    fn word(element: impl Fn(usize) -> Self) -> f32;

    /// Loads the first `min(from.len(), LANES)` values; the remaining lanes are zero.
    fn load<S: Simd>(s: S, from: &[Self]) -> S::F32;
    /// The largest absolute values of the elements, each of which counts in one lane; NaN where it is NaN.
    fn magnitudes<S: Simd>(s: S, of: &[Self]) -> S::F32;
    /// Stores the first `min(to.len(), LANES)` lanes, rounded to this type.
    fn store<S: Simd>(s: S, to: &mut [Self], v: S::F32);

    /// The elements of a slice.
    ///
    /// # Panics
    /// If they are of another type.
    fn of<'a>(slice: &Slice<'a, Cpu>) -> &'a [Self];
    /// The elements of a mutable slice.
    ///
    /// # Panics
    /// If they are of another type.
    fn of_mut(slice: SliceMut<'_, Cpu>) -> &mut [Self];
}

impl Float for f32 {
    type Word = f32;

    #[inline(always)]
    fn from_f32(value: f32) -> f32 {
        value
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn word(element: impl Fn(usize) -> f32) -> f32 {
        element(0)
    }

    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32]) -> S::F32 {
        s.load_partial(from)
    }

    #[inline(always)]
    fn magnitudes<S: Simd>(s: S, of: &[f32]) -> S::F32 {
        let mut most = s.zero();
        for from in of.chunks(S::LANES) {
            most = s.max_magnitude(most, s.abs(s.load_partial(from)));
        }
        most
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, to: &mut [f32], v: S::F32) {
        s.store_partial(to, v);
    }

    fn of<'a>(slice: &Slice<'a, Cpu>) -> &'a [f32] {
        slice.f32()
    }

    fn of_mut(slice: SliceMut<'_, Cpu>) -> &mut [f32] {
        slice.f32()
    }
}

impl Float for bf16 {
    type Word = Pair;

    #[inline(always)]
    fn from_f32(value: f32) -> bf16 {
        bf16::from_f32(value)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }

    #[inline(always)]
    fn word(element: impl Fn(usize) -> bf16) -> f32 {
        f32::from_bits(u32::from(element(0).to_bits()) | u32::from(element(1).to_bits()) << 16)
    }

    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[bf16]) -> S::F32 {
        s.load_bf16(from)
    }

    #[inline(always)]
    fn magnitudes<S: Simd>(s: S, of: &[bf16]) -> S::F32 {
        s.max_magnitude_bf16(s.zero(), of)
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, to: &mut [bf16], v: S::F32) {
        s.store_bf16(to, v);
    }

    fn of<'a>(slice: &Slice<'a, Cpu>) -> &'a [bf16] {
        slice.bf16()
    }

    fn of_mut(slice: SliceMut<'_, Cpu>) -> &mut [bf16] {
        slice.bf16()
    }
}

/// The elements of a slice, with their type.
#[derive(Clone, Copy)]
pub(crate) enum Elements<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl<'a> Elements<'a> {
    /// The elements as f32.
    ///
    /// # Panics
    /// If they are of another type.
    pub fn f32(self) -> &'a [f32] {
        match self {
            Self::F32(elements) => elements,
            Self::Bf16(_) => panic!("bfloat16 read as f32"),
        }
    }
}

/// The elements of a mutable slice, with their type.
pub(crate) enum ElementsMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
}

/// `to += from`, computed in f32.
pub(super) fn accumulate<A: Float, B: Float>(from: &[A], to: &mut [B]) {
    assert_eq!(from.len(), to.len(), "accumulate: lengths differ");
    for (to, &from) in to.iter_mut().zip(from) {
        *to = B::from_f32(to.to_f32() + from.to_f32());
    }
}
