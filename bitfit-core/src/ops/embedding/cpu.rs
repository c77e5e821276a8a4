//! The embedding on the CPU: a task takes a block of tokens in forward, and rows of the gradient in backward.

use rayon::prelude::*;

use super::{Embedding, Lookup};
use crate::{
    Cpu, Mask, Result,
    backend::{Slice, SliceMut},
    cpu::{ROW_BLOCK, blocks},
    ops::gather::Positions,
};

impl Embedding for Cpu {
    fn embedding(&self, lookups: &[Lookup<'_, Self>], cols: usize, y: SliceMut<'_, Self>) -> Result<()> {
        let lookups: Vec<(&[u32], &[f32])> =
            lookups.iter().map(|lookup| (lookup.at.as_slice(), lookup.table.f32())).collect();
        blocks(y.f32(), cols).enumerate().for_each(|(block, y)| {
            for (i, y) in y.chunks_exact_mut(cols).enumerate() {
                let token = block * ROW_BLOCK + i;
                let mut rows = lookups.iter().map(|(at, table)| &table[at[token] as usize * cols..][..cols]);
                if let Some(first) = rows.next() {
                    y.copy_from_slice(first);
                }
                for row in rows {
                    y.iter_mut().zip(row).for_each(|(y, row)| *y += row);
                }
            }
        });
        Ok(())
    }

    fn embedding_backward(
        &self,
        dy: Slice<'_, Self>,
        at: &Vec<u32>,
        [rows, cols]: [usize; 2],
        mask: &Mask,
        dtable: SliceMut<'_, Self>,
    ) -> Result<()> {
        let (dy, dtable) = (dy.f32(), dtable.f32());
        let positions = Positions::new(at, rows);
        // The rows of dy that are added to one row of the table.
        let of = |row: usize| positions.of(row).map(|token| &dy[token * cols..][..cols]);
        match mask {
            Mask::None => {}
            Mask::All => dtable.par_chunks_exact_mut(cols).enumerate().for_each(|(row, to)| add_rows(of(row), to)),
            Mask::Rows(chosen) => {
                dtable.par_chunks_exact_mut(cols).zip(chosen).for_each(|(to, &row)| add_rows(of(row as usize), to));
            }
            Mask::Columns(chosen) => {
                dtable.par_chunks_exact_mut(chosen.len()).enumerate().for_each(|(row, to)| {
                    for dy in of(row) {
                        to.iter_mut().zip(chosen).for_each(|(to, &col)| *to += dy[col as usize]);
                    }
                });
            }
            Mask::Elements(chosen) => dtable.par_iter_mut().zip(chosen).for_each(|(to, &element)| {
                let (row, col) = (element as usize / cols, element as usize % cols);
                of(row).for_each(|dy| *to += dy[col]);
            }),
        }
        Ok(())
    }
}

fn add_rows<'a>(rows: impl Iterator<Item = &'a [f32]>, to: &mut [f32]) {
    for row in rows {
        to.iter_mut().zip(row).for_each(|(to, row)| *to += row);
    }
}
