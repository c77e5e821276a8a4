//! The right operand as panels: for each few vectors of columns, step after step of k, contiguous and aligned.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use half::bf16;
use rayon::prelude::*;

use super::tile::{Kernels, Operand};

/// A cache line of a panel, and the alignment of all of them.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// An operand type that panels hold: one or more elements to an f32's place.
pub(super) trait Packed: Operand {
    /// The place that holds the elements of one step in one column; `element(i)` is the step's `i`-th.
    fn place(element: impl Fn(usize) -> Self) -> f32;
    /// Zero: what a step holds behind the end of k.
    const ZERO: Self;
    /// The nearest value of the type.
    fn round(v: f32) -> Self;
}

impl Packed for f32 {
    const ZERO: f32 = 0.0;
    #[inline(always)]
    fn round(v: f32) -> f32 {
        v
    }
    #[inline(always)]
    fn place(element: impl Fn(usize) -> f32) -> f32 {
        element(0)
    }
}

impl Packed for bf16 {
    const ZERO: bf16 = bf16::ZERO;
    #[inline(always)]
    fn round(v: f32) -> bf16 {
        bf16::from_f32(v)
    }
    #[inline(always)]
    fn place(element: impl Fn(usize) -> bf16) -> f32 {
        f32::from_bits(u32::from(element(0).to_bits()) | u32::from(element(1).to_bits()) << 16)
    }
}

/// A `[k, n]` matrix in panels of [`Kernels::width`] columns, the last one as narrow as whole vectors allow.
pub(super) struct Panels {
    lines: Vec<Line>,
    /// Steps of k that a panel holds.
    steps: usize,
    n: usize,
    /// Columns of a panel but the last.
    width: usize,
    /// Columns that the last panel holds room for.
    last_width: usize,
}

/// One panel: where it starts, how far its steps are apart, and which columns of the matrix it holds.
pub(super) struct Panel<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub cols: Range<usize>,
}

impl Panels {
    /// Lays out the `[k, n]` matrix whose elements are `element(k, n)`.
    pub fn pack<T: Packed>(
        kernels: &Kernels<T>,
        k: usize,
        n: usize,
        element: impl Fn(usize, usize) -> T + Sync,
    ) -> Self {
        let width = kernels.width();
        let steps = k.div_ceil(T::PER_STEP);
        let last = n - n / width * width;
        let last_width = last.next_multiple_of(kernels.lanes);
        let places = n / width * width * steps + last_width * steps;
        let mut panels = Self { lines: vec![Line([0.0; 16]); places.div_ceil(16)], steps, n, width, last_width };
        let places: &mut [f32] = bytemuck::cast_slice_mut(&mut panels.lines);
        places.par_chunks_mut((width * steps).max(1)).enumerate().for_each(|(panel, places)| {
            let first = panel * width;
            let cols = width.min(n - first.min(n));
            let stride = if cols == width { width } else { last_width };
            for (step, places) in places.chunks_exact_mut(stride.max(1)).take(steps).enumerate() {
                for (col, place) in places[..cols].iter_mut().enumerate() {
                    *place = T::place(|i| {
                        let k_at = step * T::PER_STEP + i;
                        if k_at < k { element(k_at, first + col) } else { T::ZERO }
                    });
                }
            }
        });
        panels
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// Panel `i`.
    pub fn get(&self, i: usize) -> Panel<'_> {
        let places: &[f32] = bytemuck::cast_slice(&self.lines);
        let cols = i * self.width..self.n.min((i + 1) * self.width);
        let stride = if cols.len() == self.width { self.width } else { self.last_width };
        Panel { data: &places[i * self.width * self.steps..][..stride * self.steps], stride, cols }
    }
}
