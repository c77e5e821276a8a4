//! Rows in fixed blocks: how every op of the CPU splits its work and adds up its column sums.

use rayon::prelude::*;

use crate::cpu::simd::Simd;

/// Rows that one task takes. Fixed, so that partial sums do not depend on the number of threads.
pub(crate) const ROW_BLOCK: usize = 32;

/// Elements that one task takes where rows do not matter: a whole number of vectors and of dropout groups.
pub(crate) const ELEMENT_BLOCK: usize = 8192;

/// The blocks of a `[rows, cols]` matrix, for reading.
pub(crate) fn blocks_of<T: Sync>(data: &[T], cols: usize) -> impl IndexedParallelIterator<Item = &[T]> {
    data.par_chunks(ROW_BLOCK * cols.max(1))
}

/// The blocks of a `[rows, cols]` matrix, for writing.
pub(crate) fn blocks<T: Send>(data: &mut [T], cols: usize) -> impl IndexedParallelIterator<Item = &mut [T]> {
    data.par_chunks_mut(ROW_BLOCK * cols.max(1))
}

/// The blocks of a matrix that may not be asked for: as many empty ones as `rows` make where it is not.
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

/// Adds the sum over all rows of the partial sums `[blocks, cols]` to `to`, block after block.
pub(crate) fn sum_columns(partial: &[f32], to: &mut [f32]) {
    for block in partial.chunks_exact(to.len()) {
        for (to, from) in to.iter_mut().zip(block) {
            *to += from;
        }
    }
}

/// The vector at `at`, zero in lanes behind the end of `from`.
#[inline(always)]
pub(crate) fn load<S: Simd>(s: S, from: &[f32], at: usize) -> S::F32 {
    let rest = &from[at..];
    if rest.len() >= S::LANES { s.load(rest) } else { s.load_partial(rest) }
}

/// Writes the vector at `at`, up to the end of `to`.
#[inline(always)]
pub(crate) fn store<S: Simd>(s: S, to: &mut [f32], at: usize, v: S::F32) {
    let rest = &mut to[at..];
    if rest.len() >= S::LANES { s.store(rest, v) } else { s.store_partial(rest, v) }
}
