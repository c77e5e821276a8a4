//! Dropout on the CPU: each task takes a fixed number of elements, one group of the generator at a time.

use rayon::prelude::*;

use super::DropoutMask;
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    cpu::ELEMENT_BLOCK,
    rng::{Dropout, GROUP},
};

impl DropoutMask for Cpu {
    fn dropout(&self, dropout: Dropout, x: Slice<'_, Self>, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()> {
        let tasks = y.f32().par_chunks_mut(ELEMENT_BLOCK).zip(x.f32().par_chunks(ELEMENT_BLOCK)).enumerate();
        tasks.for_each(|(block, (y, x))| {
            let mut factors = [0.0; GROUP];
            let mut first = (block * ELEMENT_BLOCK) as u64;
            for (y, x) in y.chunks_mut(GROUP).zip(x.chunks(GROUP)) {
                let factors = &mut factors[..y.len()];
                dropout.factors(self.isa(), first, factors);
                first += GROUP as u64;
                for ((y, x), factor) in y.iter_mut().zip(x).zip(factors) {
                    *y = if accumulate { *y + *factor * x } else { *factor * x };
                }
            }
        });
        Ok(())
    }
}
