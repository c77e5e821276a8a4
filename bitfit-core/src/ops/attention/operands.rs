//! The operands of attention's products: f32 matrices, or matrices of pairs of bfloat16 that are neighbours along k.
//!
//! `T` is the element type of the projections, and [`Float::Word`] that of a product's operands: f32 itself, or a
//! [`Pair`](crate::cpu::gemm::Pair). The two halves of a pair come from one row if the sum runs along it (`q · kᵀ`, and
//! the left operand of `p · v`), and from two rows if it runs down the columns (the right operand of `p · v`). If their
//! number is odd, the last pair is padded with zero. For f32 the matrices are used without a copy.

use std::ops::Range;

use half::bf16;

use super::columns::{self, Columns};
use crate::{
    Cpu,
    backend::Slice,
    cpu::{
        Float,
        gemm::{MatRef, Operand},
        simd::{self, Isa, Kernel, Simd},
    },
};

/// Whether the operands are matrices of f32, which need no pairs.
const fn is_f32<T: Float>() -> bool {
    T::PER_STEP == 1
}

/// The number of words of a row of `count` elements.
pub(super) fn words<T: Float>(count: usize) -> usize {
    count.div_ceil(T::PER_STEP)
}

/// Gathers columns of some rows of a matrix, paired along the rows.
pub(super) fn take<T: Float>(
    isa: Isa,
    from: &Slice<'_, Cpu>,
    rows: Range<usize>,
    columns: Columns,
    to: &mut Vec<T::Word>,
) {
    to.resize(rows.len() * words::<T>(columns.count), T::Word::default());
    columns::take::<T>(isa, from, rows, columns, bytemuck::cast_slice_mut(to));
}

/// f32 rows of `cols` elements as an operand that is summed along the rows.
pub(super) fn along<'a, T: Float>(
    isa: Isa,
    rows: &'a [f32],
    cols: usize,
    memory: &'a mut Vec<T::Word>,
) -> MatRef<'a, T::Word> {
    if is_f32::<T>() {
        return MatRef::new(bytemuck::cast_slice(rows), cols);
    }
    memory.resize(rows.len() / cols * words::<T>(cols), T::Word::default());
    simd::dispatch(isa, RoundRows { rows, cols, to: bytemuck::cast_slice_mut(memory) });
    MatRef::new(memory, words::<T>(cols))
}

/// f32 rows of `cols` elements as an operand that is summed down the columns.
pub(super) fn down<'a, T: Float>(
    isa: Isa,
    rows: &'a [f32],
    cols: usize,
    memory: &'a mut Vec<T::Word>,
) -> MatRef<'a, T::Word> {
    if is_f32::<T>() {
        return MatRef::new(bytemuck::cast_slice(rows), cols);
    }
    pair_rows(isa, rows, cols, cols, memory)
}

/// Rows of `cols` elements that [`take`] gathered, as an operand that is summed down the columns.
pub(super) fn stack<'a, T: Float>(
    isa: Isa,
    rows: &'a [T::Word],
    cols: usize,
    memory: &'a mut Vec<T::Word>,
) -> MatRef<'a, T::Word> {
    if is_f32::<T>() {
        return MatRef::new(rows, cols);
    }
    pair_rows::<T, _>(isa, bytemuck::cast_slice(rows), T::PER_STEP * words::<T>(cols), cols, memory)
}

/// Rounds f32 rows to rows of bfloat16, padded to an even length.
struct RoundRows<'a> {
    rows: &'a [f32],
    cols: usize,
    to: &'a mut [bf16],
}

impl Kernel for RoundRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.rows.chunks_exact(self.cols).zip(self.to.chunks_exact_mut(self.cols.next_multiple_of(2)));
        for (from, to) in rows {
            for (from, to) in from.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
                // Lanes past the end of the row are zero, and so is the padding.
                s.store_bf16(to, s.load_partial(from));
            }
        }
    }
}

/// Combines rows that are `stride` apart two by two, into one row of pairs.
fn pair_rows<'a, T: Float, W: Operand>(
    isa: Isa,
    rows: &[T],
    stride: usize,
    cols: usize,
    to: &'a mut Vec<W>,
) -> MatRef<'a, W> {
    to.resize((rows.len() / stride).div_ceil(2) * cols, W::default());
    simd::dispatch(isa, PairRows { rows, stride, cols, to: bytemuck::cast_slice_mut(to) });
    MatRef::new(to, cols)
}

struct PairRows<'a, T> {
    rows: &'a [T],
    stride: usize,
    cols: usize,
    to: &'a mut [f32],
}

impl<T: Float> Kernel for PairRows<'_, T> {
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
