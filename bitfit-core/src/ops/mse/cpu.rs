//! The mean squared error on the CPU: one sequential pass over the predictions of a batch; the sum is computed in f64.

use super::MeanSquaredError;
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
};

impl MeanSquaredError for Cpu {
    fn mse(&self, x: Slice<'_, Self>, targets: Slice<'_, Self>, loss: SliceMut<'_, Self>) -> Result<()> {
        let x = x.f32();
        let square = |(&x, &t): (&f32, &f32)| (f64::from(x) - f64::from(t)).powi(2);
        let sum: f64 = x.iter().zip(targets.f32()).map(square).sum();
        loss.f32()[0] = (sum / x.len() as f64) as f32;
        Ok(())
    }

    fn mse_backward(
        &self,
        dloss: Slice<'_, Self>,
        x: Slice<'_, Self>,
        targets: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let x = x.f32();
        let scale = 2.0 / x.len() as f32 * dloss.f32()[0];
        for ((dx, x), t) in dx.f32().iter_mut().zip(x).zip(targets.f32()) {
            *dx = if accumulate { *dx + scale * (x - t) } else { scale * (x - t) };
        }
        Ok(())
    }
}
