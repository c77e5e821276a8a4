//! Sums over the rows of a matrix, in two stages: a first kernel, the op's own, sums each block of rows to a row of a matrix
//! of partial sums; the second, here, adds these in their order. So the sums are the same every time, with no atomics.

use bitfit_core::{DType, Result, Slice, SliceMut};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
    memory::Temporary,
};

/// The second stage's kernel.
pub(crate) static SOURCE: Source = source!("sums");

/// Rows of a block of the first stage.
pub(crate) const BLOCK_ROWS: usize = 64;

/// Threads of a block of both stages, a column each.
const COLUMN_THREADS: usize = 128;

/// The first stage's shape: blocks of columns along x, of [`BLOCK_ROWS`] rows along y; a thread sums a column.
pub(crate) fn shape(rows: usize, cols: usize) -> Shape {
    let columns = Shape::blocks(cols.div_ceil(COLUMN_THREADS), COLUMN_THREADS as u32);
    Shape { grid: [columns.grid[0], Shape::blocks(rows.div_ceil(BLOCK_ROWS), 32).grid[0], 1], ..columns }
}

impl Cuda {
    /// Room for the partial sums of `rows` rows, `[blocks, cols]`.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] when the device is out of memory.
    pub(crate) fn partial_sums(&self, rows: usize, cols: usize) -> Result<Temporary> {
        self.temporary(DType::F32, rows.div_ceil(BLOCK_ROWS) * cols)
    }

    /// `to[j] += Σ partial[block, j]` over the blocks; as many columns as `to` has elements.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] when the launch failed.
    pub(crate) fn add_partial_sums(&self, partial: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()> {
        let cols = to.len;
        let blocks = partial.len / cols.max(1);
        let mut arguments = Arguments::new();
        arguments.input(partial).usize(blocks).usize(cols).output(to);
        let shape = Shape::blocks(cols.div_ceil(COLUMN_THREADS), COLUMN_THREADS as u32);
        self.launch(&SOURCE, "bitfit_add_partial_sums", shape, &arguments)
    }
}
