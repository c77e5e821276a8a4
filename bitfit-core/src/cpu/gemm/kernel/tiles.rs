//! AMX's tile registers: their configuration, and micro-kernels that hold a tile of C in them. A tile register holds
//! sixteen rows of 64 bytes.
//!
//! Four registers hold 32 rows and 32 columns of C, two hold rows of A and two hold columns of B: one round of sixteen
//! steps of k, words of four bytes, at a time. A panel has the layout that the instructions require: the elements of a
//! word are neighbours along k, two bfloat16 or four of int8.

use std::{arch::asm, marker::PhantomData};

use super::super::{MC, NC, driver::block_width};

/// The rows of a tile register.
pub(in crate::cpu::gemm) const ROWS: usize = 16;

/// The columns of C in a tile register.
pub(in crate::cpu::gemm) const COLS: usize = 16;

/// The steps of k in a tile register, four bytes each.
pub(in crate::cpu::gemm) const STEPS: usize = 16;

/// MR and NR: the rows and columns of C of a micro-kernel, two registers of each.
pub(in crate::cpu::gemm) const MR: usize = 2 * ROWS;
pub(in crate::cpu::gemm) const NR: usize = 2 * COLS;

/// The MC and NC of the tile registers: as large as possible while the rows of A, the block of C and the current panel
/// of B stay in the L2 cache. Panels stream from the L3 cache, at a fifth of the speed.
const TILE_MC: usize = 2 * MC;
const TILE_NC: usize = 2 * NC;

/// The least number of blocks for each thread.
const BLOCKS_PER_THREAD: usize = 8;

/// `[MC, NC]` of a product with `m` rows and `n` columns, in panels of `nr` columns.
pub(in crate::cpu::gemm) fn block_shape(m: usize, n: usize, nr: usize) -> [usize; 2] {
    // Results do not depend on where blocks end, so their number may depend on the number of threads.
    let min_blocks = BLOCKS_PER_THREAD * rayon::current_num_threads();
    [TILE_MC, block_width(m.div_ceil(TILE_MC), n, nr, TILE_NC, min_blocks)]
}

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
/// three rounds, so it is done once for a block, or for each part of its k.
pub(in crate::cpu::gemm) struct ConfiguredTiles {
    /// Tile registers belong to a thread.
    not_send: PhantomData<*mut ()>,
}

impl ConfiguredTiles {
    /// Configures the tile registers of the current thread.
    ///
    /// # Safety
    /// The CPU must support AMX, and the operating system must have granted its use.
    pub unsafe fn configure() -> Self {
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
pub(in crate::cpu::gemm) struct AmxTile {
    pub rounds: usize,
    /// Sixteen rows of A and the sixteen after them; rows are `a_stride` bytes apart.
    pub a: [*const u8; 2],
    pub a_stride: usize,
    /// The steps of the panel, contiguous.
    pub b: *const u8,
    /// The rows of C, `c_stride` bytes apart.
    pub c: *mut u8,
    pub c_stride: usize,
    /// Whether the sums start from the values at `c`.
    pub accumulate: bool,
}

/// A micro-kernel.
///
/// # Safety
/// The tile registers must be configured. a, b and c must be valid as the fields of [`AmxTile`] describe them, for as
/// many whole registers as the micro-kernel uses, and c must not be accessed by anyone else during the call.
type TileKernel = unsafe fn(&AmxTile);

/// The micro-kernel of bfloat16 for up to 32 rows and 32 columns; the panel has as many whole registers of columns.
pub(in crate::cpu::gemm) fn bf16(rows: usize, cols: usize) -> TileKernel {
    match (rows > ROWS, cols > COLS) {
        (true, true) => bf16_two_by_two,
        (true, false) => bf16_two_by_one,
        (false, true) => bf16_one_by_two,
        (false, false) => bf16_one_by_one,
    }
}

/// The micro-kernel of int8, signed rows and an unsigned panel, for up to 32 rows and two registers of columns.
pub(in crate::cpu::gemm) fn int8(rows: usize) -> TileKernel {
    if rows > ROWS { int8_two_by_two } else { int8_one_by_two }
}

/// A tile instruction of a round, and twelve `nop`. With those, products are a sixth to a third faster while another
/// virtual machine uses the other thread of the core, and as fast otherwise (ARCHITECTURE.md, Decisions).
macro_rules! spaced {
    ($($part:expr),+) => {
        concat!($($part),+, "; .fill 12, 1, 0x90")
    };
}

/// Defines the micro-kernel of an instruction for one or two registers of rows and of columns. Instructions for the
/// second register of rows, of columns or of both are prefixed with `$row`, `$col` or `$both`. A step of the panel has
/// `$step` bytes. A is loaded with a hint to keep it out of the L1 cache, which is left to the panel as far as that
/// fits.
macro_rules! kernel {
    ($name:ident, $multiply:literal, $row:literal, $col:literal, $both:literal, $step:literal) => {
        /// # Safety
        /// As for [`TileKernel`].
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
                    spaced!("tileloadd tmm6, [{b} + {step}]"),
                    spaced!("tileloaddt1 tmm4, [{a} + {a_stride}]"),
                    spaced!($multiply, " tmm0, tmm4, tmm6"),
                    spaced!($col, "tileloadd tmm7, [{b} + {step} + 64]"),
                    spaced!($col, $multiply, " tmm1, tmm4, tmm7"),
                    spaced!($row, "tileloaddt1 tmm5, [{second_a} + {a_stride}]"),
                    spaced!($row, $multiply, " tmm2, tmm5, tmm6"),
                    spaced!($both, $multiply, " tmm3, tmm5, tmm7"),
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
kernel!(bf16_two_by_two, "tdpbf16ps", "", "", "", 128);
kernel!(bf16_two_by_one, "tdpbf16ps", "", "#", "#", 64);
kernel!(bf16_one_by_two, "tdpbf16ps", "#", "", "#", 128);
kernel!(bf16_one_by_one, "tdpbf16ps", "#", "#", "#", 64);
kernel!(int8_two_by_two, "tdpbsud", "", "", "", 128);
kernel!(int8_one_by_two, "tdpbsud", "#", "", "#", 128);
