//! Products of bfloat16 by AMX's tile registers, each sixteen rows of 64 bytes.
//!
//! Four registers hold the sums of 32 rows and 32 columns, two the left operand's rows and two the right one's columns: a round of
//! sixteen steps of k, 32 bfloat16 of a row, at a time. A panel has the layout that the instruction asks for: two neighbours along k
//! in an f32's place. The left operand's rows are read as they lie where each round of each is a cache line of its own; what is not
//! so is copied first.
//!
//! The registers flush subnormals to zero, in what they read and in what they add up.

use std::{arch::asm, marker::PhantomData, ops::Range};

use super::{
    super::{
        COL_BLOCK, MatMut, MatRef, ROW_BLOCK,
        driver::{PanelProduct, Product, block_width, k_blocks},
        pack::copy_rows,
    },
    Operand,
};
use crate::{
    cpu::simd::{self, Isa, Kernel, Simd},
    memory::{Line, ThreadScratch},
};

/// Rows of a register.
const ROWS: usize = 16;

/// Steps of k that a register holds: four bytes each.
pub(super) const STEPS: usize = 16;

/// Columns of a panel, in vectors: those of two registers.
pub(super) const VECTORS: usize = 2;

/// Bytes of a register's row.
const ROW_BYTES: usize = 64;

/// Rows and columns of a block at most, and rounds that it takes at a time: few enough that the left operand's rows, the sums and the
/// panel that streams by stay in the second cache, and as many as that allows. What streams comes from the third cache, at a fifth of
/// the second's speed.
const BLOCK: [usize; 2] = [2 * ROW_BLOCK, 2 * COL_BLOCK];
const ROUNDS: usize = 72;

/// Blocks that each thread should find at least.
const BLOCKS_PER_THREAD: usize = 8;

/// What `ldtilecfg` reads: the shape of each register.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight registers as large as they get.
static WHOLE: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The tile registers of this thread, whole, until dropped. Setting them up takes as long as three rounds, so it is done
/// once for a block's part of k.
struct Tiles {
    /// They are the thread's own.
    not_send: PhantomData<*mut ()>,
}

impl Tiles {
    /// # Safety
    /// The CPU must have AMX, and the system must have permitted its use.
    unsafe fn configure() -> Self {
        // SAFETY: the caller's promise; 64 bytes are read. The registers' shape is nobody's else: a call preserves neither it nor
        // them, by the ABI, and none that is made before they are given up knows of them.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const WHOLE,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, readonly),
            );
        }
        Self { not_send: PhantomData }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: `self` proves AMX. What the registers held is lost, and nobody reads it.
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

/// One call of a kernel: up to 32 rows and 32 columns of the sums.
struct Tile {
    rounds: usize,
    /// Sixteen rows of the left operand and the sixteen after them, rows `a_stride` bytes apart.
    a: [*const u8; 2],
    a_stride: usize,
    /// The panel's steps, one behind the other.
    b: *const u8,
    /// The sums' rows, `c_stride` bytes apart.
    c: *mut u8,
    c_stride: usize,
    /// Whether the sums start from what is at `c`.
    accumulate: bool,
}

/// A kernel for one or two registers of rows and of columns: what would need the second of them is prefixed with `$row`, `$col` or
/// `$both`. A step of the panel is `$step` bytes.
macro_rules! kernel {
    ($name:ident, $row:literal, $col:literal, $both:literal, $step:literal) => {
        /// # Safety
        /// The tile registers must be configured. a, b and c must be valid as the fields of [`Tile`] describe them for this many whole
        /// registers, and nobody else may be using c.
        unsafe fn $name(t: &Tile) {
            // SAFETY: reads and writes what the caller promised; the registers and the flags it changes are all named.
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

// "#" makes a comment of a line.
kernel!(two_by_two, "", "", "", 128);
kernel!(two_by_one, "", "#", "#", 64);
kernel!(one_by_two, "#", "", "#", 128);
kernel!(one_by_one, "#", "#", "#", 64);

/// A product by these kernels.
pub(in crate::cpu::gemm) struct InTiles<'a, 'b, T: 'static> {
    pub product: &'a PanelProduct<'b, T>,
}

impl<T: Operand> Product for InTiles<'_, '_, T> {
    fn shape(&self) -> ([usize; 2], usize) {
        self.product.shape()
    }

    fn block_shape(&self) -> [usize; 2] {
        let [rows, cols] = BLOCK;
        // What is computed does not depend on where blocks end, so that they may be as many as there are threads for.
        let least = BLOCKS_PER_THREAD * rayon::current_num_threads();
        let row_blocks = self.product.a.rows().div_ceil(rows);
        [rows, block_width(row_blocks, self.product.n, self.product.kernels.width(), cols, least)]
    }

    unsafe fn block(&self, rows: Range<usize>, cols: Range<usize>, c: *mut f32, c_stride: usize, accumulate: bool) {
        let PanelProduct { kernels, a, scale, .. } = self.product;
        let width = kernels.width();
        for part in k_blocks::<T>(a.cols(), ROUNDS * STEPS, ROUNDS * STEPS) {
            let left = Left::new(a.part(rows.clone(), part.clone()));
            // SAFETY: these kernels are only made where the CPU has AMX and the system permits it (`Isa::available`).
            let _tiles = unsafe { Tiles::configure() };
            for panel in cols.start / width..cols.end.div_ceil(width) {
                let panel = self.product.panel(panel);
                let b = panel.data.as_ptr().wrapping_add(part.start / T::PER_STEP * panel.stride);
                for first in (0..rows.len()).step_by(2 * ROWS) {
                    let count = rows.len().min(first + 2 * ROWS) - first;
                    let tile = Tile {
                        rounds: part.len().div_ceil(STEPS * T::PER_STEP),
                        a: [0, 1].map(|i| left.at(first / ROWS + i)),
                        a_stride: left.stride,
                        b: b.cast(),
                        c: c.wrapping_add(first * c_stride + panel.cols.start - cols.start).cast(),
                        c_stride: c_stride * size_of::<f32>(),
                        accumulate: accumulate || part.start > 0,
                    };
                    // SAFETY: the registers are configured. `left` has whole registers of rows from `first` on, and the panel of
                    // steps, for all rounds; the panel's stride is one register where it has one of columns, else two. The part
                    // of c is the caller's promise.
                    unsafe { sums(&tile, [count, panel.cols.len()], *scale) };
                }
            }
        }
    }
}

/// Computes `[rows, cols]` of the sums, by way of memory of its own where they are no whole registers or must be scaled.
///
/// # Safety
/// As for the kernels, of the size given; but c need be valid for as many elements as given only.
unsafe fn sums(tile: &Tile, [rows, cols]: [usize; 2], scale: f32) {
    let kernel = match (rows > ROWS, cols > STEPS) {
        (true, true) => two_by_two,
        (true, false) => two_by_one,
        (false, true) => one_by_two,
        (false, false) => one_by_one,
    };
    if rows.is_multiple_of(ROWS) && cols.is_multiple_of(STEPS) && scale == 1.0 {
        // SAFETY: the caller's promise, and c has whole registers.
        return unsafe { kernel(tile) };
    }
    // SAFETY: the caller's promise.
    let mut to = unsafe { MatMut::from_raw(tile.c.cast(), [rows, cols], tile.c_stride / size_of::<f32>()) };
    let mut own = [Line::ZERO; 4 * ROWS];
    let own: &mut [f32] = bytemuck::cast_slice_mut(&mut own);
    // Unscaled sums start from what is there, as those of whole registers do: a row's result must not depend on its neighbours.
    let accumulate = tile.accumulate && scale == 1.0;
    if accumulate {
        for (i, own) in own.chunks_exact_mut(OWN_STRIDE).take(rows).enumerate() {
            own[..cols].copy_from_slice(to.row_mut(i));
        }
    }
    let staged = Tile { c: own.as_mut_ptr().cast(), c_stride: OWN_STRIDE * size_of::<f32>(), accumulate, ..*tile };
    // SAFETY: the caller's promise, and c is memory for whole registers.
    unsafe { kernel(&staged) };
    simd::dispatch(Isa::Amx, Deliver { from: own, to, scale, add: tile.accumulate && !accumulate });
}

/// From a row to the next of sums in memory of their own.
const OWN_STRIDE: usize = 2 * STEPS;

/// `to = scale * from`, or `to += scale * from`, rows of `from` being [`OWN_STRIDE`] apart.
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
        for (i, from) in self.from.chunks_exact(OWN_STRIDE).take(self.to.rows()).enumerate() {
            for (to, from) in self.to.row_mut(i).chunks_mut(S::LANES).zip(from.chunks(S::LANES)) {
                let from = s.load(from);
                let value = if self.add { s.fma(from, scale, s.load_partial(to)) } else { s.mul(from, scale) };
                s.store_partial(to, value);
            }
        }
    }
}

/// A block's part of the left operand, in whole registers of rows.
struct Left<'a> {
    /// From a row to the next, in bytes.
    stride: usize,
    /// Rows that are read as they lie, in registers, and where they do.
    lying: usize,
    first: *const u8,
    /// The others.
    copied: ThreadScratch,
    borrow: PhantomData<&'a [u8]>,
}

impl<'a> Left<'a> {
    fn new<T: Operand>(a: MatRef<'a, T>) -> Self {
        let bytes = |elements: usize| elements * size_of::<T>();
        let whole = a.cols().next_multiple_of(STEPS * T::PER_STEP);
        let [row_stride, col_stride] = a.strides();
        // Reading a line and a bit of the next takes four times as long. Rows far apart would have the last of them copied as far apart.
        // A single row may have any stride, one that is no number of bytes too.
        let lies = a.rows() >= ROWS
            && whole > 0
            && col_stride == 1
            && a.cols() == whole
            && (whole..=4 * whole).contains(&row_stride)
            && bytes(row_stride).is_multiple_of(ROW_BYTES)
            && a.as_ptr().addr().is_multiple_of(ROW_BYTES);
        let stride = bytes(if lies { row_stride } else { whole });
        let lying = if lies { a.rows() / ROWS } else { 0 };
        let rows = a.part(lying * ROWS..a.rows(), 0..a.cols());
        let places = stride / size_of::<f32>();
        let mut copied = ThreadScratch::unspecified(rows.rows().next_multiple_of(ROWS) * places);
        if places > 0 {
            copy_rows(Isa::Amx, rows, &mut copied[..rows.rows() * places], places);
        }
        Self { stride, lying, first: a.as_ptr().cast(), copied, borrow: PhantomData }
    }

    /// Where the `i`-th sixteen rows start. Need not be there.
    fn at(&self, i: usize) -> *const u8 {
        let (first, i) = match i.checked_sub(self.lying) {
            None => (self.first, i),
            Some(i) => (self.copied.as_ptr().cast(), i),
        };
        first.wrapping_add(i * ROWS * self.stride)
    }
}
