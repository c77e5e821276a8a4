//! Sums over the rows of a matrix, in two stages: a kernel of the op sums the rows of each tile to a row of a matrix of
//! partial sums (`put_column_sums` of `common/tiles.cuh`), and the kernel here adds these up. The order of both depends
//! only on the sizes, so the sums are always bit-identical; there are no atomic operations.

use bitfit_core::{
    DType, Result,
    backend::{Slice, SliceMut},
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, TILE_ROWS, source},
    memory::Temporary,
};

/// The kernel of the second stage.
pub(crate) static SOURCE: Source = source!("sums");

impl Cuda {
    /// A matrix for the partial sums of `rows` rows, `[tiles, cols]`.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if the device is out of memory.
    pub(crate) fn partial_sums(&self, rows: usize, cols: usize) -> Result<Temporary> {
        self.temporary(DType::F32, rows.div_ceil(TILE_ROWS) * cols)
    }

    /// `to[j] += Σ partial[tile, j]` over the tiles of rows; `partial` has as many columns as `to` has elements.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if the launch fails.
    pub(crate) fn add_partial_sums(&self, partial: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()> {
        let runs = [(0, to.len)];
        self.add_partial_sums_to(partial, to, &runs)
    }

    /// As [`Cuda::add_partial_sums`], to runs of `to`: the columns of `partial` belong to the runs in turn, one for
    /// each element.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if the launch fails.
    ///
    /// # Panics
    /// If a run is out of bounds of `to`.
    pub(crate) fn add_partial_sums_to(
        &self,
        partial: Slice<'_, Self>,
        to: SliceMut<'_, Self>,
        runs: &[(usize, usize)],
    ) -> Result<()> {
        assert!(runs.iter().all(|(first, len)| first + len <= to.len), "{runs:?} of {} elements", to.len);
        let cols: usize = runs.iter().map(|(_, len)| len).sum();
        let tiles = partial.len / cols.max(1);
        let mut arguments = Arguments::new();
        arguments.runs(runs).input(partial).usize(tiles).usize(cols).output(to);
        self.launch(&SOURCE, "bitfit_add_partial_sums", Shape::blocks(cols.div_ceil(32), 256), &arguments)
    }
}
