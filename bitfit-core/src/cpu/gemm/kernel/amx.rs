//! The micro-kernel in AMX's tile registers, for bfloat16. A tile register holds sixteen rows of 64 bytes.
//!
//! Four registers hold 32 rows and 32 columns of C, two hold rows of A and two hold columns of B: one round of sixteen
//! steps of k, 32 bfloat16 of a row, at a time. A panel has the layout that the instruction requires: two elements that
//! are neighbours along k in one f32-sized word. Rows of A are read in place if each round of each row is one cache
//! line; all others are copied first.
//!
//! The instructions flush subnormal inputs and sums to zero.

use std::{arch::asm, marker::PhantomData, ops::Range};

use super::{
    super::{
        MC, MatMut, MatRef, NC,
        driver::{PanelProduct, Product, block_width, k_parts},
        pack::copy_rows,
    },
    Operand,
};
use crate::{
    cpu::simd::{self, Isa, Kernel, Simd},
    memory::{Line, ThreadScratch},
};

/// The rows of a tile register.
const ROWS: usize = 16;

/// The steps of k in a tile register, four bytes each.
pub(super) const STEPS: usize = 16;

/// The columns of a panel in vectors of 16 lanes: those of two registers.
pub(super) const VECTORS: usize = 2;

/// The bytes of a row of a tile register.
const ROW_BYTES: usize = 64;

/// The MC and NC of the tile registers, and KC in rounds: as large as possible while the rows of A, the block of C and
/// the current panel of B stay in the L2 cache. Panels stream from the L3 cache, at a fifth of the speed.
const TILE_MC: usize = 2 * MC;
const TILE_NC: usize = 2 * NC;
const KC_ROUNDS: usize = 72;

/// The least number of blocks for each thread.
const BLOCKS_PER_THREAD: usize = 8;

/// The operand of `ldtilecfg`: the shape of each tile register.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// The configuration in which all eight registers have their full size.
static FULL_SIZE: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The tile registers of this thread, configured to their full size until dropped. Configuring them takes as long as
/// three rounds, so it is done once for each part of k of a block.
struct ConfiguredTiles {
    /// Tile registers belong to a thread.
    not_send: PhantomData<*mut ()>,
}

impl ConfiguredTiles {
    /// Configures the tile registers of the current thread.
    ///
    /// # Safety
    /// The CPU must support AMX, and the operating system must have granted its use.
    unsafe fn configure() -> Self {
        // SAFETY: the caller guarantees AMX; 64 bytes are read. By the ABI, calls preserve neither the registers nor
        // their configuration, and no function that is called before `drop` uses them.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const FULL_SIZE,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, readonly),
            );
        }
        Self { not_send: PhantomData }
    }
}

impl Drop for ConfiguredTiles {
    fn drop(&mut self) {
        // SAFETY: `self` proves that there is AMX. The contents of the registers are lost, and nothing reads them.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, nomem),
            );
        }
    }
}

/// The arguments of one call of a micro-kernel: up to 32 rows and 32 columns of C.
struct AmxTile {
    rounds: usize,
    /// Sixteen rows of A and the sixteen after them; rows are `a_stride` bytes apart.
    a: [*const u8; 2],
    a_stride: usize,
    /// The steps of the panel, contiguous.
    b: *const u8,
    /// The rows of C, `c_stride` bytes apart.
    c: *mut u8,
    c_stride: usize,
    /// Whether the sums start from the values at `c`.
    accumulate: bool,
}

/// Defines the micro-kernel for one or two registers of rows and of columns. Instructions for the second register of
/// rows, of columns or of both are prefixed with `$row`, `$col` or `$both`. A step of the panel has `$step` bytes.
macro_rules! kernel {
    ($name:ident, $row:literal, $col:literal, $both:literal, $step:literal) => {
        /// # Safety
        /// The tile registers must be configured. a, b and c must be valid as the fields of [`AmxTile`] describe them,
        /// for this number of whole registers, and c must not be accessed by anyone else during the call.
        unsafe fn $name(t: &AmxTile) {
            // SAFETY: accesses only what the caller guarantees; all registers that it changes are declared.
            unsafe {
                asm!(
                    "test {accumulate:e}, {accumulate:e}",
                    "jz 2f",
                    "tileloadd tmm0, [{c} + {c_stride}]",
                    concat!($col, "tileloadd tmm1, [{c} + {c_stride} + 64]"),
                    concat!($row, "tileloadd tmm2, [{second_c} + {c_stride}]"),
                    concat!($both, "tileloadd tmm3, [{second_c} + {c_stride} + 64]"),
                    "jmp 3f",
                    "2:",
                    "tilezero tmm0",
                    concat!($col, "tilezero tmm1"),
                    concat!($row, "tilezero tmm2"),
                    concat!($both, "tilezero tmm3"),
                    "3:",
                    "test {rounds}, {rounds}",
                    "jz 5f",
                    "4:",
                    "tileloadd tmm6, [{b} + {step}]",
                    "tileloadd tmm4, [{a} + {a_stride}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    concat!($col, "tileloadd tmm7, [{b} + {step} + 64]"),
                    concat!($col, "tdpbf16ps tmm1, tmm4, tmm7"),
                    concat!($row, "tileloadd tmm5, [{second_a} + {a_stride}]"),
                    concat!($row, "tdpbf16ps tmm2, tmm5, tmm6"),
                    concat!($both, "tdpbf16ps tmm3, tmm5, tmm7"),
                    "add {a}, 64",
                    "add {second_a}, 64",
                    concat!("add {b}, 16 * ", $step),
                    "dec {rounds}",
                    "jnz 4b",
                    "5:",
                    "tilestored [{c} + {c_stride}], tmm0",
                    concat!($col, "tilestored [{c} + {c_stride} + 64], tmm1"),
                    concat!($row, "tilestored [{second_c} + {c_stride}], tmm2"),
                    concat!($both, "tilestored [{second_c} + {c_stride} + 64], tmm3"),
                    accumulate = in(reg) u32::from(t.accumulate),
                    rounds = inout(reg) t.rounds => _,
                    a = inout(reg) t.a[0] => _,
                    second_a = inout(reg) t.a[1] => _,
                    a_stride = in(reg) t.a_stride,
                    b = inout(reg) t.b => _,
                    step = in(reg) $step as usize,
                    c = in(reg) t.c,
                    second_c = in(reg) t.c.wrapping_add(ROWS * t.c_stride),
                    c_stride = in(reg) t.c_stride,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

// A prefix of "#" turns an instruction into a comment.
kernel!(two_by_two, "", "", "", 128);
kernel!(two_by_one, "", "#", "#", 64);
kernel!(one_by_two, "#", "", "#", 128);
kernel!(one_by_one, "#", "#", "#", 64);

/// A product computed by micro-kernels in tile registers.
pub(in crate::cpu::gemm) struct AmxProduct<'a, 'b, T: 'static> {
    pub product: &'a PanelProduct<'b, T>,
}

impl<T: Operand> Product for AmxProduct<'_, '_, T> {
    fn shape(&self) -> [usize; 3] {
        self.product.shape()
    }

    fn block_shape(&self) -> [usize; 2] {
        // Results do not depend on where blocks end, so their number may depend on the number of threads.
        let min_blocks = BLOCKS_PER_THREAD * rayon::current_num_threads();
        let row_blocks = self.product.a.rows().div_ceil(TILE_MC);
        [TILE_MC, block_width(row_blocks, self.product.n, self.product.kernels.nr(), TILE_NC, min_blocks)]
    }

    unsafe fn macro_kernel(
        &self,
        rows: Range<usize>,
        cols: Range<usize>,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) {
        let PanelProduct { kernels, a, scale, .. } = self.product;
        let nr = kernels.nr();
        for pc in k_parts::<T>(a.cols(), KC_ROUNDS * STEPS, KC_ROUNDS * STEPS) {
            let left = LeftRows::new(a.part(rows.clone(), pc.clone()));
            // SAFETY: this product is only used if the CPU has AMX and the system permits its use (`Isa::available`).
            let _tiles = unsafe { ConfiguredTiles::configure() };
            for jr in cols.start / nr..cols.end.div_ceil(nr) {
                let panel = self.product.panel(jr);
                let b = panel.data.as_ptr().wrapping_add(pc.start / T::PER_STEP * panel.stride);
                for ir in (0..rows.len()).step_by(2 * ROWS) {
                    let count = rows.len().min(ir + 2 * ROWS) - ir;
                    let tile = AmxTile {
                        rounds: pc.len().div_ceil(STEPS * T::PER_STEP),
                        a: [0, 1].map(|i| left.at(ir / ROWS + i)),
                        a_stride: left.stride,
                        b: b.cast(),
                        c: c.wrapping_add(ir * c_stride + panel.cols.start - cols.start).cast(),
                        c_stride: c_stride * size_of::<f32>(),
                        accumulate: accumulate || pc.start > 0,
                    };
                    // SAFETY: the registers are configured. For all rounds, `left` has whole registers of rows from
                    // `ir` on, and the panel whole registers of steps; the stride of the panel is that of one register
                    // of columns or of two, as many as it has. The caller guarantees c.
                    unsafe { compute_tile(&tile, [count, panel.cols.len()], *scale) };
                }
            }
        }
    }
}

/// Computes a tile of `[rows, cols]` elements; through a buffer if it is not made of whole registers or has to be
/// scaled.
///
/// # Safety
/// As for the micro-kernel of this size, except that c need only be valid for the given number of elements.
unsafe fn compute_tile(tile: &AmxTile, [rows, cols]: [usize; 2], scale: f32) {
    let kernel = match (rows > ROWS, cols > STEPS) {
        (true, true) => two_by_two,
        (true, false) => two_by_one,
        (false, true) => one_by_two,
        (false, false) => one_by_one,
    };
    if rows.is_multiple_of(ROWS) && cols.is_multiple_of(STEPS) && scale == 1.0 {
        // SAFETY: the caller's guarantee, and c consists of whole registers.
        return unsafe { kernel(tile) };
    }
    // SAFETY: the caller guarantees that these elements are valid and not accessed by anyone else.
    let mut to = unsafe { MatMut::from_raw(tile.c.cast(), [rows, cols], tile.c_stride / size_of::<f32>()) };
    let mut buffer = [Line::ZERO; 4 * ROWS];
    let buffer: &mut [f32] = bytemuck::cast_slice_mut(&mut buffer);
    // Unscaled sums start from the values of c, as for whole registers: a row's result must not depend on its
    // neighbours.
    let accumulate = tile.accumulate && scale == 1.0;
    if accumulate {
        for (i, buffer) in buffer.chunks_exact_mut(BUFFER_STRIDE).take(rows).enumerate() {
            buffer[..cols].copy_from_slice(to.row_mut(i));
        }
    }
    let staged =
        AmxTile { c: buffer.as_mut_ptr().cast(), c_stride: BUFFER_STRIDE * size_of::<f32>(), accumulate, ..*tile };
    // SAFETY: the caller's guarantee for a and b, and the buffer has room for whole registers.
    unsafe { kernel(&staged) };
    simd::dispatch(Isa::Amx, Deliver { from: buffer, to, scale, add: tile.accumulate && !accumulate });
}

/// The distance between rows of the buffer of a tile, in f32.
const BUFFER_STRIDE: usize = 2 * STEPS;

/// `to = scale * from`, or `to += scale * from` if `add`; rows of `from` are [`BUFFER_STRIDE`] apart.
struct Deliver<'a, 'b> {
    from: &'a [f32],
    to: MatMut<'b>,
    scale: f32,
    add: bool,
}

impl Kernel for Deliver<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let scale = s.splat(self.scale);
        for (i, from) in self.from.chunks_exact(BUFFER_STRIDE).take(self.to.rows()).enumerate() {
            for (to, from) in self.to.row_mut(i).chunks_mut(S::LANES).zip(from.chunks(S::LANES)) {
                let from = s.load(from);
                let value = if self.add { s.fma(from, scale, s.load_partial(to)) } else { s.mul(from, scale) };
                s.store_partial(to, value);
            }
        }
    }
}

/// The rows of A of one block and one part of k, in whole registers.
struct LeftRows<'a> {
    /// The distance between rows, in bytes.
    stride: usize,
    /// The number of registers of rows that are read in place, from `first` on.
    in_place: usize,
    first: *const u8,
    /// The other rows.
    copied: ThreadScratch,
    borrow: PhantomData<&'a [u8]>,
}

impl<'a> LeftRows<'a> {
    fn new<T: Operand>(a: MatRef<'a, T>) -> Self {
        let bytes = |elements: usize| elements * size_of::<T>();
        let whole = a.cols().next_multiple_of(STEPS * T::PER_STEP);
        let [row_stride, col_stride] = a.strides();
        // Reading rows that straddle cache lines takes four times as long. Rows far apart are excluded because the
        // copied rows have the same stride; fewer than a register of rows because the stride of a single row is
        // arbitrary.
        let can_be_in_place = a.rows() >= ROWS
            && whole > 0
            && col_stride == 1
            && a.cols() == whole
            && (whole..=4 * whole).contains(&row_stride)
            && bytes(row_stride).is_multiple_of(ROW_BYTES)
            && a.as_ptr().addr().is_multiple_of(ROW_BYTES);
        let stride = bytes(if can_be_in_place { row_stride } else { whole });
        let in_place = if can_be_in_place { a.rows() / ROWS } else { 0 };
        let rows = a.part(in_place * ROWS..a.rows(), 0..a.cols());
        let words = stride / size_of::<f32>();
        let mut copied = ThreadScratch::unspecified(rows.rows().next_multiple_of(ROWS) * words);
        if words > 0 {
            copy_rows(Isa::Amx, rows, &mut copied[..rows.rows() * words], words);
        }
        Self { stride, in_place, first: a.as_ptr().cast(), copied, borrow: PhantomData }
    }

    /// The address of the `i`-th sixteen rows, which need not exist.
    fn at(&self, i: usize) -> *const u8 {
        let (first, i) = match i.checked_sub(self.in_place) {
            None => (self.first, i),
            Some(i) => (self.copied.as_ptr().cast(), i),
        };
        first.wrapping_add(i * ROWS * self.stride)
    }
}
