//! How a product is cut into blocks, which threads take, and how a block is walked through.
//!
//! Blocks of vectors' kernels are the same whatever the number of threads; those of tile registers may be narrower for more of them,
//! and what is computed does not depend on it. Consecutive blocks share their columns, so that a thread finds
//! its panels in the second cache; inside a block, k is cut so that a panel and the block's part of the left operand
//! stay there, and a panel meets all rows before the next one does.

use std::{cell::Cell, ops::Range};

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::kernel::InTiles;
use super::{
    Block, COL_BLOCK, Epilogue, MatMut, MatRef, ROW_BLOCK,
    block::next_product,
    kernel::{Form, Kernels, Operand, Tile, TileFn},
    pack::{Panel, Panels},
};
use crate::{cpu::simd::Isa, memory::Line};

/// Steps of k that a block of vectors' kernels takes at a time, where it is cut at all.
const K_BLOCK: usize = 512;

/// Steps of k up to which it is not.
const K_WHOLE: usize = 768;

/// Fewer blocks of vectors' kernels than this, and they are made narrower.
const MIN_BLOCKS: usize = 64;

/// Multiply-adds below which a product is not worth waking a thread for, a row counting as four: reading its weights
/// takes as long.
const SEQUENTIAL: usize = 1 << 21;

/// Where a product goes.
#[derive(Debug)]
pub enum Output<'a> {
    /// `y = product`.
    Write(MatMut<'a>),
    /// `y += product`; the epilogue sees the sum.
    Accumulate(MatMut<'a>),
    /// Nowhere but to the epilogue, which keeps what it wants of each block.
    Discard,
}

/// Both operands of a product `[m, k] x [k, n]`, and how a block of it is computed.
pub(super) trait Product: Sync {
    /// `[m, n]` and k.
    fn shape(&self) -> ([usize; 2], usize);
    /// Rows and columns of a block, the rows a multiple of [`ROW_BLOCK`].
    fn block_shape(&self) -> [usize; 2];
    /// Computes a block to `c`, whose element `(rows.start, cols.start)` is there.
    ///
    /// # Safety
    /// The block's elements must be writable at `c` and used by nobody else.
    unsafe fn block(&self, rows: Range<usize>, cols: Range<usize>, c: *mut f32, c_stride: usize, accumulate: bool);
}

/// The right operand of a product.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// Laid out.
    Panels(&'a Panels),
    /// As it lies: contiguous rows of whole vectors.
    Rows(MatRef<'a>),
}

/// Rows as they lie against panels: `scale * a·b`.
pub(super) struct PanelProduct<'a, T: 'static> {
    pub kernels: Kernels<T>,
    pub a: MatRef<'a, T>,
    pub b: Right<'a>,
    pub n: usize,
    pub scale: f32,
}

impl<T: Operand> PanelProduct<'_, T> {
    /// Computes it, as [`run`] does.
    pub fn run(&self, isa: Isa, output: Output<'_>, epilogue: &impl Epilogue) {
        match self.kernels.form {
            Form::Vectors(table) => run(isa, &InVectors { product: self, table }, output, epilogue),
            #[cfg(target_arch = "x86_64")]
            Form::Amx => run(isa, &InTiles { product: self }, output, epilogue),
        }
    }

    pub fn shape(&self) -> ([usize; 2], usize) {
        ([self.a.rows(), self.n], self.a.cols())
    }

    pub fn panel(&self, i: usize) -> Panel<'_> {
        match self.b {
            Right::Panels(panels) => panels.get(i),
            Right::Rows(b) => {
                let width = self.kernels.width();
                let cols = i * width..b.cols().min((i + 1) * width);
                let data = if b.rows() == 0 { &[] } else { b.from(0, cols.start) };
                Panel { data, stride: b.strides()[0], cols }
            }
        }
    }
}

/// A product by the kernels of a table.
struct InVectors<'a, 'b, T: 'static> {
    product: &'a PanelProduct<'b, T>,
    table: &'static [&'static [TileFn<T>]],
}

impl<T: Operand> Product for InVectors<'_, '_, T> {
    fn shape(&self) -> ([usize; 2], usize) {
        self.product.shape()
    }

    fn block_shape(&self) -> [usize; 2] {
        let row_blocks = self.product.a.rows().div_ceil(ROW_BLOCK);
        [ROW_BLOCK, block_width(row_blocks, self.product.n, self.product.kernels.width(), COL_BLOCK, MIN_BLOCKS)]
    }

    unsafe fn block(&self, rows: Range<usize>, cols: Range<usize>, c: *mut f32, c_stride: usize, accumulate: bool) {
        let Self { product, table } = self;
        let k = product.a.cols();
        let [row_stride, col_stride] = product.a.strides();
        let width = product.kernels.width();
        for part in k_blocks::<T>(k, K_WHOLE, K_BLOCK) {
            for panel in cols.start / width..cols.end.div_ceil(width) {
                let panel = product.panel(panel);
                let vectors = panel.cols.len().div_ceil(product.kernels.lanes);
                let b = panel.data.as_ptr().wrapping_add(part.start / T::PER_STEP * panel.stride);
                for (first, count) in row_tiles(&rows, table.len()) {
                    let tile = Tile {
                        k: part.len(),
                        a: product.a.as_ptr().wrapping_add(first * row_stride + part.start * col_stride),
                        a_strides: [row_stride, col_stride],
                        b,
                        b_stride: panel.stride,
                        c: c.wrapping_add((first - rows.start) * c_stride + panel.cols.start - cols.start),
                        c_stride,
                        cols: panel.cols.len(),
                        scale: product.scale,
                        accumulate: accumulate || part.start > 0,
                    };
                    // SAFETY: the kernels are of a isa the CPU has. Rows `first..first + count` and the columns in
                    // `part` are inside a; b holds whole vectors for each step; c is the caller's promise.
                    unsafe { table[count - 1][vectors - 1](&tile) };
                }
            }
        }
    }
}

/// The parts that k is cut into: all of it up to `whole` steps, else about `block` steps at a time. One empty part where k is zero.
pub(super) fn k_blocks<T: Operand>(k: usize, whole: usize, block: usize) -> impl Iterator<Item = Range<usize>> {
    let steps = k.div_ceil(T::PER_STEP);
    let parts = if steps <= whole { 1 } else { steps.div_ceil(block) };
    let size = steps.div_ceil(parts).next_multiple_of(16).max(1) * T::PER_STEP;
    (0..k.max(1)).step_by(size).map(move |first| first..k.min(first + size))
}

/// Cuts rows into tiles of at most `most`, as even as they come: `(first, count)`.
fn row_tiles(rows: &Range<usize>, most: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
    let tiles = rows.len().div_ceil(most).max(1);
    let (start, len) = (rows.start, rows.len());
    (0..tiles).map(move |i| (start + len * i / tiles, len * (i + 1) / tiles - len * i / tiles))
}

/// Columns of a block, a multiple of `step`: as many of `most` as leave `least` blocks to share out.
pub(super) fn block_width(row_blocks: usize, n: usize, step: usize, most: usize, least: usize) -> usize {
    let mut width = most / step * step;
    while width > step && row_blocks * n.div_ceil(width) < least {
        width = (width / 2).next_multiple_of(step);
    }
    width
}

thread_local! {
    /// The block of a product whose output is discarded.
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Computes a product block by block.
///
/// # Panics
/// Where the output has not the product's shape.
pub(super) fn run(isa: Isa, product: &impl Product, output: Output<'_>, epilogue: &impl Epilogue) {
    let ([m, n], k) = product.shape();
    let (y, accumulate) = match &output {
        Output::Write(y) => (Some(y), false),
        Output::Accumulate(y) => (Some(y), true),
        Output::Discard => (None, false),
    };
    if let Some(y) = y {
        assert_eq!([y.rows(), y.cols()], [m, n], "the output of a [{m}, {n}] product");
    }
    if m == 0 || n == 0 {
        return;
    }
    let number = next_product();
    let [height, width] = product.block_shape();
    let (row_blocks, col_blocks) = (m.div_ceil(height), n.div_ceil(width));

    let block = |i: usize| {
        let (row, col) = (i % row_blocks * height, i / row_blocks * width);
        let (rows, cols) = (row..m.min(row + height), col..n.min(col + width));
        let work = |data: *mut f32, stride: usize| {
            // SAFETY: `data` is the block's part of the output, which is exclusively borrowed for this call, or this
            // task's scratch. Each i makes one block, once, and blocks of different i do not overlap; nor do the parts of
            // it that the epilogue sees, one after the other.
            unsafe {
                product.block(rows.clone(), cols.clone(), data, stride, accumulate);
                for first_row in rows.clone().step_by(ROW_BLOCK) {
                    for first_col in cols.clone().step_by(COL_BLOCK) {
                        let rows = first_row..rows.end.min(first_row + ROW_BLOCK);
                        let cols = first_col..cols.end.min(first_col + COL_BLOCK);
                        let data = data.wrapping_add((first_row - row) * stride + first_col - col);
                        epilogue.apply(&mut Block::new(isa, number, rows, cols, data, stride));
                    }
                }
            }
        };
        match y {
            Some(y) => work(y.at(row, col), y.row_stride()),
            None => {
                // Taken out while in use: an epilogue may itself run a product on this thread.
                let mut scratch = SCRATCH.take();
                let lines = (height * width).div_ceil(Line::LEN);
                scratch.resize(scratch.len().max(lines), Line::ZERO);
                work(scratch.as_mut_ptr().cast(), width);
                SCRATCH.set(scratch);
            }
        }
    };
    let blocks = row_blocks * col_blocks;
    if blocks == 1 || m.max(4) * n * k <= SEQUENTIAL {
        (0..blocks).for_each(block);
    } else {
        (0..blocks).into_par_iter().with_max_len(1).for_each(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k_is_covered_once_in_even_steps() {
        for k in [0, 1, 15, 384, 768, 769, 1024, 3072, 4097] {
            let parts: Vec<_> = k_blocks::<half::bf16>(k, K_WHOLE, K_BLOCK).collect();
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
    fn blocks_narrow_until_there_are_enough() {
        assert_eq!(block_width(22, 3072, 48, 192, 64), 192);
        assert_eq!(block_width(1, 768, 48, 192, 64), 48);
        assert_eq!(block_width(7, 768, 16, 192, 64), 48);
    }
}
