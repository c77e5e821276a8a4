//! Sum and mean on the CPU: fixed blocks are summed in f64, and their sums in the order of the blocks.

use rayon::prelude::*;

use super::Sum;
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    cpu::ELEMENT_BLOCK,
};

impl Sum for Cpu {
    fn sum(&self, x: Slice<'_, Self>, divisor: usize, y: SliceMut<'_, Self>) -> Result<()> {
        let block = |x: &[f32]| x.iter().map(|&x| f64::from(x)).sum::<f64>();
        // Collected before they are added: the order of rayon's own sum depends on scheduling.
        let blocks: Vec<f64> = x.f32().par_chunks(ELEMENT_BLOCK).map(block).collect();
        y.f32()[0] = (blocks.iter().sum::<f64>() / divisor as f64) as f32;
        Ok(())
    }

    fn sum_backward(
        &self,
        dy: Slice<'_, Self>,
        divisor: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let share = dy.f32()[0] / divisor as f32;
        dx.f32().par_chunks_mut(ELEMENT_BLOCK).for_each(|dx| match accumulate {
            true => dx.iter_mut().for_each(|dx| *dx += share),
            false => dx.fill(share),
        });
        Ok(())
    }
}
