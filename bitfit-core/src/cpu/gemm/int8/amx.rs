//! Products of int8 in AMX's tile registers.
//!
//! The sums of a tile go from the registers to a buffer in the L1 cache, and from there, scaled, to C.

use std::ops::Range;

use super::{
    super::{
        driver::{MC, Product},
        kernel::tiles::{self, AmxTile, ConfiguredTiles, MR, NR, ROWS, STEPS},
    },
    Int8Product, PER_WORD, TaskRows,
    kernel::deliver_rows,
    quantize,
};
use crate::{cpu::Float, memory::Line};

// The micro-kernels read whole registers of rows, in whole rounds.
const _: () = assert!(
    quantize::ROWS.is_multiple_of(ROWS) && quantize::ROW_BYTES.is_multiple_of(STEPS * PER_WORD),
    "quantized rows have whole tile registers"
);

/// A product computed by micro-kernels in tile registers.
pub(super) struct AmxProduct<'a, 'b, T>(pub &'a Int8Product<'b, T>);

impl<T: Float> Product for AmxProduct<'_, '_, T> {
    type Left<'a>
        = TaskRows<'a>
    where
        Self: 'a;

    fn shape(&self) -> [usize; 3] {
        self.0.shape()
    }

    fn block_shape(&self) -> [usize; 2] {
        let [m, _, n] = self.shape();
        let [mc, nc] = tiles::block_shape(m, n, NR);
        if self.has_tasks_of_whole_rows() { [MC, nc] } else { [mc, nc] }
    }

    fn has_tasks_of_whole_rows(&self) -> bool {
        self.0.has_tasks_of_whole_rows()
    }

    fn left(&self, rows: Range<usize>) -> TaskRows<'_> {
        self.0.left(rows)
    }

    unsafe fn macro_kernel(
        &self,
        left: &TaskRows<'_>,
        rows: Range<usize>,
        cols: Range<usize>,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) {
        let mut sums = [Line::ZERO; MR * NR / Line::LEN];
        let sums: &mut [i32] = bytemuck::cast_slice_mut(&mut sums);
        // SAFETY: this product is only used if the CPU has AMX and the system permits its use (`Isa::available`).
        let _tiles = unsafe { ConfiguredTiles::configure() };
        for panel in cols.start / NR..cols.end.div_ceil(NR) {
            for ir in (0..rows.len()).step_by(MR) {
                let tile_rows = ir..rows.len().min(ir + MR);
                let count = tile_rows.len();
                let c = c.wrapping_add(ir * c_stride + panel * NR - cols.start);
                let tile = self.0.tile(left.at(tile_rows), panel, cols.end, c, c_stride, accumulate);
                let in_registers = AmxTile {
                    rounds: tile.words / STEPS,
                    a: [0, 1].map(|i| tile.a.cast::<u8>().wrapping_add(i * ROWS * tile.a_stride)),
                    a_stride: tile.a_stride,
                    b: tile.b,
                    c: sums.as_mut_ptr().cast(),
                    c_stride: NR * size_of::<i32>(),
                    accumulate: false,
                };
                // SAFETY: the registers are configured, and AMX comes with AVX-512. Blocks begin at a multiple of
                // sixteen rows, of which a has whole registers, each row in whole rounds, as many as the panel; the
                // buffer has room for the registers. Outliers are in columns of a, and the caller guarantees c.
                unsafe {
                    tiles::int8(count)(&in_registers);
                    deliver_rows(&tile, sums);
                }
            }
        }
    }
}
