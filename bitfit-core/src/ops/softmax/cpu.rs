//! The softmax on the CPU: each task takes a fixed block of rows and processes every row with SIMD vectors.

use rayon::prelude::*;

use super::Softmax;
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    cpu::{
        blocks, blocks_of, load,
        simd::{self, Isa, Kernel, Simd, math},
        store,
    },
};

impl Softmax for Cpu {
    fn softmax(&self, x: Slice<'_, Self>, cols: usize, y: SliceMut<'_, Self>) -> Result<()> {
        blocks(y.f32(), cols).zip(blocks_of(x.f32(), cols)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(cols).zip(x.chunks_exact(cols)) {
                softmax_row(self.isa(), x, y);
            }
        });
        Ok(())
    }

    fn softmax_backward(
        &self,
        dy: Slice<'_, Self>,
        y: Slice<'_, Self>,
        cols: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let tasks = blocks(dx.f32(), cols).zip(blocks_of(dy.f32(), cols)).zip(blocks_of(y.f32(), cols));
        tasks.for_each(|((dx, dy), y)| {
            for ((dx, dy), y) in dx.chunks_exact_mut(cols).zip(dy.chunks_exact(cols)).zip(y.chunks_exact(cols)) {
                simd::dispatch(self.isa(), RowBackward { dy, y, dx, accumulate });
            }
        });
        Ok(())
    }
}

/// Writes the softmax of one row, which is not empty, to `y`; returns `max x` and `ln Σ exp(x - max x)`.
pub(crate) fn softmax_row(isa: Isa, x: &[f32], y: &mut [f32]) -> (f32, f32) {
    let (max, sum) = simd::dispatch(isa, Row { x, y });
    (max, sum.ln())
}

struct Row<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Row<'_> {
    /// The maximum of the row, and the sum of the exponentials.
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        let mut max = s.splat(self.x[0]);
        let whole = self.x.chunks_exact(S::LANES);
        // Lanes past the end of the row repeat its first element, so that they do not change the maximum.
        let mut last = [self.x[0]; 16];
        last[..whole.remainder().len()].copy_from_slice(whole.remainder());
        for x in whole {
            max = s.max(max, s.load(x));
        }
        let max = s.reduce_max(s.max(max, s.load(&last)));
        for j in (0..self.x.len()).step_by(S::LANES) {
            let e = math::exp(s, s.sub(load(s, self.x, j), s.splat(max)));
            store(s, self.y, j, e);
        }
        // Read back instead of summed on the way: lanes past the end of the row are then loaded as zero.
        let mut sum = s.zero();
        for j in (0..self.x.len()).step_by(S::LANES) {
            sum = s.add(sum, load(s, self.y, j));
        }
        let sum = s.reduce_sum(sum);
        for j in (0..self.x.len()).step_by(S::LANES) {
            let y = s.div(load(s, self.y, j), s.splat(sum));
            store(s, self.y, j, y);
        }
        (max, sum)
    }
}

/// `dx = y ∘ (dy - Σ dy y)` for one row, added to dx if `accumulate`.
struct RowBackward<'a> {
    dy: &'a [f32],
    y: &'a [f32],
    dx: &'a mut [f32],
    accumulate: bool,
}

impl Kernel for RowBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut dot = s.zero();
        for j in (0..self.dy.len()).step_by(S::LANES) {
            dot = s.fma(load(s, self.dy, j), load(s, self.y, j), dot);
        }
        let dot = s.splat(s.reduce_sum(dot));
        for j in (0..self.dy.len()).step_by(S::LANES) {
            let dx = s.mul(load(s, self.y, j), s.sub(load(s, self.dy, j), dot));
            let before = if self.accumulate { load(s, self.dx, j) } else { s.zero() };
            store(s, self.dx, j, s.add(before, dx));
        }
    }
}
