//! The cross-entropy over sequences on the CPU: a thread takes a sequence, so that its softmax does not depend on the
//! others; the losses are summed in f64 in their order.

use rayon::prelude::*;

use super::{Choice, SequenceCrossEntropy};
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    memory::ThreadScratch,
    ops::{attention::Sequences, softmax::softmax_row},
};

impl SequenceCrossEntropy for Cpu {
    fn sequence_cross_entropy(
        &self,
        logits: Slice<'_, Self>,
        choice: &Choice<Self>,
        loss: SliceMut<'_, Self>,
        probabilities: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let Choice { sequences, rows, columns } = choice;
        let (z, columns) = (logits.f32(), *columns);
        let saved = match probabilities {
            Some(probabilities) => parts(probabilities.f32(), sequences, columns).into_iter().map(Some).collect(),
            None => (0..sequences.count()).map(|_| None).collect::<Vec<_>>(),
        };
        let mut losses = vec![0.0; rows.len()];
        let tasks = losses.par_chunks_mut(columns).zip(rows.data().par_chunks(columns)).zip(saved);
        tasks.enumerate().for_each_init(
            || ThreadScratch::filled(2 * sequences.longest(), 0.0),
            |scratch, (sequence, ((losses, targets), mut saved))| {
                let range = sequences.range(sequence);
                let (column_z, p) = scratch[..2 * range.len()].split_at_mut(range.len());
                for (column, (loss, &target)) in losses.iter_mut().zip(targets).enumerate() {
                    column_z.iter_mut().zip(range.clone()).for_each(|(to, row)| *to = z[row * columns + column]);
                    let (max, lse) = softmax_row(self.isa(), column_z, p);
                    *loss = f64::from(lse) - f64::from(z[target as usize * columns + column] - max);
                    if let Some(saved) = &mut saved {
                        saved.iter_mut().skip(column).step_by(columns).zip(&*p).for_each(|(to, p)| *to = *p);
                    }
                }
            },
        );
        loss.f32()[0] = (losses.iter().sum::<f64>() / losses.len() as f64) as f32;
        Ok(())
    }

    fn sequence_cross_entropy_backward(
        &self,
        dloss: Slice<'_, Self>,
        probabilities: Slice<'_, Self>,
        choice: &Choice<Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let Choice { sequences, rows, columns } = choice;
        let (p, columns) = (probabilities.f32(), *columns);
        let scale = dloss.f32()[0] / rows.len() as f32;
        let tasks = parts(dlogits.f32(), sequences, columns).into_par_iter().zip(rows.data().par_chunks(columns));
        tasks.enumerate().for_each(|(sequence, (dz, targets))| {
            let range = sequences.range(sequence);
            let p = &p[range.start * columns..range.end * columns];
            for (row, (dz, p)) in range.zip(dz.chunks_exact_mut(columns).zip(p.chunks_exact(columns))) {
                for ((dz, p), &target) in dz.iter_mut().zip(p).zip(targets) {
                    let hit = if row == target as usize { 1.0 } else { 0.0 };
                    *dz = if accumulate { *dz + scale * (p - hit) } else { scale * (p - hit) };
                }
            }
        });
        Ok(())
    }
}

/// The rows of each sequence of a matrix `[T, columns]`.
fn parts<'a>(mut matrix: &'a mut [f32], sequences: &Sequences<Cpu>, columns: usize) -> Vec<&'a mut [f32]> {
    let mut parts = Vec::with_capacity(sequences.count());
    for sequence in 0..sequences.count() {
        let (part, rest) = matrix.split_at_mut(sequences.range(sequence).len() * columns);
        parts.push(part);
        matrix = rest;
    }
    parts
}
