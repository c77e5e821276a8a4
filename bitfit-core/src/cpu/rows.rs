//! Fixed blocks of rows, into which the ops split their work, and the sums of columns over them.

use rayon::prelude::*;

use crate::cpu::simd::Simd;

/// The rows of a task. Fixed, so that partial sums do not depend on the number of threads.
pub(crate) const ROW_BLOCK: usize = 32;

/// The elements of a task of an element-wise op: a whole number of vectors and of dropout groups.
pub(crate) const ELEMENT_BLOCK: usize = 8192;

/// The blocks of rows of a `[rows, cols]` matrix, for reading.
pub(crate) fn blocks_of<T: Sync>(data: &[T], cols: usize) -> impl IndexedParallelIterator<Item = &[T]> {
    data.par_chunks(ROW_BLOCK * cols.max(1))
}

/// The blocks of rows of a `[rows, cols]` matrix, for writing.
pub(crate) fn blocks<T: Send>(data: &mut [T], cols: usize) -> impl IndexedParallelIterator<Item = &mut [T]> {
    data.par_chunks_mut(ROW_BLOCK * cols.max(1))
}

/// The blocks of rows of an optional matrix: as many `None` as `rows` have blocks if there is no matrix.
pub(crate) fn optional_blocks<T: Send>(
    data: Option<&mut [T]>,
    rows: usize,
    cols: usize,
) -> impl IndexedParallelIterator<Item = Option<&mut [T]>> {
    let blocks: Vec<_> = match data {
        Some(data) => data.chunks_mut(ROW_BLOCK * cols.max(1)).map(Some).collect(),
        None => (0..rows.div_ceil(ROW_BLOCK)).map(|_| None).collect(),
    };
    blocks.into_par_iter()
}

/// Adds the partial sums `[blocks, cols]` to `to`, one block after the other.
pub(crate) fn sum_columns(partial: &[f32], to: &mut [f32]) {
    for block in partial.chunks_exact(to.len()) {
        for (to, from) in to.iter_mut().zip(block) {
            *to += from;
        }
    }
}

/// Loads the vector at index `at`; lanes past the end of `from` are zero.
#[inline(always)]
pub(crate) fn load<S: Simd>(s: S, from: &[f32], at: usize) -> S::F32 {
    let rest = &from[at..];
    if rest.len() >= S::LANES { s.load(rest) } else { s.load_partial(rest) }
}

/// Stores a vector at index `at`, up to the end of `to`.
#[inline(always)]
pub(crate) fn store<S: Simd>(s: S, to: &mut [f32], at: usize, v: S::F32) {
    let rest = &mut to[at..];
    if rest.len() >= S::LANES { s.store(rest, v) } else { s.store_partial(rest, v) }
}
