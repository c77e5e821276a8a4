//! The types an element may have on the CPU, for ops that are written once for both.

use half::bf16;

use super::Cpu;
use crate::{
    backend::{Slice, SliceMut},
    cpu::gemm::Element,
};

/// A matrix of either type, for an op that is written once for both.
#[derive(Clone, Copy)]
pub(crate) enum Elements<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// A matrix of either type, to write.
pub(crate) enum ElementsMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
}

/// An element of either type.
pub(crate) trait Stored: Element + 'static {
    /// The elements of a slice of this type.
    fn of<'a>(slice: &Slice<'a, Cpu>) -> &'a [Self];
    /// The elements of a slice of this type, to write.
    fn of_mut(slice: SliceMut<'_, Cpu>) -> &mut [Self];
}

impl Stored for f32 {
    fn of<'a>(slice: &Slice<'a, Cpu>) -> &'a [f32] {
        slice.f32()
    }

    fn of_mut(slice: SliceMut<'_, Cpu>) -> &mut [f32] {
        slice.f32()
    }
}

impl Stored for bf16 {
    fn of<'a>(slice: &Slice<'a, Cpu>) -> &'a [bf16] {
        slice.bf16()
    }

    fn of_mut(slice: SliceMut<'_, Cpu>) -> &mut [bf16] {
        slice.bf16()
    }
}

/// `to += from`, in f32.
pub(super) fn accumulate<A: Narrow, B: Narrow>(from: &[A], to: &mut [B]) {
    assert_eq!(from.len(), to.len(), "accumulate: lengths differ");
    for (to, &from) in to.iter_mut().zip(from) {
        *to = B::round(to.widen() + from.widen());
    }
}

/// An element that is stored narrow and reckoned with in f32.
pub(super) trait Narrow: Copy {
    fn widen(self) -> f32;
    fn round(value: f32) -> Self;
}

impl Narrow for f32 {
    fn widen(self) -> f32 {
        self
    }

    fn round(value: f32) -> Self {
        value
    }
}

impl Narrow for bf16 {
    fn widen(self) -> f32 {
        self.to_f32()
    }

    fn round(value: f32) -> Self {
        bf16::from_f32(value)
    }
}
