//! A block of a product of bfloat16 by AMX's tile registers, each sixteen rows of 64 bytes.
//!
//! Four registers hold the sums of 32 rows and 32 columns, two the left operand's rows and two the right one's columns: sixteen
//! steps of k, 32 bfloat16 of a row, at a time. A panel has the layout that the instruction asks for: two neighbours along k in an
//! f32's place. The left operand is read as it lies where each of a tile's rows is a cache line of its own; otherwise the block's
//! rows are copied first, to whole tiles.
//!
//! The registers flush subnormals to zero, in what they read and in what they add up.

use std::{arch::asm, marker::PhantomData, ops::Range};

use super::{
    MatMut, MatRef,
    driver::{PanelProduct, k_blocks},
    panels,
    tile::Operand,
};
use crate::{
    lent::Lent,
    simd::{self, Kernel, Level, Line, Simd},
};

/// Rows of a register.
pub(super) const ROWS: usize = 16;

/// Steps of k that a register holds: four bytes each.
pub(super) const STEPS: usize = 16;

/// Bytes of a register's row.
const ROW_BYTES: usize = 64;

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

/// The tile registers of this thread, whole, until dropped. Setting them up takes as long as several steps, so it is done once a block.
struct Tiles {
    /// They are the thread's own.
    not_send: PhantomData<*mut ()>,
}

impl Tiles {
    /// # Safety
    /// The CPU must have AMX, and the system must have permitted its use.
    unsafe fn configure() -> Self {
        // SAFETY: the caller's promise; 64 bytes are read. The registers' shape is nobody's else: a call preserves neither it nor
        // them, by the ABI, and nothing in this room leaves them in use.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack, preserves_flags, readonly)) };
        Self { not_send: PhantomData }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: `self` proves AMX. What the registers held is lost, and nobody reads it.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
    }
}

/// One call of the kernel: up to 32 rows and 32 columns of the sums.
struct Tile {
    /// Times that [`STEPS`] steps are taken.
    rounds: usize,
    /// The left operand's rows, `a_stride` bytes apart.
    a: *const u8,
    a_stride: usize,
    /// The panel's steps, `b_stride` bytes apart.
    b: *const u8,
    b_stride: usize,
    /// The sums' rows, `c_stride` bytes apart.
    c: *mut u8,
    c_stride: usize,
    /// Whether the sums start from what is at `c`.
    accumulate: bool,
}

/// A kernel for one or two registers of rows and of columns. What is not there is left out.
macro_rules! kernel {
    ($name:ident, $row:literal, $col:literal, $both:literal) => {
        /// # Safety
        /// The tile registers must be configured. a, b and c must be valid as the fields of [`Tile`] describe them for this many whole
        /// registers, and nobody else may be using c.
        unsafe fn $name(t: &Tile) {
            let (second_a, second_c) = (t.a.wrapping_add(ROWS * t.a_stride), t.c.wrapping_add(ROWS * t.c_stride));
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
                    "tileloadd tmm6, [{b} + {b_stride}]",
                    "tileloadd tmm4, [{a} + {a_stride}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    concat!($col, "tileloadd tmm7, [{b} + {b_stride} + 64]"),
                    concat!($col, "tdpbf16ps tmm1, tmm4, tmm7"),
                    concat!($row, "tileloadd tmm5, [{second_a} + {a_stride}]"),
                    concat!($row, "tdpbf16ps tmm2, tmm5, tmm6"),
                    concat!($both, "tdpbf16ps tmm3, tmm5, tmm7"),
                    "add {a}, 64",
                    "add {second_a}, 64",
                    "add {b}, {b_step}",
                    "dec {rounds}",
                    "jnz 4b",
                    "5:",
                    "tilestored [{c} + {c_stride}], tmm0",
                    concat!($col, "tilestored [{c} + {c_stride} + 64], tmm1"),
                    concat!($row, "tilestored [{second_c} + {c_stride}], tmm2"),
                    concat!($both, "tilestored [{second_c} + {c_stride} + 64], tmm3"),
                    accumulate = in(reg) u32::from(t.accumulate),
                    rounds = inout(reg) t.rounds => _,
                    a = inout(reg) t.a => _,
                    second_a = inout(reg) second_a => _,
                    a_stride = in(reg) t.a_stride,
                    b = inout(reg) t.b => _,
                    b_stride = in(reg) t.b_stride,
                    b_step = in(reg) STEPS * t.b_stride,
                    c = in(reg) t.c,
                    second_c = in(reg) second_c,
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
kernel!(two_by_two, "", "", "");
kernel!(two_by_one, "", "#", "#");
kernel!(one_by_two, "#", "", "#");
kernel!(one_by_one, "#", "#", "#");

/// [`Product::block`](super::driver::Product::block) of a product whose kernels are of [`Level::Amx`].
///
/// # Safety
/// As there.
pub(super) unsafe fn block<T: Operand>(
    product: &PanelProduct<'_, T>,
    rows: Range<usize>,
    cols: Range<usize>,
    c: *mut f32,
    c_stride: usize,
    accumulate: bool,
) {
    let width = product.kernels.width();
    // SAFETY: kernels of this level are only made where the CPU has AMX and the system permits it (`Level::available`).
    let _tiles = unsafe { Tiles::configure() };
    for part in k_blocks::<T>(product.a.cols()) {
        let left = Left::new(product.a.part(rows.clone(), part.clone()));
        let rounds = part.len().div_ceil(STEPS * T::PER_STEP);
        for panel in cols.start / width..cols.end.div_ceil(width) {
            let panel = product.panel(panel);
            for first in (0..rows.len()).step_by(2 * ROWS) {
                let count = rows.len().min(first + 2 * ROWS) - first;
                let to = c.wrapping_add(first * c_stride + panel.cols.start - cols.start);
                let tile = Tile {
                    rounds,
                    a: left.row(first),
                    a_stride: left.stride,
                    b: panel.data.as_ptr().wrapping_add(part.start / T::PER_STEP * panel.stride).cast(),
                    b_stride: panel.stride * size_of::<f32>(),
                    c: to.cast(),
                    c_stride: c_stride * size_of::<f32>(),
                    accumulate: accumulate || part.start > 0,
                };
                // SAFETY: the registers are configured. `left` has whole registers of rows from `first` on, of `rounds` rounds; the panel
                // holds whole vectors, and its steps are a multiple of `STEPS`; the part of c is the caller's promise.
                unsafe { sums(&tile, [count, panel.cols.len()], product.scale) };
            }
        }
    }
}

/// Computes `[rows, cols]` of the sums, by way of memory of its own where they are no whole registers or must be scaled.
///
/// # Safety
/// The tile registers must be configured; a and b of the tile must be valid for whole registers, c for as many elements as given, and
/// nobody else may be using c.
unsafe fn sums(tile: &Tile, [rows, cols]: [usize; 2], scale: f32) {
    let run = match (rows > ROWS, cols > STEPS) {
        (true, true) => two_by_two,
        (true, false) => two_by_one,
        (false, true) => one_by_two,
        (false, false) => one_by_one,
    };
    if rows.is_multiple_of(ROWS) && cols.is_multiple_of(STEPS) && scale == 1.0 {
        // SAFETY: the caller's promise, and c has whole registers.
        return unsafe { run(tile) };
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
    unsafe { run(&staged) };
    simd::dispatch(Level::Amx, Deliver { from: own, to, scale, add: tile.accumulate && !accumulate });
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

/// A block's part of the left operand in whole registers.
struct Left<'a> {
    first: *const u8,
    /// From a row to the next, in bytes.
    stride: usize,
    /// What it was copied to, if it was.
    _memory: Option<Lent>,
    borrow: PhantomData<&'a [u8]>,
}

impl<'a> Left<'a> {
    fn new<T: Operand>(a: MatRef<'a, T>) -> Self {
        let [row_stride, col_stride] = a.strides();
        let bytes = |elements: usize| elements * size_of::<T>();
        let whole = col_stride == 1 && a.rows().is_multiple_of(ROWS) && bytes(a.cols()).is_multiple_of(ROW_BYTES);
        // Reading what straddles lines takes four times as long.
        if whole && a.as_ptr().addr().is_multiple_of(ROW_BYTES) && bytes(row_stride).is_multiple_of(ROW_BYTES) {
            return Self { first: a.as_ptr().cast(), stride: bytes(row_stride), _memory: None, borrow: PhantomData };
        }
        let places = a.cols().div_ceil(T::PER_STEP).next_multiple_of(STEPS);
        let mut memory = Lent::any(a.rows().next_multiple_of(ROWS) * places);
        if places > 0 {
            panels::copy_rows(Level::Amx, a, &mut memory[..a.rows() * places], places);
        }
        Self {
            first: memory.as_ptr().cast(),
            stride: places * size_of::<f32>(),
            _memory: Some(memory),
            borrow: PhantomData,
        }
    }

    /// Where row `i` starts.
    fn row(&self, i: usize) -> *const u8 {
        self.first.wrapping_add(i * self.stride)
    }
}
