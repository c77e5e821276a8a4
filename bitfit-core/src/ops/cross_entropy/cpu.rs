//! The cross-entropy on the CPU: each task takes a block of rows; the rows' losses are summed in f64 in their order.

use rayon::prelude::*;

use super::{BackwardInput, CrossEntropy};
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    cpu::{ROW_BLOCK, blocks, blocks_of, optional_blocks},
    memory::ThreadScratch,
    ops::softmax::softmax_row,
};

impl CrossEntropy for Cpu {
    fn cross_entropy(
        &self,
        logits: Slice<'_, Self>,
        labels: &Vec<u32>,
        classes: usize,
        loss: SliceMut<'_, Self>,
        probabilities: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let mut losses = vec![0.0; labels.len()];
        let saved = optional_blocks(probabilities.map(SliceMut::f32), labels.len(), classes);
        let tasks = losses.par_chunks_mut(ROW_BLOCK).zip(blocks_of(logits.f32(), classes));
        tasks.zip(labels.par_chunks(ROW_BLOCK)).zip(saved).for_each_init(
            || ThreadScratch::filled(classes, 0.0),
            |unsaved, (((losses, z), labels), mut saved)| {
                for (i, (loss, (z, &label))) in losses.iter_mut().zip(z.chunks_exact(classes).zip(labels)).enumerate() {
                    let p = saved.as_mut().map_or(&mut unsaved[..], |saved| &mut saved[i * classes..][..classes]);
                    let (max, lse) = softmax_row(self.isa(), z, p);
                    *loss = f64::from(lse) - f64::from(z[label as usize] - max);
                }
            },
        );
        loss.f32()[0] = (losses.iter().sum::<f64>() / labels.len() as f64) as f32;
        Ok(())
    }

    fn cross_entropy_backward(
        &self,
        input: BackwardInput<'_, Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let BackwardInput { dloss, probabilities, labels, classes } = input;
        let scale = dloss.f32()[0] / labels.len() as f32;
        let tasks = blocks(dlogits.f32(), classes).zip(blocks_of(probabilities.f32(), classes));
        tasks.zip(labels.par_chunks(ROW_BLOCK)).for_each(|((dz, p), labels)| {
            for ((dz, p), &label) in dz.chunks_exact_mut(classes).zip(p.chunks_exact(classes)).zip(labels) {
                for (class, (dz, p)) in dz.iter_mut().zip(p).enumerate() {
                    let hit = if class == label as usize { 1.0 } else { 0.0 };
                    *dz = if accumulate { *dz + scale * (p - hit) } else { scale * (p - hit) };
                }
            }
        });
        Ok(())
    }
}
