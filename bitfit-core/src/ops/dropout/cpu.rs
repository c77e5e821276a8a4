//! Dropout on the CPU: a fixed run of elements to a task, eight to a draw of the generator.

use rayon::prelude::*;

use super::DropoutMask;
use crate::{Cpu, Dropout, Result, Slice, SliceMut, cpu::ELEMENT_BLOCK, dropout::GROUP};

impl DropoutMask for Cpu {
    fn dropout(&self, dropout: Dropout, x: Slice<'_, Self>, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()> {
        let tasks = y.f32().par_chunks_mut(ELEMENT_BLOCK).zip(x.f32().par_chunks(ELEMENT_BLOCK)).enumerate();
        tasks.for_each(|(block, (y, x))| {
            let first = block * (ELEMENT_BLOCK / GROUP);
            for (group, (y, x)) in y.chunks_mut(GROUP).zip(x.chunks(GROUP)).enumerate() {
                let factors = dropout.group((first + group) as u64);
                for ((y, x), factor) in y.iter_mut().zip(x).zip(factors) {
                    *y = if accumulate { *y + factor * x } else { factor * x };
                }
            }
        });
        Ok(())
    }
}
