//! Launching kernels: [`Source`], [`Shape`], [`Arguments`] and [`Cuda::launch`].
//!
//! ```text
//! pub(crate) static SOURCE: Source = source!("softmax"); // softmax.cu, next to the mod.rs; listed in ops/mod.rs
//! let mut arguments = Arguments::new();
//! arguments.input(x).output(y).usize(cols);
//! self.launch(&SOURCE, kernel!("bitfit_softmax", x.dtype), Shape::blocks(rows, 256), &arguments)
//! ```
//!
//! All work is executed in the order in which it is queued ([`crate::queue`]): a kernel can read the results of the one
//! before it, and a buffer can be reused as soon as it is returned, without synchronisation.

use std::{marker::PhantomData, sync::Arc};

use bitfit_core::{
    DType,
    backend::{Slice, SliceMut},
    rng::Dropout,
};
use cudarc::driver::LaunchConfig;

use crate::{Buffer, Cuda, Indices, queue::launch_kernel};

/// The kernels of an op: a file of CUDA C++, which is compiled together with the headers in `common/`.
#[derive(Debug)]
pub struct Source {
    /// The name of the op.
    pub(crate) name: &'static str,
    /// The text of the file.
    pub(crate) code: &'static str,
}

/// The source in the `.cu` file of this name, next to the invoking file.
macro_rules! source {
    ($name:literal) => {
        $crate::launch::Source { name: $name, code: include_str!(concat!($name, ".cu")) }
    };
}
pub(crate) use source;

/// The name of a kernel: a stem, and a suffix `_f32` or `_bf16` for each matrix of variable type, in the order of the
/// arguments.
macro_rules! kernel {
    ($stem:literal, $a:expr) => {
        match $a {
            bitfit_core::DType::F32 => concat!($stem, "_f32"),
            bitfit_core::DType::Bf16 => concat!($stem, "_bf16"),
        }
    };
    ($stem:literal, $a:expr, $b:expr) => {
        match ($a, $b) {
            (bitfit_core::DType::F32, bitfit_core::DType::F32) => concat!($stem, "_f32_f32"),
            (bitfit_core::DType::F32, bitfit_core::DType::Bf16) => concat!($stem, "_f32_bf16"),
            (bitfit_core::DType::Bf16, bitfit_core::DType::F32) => concat!($stem, "_bf16_f32"),
            (bitfit_core::DType::Bf16, bitfit_core::DType::Bf16) => concat!($stem, "_bf16_bf16"),
        }
    };
}
pub(crate) use kernel;

/// The shape of a launch: the grid, the threads of a block, and the bytes of dynamic shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub grid: [u32; 3],
    /// A multiple of 32, at most 1024.
    pub block: u32,
    pub shared: u32,
}

/// Threads per block of element-wise kernels.
const ELEMENT_THREADS: u32 = 256;
/// Rows and columns of a tile, which a block of [`TILE_THREADS`] processes, as in `common/tiles.cuh`. They are
/// constants because sums over rows are formed over a tile first, and must not depend on the device.
pub(crate) const TILE_ROWS: usize = 32;
const TILE_COLUMNS: usize = 256;
const TILE_THREADS: u32 = 256;
/// The maximum number of blocks along x; kernels stride over the rest.
const MAX_BLOCKS: usize = 1 << 20;

impl Shape {
    /// For a kernel that strides over `len` elements (`FOR_EACH_ELEMENT` of `common/elements.cuh`).
    pub fn elements(len: usize) -> Self {
        Self::blocks(len.div_ceil(ELEMENT_THREADS as usize).min(MAX_BLOCKS), ELEMENT_THREADS)
    }

    /// For a kernel that strides over `len` elements, eight at a time.
    pub fn eights(len: usize) -> Self {
        Self::elements(len.div_ceil(8))
    }

    /// A number of blocks of `block` threads each.
    ///
    /// # Panics
    /// If there are more blocks than a grid can have along x.
    pub fn blocks(blocks: usize, block: u32) -> Self {
        let blocks = i32::try_from(blocks).expect("a grid has fewer than 2^31 blocks") as u32;
        Self { grid: [blocks, 1, 1], block, shared: 0 }
    }

    /// For a kernel in which a warp processes a row, four warps per block.
    pub fn warps(rows: usize) -> Self {
        Self::blocks(rows.div_ceil(4), 128)
    }

    /// For a kernel in which a block processes a tile of a matrix (`tile_of_thread` of `common/tiles.cuh`).
    pub fn tiles(rows: usize, cols: usize) -> Self {
        Self::tiles_of_runs(rows, [cols])
    }

    /// As [`Shape::tiles`], over runs of the given numbers of columns; a tile lies within one run.
    pub fn tiles_of_runs(rows: usize, cols: impl IntoIterator<Item = usize>) -> Self {
        let across: usize = cols.into_iter().map(|cols| cols.div_ceil(TILE_COLUMNS)).sum();
        Self::blocks(rows.div_ceil(TILE_ROWS) * across, TILE_THREADS)
    }

    /// The shape with `bytes` of dynamic shared memory.
    #[must_use]
    pub fn with_shared(self, bytes: usize) -> Self {
        Self { shared: u32::try_from(bytes).expect("shared memory is smaller than 4 GiB"), ..self }
    }
}

/// The maximum number of runs of a launch, as in `common/runs.cuh`: the biases of query, key and value, and one more.
pub(crate) const RUNS: usize = 4;

/// The maximum number of arguments of a kernel.
const MAX_ARGUMENTS: usize = 32;

/// The arguments of a kernel. They borrow the buffers until the launch is queued.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    /// Pointers and scalars of 8 or 4 bytes, in the low bytes of each element; hosts of CUDA are little-endian.
    values: [u64; MAX_ARGUMENTS],
    len: usize,
    /// The place of the address of the numbers of a mask's pass, and the mask.
    pass: Option<(usize, Dropout)>,
    /// The heap of the first buffer, and whether another one is of another heap.
    heap: Option<usize>,
    is_mixed: bool,
    buffers: PhantomData<&'a ()>,
}

impl<'a> Arguments<'a> {
    pub fn new() -> Self {
        Self { values: [0; MAX_ARGUMENTS], len: 0, pass: None, heap: None, is_mixed: false, buffers: PhantomData }
    }

    fn push(&mut self, value: u64) -> &mut Self {
        self.values[self.len] = value;
        self.len += 1;
        self
    }

    /// Notes the heap of a buffer, which has to be that of the device that launches the kernel.
    fn of_heap(&mut self, heap: usize) {
        self.is_mixed |= *self.heap.get_or_insert(heap) != heap;
    }

    /// A pointer to the first element of a slice, `const T*`.
    pub fn input(&mut self, slice: Slice<'a, Cuda>) -> &mut Self {
        self.of_heap(slice.buffer.heap_id());
        self.push(slice.buffer.pointer(slice.offset, slice.len, slice.dtype))
    }

    /// As [`Arguments::input`], null for `None`.
    pub fn optional_input(&mut self, slice: Option<Slice<'a, Cuda>>) -> &mut Self {
        match slice {
            Some(slice) => self.input(slice),
            None => self.push(0),
        }
    }

    /// A pointer to the first element of a mutable slice, `T*`.
    pub fn output(&mut self, slice: SliceMut<'a, Cuda>) -> &mut Self {
        self.of_heap(slice.buffer.heap_id());
        self.push(slice.buffer.pointer(slice.offset, slice.len, slice.dtype))
    }

    /// As [`Arguments::output`], null for `None`.
    pub fn optional_output(&mut self, slice: Option<SliceMut<'a, Cuda>>) -> &mut Self {
        match slice {
            Some(slice) => self.output(slice),
            None => self.push(0),
        }
    }

    /// A pointer to a list of indices, `const u32*`.
    pub fn indices(&mut self, indices: &'a Indices) -> &mut Self {
        self.of_heap(indices.heap_id());
        self.push(indices.pointer())
    }

    /// As [`Arguments::indices`], null for `None`.
    pub fn optional_indices(&mut self, indices: Option<&'a Indices>) -> &mut Self {
        match indices {
            Some(indices) => self.indices(indices),
            None => self.push(0),
        }
    }

    /// A count, `u64`.
    pub fn usize(&mut self, value: usize) -> &mut Self {
        self.push(value as u64)
    }

    /// Runs, given by their first elements and lengths; at most [`RUNS`].
    pub fn runs(&mut self, runs: &[(usize, usize)]) -> &mut Self {
        for i in 0..RUNS {
            let (first, len) = runs.get(i).copied().unwrap_or_default();
            self.usize(first).usize(len);
        }
        self
    }

    /// A `u32`.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.push(u64::from(value))
    }

    /// A flag, `u32`.
    pub fn flag(&mut self, value: bool) -> &mut Self {
        self.push(u64::from(value))
    }

    /// A `float`.
    pub fn f32(&mut self, value: f32) -> &mut Self {
        self.push(u64::from(value.to_bits()))
    }

    /// A dropout mask, or none: the eight arguments of `DROPOUT_PARAMETERS` of `common/dropout.cuh`. A kernel has one
    /// at most.
    pub fn dropout(&mut self, dropout: Option<Dropout>) -> &mut Self {
        match dropout {
            // With a threshold of zero, every factor is 1.
            None => self.u32(0).u32(0).u32(0).u32(0).u32(0).u32(0).u32(0).f32(1.0),
            Some(dropout) => {
                self.u32(dropout.run() as u32).u32((dropout.run() >> 32) as u32);
                self.pass = Some((self.len, dropout));
                self.push(0).u32(dropout.rows() as u32).push(dropout.row_elements());
                self.u32(dropout.site()).u32(dropout.threshold()).f32(dropout.scale())
            }
        }
    }
}

impl Cuda {
    /// Queues a kernel, after compiling and loading it at the first use of its source.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] if it does not compile, or the driver fails; [`bitfit_core::Error::Foreign`] if a
    /// buffer belongs to another device.
    pub(crate) fn launch(
        &self,
        source: &'static Source,
        kernel: &'static str,
        shape: Shape,
        arguments: &Arguments<'_>,
    ) -> bitfit_core::Result<()> {
        self.check_heap(kernel, arguments)?;
        self.queue(source, kernel, shape, arguments, false).map_err(|error| self.error(error))
    }

    /// As [`Cuda::launch`], for a kernel that has other arguments in every step, and so is not part of a graph.
    ///
    /// # Errors
    /// As [`Cuda::launch`].
    pub(crate) fn launch_alone(
        &self,
        source: &'static Source,
        kernel: &'static str,
        shape: Shape,
        arguments: &Arguments<'_>,
    ) -> bitfit_core::Result<()> {
        self.check_heap(kernel, arguments)?;
        self.queue(source, kernel, shape, arguments, true).map_err(|error| self.error(error))
    }

    fn check_heap(&self, kernel: &'static str, arguments: &Arguments<'_>) -> bitfit_core::Result<()> {
        let is_foreign = arguments.heap.is_some_and(|heap| heap != self.heap_id());
        if is_foreign || arguments.is_mixed { Err(foreign(kernel)) } else { Ok(()) }
    }

    /// Checks that a buffer is of this device.
    pub(crate) fn check_buffer(&self, op: &'static str, buffer: &Buffer) -> bitfit_core::Result<()> {
        if buffer.heap_id() == self.heap_id() { Ok(()) } else { Err(foreign(op)) }
    }

    fn heap_id(&self) -> usize {
        Arc::as_ptr(self.heap()).addr()
    }

    fn queue(
        &self,
        source: &'static Source,
        kernel: &'static str,
        shape: Shape,
        arguments: &Arguments<'_>,
        alone: bool,
    ) -> crate::Result<()> {
        if shape.grid.contains(&0) {
            return Ok(());
        }
        let mut values = arguments.values;
        let mut _held = None;
        if let Some((place, dropout)) = &arguments.pass {
            let (address, held) = self.address_of_pass(dropout)?;
            values[*place] = address;
            _held = Some(held);
        }
        let values = &values[..arguments.len];
        let config = LaunchConfig {
            grid_dim: shape.grid.into(),
            block_dim: (shape.block, 1, 1),
            shared_mem_bytes: shape.shared,
        };
        // Why both calls are sound: the kernel belongs to this crate, and the op next to its source passes what its
        // parameters require: slices in bounds of their buffers (checked by `Buffer::pointer`) and their sizes. The
        // buffers are valid until the kernel has run, because they are freed and reused in the order of the same queue.
        match self.kernels().loaded(kernel, shape.shared) {
            // SAFETY: as above.
            Some(function) if !alone => unsafe { self.work().kernel(function, config, values) },
            _ => self.work().direct(|stream| {
                let function = self.kernels().load(self.context(), source, kernel, shape.shared)?;
                // SAFETY: as above.
                unsafe { launch_kernel(stream, &function, config, values) }
            }),
        }
    }
}

fn foreign(op: &'static str) -> bitfit_core::Error {
    bitfit_core::Error::Foreign { op, what: "a buffer".into(), owner: "device" }
}

/// The size of an element in bytes.
pub(crate) fn bytes_of(dtype: DType) -> usize {
    match dtype {
        DType::F32 => 4,
        DType::Bf16 => 2,
    }
}
