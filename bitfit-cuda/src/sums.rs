//! Sums over the rows of a matrix, in two stages: a kernel of the op sums the rows of each tile, or of each block, to a
//! row of a matrix of partial sums (`put_column_sums` of `common/tiles.cuh`), and the kernel here adds these up. The
//! order of both depends only on the sizes, so the sums are always bit-identical; there are no atomic operations.
//!
//! A training step has dozens of sums, one for each bias, that nothing reads before the optimizer. Their second stage
//! is therefore delayed, and executed for many of them at once: [`Sums`] is what is delayed, and the queue
//! ([`crate::queue`]) executes it before the first kernel that is given an address in the buffer of the results.

use std::{ops::Range, sync::Arc};

use bitfit_core::{
    DType, Result,
    backend::{Slice, SliceMut},
};
use cudarc::driver::{CudaFunction, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg};

use crate::{
    Cuda, Error,
    launch::{Source, TILE_ROWS, source},
    memory::Temporary,
};

/// The kernel of the second stage.
pub(crate) static SOURCE: Source = source!("sums");
const KERNEL: &str = "bitfit_add_sums";

/// The maximum number of sums of a launch, as in the kernel.
const MOST: usize = 64;
/// The columns of a sum that a block adds, and its threads.
const BLOCK_COLUMNS: usize = 8;
const THREADS: u32 = 256;

/// The maximum number of words of partial sums that wait: 16 MiB, a part of the L2 cache of large GPUs.
const MOST_WORDS: usize = 1 << 22;

/// Partial sums of one or more vectors: the columns of a matrix `[rows, cols]`, and where the sum of each run of them
/// is added.
#[derive(Debug)]
pub(crate) struct Partial {
    pub matrix: Temporary,
    pub rows: usize,
    pub cols: usize,
    /// Columns of the matrix, and the element of the results to which the sum of the first one is added.
    pub runs: Vec<(Range<usize>, usize)>,
}

/// A sum, as the kernel takes it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Sum {
    partial: u64,
    stride: u64,
    at: u64,
    rows: u32,
    cols: u32,
    first_block: u32,
    unused: u32,
}

/// The first argument of the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Table {
    sums: [Sum; MOST],
    count: u32,
    unused: u32,
}

// SAFETY: a struct of integers with the layout of the kernel's parameter.
unsafe impl DeviceRepr for Table {}

/// Sums whose second stage is not executed yet. They keep their partial sums.
pub(crate) struct Sums {
    kernel: CudaFunction,
    /// The addresses of the buffer of the results, all of it.
    results: Range<u64>,
    sums: Vec<Sum>,
    blocks: u32,
    partial: Vec<Temporary>,
    words: usize,
}

/// Whether two ranges have an element in common.
fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

impl Sums {
    /// The sums of `partial`, added to elements of the buffer at the addresses `results`.
    fn new(kernel: CudaFunction, results: Range<u64>, partial: Partial) -> Self {
        let Partial { matrix, rows, cols, runs } = partial;
        let mut new =
            Self { kernel, results, sums: Vec::new(), blocks: 0, words: matrix.as_ref().len, partial: vec![] };
        for (columns, at) in runs {
            let Slice { buffer, dtype, .. } = matrix.as_ref();
            // A grid has fewer than 2^31 blocks, so the counts fit.
            new.sums.push(Sum {
                partial: buffer.pointer(columns.start, rows * cols - columns.start, dtype),
                stride: cols as u64,
                at: at as u64,
                rows: rows as u32,
                cols: columns.len() as u32,
                first_block: new.blocks,
                unused: 0,
            });
            new.blocks += columns.len().div_ceil(BLOCK_COLUMNS) as u32;
        }
        new.partial.push(matrix);
        new
    }

    /// Adds other sums to these; returns them if they cannot be executed together.
    pub fn merge(&mut self, other: Self) -> std::result::Result<(), Self> {
        let elements = |sum: &Sum| sum.at..sum.at + u64::from(sum.cols);
        let meets = |new: &Sum| self.sums.iter().any(|sum| overlap(&elements(sum), &elements(new)));
        if self.results != other.results
            || self.sums.len() + other.sums.len() > MOST
            || self.words + other.words > MOST_WORDS
            || other.sums.iter().any(meets)
        {
            return Err(other);
        }
        self.sums.extend(other.sums.iter().map(|sum| Sum { first_block: sum.first_block + self.blocks, ..*sum }));
        self.blocks += other.blocks;
        self.words += other.words;
        self.partial.extend(other.partial);
        Ok(())
    }

    /// Whether one of the addresses is in the buffer of the results.
    pub fn concern(&self, addresses: &[u64]) -> bool {
        addresses.iter().any(|address| self.results.contains(address))
    }

    /// Whether the buffer of the results has one of these addresses.
    pub fn meet(&self, addresses: &Range<u64>) -> bool {
        overlap(addresses, &self.results)
    }

    /// What tells these sums from others: the address of the results, and each sum. Their blocks follow from these.
    pub fn identity(&self) -> Vec<u64> {
        let sum = |sum: &Sum| [sum.partial, sum.stride, sum.at, u64::from(sum.rows) << 32 | u64::from(sum.cols)];
        std::iter::once(self.results.start).chain(self.sums.iter().flat_map(sum)).collect()
    }

    /// Launches the kernel.
    pub fn launch(&self, stream: &Arc<CudaStream>) -> crate::Result<()> {
        let none = Sum { partial: 0, stride: 0, at: 0, rows: 0, cols: 0, first_block: 0, unused: 0 };
        let mut table = Table { sums: [none; MOST], count: self.sums.len() as u32, unused: 0 };
        table.sums[..self.sums.len()].copy_from_slice(&self.sums);
        let mut launch = stream.launch_builder(&self.kernel);
        launch.arg(&table).arg(&self.results.start);
        let config = LaunchConfig { grid_dim: (self.blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the parameters are those of the kernel. The partial sums are kept by `self`, and the buffer of the
        // results is not freed before the queue has executed this; both are in bounds (checked by `Buffer::pointer`).
        unsafe { launch.launch(config) }.map(|_| ()).map_err(Error::driver("cuLaunchKernel"))
    }
}

impl Cuda {
    /// A matrix for the partial sums of `rows` rows, `[tiles, cols]`.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if the device is out of memory.
    pub(crate) fn partial_sums(&self, rows: usize, cols: usize) -> Result<Temporary> {
        self.temporary(DType::F32, rows.div_ceil(TILE_ROWS) * cols)
    }

    /// `to[j] += Σ partial[row, j]` over the rows of a matrix with as many columns as `to` has elements.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if the launch fails.
    pub(crate) fn add_partial_sums(&self, partial: Temporary, to: SliceMut<'_, Self>) -> Result<()> {
        let (cols, rows) = (to.len, partial.as_ref().len / to.len.max(1));
        self.add_partial_sums_to(Partial { matrix: partial, rows, cols, runs: vec![(0..cols, 0)] }, to)
    }

    /// As [`Cuda::add_partial_sums`], to the elements of `to` that `partial` names.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if the launch fails.
    ///
    /// # Panics
    /// If a run is out of bounds of `to`, or of the matrix.
    pub(crate) fn add_partial_sums_to(&self, mut partial: Partial, to: SliceMut<'_, Self>) -> Result<()> {
        let runs = &mut partial.runs;
        let fits = |(columns, at): &(Range<usize>, usize)| at + columns.len() <= to.len && columns.end <= partial.cols;
        assert!(runs.iter().all(fits), "{runs:?} of {} columns and {} elements", partial.cols, to.len);
        assert_eq!(partial.matrix.as_ref().len, partial.rows * partial.cols, "the partial sums");
        runs.retain(|(columns, _)| !columns.is_empty());
        if runs.is_empty() || partial.rows == 0 {
            return Ok(());
        }
        runs.iter_mut().for_each(|(_, at)| *at += to.offset);
        let start = to.buffer.pointer(0, to.buffer.words(), DType::F32);
        let results = start..start + 4 * to.buffer.words() as u64;
        let queued = match self.kernels().loaded(KERNEL, 0) {
            Some(kernel) => self.work().sums(Sums::new(kernel, results, partial)),
            None => self.kernels().load(self.context(), &SOURCE, KERNEL, 0).and_then(|kernel| {
                let sums = Sums::new(kernel, results, partial);
                self.work().direct(|stream| sums.launch(stream))
            }),
        };
        queued.map_err(|error| self.error(error))
    }
}
