//! Gathers the columns of one head into contiguous rows, and scatters them back.
//!
//! A head's part of a row is one or two cache lines, and that of the next row is on another page, which defeats the
//! hardware prefetcher; rows are therefore prefetched explicitly.

use std::ops::Range;

use crate::{
    Cpu,
    backend::Slice,
    cpu::{
        Elements, ElementsMut, Float,
        simd::{self, Isa, Kernel, Simd},
    },
};

/// Prefetch distance in rows.
const ROWS_AHEAD: usize = 8;

/// A range of columns of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    /// The number of columns of the matrix.
    pub stride: usize,
    /// The first column of the range.
    pub first: usize,
    /// The number of columns in the range.
    pub count: usize,
}

/// Gathers `columns` of `rows` into rows that are `to.len() / rows.len()` apart; padding after a row is set to zero.
pub(super) fn take<T: Float>(isa: Isa, from: &Slice<'_, Cpu>, rows: Range<usize>, columns: Columns, to: &mut [T]) {
    let range = rows.start * columns.stride..rows.end * columns.stride;
    let to_stride = to.len().checked_div(rows.len()).unwrap_or(columns.count);
    match from.elements() {
        Elements::F32(from) => simd::dispatch(isa, Take { from: &from[range], columns, to, to_stride }),
        Elements::Bf16(from) => simd::dispatch(isa, Take { from: &from[range], columns, to, to_stride }),
    }
}

/// Scatters contiguous rows to columns of a matrix, rounding to its element type.
pub(super) fn put(isa: Isa, to: &mut ElementsMut<'_>, columns: Columns, from: &[f32]) {
    match to {
        ElementsMut::F32(to) => simd::dispatch(isa, Put { from, columns, to }),
        ElementsMut::Bf16(to) => simd::dispatch(isa, Put { from, columns, to }),
    }
}

struct Take<'a, T, U> {
    from: &'a [T],
    columns: Columns,
    to: &'a mut [U],
    to_stride: usize,
}

impl<T: Float, U: Float> Kernel for Take<'_, T, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Columns { stride, first, count } = self.columns;
        for (i, to) in self.to.chunks_exact_mut(self.to_stride).enumerate() {
            s.prefetch_all(self.from.as_ptr().wrapping_add((i + ROWS_AHEAD) * stride + first), count);
            let from = &self.from[i * stride + first..][..count];
            for (from, to) in from.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
                U::store(s, to, T::load(s, from));
            }
        }
    }
}

struct Put<'a, T> {
    from: &'a [f32],
    columns: Columns,
    to: &'a mut [T],
}

impl<T: Float> Kernel for Put<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Columns { stride, first, count } = self.columns;
        for (i, from) in self.from.chunks_exact(count).enumerate() {
            s.prefetch_all(self.to.as_ptr().wrapping_add((i + ROWS_AHEAD) * stride + first), count);
            let to = &mut self.to[i * stride + first..][..count];
            for j in (0..count).step_by(S::LANES) {
                T::store(s, &mut to[j..], s.load_partial(&from[j..]));
            }
        }
    }
}
