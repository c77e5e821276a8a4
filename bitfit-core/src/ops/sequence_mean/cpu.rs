//! The mean over sequences on the CPU: a thread takes a sequence, so that the sum has one order whatever the number of
//! threads, and a sequence's mean does not depend on the others.

use rayon::prelude::*;

use super::SequenceMean;
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    ops::attention::Sequences,
};

impl SequenceMean for Cpu {
    fn sequence_mean(
        &self,
        x: Slice<'_, Self>,
        sequences: &Sequences<Self>,
        cols: usize,
        y: SliceMut<'_, Self>,
    ) -> Result<()> {
        if cols == 0 {
            return Ok(());
        }
        let x = x.f32();
        y.f32().par_chunks_exact_mut(cols).enumerate().for_each(|(sequence, y)| {
            let rows = sequences.range(sequence);
            let scale = 1.0 / rows.len() as f32;
            y.fill(0.0);
            for x in x[rows.start * cols..rows.end * cols].chunks_exact(cols) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
            y.iter_mut().for_each(|y| *y *= scale);
        });
        Ok(())
    }

    fn sequence_mean_backward(
        &self,
        dy: Slice<'_, Self>,
        sequences: &Sequences<Self>,
        cols: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        if cols == 0 {
            return Ok(());
        }
        let mut rest = dx.f32();
        let mut parts = Vec::with_capacity(sequences.count());
        for (sequence, dy) in dy.f32().chunks_exact(cols).enumerate() {
            let (part, others) = rest.split_at_mut(sequences.range(sequence).len() * cols);
            parts.push((part, dy));
            rest = others;
        }
        parts.into_par_iter().for_each(|(dx, dy)| {
            let scale = 1.0 / (dx.len() / cols) as f32;
            for dx in dx.chunks_exact_mut(cols) {
                for (dx, dy) in dx.iter_mut().zip(dy) {
                    *dx = if accumulate { *dx + dy * scale } else { dy * scale };
                }
            }
        });
        Ok(())
    }
}
