//! Attention on the GPU, for heads of at most 128 columns. There are four implementations, chosen by the shapes and the
//! device:
//!
//! | kernels | for |
//! |---|---|
//! | `attention_single.cu` | one query per sequence: `[CLS]` in the last layer |
//! | `attention_short.cu` | bfloat16 from compute capability 8.0 on, heads of a multiple of eight columns, of 64 at most, and sequences of at most 128 tokens |
//! | `attention_mma.cu` | bfloat16 from compute capability 8.0 on, wider heads or longer sequences |
//! | `attention.cu` | all other cases, and every position bias but that of a single query, in f32 arithmetic |
//!
//! Backward is one kernel for a single query and for short sequences. Otherwise it is two, one over queries and one
//! over keys, so that every element of a gradient is summed by one thread, without atomics. The first kernel writes `Σⱼ
//! p dp` of each row for the second. The gradient of a position bias that trains has two kernels of its own
//! (`attention_bias.cu`), because it is small and rare.

use bitfit_core::{
    DType, Error, Result,
    backend::{Slice, SliceMut},
    ops::attention::{Attention, Input, Projections},
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, kernel},
};

/// A source of kernels, preceded by the headers that it uses.
macro_rules! source {
    ($name:literal $(, $shared:literal)?) => {
        Source {
            name: $name,
            code: concat!(include_str!("attention.cuh"), $(include_str!($shared),)? include_str!(concat!($name, ".cu"))),
        }
    };
}

pub(crate) static SOURCE: Source = source!("attention");
pub(crate) static SINGLE: Source = source!("attention_single");
pub(crate) static SHORT: Source = source!("attention_short", "attention_mma.cuh");
pub(crate) static BIAS: Source = source!("attention_bias");
pub(crate) static MMA: Source = source!("attention_mma", "attention_mma.cuh");

/// The maximum number of columns of a head.
const MOST_COLUMNS: usize = 128;

/// The kernels that process tiles of queries and keys.
struct Tiled {
    source: &'static Source,
    forward: &'static str,
    /// The kernel of the gradient of the queries.
    dq: &'static str,
    /// The kernel of the gradients of the keys and values.
    dkv: &'static str,
    /// The rows of a block in forward, and in backward.
    tiles: [usize; 2],
    /// The dynamic shared memory of forward, in bytes.
    shared: usize,
}

/// The three kernels for heads padded to a number of columns.
macro_rules! names {
    ($stem:literal, $dim:literal, $type:literal) => {
        [concat!($stem, "_", $dim, $type), concat!($stem, "_dq_", $dim, $type), concat!($stem, "_dkv_", $dim, $type)]
    };
}

impl Tiled {
    fn tensor_cores(dim: usize) -> Self {
        let [forward, dq, dkv] = match dim {
            ..=32 => names!("bitfit_attention_mma", 32, ""),
            33..=64 => names!("bitfit_attention_mma", 64, ""),
            _ => names!("bitfit_attention_mma", 128, ""),
        };
        Self { source: &MMA, forward, dq, dkv, tiles: [64, 64], shared: 0 }
    }

    fn multiply_adds(dtype: DType, dim: usize) -> Self {
        let [forward, dq, dkv] = match (dtype, dim) {
            (DType::F32, ..=32) => names!("bitfit_attention", 32, "_f32"),
            (DType::F32, 33..=64) => names!("bitfit_attention", 64, "_f32"),
            (DType::F32, _) => names!("bitfit_attention", 128, "_f32"),
            (DType::Bf16, ..=32) => names!("bitfit_attention", 32, "_bf16"),
            (DType::Bf16, 33..=64) => names!("bitfit_attention", 64, "_bf16"),
            (DType::Bf16, _) => names!("bitfit_attention", 128, "_bf16"),
        };
        let (columns, tiles) = match dim {
            ..=32 => (32, [64, 32]),
            33..=64 => (64, [64, 32]),
            _ => (128, [32, 16]),
        };
        let shared = (2 * tiles[0] * (columns + 1) + tiles[0] * tiles[0]) * size_of::<f32>();
        Self { source: &SOURCE, forward, dq, dkv, tiles, shared }
    }
}

/// The kernels that hold all scores of a head at once.
struct Short {
    forward: &'static str,
    backward: &'static str,
    /// The columns that heads are padded to, and the maximum number of queries and keys of a sequence.
    dim: usize,
    longest: usize,
}

impl Short {
    /// The kernels for heads of `dim` columns and sequences of at most `longest` tokens; `None` if one of them is too
    /// large.
    fn of(dim: usize, longest: usize) -> Option<Self> {
        let sizes = |forward, backward, dim, longest| Self { forward, backward, dim, longest };
        Some(match (dim, longest) {
            (..=32, ..=64) => sizes("bitfit_attention_short_32_64", "bitfit_attention_short_backward_32_64", 32, 64),
            (..=32, 65..=128) => {
                sizes("bitfit_attention_short_32_128", "bitfit_attention_short_backward_32_128", 32, 128)
            }
            (33..=64, ..=64) => sizes("bitfit_attention_short_64_64", "bitfit_attention_short_backward_64_64", 64, 64),
            (33..=64, 65..=128) => {
                sizes("bitfit_attention_short_64_128", "bitfit_attention_short_backward_64_128", 64, 128)
            }
            _ => return None,
        })
    }

    /// The threads of a block: two for each row, so that a warp has sixteen rows.
    fn shape(&self, input: &Input<'_, Cuda>, shared: usize) -> Shape {
        shape(input, 1, 2 * self.longest as u32).with_shared(shared)
    }

    /// The size in bytes of a matrix in shared memory, as in the source.
    fn matrix(&self, columns: usize) -> usize {
        self.longest * (columns + 8) * size_of::<u16>()
    }

    /// The size in bytes of the dropout bits, as in the source.
    fn draws(&self) -> usize {
        16 * (self.longest * self.longest / 128 + 1)
    }

    /// The shared memory in bytes of forward (`ForwardShared` of the source) and of backward (`BackwardShared`).
    fn shared(&self) -> [usize; 2] {
        let (rows, scores) = (self.matrix(self.dim), self.matrix(self.longest));
        [3 * rows + self.draws(), 3 * rows + rows.max(scores) + self.draws()]
    }
}

/// The implementation that is used.
enum Way {
    Single(DType),
    Short(Short),
    Tiled(Tiled),
}

impl Way {
    /// Chooses the implementation for an input and the offsets of the other matrices.
    fn of(device: &Cuda, input: &Input<'_, Cuda>, offsets: &[usize]) -> Result<Self> {
        let dim = input.head_dim;
        if dim > MOST_COLUMNS {
            let reason = format!("heads of {dim} columns; on a GPU they have at most {MOST_COLUMNS}");
            return Err(Error::Invalid { op: "attention", reason });
        }
        let Rows { q, k, .. } = Rows::of(input);
        let dtype = q.dtype;
        // Eight elements are read at once, so matrices have to be aligned.
        let aligned = [dim, q.offset, k.offset].iter().chain(offsets).all(|count| count.is_multiple_of(8));
        if input.queries.longest() == 1 {
            return Ok(Self::Single(dtype));
        }
        if !(dtype == DType::Bf16 && device.capability() >= 80 && aligned && input.position_bias.is_none()) {
            return Ok(Self::Tiled(Tiled::multiply_adds(dtype, dim)));
        }
        let short = Short::of(dim, input.queries.longest().max(input.keys.longest()));
        Ok(short.map_or_else(|| Self::Tiled(Tiled::tensor_cores(dim)), Self::Short))
    }
}

/// The start of queries, keys and values, and the distances between their rows.
struct Rows<'a> {
    q: Slice<'a, Cuda>,
    q_stride: usize,
    k: Slice<'a, Cuda>,
    v: Slice<'a, Cuda>,
    kv_stride: usize,
}

impl<'a> Rows<'a> {
    fn of(input: &Input<'a, Cuda>) -> Self {
        let width = input.width();
        let from = |slice: Slice<'a, Cuda>, columns: usize| {
            // A batch without tokens has no columns.
            let columns = columns.min(slice.len);
            Slice { offset: slice.offset + columns, len: slice.len - columns, ..slice }
        };
        match input.projections {
            Projections::Packed(qkv) => {
                Self { q: qkv, q_stride: 3 * width, k: from(qkv, width), v: from(qkv, 2 * width), kv_stride: 3 * width }
            }
            Projections::Split { query, key_value } => {
                Self { q: query, q_stride: width, k: key_value, v: from(key_value, width), kv_stride: 2 * width }
            }
        }
    }
}

/// The arguments that all kernels share: `ATTENTION_PARAMETERS` of the source.
fn arguments<'a>(input: &Input<'a, Cuda>) -> Arguments<'a> {
    let Rows { q, q_stride, k, v, kv_stride } = Rows::of(input);
    let mut arguments = Arguments::new();
    arguments.input(q).usize(q_stride).input(k).input(v).usize(kv_stride);
    arguments.indices(input.queries.offsets().data()).indices(input.keys.offsets().data());
    arguments.u32(input.heads as u32).u32(input.head_dim as u32).f32(1.0 / (input.head_dim as f32).sqrt());
    arguments.optional_input(input.position_bias.map(|bias| bias.table));
    arguments.u32(input.position_bias.map_or(0, |bias| bias.reach()) as u32).dropout(input.dropout);
    arguments
}

/// A grid with sequences along x, heads along y, and the tiles of the longest sequence along z.
fn shape(input: &Input<'_, Cuda>, tiles: usize, block: u32) -> Shape {
    let [sequences, heads, tiles] =
        [input.queries.count(), input.heads, tiles].map(|count| Shape::blocks(count, block));
    Shape { grid: [sequences.grid[0], heads.grid[0], tiles.grid[0]], ..sequences }
}

/// Threads per block: of the kernels without tensor cores, and of those with them.
const THREADS: u32 = 256;
const TENSOR_THREADS: u32 = 128;

impl Tiled {
    fn shape(&self, input: &Input<'_, Cuda>, longest: usize, tile: usize) -> Shape {
        let block = if std::ptr::eq(self.source, &MMA) { TENSOR_THREADS } else { THREADS };
        shape(input, longest.div_ceil(tile), block)
    }
}

impl Attention for Cuda {
    fn attention(&self, input: &Input<'_, Self>, o: SliceMut<'_, Self>, lse: Option<SliceMut<'_, Self>>) -> Result<()> {
        let way = Way::of(self, input, &[o.offset])?;
        let mut arguments = arguments(input);
        arguments.output(o).optional_output(lse);
        match way {
            Way::Single(dtype) => {
                let name = kernel!("bitfit_attention_single", dtype);
                self.launch(&SINGLE, name, shape(input, 1, THREADS), &arguments)
            }
            Way::Short(short) => {
                let [shared, _] = short.shared();
                self.launch(&SHORT, short.forward, short.shape(input, shared), &arguments)
            }
            Way::Tiled(tiled) => {
                let shape = tiled.shape(input, input.queries.longest(), tiled.tiles[0]).with_shared(tiled.shared);
                self.launch(tiled.source, tiled.forward, shape, &arguments)
            }
        }
    }

    fn attention_backward(
        &self,
        input: &Input<'_, Self>,
        lse: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        mut gradient: Projections<SliceMut<'_, Self>>,
        bias_gradient: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        if let Some(gradient) = bias_gradient {
            self.bias_gradient(input, lse, dy, gradient)?;
        }
        let width = input.width();
        // The layout of the gradients: the length of a row, and the columns of dk and dv.
        let (dq_stride, dkv_stride, k_at, v_at) = match gradient {
            Projections::Packed(_) => (3 * width, 3 * width, width, 2 * width),
            Projections::Split { .. } => (width, 2 * width, 0, width),
        };
        let offsets = match &gradient {
            Projections::Packed(qkv) => [dy.offset, qkv.offset, qkv.offset],
            Projections::Split { query, key_value } => [dy.offset, query.offset, key_value.offset],
        };
        // One kernel for all three gradients, or two for tiles.
        let (source, name, shape) = match Way::of(self, input, &offsets)? {
            Way::Single(dtype) => {
                (&SINGLE, kernel!("bitfit_attention_single_backward", dtype), shape(input, 1, THREADS))
            }
            Way::Short(short) => {
                let [_, shared] = short.shared();
                (&SHORT, short.backward, short.shape(input, shared))
            }
            Way::Tiled(tiled) => {
                let mut means = self.temporary(DType::F32, lse.len)?;
                let mut first = arguments(input);
                first.input(lse).input(dy).output(means.as_mut());
                first.output(part(&mut gradient, false)).usize(dq_stride);
                let shape = tiled.shape(input, input.queries.longest(), tiled.tiles[1]);
                self.launch(tiled.source, tiled.dq, shape, &first)?;
                let mut second = arguments(input);
                second.input(lse).input(dy).input(means.as_ref());
                second.output(part(&mut gradient, true)).usize(dkv_stride).usize(k_at).usize(v_at);
                let shape = tiled.shape(input, input.keys.longest(), tiled.tiles[1]);
                return self.launch(tiled.source, tiled.dkv, shape, &second);
            }
        };
        let mut arguments = arguments(input);
        arguments.input(lse).input(dy);
        match gradient {
            Projections::Packed(qkv) => arguments.output(qkv).usize(dq_stride).optional_output(None),
            Projections::Split { query, key_value } => arguments.output(query).usize(dq_stride).output(key_value),
        };
        arguments.usize(dkv_stride).usize(k_at).usize(v_at);
        self.launch(source, name, shape, &arguments)
    }
}

impl Cuda {
    /// The gradient of the position bias.
    fn bias_gradient(
        &self,
        input: &Input<'_, Self>,
        lse: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        gradient: SliceMut<'_, Self>,
    ) -> Result<()> {
        let Some(bias) = input.position_bias else { return Ok(()) };
        let mut means = self.temporary(DType::F32, lse.len)?;
        let mut first = arguments(input);
        first.input(lse).input(dy).output(means.as_mut());
        let tiles = input.queries.longest().div_ceil(THREADS as usize / 32);
        let name = kernel!("bitfit_attention_bias_means", dy.dtype);
        self.launch(&BIAS, name, shape(input, tiles, THREADS), &first)?;
        let mut second = arguments(input);
        second.input(lse).input(dy).input(means.as_ref()).u32(input.queries.count() as u32).output(gradient);
        let [rows, heads] = [bias.rows(), input.heads].map(|count| Shape::blocks(count, THREADS));
        let shape = Shape { grid: [rows.grid[0], heads.grid[0], 1], ..rows };
        self.launch(&BIAS, kernel!("bitfit_attention_bias_gradient", dy.dtype), shape, &second)
    }
}

/// The matrix of the gradient of the queries, or of the keys and values.
fn part<'a>(gradient: &'a mut Projections<SliceMut<'_, Cuda>>, keys: bool) -> SliceMut<'a, Cuda> {
    match gradient {
        Projections::Packed(qkv) => qkv.reborrow(),
        Projections::Split { key_value, .. } if keys => key_value.reborrow(),
        Projections::Split { query, .. } => query.reborrow(),
    }
}
