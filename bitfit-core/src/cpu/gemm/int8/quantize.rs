//! Rows rounded to int8, each with a scale of its own and its outliers.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    MOST, PER_WORD,
    outliers::{MAX_OUTLIERS, MOST_HIGH, Outlier, Outliers},
    row::Row,
};
use crate::{
    cpu::{
        Float, ROW_BLOCK,
        simd::{self, Isa, Kernel, Simd},
    },
    memory::ThreadScratch,
};

/// Below this, the largest element of a row counts as zero: the inverse of its scale might not be finite.
pub(super) const LEAST: f32 = 1e-34;

/// The distance between rows is a multiple of so many bytes, of which AMX's tile registers read whole ones.
pub(super) const ROW_BYTES: usize = 64;

/// There is room for a multiple of so many rows, of which AMX's tile registers read whole ones.
pub(super) const ROWS: usize = 16;

/// The f32-sized words that hold the outliers of a row.
const OUTLIERS: usize = size_of::<Outliers>() / size_of::<f32>();

/// A matrix `[T, cols]` in int8: `x[t, i] ≈ scales[t] q[t, i]`, with `|q| ≤ 127` but for the outliers of a row.
#[derive(Debug)]
pub(super) struct QuantizedRows {
    /// Rows of whole [`ROW_BYTES`], the bytes past the last column 0; then unspecified ones up to whole [`ROWS`].
    factors: ThreadScratch,
    scales: ThreadScratch,
    /// `-128 Σᵢ q[t, i]` as i32, where a sum of products with factors that have 128 added to them begins.
    starts: ThreadScratch,
    /// [`Outliers`] of each row.
    outliers: ThreadScratch,
    rows: usize,
    cols: usize,
}

/// A matrix `[T, cols]` that is to be rounded.
#[derive(Clone, Copy)]
pub(super) struct Unquantized<'a, T> {
    elements: &'a [T],
    cols: usize,
    /// A factor of each column that the elements are multiplied with.
    factors: Option<&'a [f32]>,
}

impl<'a, T: Float> Unquantized<'a, T> {
    /// The rows of `x`, of `cols` elements each.
    ///
    /// # Panics
    /// If `x` does not hold whole rows.
    pub fn new(x: &'a [T], cols: usize) -> Self {
        assert!(x.len().is_multiple_of(cols.max(1)), "whole rows of {cols} elements");
        Self { elements: x, cols, factors: None }
    }

    /// The rows of `x` with each element multiplied by the factor of its column.
    ///
    /// # Panics
    /// If `x` does not hold whole rows of as many elements as there are factors.
    pub fn scaled(x: &'a [T], factors: &'a [f32]) -> Self {
        Self { factors: Some(factors), ..Self::new(x, factors.len()) }
    }

    /// The number of rows, T.
    pub fn rows(&self) -> usize {
        self.elements.len() / self.cols.max(1)
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rounds all rows, with all threads.
    ///
    /// A row with an element that is not finite has a scale that is not, so that its products show it.
    pub fn quantize(&self, isa: Isa) -> QuantizedRows {
        let mut to = QuantizedRows::unspecified(self.rows(), self.cols);
        if self.rows() > 0 {
            self.elements.par_chunks(ROW_BLOCK * self.cols).zip(to.blocks()).for_each(|(x, to)| self.round(isa, x, to));
        }
        to
    }

    /// Rounds some of the rows, in the calling thread.
    pub fn quantize_rows(&self, isa: Isa, rows: Range<usize>) -> QuantizedRows {
        let mut to = QuantizedRows::unspecified(rows.len(), self.cols);
        self.round(isa, &self.elements[rows.start * self.cols..rows.end * self.cols], to.all());
        to
    }

    fn round(&self, isa: Isa, elements: &'a [T], to: Destination<'_>) {
        simd::dispatch(isa, Quantize { x: Self { elements, ..*self }, to });
    }
}

impl QuantizedRows {
    /// Memory for `rows` rows of `cols` factors, its contents unspecified.
    fn unspecified(rows: usize, cols: usize) -> Self {
        Self {
            factors: ThreadScratch::unspecified(rows.next_multiple_of(ROWS) * row_words(cols)),
            scales: ThreadScratch::unspecified(rows),
            starts: ThreadScratch::unspecified(rows),
            outliers: ThreadScratch::unspecified(rows * OUTLIERS),
            rows,
            cols,
        }
    }

    /// The memory of all rows, to be written.
    fn all(&mut self) -> Destination<'_> {
        let words = row_words(self.cols);
        Destination {
            factors: &mut self.factors[..self.rows * words],
            words,
            scales: &mut self.scales,
            starts: &mut self.starts,
            outliers: bytemuck::cast_slice_mut(&mut self.outliers),
        }
    }

    /// The memory of all rows, to be written in parts of [`ROW_BLOCK`] rows. There must be at least one row.
    fn blocks(&mut self) -> impl IndexedParallelIterator<Item = Destination<'_>> {
        let Destination { factors, words, scales, starts, outliers } = self.all();
        let blocks = factors.par_chunks_mut(ROW_BLOCK * words).zip(scales.par_chunks_mut(ROW_BLOCK));
        let others = starts.par_chunks_mut(ROW_BLOCK).zip(outliers.par_chunks_mut(ROW_BLOCK));
        blocks.zip(others).map(move |((factors, scales), (starts, outliers))| Destination {
            factors,
            words,
            scales,
            starts,
            outliers,
        })
    }

    /// The number of rows, T.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The address of a row's first factor, and the distance of two rows in bytes. Whole [`ROW_BYTES`] of each row may
    /// be read, and [`ROWS`] rows from each multiple of it.
    pub(super) fn row(&self, row: usize) -> (*const i8, usize) {
        let words = row_words(self.cols);
        (self.factors[row * words..].as_ptr().cast(), words * PER_WORD)
    }

    /// The scale of each row.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(super) fn starts(&self) -> &[i32] {
        bytemuck::cast_slice(&self.starts)
    }

    pub(super) fn outliers(&self) -> &[Outliers] {
        bytemuck::cast_slice(&self.outliers)
    }

    /// A row's factors, those of its outliers in full.
    #[cfg(test)]
    pub(super) fn factors(&self, row: usize) -> Vec<i32> {
        let words = row_words(self.cols);
        let low: &[i8] = &bytemuck::cast_slice(&self.factors[row * words..][..words])[..self.cols];
        let mut factors: Vec<i32> = low.iter().map(|&low| i32::from(low)).collect();
        self.outliers()[row].iter().for_each(|outlier| factors[outlier.column as usize] += outlier.beyond_factor());
        factors
    }
}

/// The words from one row to the next.
fn row_words(cols: usize) -> usize {
    cols.next_multiple_of(ROW_BYTES) / PER_WORD
}

/// Where some rows are written to, the fields as in [`QuantizedRows`].
struct Destination<'a> {
    factors: &'a mut [f32],
    /// The words from one row to the next.
    words: usize,
    scales: &'a mut [f32],
    starts: &'a mut [f32],
    outliers: &'a mut [Outliers],
}

struct Quantize<'a, T> {
    x: Unquantized<'a, T>,
    to: Destination<'a>,
}

impl<T: Float> Kernel for Quantize<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x: Unquantized { elements, cols, factors }, to } = self;
        let Destination { factors: to, words, scales, starts, outliers } = to;
        let rows = elements.chunks_exact(cols).zip(to.chunks_exact_mut(words));
        for ((elements, to), ((scale, start), outliers)) in rows.zip(scales.iter_mut().zip(starts).zip(outliers)) {
            let row = Row { elements, factors };
            let (most_by_lane, is_finite) = row.sizes(s);
            let most = s.reduce_max(most_by_lane);
            let is_counted = is_finite && most > LEAST;
            let set_aside = if is_counted { row.set_aside(s, most_by_lane, most) } else { None };
            // What the largest factor stands for.
            let largest = set_aside.map_or(most, |set_aside| set_aside.rest.max(most / MOST_HIGH));
            let inverse = if is_counted { MOST / largest } else { 0.0 };
            *scale = match (is_finite, is_counted) {
                (false, _) => f32::NAN,
                (true, true) => largest / MOST,
                (true, false) => 0.0,
            };
            let to: &mut [i8] = bytemuck::cast_slice_mut(to);
            row.round(s, inverse, &mut to[..cols]);
            to[cols..].fill(0);
            *outliers = [Outlier::default(); MAX_OUTLIERS];
            if let Some(set_aside) = set_aside {
                let (columns, number) = row.outliers(s, set_aside);
                let mut free = outliers.iter_mut();
                for &(column, value) in &columns[..number] {
                    let full = (value * inverse).round_ties_even() as i32;
                    let (factor, outlier) = Outlier::split(column, full);
                    to[column] = factor;
                    if let Some(outlier) = outlier {
                        *free.next().expect("room for all outliers") = outlier;
                    }
                }
            }
            let sum = outliers.iter().fold(s.sum_i8(to), |sum, outlier| sum + outlier.beyond_factor());
            *start = f32::from_bits(sum.wrapping_mul(-128).cast_unsigned());
        }
    }
}
