//! In which form a head's matrices meet in a product: as f32, or as pairs of bfloat16 that are neighbours along the sum.
//!
//! Pairs lie side by side in a row where the sum runs along it (`q · kᵀ`, and the left operand of `p · v`), and come from two rows
//! where it runs down the columns (the right operand of `p · v`). Behind an odd end the pair's other half is zero.

use std::ops::Range;

use half::bf16;

use super::columns::{self, Columns};
use crate::{
    Cpu,
    backend::Slice,
    cpu::{
        Stored,
        gemm::{MatRef, Pair, Step},
        simd::{self, Isa, Kernel, Simd},
    },
};

/// A form of matrices.
pub(super) trait Form: Step + Default {
    /// Places that a row of `count` elements takes.
    fn places(count: usize) -> usize;
    /// Columns of some rows of a matrix, in pairs along the rows.
    fn take(isa: Isa, from: &Slice<'_, Cpu>, rows: Range<usize>, columns: Columns, to: &mut Vec<Self>);
    /// Rows of `cols` elements, in pairs along the rows.
    fn along<'a>(isa: Isa, rows: &'a [f32], cols: usize, memory: &'a mut Vec<Self>) -> MatRef<'a, Self>;
    /// Rows of `cols` elements, in pairs down the columns.
    fn down<'a>(isa: Isa, rows: &'a [f32], cols: usize, memory: &'a mut Vec<Self>) -> MatRef<'a, Self>;
    /// Rows of `cols` elements that [`Form::take`] made, in pairs down the columns.
    fn stack<'a>(isa: Isa, rows: &'a [Self], cols: usize, memory: &'a mut Vec<Self>) -> MatRef<'a, Self>;
}

impl Form for f32 {
    fn places(count: usize) -> usize {
        count
    }

    fn take(isa: Isa, from: &Slice<'_, Cpu>, rows: Range<usize>, columns: Columns, to: &mut Vec<f32>) {
        to.resize(rows.len() * columns.count, 0.0);
        columns::take(isa, from, rows, columns, to);
    }

    fn along<'a>(_: Isa, rows: &'a [f32], cols: usize, _: &'a mut Vec<f32>) -> MatRef<'a> {
        MatRef::new(rows, cols)
    }

    fn down<'a>(_: Isa, rows: &'a [f32], cols: usize, _: &'a mut Vec<f32>) -> MatRef<'a> {
        MatRef::new(rows, cols)
    }

    fn stack<'a>(_: Isa, rows: &'a [f32], cols: usize, _: &'a mut Vec<f32>) -> MatRef<'a> {
        MatRef::new(rows, cols)
    }
}

impl Form for Pair {
    fn places(count: usize) -> usize {
        count.div_ceil(2)
    }

    fn take(isa: Isa, from: &Slice<'_, Cpu>, rows: Range<usize>, columns: Columns, to: &mut Vec<Pair>) {
        to.resize(rows.len() * Self::places(columns.count), Pair::default());
        columns::take::<bf16>(isa, from, rows, columns, bytemuck::cast_slice_mut(to));
    }

    fn along<'a>(isa: Isa, rows: &'a [f32], cols: usize, memory: &'a mut Vec<Pair>) -> MatRef<'a, Pair> {
        memory.resize(rows.len() / cols * Self::places(cols), Pair::default());
        simd::dispatch(isa, Along { rows, cols, to: bytemuck::cast_slice_mut(memory) });
        MatRef::new(memory, Self::places(cols))
    }

    fn down<'a>(isa: Isa, rows: &'a [f32], cols: usize, memory: &'a mut Vec<Pair>) -> MatRef<'a, Pair> {
        pair_rows(isa, rows, cols, cols, memory)
    }

    fn stack<'a>(isa: Isa, rows: &'a [Pair], cols: usize, memory: &'a mut Vec<Pair>) -> MatRef<'a, Pair> {
        pair_rows::<bf16>(isa, bytemuck::cast_slice(rows), 2 * Self::places(cols), cols, memory)
    }
}

/// Rows of f32 as rows of bfloat16 of an even length.
struct Along<'a> {
    rows: &'a [f32],
    cols: usize,
    to: &'a mut [bf16],
}

impl Kernel for Along<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.rows.chunks_exact(self.cols).zip(self.to.chunks_exact_mut(self.cols.next_multiple_of(2)));
        for (from, to) in rows {
            for (from, to) in from.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
                // A lane behind the row's end is zero, and so is the half behind an odd one.
                s.store_bf16(to, s.load_partial(from));
            }
        }
    }
}

/// Rows `stride` apart, two by two: of each column a pair.
fn pair_rows<'a, T: Stored>(
    isa: Isa,
    rows: &[T],
    stride: usize,
    cols: usize,
    to: &'a mut Vec<Pair>,
) -> MatRef<'a, Pair> {
    to.resize((rows.len() / stride).div_ceil(2) * cols, Pair::default());
    simd::dispatch(isa, PairRows { rows, stride, cols, to: bytemuck::cast_slice_mut(to) });
    MatRef::new(to, cols)
}

struct PairRows<'a, T> {
    rows: &'a [T],
    stride: usize,
    cols: usize,
    to: &'a mut [f32],
}

impl<T: Stored> Kernel for PairRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (pair, to) in self.rows.chunks(2 * self.stride).zip(self.to.chunks_exact_mut(self.cols)) {
            let (low, high) = pair.split_at(self.stride);
            for at in (0..self.cols).step_by(S::LANES) {
                let low = T::load(s, &low[at..self.cols]);
                let high = if high.is_empty() { s.zero() } else { T::load(s, &high[at..self.cols]) };
                s.store_partial(&mut to[at..], s.pair_bf16(low, high));
            }
        }
    }
}
