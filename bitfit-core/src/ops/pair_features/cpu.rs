//! The pair features on the CPU: two pooled rows a pair, so that plain loops are enough.

use super::PairFeatures;
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
};

impl PairFeatures for Cpu {
    fn pair_features(&self, x: Slice<'_, Self>, cols: usize, y: SliceMut<'_, Self>) -> Result<()> {
        let cols = cols.max(1);
        for (y, pair) in y.f32().chunks_exact_mut(4 * cols).zip(x.f32().chunks_exact(2 * cols)) {
            let (u, v) = pair.split_at(cols);
            for (j, (&u, &v)) in u.iter().zip(v).enumerate() {
                (y[j], y[cols + j], y[2 * cols + j], y[3 * cols + j]) = (u, v, (u - v).abs(), u * v);
            }
        }
        Ok(())
    }

    fn pair_features_backward(
        &self,
        dy: Slice<'_, Self>,
        x: Slice<'_, Self>,
        cols: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let cols = cols.max(1);
        let dx = dx.f32();
        if !accumulate {
            dx.fill(0.0);
        }
        let pairs = x.f32().chunks_exact(2 * cols).zip(dx.chunks_exact_mut(2 * cols));
        for (dy, (x, dx)) in dy.f32().chunks_exact(4 * cols).zip(pairs) {
            for j in 0..cols {
                let (u, v) = (x[j], x[cols + j]);
                let sign = f32::from(u8::from(u > v)) - f32::from(u8::from(u < v));
                let (of_difference, of_product) = (sign * dy[2 * cols + j], dy[3 * cols + j]);
                dx[j] += dy[j] + of_difference + v * of_product;
                dx[cols + j] += dy[cols + j] - of_difference + u * of_product;
            }
        }
        Ok(())
    }
}
