//! One head's columns of a matrix as rows of their own, and back.
//!
//! A head's part of a row is a line or two, and the next row's lies on another page, where the CPU does not foresee it: rows are
//! asked for ahead of their turn.

use std::ops::Range;

use crate::{
    Cpu, Slice,
    cpu::{Elements, ElementsMut, Stored},
    simd::{self, Kernel, Level, Simd},
};

/// How many rows ahead a row is asked for.
const ROWS_AHEAD: usize = 8;

/// Which columns of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    /// Columns of the matrix.
    pub stride: usize,
    /// The first of those meant.
    pub first: usize,
    /// How many of them.
    pub count: usize,
}

/// Reads columns of some rows to rows of their own, `to.len() / rows.len()` apart; what lies behind a row's end is zero.
pub(super) fn take<T: Stored>(level: Level, from: &Slice<'_, Cpu>, rows: Range<usize>, columns: Columns, to: &mut [T]) {
    let range = rows.start * columns.stride..rows.end * columns.stride;
    let to_stride = to.len().checked_div(rows.len()).unwrap_or(columns.count);
    match from.elements() {
        Elements::F32(from) => simd::dispatch(level, Take { from: &from[range], columns, to, to_stride }),
        Elements::Bf16(from) => simd::dispatch(level, Take { from: &from[range], columns, to, to_stride }),
    }
}

/// Writes rows to columns of a matrix, rounded to its type.
pub(super) fn put(level: Level, to: &mut ElementsMut<'_>, columns: Columns, from: &[f32]) {
    match to {
        ElementsMut::F32(to) => simd::dispatch(level, Put { from, columns, to }),
        ElementsMut::Bf16(to) => simd::dispatch(level, Put { from, columns, to }),
    }
}

struct Take<'a, T, U> {
    from: &'a [T],
    columns: Columns,
    to: &'a mut [U],
    to_stride: usize,
}

impl<T: Stored, U: Stored> Kernel for Take<'_, T, U> {
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

impl<T: Stored> Kernel for Put<'_, T> {
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
