//! The row gather on the CPU: forward copies rows; backward adds up the gradients of each row of x.

use rayon::prelude::*;

use super::{GatherRows, Positions};
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    cpu::{ROW_BLOCK, blocks},
};

impl GatherRows for Cpu {
    fn gather_rows(&self, x: Slice<'_, Self>, at: &Vec<u32>, cols: usize, y: SliceMut<'_, Self>) -> Result<()> {
        let x = x.f32();
        blocks(y.f32(), cols).zip(at.par_chunks(ROW_BLOCK)).for_each(|(y, at)| {
            for (y, &row) in y.chunks_exact_mut(cols).zip(at) {
                y.copy_from_slice(&x[row as usize * cols..][..cols]);
            }
        });
        Ok(())
    }

    fn scatter_rows(&self, dy: Slice<'_, Self>, at: &Vec<u32>, cols: usize, dx: SliceMut<'_, Self>) -> Result<()> {
        let (dy, dx) = (dy.f32(), dx.f32());
        if dx.is_empty() {
            return Ok(());
        }
        let positions = Positions::new(at, dx.len() / cols);
        blocks(dx, cols).enumerate().for_each(|(block, dx)| {
            for (i, dx) in dx.chunks_exact_mut(cols).enumerate() {
                for place in positions.of(block * ROW_BLOCK + i) {
                    dx.iter_mut().zip(&dy[place * cols..][..cols]).for_each(|(dx, dy)| *dx += dy);
                }
            }
        });
        Ok(())
    }
}
