//! Rows rounded to int8, each with a scale of its own.

use rayon::prelude::*;

use super::{MOST, PER_WORD};
use crate::{
    cpu::{
        Float, ROW_BLOCK,
        simd::{self, Isa, Kernel, Simd},
    },
    memory::ThreadScratch,
};

/// Below this, the largest element of a row counts as zero: the inverse of its scale would not be finite.
const LEAST: f32 = 1e-35;

/// A matrix `[T, cols]` in int8: `x[t, i] ≈ scales[t] q[t, i]`, with `|q| ≤ 127`.
#[derive(Debug)]
pub struct QuantizedRows {
    /// Rows of whole words.
    factors: ThreadScratch,
    scales: ThreadScratch,
    /// `-128 Σᵢ q[t, i]` as i32, where a sum of products with factors that have 128 added to them begins.
    starts: ThreadScratch,
    rows: usize,
    cols: usize,
}

impl QuantizedRows {
    /// Rounds the rows of `x`, of `cols` elements each.
    ///
    /// A row with an element that is not finite has a scale that is not, so that its products show it.
    ///
    /// # Panics
    /// If `x` does not hold whole rows.
    pub fn new<T: Float>(isa: Isa, x: &[T], cols: usize) -> Self {
        Self::of(isa, x, cols, None)
    }

    /// As [`QuantizedRows::new`], of the rows with each element multiplied by the factor of its column.
    ///
    /// # Panics
    /// If `x` does not hold whole rows, or there are not as many factors as columns.
    pub fn scaled<T: Float>(isa: Isa, x: &[T], factors: &[f32]) -> Self {
        Self::of(isa, x, factors.len(), Some(factors))
    }

    fn of<T: Float>(isa: Isa, x: &[T], cols: usize, factors: Option<&[f32]>) -> Self {
        let rows = x.len() / cols.max(1);
        assert_eq!(rows * cols, x.len(), "whole rows of {cols} elements");
        let words = cols.div_ceil(PER_WORD);
        let mut this = Self {
            factors: ThreadScratch::unspecified(rows * words),
            scales: ThreadScratch::unspecified(rows),
            starts: ThreadScratch::unspecified(rows),
            rows,
            cols,
        };
        if rows > 0 {
            let each = (this.factors.par_chunks_mut(ROW_BLOCK * words), this.scales.par_chunks_mut(ROW_BLOCK));
            let each = (each.0, each.1, this.starts.par_chunks_mut(ROW_BLOCK), x.par_chunks(ROW_BLOCK * cols));
            each.into_par_iter().for_each(|(to, scales, starts, x)| {
                simd::dispatch(isa, Quantize { x, cols, factors, to, words, scales, starts });
            });
        }
        this
    }

    /// The number of rows, T.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The address of a row's first factor, and the distance of two rows in bytes.
    pub(super) fn row(&self, row: usize) -> (*const i8, usize) {
        let words = self.cols.div_ceil(PER_WORD);
        (self.factors[row * words..].as_ptr().cast(), words * PER_WORD)
    }

    /// The scale of each row.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(super) fn starts(&self) -> &[i32] {
        bytemuck::cast_slice(&self.starts)
    }

    /// A row's factors.
    #[cfg(test)]
    pub(super) fn factors(&self, row: usize) -> &[i8] {
        let words = self.cols.div_ceil(PER_WORD);
        &bytemuck::cast_slice(&self.factors[row * words..][..words])[..self.cols]
    }
}

struct Quantize<'a, T> {
    x: &'a [T],
    cols: usize,
    factors: Option<&'a [f32]>,
    to: &'a mut [f32],
    words: usize,
    scales: &'a mut [f32],
    starts: &'a mut [f32],
}

impl<T: Float> Kernel for Quantize<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, cols, factors, to, words, scales, starts } = self;
        let rows = x.chunks_exact(cols).zip(to.chunks_exact_mut(words));
        for ((row, to), (scale, start)) in rows.zip(scales.iter_mut().zip(starts)) {
            let (mut most, mut zero) = (s.zero(), s.zero());
            for at in (0..cols).step_by(S::LANES) {
                let value = load(s, row, factors, at);
                most = s.max(most, s.abs(value));
                // NaN where an element is not finite.
                zero = s.fma(value, s.zero(), zero);
            }
            let most = s.reduce_max(most);
            let is_finite = s.reduce_sum(zero) == 0.0;
            let inverse = if is_finite && most > LEAST { MOST / most } else { 0.0 };
            *scale = match (is_finite, inverse > 0.0) {
                (false, _) => f32::NAN,
                (true, true) => most / MOST,
                (true, false) => 0.0,
            };
            let to: &mut [i8] = bytemuck::cast_slice_mut(to);
            let inverse = s.splat(inverse);
            // A sum of integers below 2²⁴ is exact in any order.
            let mut sum = s.zero();
            for at in (0..cols).step_by(S::LANES) {
                let factors = s.round(s.mul(load(s, row, factors, at), inverse));
                s.store_i8(&mut to[at..cols], factors);
                sum = s.add(sum, factors);
            }
            to[cols..].fill(0);
            *start = f32::from_bits((s.reduce_sum(sum) as i32).wrapping_mul(-128).cast_unsigned());
        }
    }
}

/// The elements of a row from `at` on, times those of `factors`. Not a closure, which would not be compiled for the
/// instruction set.
#[inline(always)]
fn load<T: Float, S: Simd>(s: S, row: &[T], factors: Option<&[f32]>, at: usize) -> S::F32 {
    let value = T::load(s, &row[at..]);
    match factors {
        None => value,
        Some(factors) => s.mul(value, s.load_partial(&factors[at..])),
    }
}
