//! `dy · W` of few rows from the panels of Wᵀ, without making panels of W.
//!
//! The product is computed as its transpose `Wᵀ · dyᵀ`: the panels are its left operand, which micro-kernels read in
//! place, row by row, and dyᵀ, which is small, is packed. The order of the terms is that of the product with panels of
//! W, so that a row's result does not depend on which of the two computes it.

use std::ops::Range;

use super::{
    MatMut, MatRef,
    driver::{KC, KC_UNSPLIT, MC, MIN_BLOCKS, NC, Product, block_width, k_parts, row_tiles},
    kernel::{Kernels, TransposedTile, transposed_kernels},
    pack::{Panels, transpose_block},
};
use crate::{cpu::simd::Isa, memory::ThreadScratch};

/// The most rows.
const MOST_ROWS: usize = 32;

/// The product of a matrix of f32 of few rows with the transpose of one in panels.
pub(super) struct TransposedProduct<'a> {
    isa: Isa,
    /// The transpose `[k, m]` of the left operand.
    left: &'a Panels,
    /// The transpose `[n, k]` of the right operand.
    right: &'a Panels,
}

impl<'a> TransposedProduct<'a> {
    /// Whether a left operand of so many rows is multiplied faster this way than with panels of the right operand. Rows
    /// are lanes of vectors, of which few may be empty; and the more rows, the less panels cost beside the product.
    pub fn pays(isa: Isa, rows: usize) -> bool {
        rows <= MOST_ROWS && 6 * rows >= 5 * rows.next_multiple_of(Kernels::<f32>::of(isa).lanes)
    }

    /// The product of the transposes of `left` `[k, m]`, m up to [`MOST_ROWS`], and `right` `[n, k]`.
    ///
    /// # Panics
    /// If the shapes do not match, or a matrix is not packed for `isa`.
    pub fn new(isa: Isa, left: &'a Panels, right: &'a Panels) -> Self {
        let ([k, m], [_, steps]) = (left.shape(), right.shape());
        assert!(k == steps && m <= MOST_ROWS, "a product of few rows");
        assert_eq!([left.nr(), right.nr()], [Kernels::<f32>::of(isa).nr(); 2], "panels for {isa}");
        Self { isa, left, right }
    }

    /// Parts of k whose steps are the same columns of one or several panels of the right operand: `(first panel,
    /// panels, columns)`.
    fn in_panels(&self, steps: Range<usize>) -> impl Iterator<Item = (usize, usize, Range<usize>)> + use<> {
        let nr = self.right.nr();
        let mut next = steps.start;
        std::iter::from_fn(move || {
            let (panel, first) = (next / nr, next % nr);
            let (panels, columns) = match first {
                0 if next + nr <= steps.end => ((steps.end - next) / nr, 0..nr),
                _ => (1, first..nr.min(first + steps.end - next)),
            };
            next += panels * columns.len();
            (!columns.is_empty()).then_some((panel, panels, columns))
        })
    }
}

impl Product for TransposedProduct<'_> {
    type Left<'a>
        = ()
    where
        Self: 'a;

    fn shape(&self) -> [usize; 3] {
        let ([k, m], [n, _]) = (self.left.shape(), self.right.shape());
        [m, k, n]
    }

    fn block_shape(&self) -> [usize; 2] {
        // Several tiles, so that threads seldom write to the same cache line.
        let tiles = 4 * transposed_kernels(self.isa).len();
        [MC, block_width(1, self.right.shape()[0], tiles, NC, MIN_BLOCKS)]
    }

    fn left(&self, _rows: Range<usize>) {}

    unsafe fn macro_kernel(
        &self,
        _left: &(),
        rows: Range<usize>,
        cols: Range<usize>,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) {
        let (table, lanes) = (transposed_kernels(self.isa), Kernels::<f32>::of(self.isa).lanes);
        let [n, k] = self.right.shape();
        let width = rows.len().next_multiple_of(lanes);
        // The sums of a part of k as `[cols, rows]`, and turned around.
        let mut sums = ThreadScratch::unspecified(cols.len() * width);
        let mut turned = ThreadScratch::unspecified(rows.len() * cols.len());
        // SAFETY: the caller guarantees that these elements are valid and not accessed by anyone else.
        let mut to = unsafe { MatMut::from_raw(c, [rows.len(), cols.len()], c_stride) };
        for pc in k_parts::<f32>(k, KC_UNSPLIT, KC) {
            sums.fill(0.0);
            let mut step = pc.start;
            for (panel, panels, columns) in self.in_panels(pc.clone()) {
                let right = self.right.get(panel);
                for left in self.left.iter() {
                    for (ir, count) in row_tiles(&cols, table.len()) {
                        let tile = TransposedTile {
                            panels,
                            panel_stride: n * right.stride,
                            steps: columns.len(),
                            // Within all panels, as the kernel reads those that follow.
                            a: self.right.from(panel)[ir * right.stride + columns.start..].as_ptr(),
                            a_stride: right.stride,
                            b: left.data[step * left.stride..].as_ptr(),
                            b_stride: left.stride,
                            sums: sums[(ir - cols.start) * width + left.cols.start..].as_mut_ptr(),
                            sums_stride: width,
                        };
                        let vectors = left.cols.len().div_ceil(lanes);
                        // SAFETY: the micro-kernels belong to an instruction set that the CPU has. Several panels have
                        // the width of the first, and n rows, so that they are `panel_stride` apart; rows
                        // `ir..ir + count` of each have these columns. The left operand has whole vectors for as many
                        // steps from `step` on, and so have the sums for each of the rows.
                        unsafe { table[count - 1][vectors - 1](&tile) };
                    }
                }
                step += panels * columns.len();
            }
            let sums = MatRef::new(&sums, width).part(0..cols.len(), 0..rows.len());
            transpose_block(self.isa, sums, &mut turned, cols.len());
            for (i, sums) in turned.chunks_exact(cols.len()).enumerate() {
                match accumulate || pc.start > 0 {
                    true => to.row_mut(i).iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
                    false => to.row_mut(i).copy_from_slice(sums),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_fill_vectors_pay() {
        for isa in Isa::supported() {
            let lanes = Kernels::<f32>::of(isa).lanes;
            let pays: Vec<usize> = (0..100).filter(|&rows| rows > 0 && TransposedProduct::pays(isa, rows)).collect();
            let want: Vec<usize> = match lanes {
                8 => [7..=8, 14..=16, 20..=24, 27..=32].into_iter().flatten().collect(),
                _ => [14..=16, 27..=32].into_iter().flatten().collect(),
            };
            assert_eq!(pays, want, "{isa}");
        }
    }

    #[test]
    fn steps_are_cut_at_panels_and_whole_panels_stay_together() {
        for isa in Isa::supported() {
            let nr = Kernels::<f32>::of(isa).nr();
            // Three whole panels and a narrower one; three whole ones alone.
            for k in [3 * nr + 3, 3 * nr] {
                let (mut left, mut right) = (Panels::default(), Panels::default());
                left.pack_matrix(isa, MatRef::new(&vec![0.0; k], 1));
                right.pack_matrix(isa, MatRef::new(&vec![0.0; 2 * k], k));
                let product = TransposedProduct::new(isa, &left, &right);
                let check = |steps: Range<usize>, want: &[(usize, usize, Range<usize>)]| {
                    assert_eq!(product.in_panels(steps.clone()).collect::<Vec<_>>(), want, "{isa} {k} {steps:?}");
                };
                check(0..3 * nr, &[(0, 3, 0..nr)]);
                check(nr..2 * nr, &[(1, 1, 0..nr)]);
                check(0..nr + 1, &[(0, 1, 0..nr), (1, 1, 0..1)]);
                check(5..3 * nr, &[(0, 1, 5..nr), (1, 2, 0..nr)]);
                check(5..2 * nr + 4, &[(0, 1, 5..nr), (1, 1, 0..nr), (2, 1, 0..4)]);
                check(3..6, &[(0, 1, 3..6)]);
                check(4..4, &[]);
                check(k..k, &[]);
                if k > 3 * nr {
                    check(0..k, &[(0, 3, 0..nr), (3, 1, 0..3)]);
                    check(2 * nr + 1..k, &[(2, 1, 1..nr), (3, 1, 0..3)]);
                    check(3 * nr + 1..3 * nr + 2, &[(3, 1, 1..2)]);
                }
            }
        }
    }
}
