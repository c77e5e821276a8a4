//! The binary cross-entropy on the CPU: one sequential pass over the logits of a batch, which are few; each element is
//! computed in f64, and so is the sum.

use super::BinaryCrossEntropy;
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
};

impl BinaryCrossEntropy for Cpu {
    fn binary_cross_entropy(
        &self,
        logits: Slice<'_, Self>,
        targets: Slice<'_, Self>,
        loss: SliceMut<'_, Self>,
    ) -> Result<()> {
        let logits = logits.f32();
        let element = |(&z, &t): (&f32, &f32)| {
            let (z, t) = (f64::from(z), f64::from(t));
            z.max(0.0) - z * t + (-z.abs()).exp().ln_1p()
        };
        let sum: f64 = logits.iter().zip(targets.f32()).map(element).sum();
        loss.f32()[0] = (sum / logits.len() as f64) as f32;
        Ok(())
    }

    fn binary_cross_entropy_backward(
        &self,
        dloss: Slice<'_, Self>,
        logits: Slice<'_, Self>,
        targets: Slice<'_, Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let logits = logits.f32();
        let scale = f64::from(dloss.f32()[0]) / logits.len() as f64;
        for ((dz, z), t) in dlogits.f32().iter_mut().zip(logits).zip(targets.f32()) {
            let gradient = (scale * (1.0 / (1.0 + (-f64::from(*z)).exp()) - f64::from(*t))) as f32;
            *dz = if accumulate { *dz + gradient } else { gradient };
        }
        Ok(())
    }
}
