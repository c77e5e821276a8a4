//! The normalization on the CPU: one pooled row a text, so that plain loops are enough.

use super::{EPS, Normalize};
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
};

impl Normalize for Cpu {
    fn normalize(
        &self,
        x: Slice<'_, Self>,
        cols: usize,
        y: SliceMut<'_, Self>,
        inverse: SliceMut<'_, Self>,
    ) -> Result<()> {
        let rows = x.f32().chunks_exact(cols.max(1)).zip(y.f32().chunks_exact_mut(cols.max(1)));
        for ((x, y), inverse) in rows.zip(inverse.f32()) {
            let length = x.iter().map(|x| x * x).sum::<f32>().sqrt();
            *inverse = 1.0 / length.max(EPS);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x * *inverse);
        }
        Ok(())
    }

    fn normalize_backward(
        &self,
        dy: Slice<'_, Self>,
        y: Slice<'_, Self>,
        inverse: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let (dy, y, dx, inverse) = (dy.f32(), y.f32(), dx.f32(), inverse.f32());
        let cols = (dy.len() / inverse.len().max(1)).max(1);
        let rows = dy.chunks_exact(cols).zip(y.chunks_exact(cols)).zip(dx.chunks_exact_mut(cols));
        for (((dy, y), dx), &inverse) in rows.zip(inverse) {
            let is_length = inverse < 1.0 / EPS;
            let dot = if is_length { dy.iter().zip(y).map(|(dy, y)| dy * y).sum() } else { 0.0 };
            for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                let gradient = (dy - y * dot) * inverse;
                *dx = if accumulate { *dx + gradient } else { gradient };
            }
        }
        Ok(())
    }
}
