//! Products of int8 in AMX's tile registers.
//!
//! The sums of a tile go from the registers to a buffer in the L1 cache, and from there, scaled, to C.

use std::ops::Range;

use super::{
    super::{
        driver::Product,
        kernel::tiles::{self, AmxTile, ConfiguredTiles, ROWS},
    },
    Int8Product,
    kernel::deliver_rows,
};
use crate::memory::Line;

pub(super) struct AmxProduct<'a, 'b>(pub &'a Int8Product<'b>);

impl Product for AmxProduct<'_, '_> {
    fn shape(&self) -> [usize; 3] {
        self.0.shape()
    }

    fn block_shape(&self) -> [usize; 2] {
        let [m, _, n] = self.shape();
        tiles::block_shape(m, n, self.0.kernels.nr)
    }

    unsafe fn macro_kernel(
        &self,
        rows: Range<usize>,
        cols: Range<usize>,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) {
        let nr = self.0.kernels.nr;
        let mut sums = [Line::ZERO; 4 * ROWS];
        let sums: &mut [i32] = bytemuck::cast_slice_mut(&mut sums);
        // SAFETY: this product is only used if the CPU has AMX and the system permits its use (`Isa::available`).
        let _tiles = unsafe { ConfiguredTiles::configure() };
        for panel in cols.start / nr..cols.end.div_ceil(nr) {
            for ir in rows.clone().step_by(2 * ROWS) {
                let tile_rows = ir..rows.end.min(ir + 2 * ROWS);
                let count = tile_rows.len();
                let c = c.wrapping_add((ir - rows.start) * c_stride + panel * nr - cols.start);
                let tile = self.0.tile(tile_rows, panel, cols.end, c, c_stride, accumulate);
                let in_registers = AmxTile {
                    rounds: tile.words / tiles::STEPS,
                    a: [0, 1].map(|i| tile.a.cast::<u8>().wrapping_add(i * ROWS * tile.a_stride)),
                    a_stride: tile.a_stride,
                    b: tile.b,
                    c: sums.as_mut_ptr().cast(),
                    c_stride: nr * size_of::<i32>(),
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
