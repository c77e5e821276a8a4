//! The loops around the micro-kernel, with the names of BLIS (Van Zee and van de Geijn, ACM TOMS 41:3, 2015):
//!
//! ```text
//! C [m, n] = A [m, k] · B [k, n]
//!
//! 5.  for jc in 0..n by NC                         ┐ `run`: one task per block of C, jc in the outer loop, so that
//! 3.    for ic in 0..m by MC                       ┘ consecutive tasks read the same panels of B from the L2 cache
//! 4.      for pc in 0..k by KC                     ┐
//! 2.        for jr in 0..NC by NR                  │ the macro-kernel, for one block of C: a panel of B is used
//! 1.          for ir in 0..MC by MR                │ for all rows of the block before the next panel is
//!               C[MR×NR] += A[MR×KC] · B[KC×NR]    ┘ `kernel`: the micro-kernel, a tile of C in registers
//!         epilogue of C[MC×NC]                       `epilogue`: while the block of C is in cache
//! ```
//!
//! It differs from BLIS in three ways. Loop 4 is inside loop 3, so that one task finishes a block of C and its epilogue
//! sees final values. B is packed as a whole before the loops, frozen weights only once (`pack`, `weights`). A is not
//! packed: its rows are read in place, except by AMX.
//!
//! Block sizes do not depend on the number of threads, except NC of the tile registers, on which no result depends.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::kernel::AmxProduct;
use super::{
    Block, Epilogue, MatMut, MatRef, Operand,
    block::next_product,
    kernel::{KernelKind, Kernels, VectorKernel, VectorTile},
    pack::{Panel, Panels},
};
use crate::{cpu::simd::Isa, memory::ThreadScratch};

/// MC: rows of a block of C, and of what an epilogue sees at a time; column sums are formed over so many rows.
pub const MC: usize = 96;

/// NC: the most columns of a block of C, and of what an epilogue sees at a time.
pub const NC: usize = 192;

/// KC: steps of k in a part of it, if k is split.
pub(super) const KC: usize = 512;

/// The number of steps up to which k is not split.
pub(super) const KC_UNSPLIT: usize = 768;

/// The number of blocks below which they are made narrower.
pub(super) const MIN_BLOCKS: usize = 64;

/// Multiply-adds up to which one thread computes the whole product. A product with fewer than four rows counts as one
/// of four, because reading the weight takes as long.
const SEQUENTIAL: usize = 1 << 21;

/// The destination of a product.
#[derive(Debug)]
pub enum Output<'a> {
    /// `y = product`.
    Write(MatMut<'a>),
    /// `y += product`; the epilogue sees the sum.
    Accumulate(MatMut<'a>),
    /// `y = product`, each element rounded to bfloat16 when the epilogue stores it.
    Round(MatMut<'a, bf16>),
}

/// A product with a macro-kernel that computes one block of it.
pub(super) trait Product: Sync {
    /// The rows of A of one task.
    type Left<'a>
    where
        Self: 'a;

    /// `[m, k, n]` of a product `[m, k] · [k, n]`.
    fn shape(&self) -> [usize; 3];

    /// `[MC, NC]` of this product; its MC is a multiple of [`MC`].
    fn block_shape(&self) -> [usize; 2];

    /// Whether a task computes all blocks of its rows, one after the other, and not one of them.
    fn has_tasks_of_whole_rows(&self) -> bool {
        false
    }

    /// What the blocks of a task with the rows `rows` read of A.
    fn left(&self, rows: Range<usize>) -> Self::Left<'_>;

    /// Computes a block to `c`, the address of its first element; `left` is that of its rows.
    ///
    /// # Safety
    /// The elements of the block must be writable at `c`, in rows `c_stride` apart, and not accessed by anyone else.
    unsafe fn macro_kernel(
        &self,
        left: &Self::Left<'_>,
        rows: Range<usize>,
        cols: Range<usize>,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    );
}

/// The right operand B of a product.
#[derive(Clone, Copy)]
pub(super) enum RightOperand<'a> {
    /// Packed into panels.
    Packed(&'a Panels),
    /// The transpose of a matrix of f32 in panels, of which each block of C makes the panels that it reads.
    Transposed(&'a Panels),
    /// In place: contiguous rows whose length is a whole number of vectors.
    InPlace(MatRef<'a>),
}

/// The product `scale * a·b`, with `n` columns.
pub(super) struct PanelProduct<'a, T: 'static> {
    pub kernels: Kernels<T>,
    pub a: MatRef<'a, T>,
    pub b: RightOperand<'a>,
    pub n: usize,
    pub scale: f32,
}

impl<T: Operand> PanelProduct<'_, T> {
    /// Computes the product with the macro-kernel of its instruction set.
    pub fn run(&self, isa: Isa, output: Output<'_>, epilogue: &impl Epilogue) {
        match self.kernels.kind {
            KernelKind::Vectors(table) => run(isa, &VectorProduct { isa, product: self, table }, output, epilogue),
            #[cfg(target_arch = "x86_64")]
            KernelKind::Amx => run(isa, &AmxProduct { product: self }, output, epilogue),
        }
    }

    pub fn shape(&self) -> [usize; 3] {
        [self.a.rows(), self.a.cols(), self.n]
    }

    /// Panel `i` of B: its columns from `i * NR` on.
    pub fn panel(&self, i: usize) -> Panel<'_> {
        match self.b {
            RightOperand::Packed(panels) => panels.get(i),
            RightOperand::Transposed(_) => unreachable!("a panel that a block makes"),
            RightOperand::InPlace(b) => {
                let nr = self.kernels.nr();
                let cols = i * nr..b.cols().min((i + 1) * nr);
                let data = if b.rows() == 0 { &[] } else { b.from(0, cols.start) };
                Panel { data, stride: b.strides()[0], cols }
            }
        }
    }
}

/// A product computed by micro-kernels in vector registers.
struct VectorProduct<'a, 'b, T: 'static> {
    isa: Isa,
    product: &'a PanelProduct<'b, T>,
    table: &'static [&'static [VectorKernel<T>]],
}

impl<T: Operand> Product for VectorProduct<'_, '_, T> {
    type Left<'a>
        = ()
    where
        Self: 'a;

    fn shape(&self) -> [usize; 3] {
        self.product.shape()
    }

    fn block_shape(&self) -> [usize; 2] {
        let row_blocks = self.product.a.rows().div_ceil(MC);
        [MC, block_width(row_blocks, self.product.n, self.product.kernels.nr(), NC, MIN_BLOCKS)]
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
        let Self { isa, product, table } = self;
        let k = product.a.cols();
        let [row_stride, col_stride] = product.a.strides();
        let (nr, mr) = (product.kernels.nr(), table.len());
        for pc in k_parts::<T>(k, KC_UNSPLIT, KC) {
            let mut transposed = None;
            for jr in cols.start / nr..cols.end.div_ceil(nr) {
                let panel = match product.b {
                    RightOperand::Transposed(from) => {
                        let cols = jr * nr..product.n.min((jr + 1) * nr);
                        let words = transposed.get_or_insert_with(|| ThreadScratch::unspecified(pc.len() * nr));
                        from.transpose_part(*isa, cols.clone(), pc.clone(), words, nr);
                        Panel { data: words, stride: nr, cols }
                    }
                    RightOperand::Packed(_) | RightOperand::InPlace(_) => {
                        let Panel { data, stride, cols } = product.panel(jr);
                        // Empty where k is.
                        Panel { data: data.get(pc.start / T::PER_STEP * stride..).unwrap_or_default(), stride, cols }
                    }
                };
                let vectors = panel.cols.len().div_ceil(product.kernels.lanes);
                for (ir, count) in row_tiles(&rows, mr) {
                    let tile = VectorTile {
                        k: pc.len(),
                        a: product.a.as_ptr().wrapping_add(ir * row_stride + pc.start * col_stride),
                        a_strides: [row_stride, col_stride],
                        b: panel.data.as_ptr(),
                        b_stride: panel.stride,
                        c: c.wrapping_add((ir - rows.start) * c_stride + panel.cols.start - cols.start),
                        c_stride,
                        cols: panel.cols.len(),
                        scale: product.scale,
                        accumulate: accumulate || pc.start > 0,
                    };
                    // SAFETY: the micro-kernels belong to an instruction set that the CPU has. Rows `ir..ir + count`
                    // and the columns `pc` are inside a; b holds whole vectors for each step; the caller guarantees c.
                    unsafe { table[count - 1][vectors - 1](&tile) };
                }
            }
        }
    }
}

/// The parts that k is split into: one of up to `unsplit` steps, otherwise parts of about `kc` steps. One empty part if
/// k is 0.
pub(super) fn k_parts<T: Operand>(k: usize, unsplit: usize, kc: usize) -> impl Iterator<Item = Range<usize>> {
    let steps = k.div_ceil(T::PER_STEP);
    let parts = if steps <= unsplit { 1 } else { steps.div_ceil(kc) };
    let size = steps.div_ceil(parts).next_multiple_of(16).max(1) * T::PER_STEP;
    (0..k.max(1)).step_by(size).map(move |first| first..k.min(first + size))
}

/// Splits rows into tiles of at most `mr` rows, of sizes as equal as possible: `(first, count)`.
pub(super) fn row_tiles(rows: &Range<usize>, mr: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
    let tiles = rows.len().div_ceil(mr).max(1);
    let (start, len) = (rows.start, rows.len());
    (0..tiles).map(move |i| (start + len * i / tiles, len * (i + 1) / tiles - len * i / tiles))
}

/// The number of columns of a block, a multiple of `nr`: the largest up to `most` that leaves at least `min_blocks`
/// blocks.
pub(super) fn block_width(row_blocks: usize, n: usize, nr: usize, most: usize, min_blocks: usize) -> usize {
    let mut width = most / nr * nr;
    while width > nr && row_blocks * n.div_ceil(width) < min_blocks {
        width = (width / 2).next_multiple_of(nr);
    }
    width
}

/// Computes a product block by block, and applies the epilogue to each block.
///
/// # Panics
/// If the output does not have the product's shape.
pub(super) fn run(isa: Isa, product: &impl Product, output: Output<'_>, epilogue: &impl Epilogue) {
    let [m, k, n] = product.shape();
    let (y, rounded, accumulate) = match &output {
        Output::Write(y) => (Some(y), None, false),
        Output::Accumulate(y) => (Some(y), None, true),
        Output::Round(y) => (None, Some(y), false),
    };
    let shape = y.map(MatMut::shape).or(rounded.map(MatMut::shape));
    assert_eq!(shape, Some([m, n]), "the output of a [{m}, {n}] product");
    if m == 0 || n == 0 {
        return;
    }
    let number = next_product();
    let [mc, nc] = product.block_shape();
    let (row_blocks, col_blocks) = (m.div_ceil(mc), n.div_ceil(nc));
    let width = if product.has_tasks_of_whole_rows() { col_blocks } else { 1 };

    let block = |left: &_, ic: usize, jc: usize| {
        let (rows, cols) = (ic..m.min(ic + mc), jc..n.min(jc + nc));
        let compute = |c: *mut f32, c_stride: usize| {
            // SAFETY: `c` is the block's part of the output, which is exclusively borrowed for this call, or scratch
            // memory of this task, and the same part of `rounded` is exclusively borrowed. Each block is computed once,
            // and different ones do not overlap; nor do the parts of it that the epilogue sees, which exist one after
            // the other.
            unsafe {
                product.macro_kernel(left, rows.clone(), cols.clone(), c, c_stride, accumulate);
                for row in rows.clone().step_by(MC) {
                    for col in cols.clone().step_by(NC) {
                        let part = (row..rows.end.min(row + MC), col..cols.end.min(col + NC));
                        let c = c.wrapping_add((row - ic) * c_stride + col - jc);
                        epilogue.apply(&mut Block::new(isa, number, part, (c, c_stride), rounded));
                    }
                }
            }
        };
        match y {
            Some(y) => compute(y.at(ic, jc), y.row_stride()),
            None => compute(ThreadScratch::unspecified(mc * nc).as_mut_ptr(), nc),
        }
    };
    let task = |i: usize| {
        let (ic, first) = (i % row_blocks * mc, i / row_blocks);
        let left = product.left(ic..m.min(ic + mc));
        (first..first + width).for_each(|j| block(&left, ic, j * nc));
    };
    let tasks = row_blocks * col_blocks / width;
    if tasks == 1 || m.max(4) * n * k <= SEQUENTIAL {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k_is_covered_once_in_even_steps() {
        for k in [0, 1, 15, 384, 768, 769, 1024, 3072, 4097] {
            let parts: Vec<_> = k_parts::<bf16>(k, KC_UNSPLIT, KC).collect();
            assert_eq!(parts[0].start, 0);
            assert_eq!(parts.last().unwrap().end, k);
            assert!(parts.windows(2).all(|w| w[0].end == w[1].start && w[1].start % 2 == 0));
        }
    }

    #[test]
    fn row_tiles_cover_the_rows_evenly() {
        for len in 1..100 {
            let tiles: Vec<_> = row_tiles(&(96..96 + len), 8).collect();
            assert_eq!(tiles[0].0, 96);
            assert_eq!(tiles.iter().map(|t| t.1).sum::<usize>(), len);
            assert!(tiles.windows(2).all(|w| w[0].0 + w[0].1 == w[1].0));
            let counts = || tiles.iter().map(|t| t.1);
            assert!(counts().max().unwrap() <= 8 && counts().max().unwrap() - counts().min().unwrap() <= 1);
        }
    }

    #[test]
    fn blocks_get_narrower_until_there_are_enough() {
        assert_eq!(block_width(22, 3072, 48, 192, 64), 192);
        assert_eq!(block_width(1, 768, 48, 192, 64), 48);
        assert_eq!(block_width(7, 768, 16, 192, 64), 48);
    }
}
