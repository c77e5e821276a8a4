//! The step of SGD on the CPU: two passes over flat slices, one that sums squares, as for
//! [AdamW](crate::ops::adamw), and one that updates.

use rayon::prelude::*;

use super::{SgdCoefficients, SgdStep, SgdUpdate};
use crate::{
    Cpu, Result,
    backend::SliceMut,
    cpu::{
        load,
        simd::{self, Kernel, Simd},
        store,
    },
    ops::adamw::{RateRun, clip_factor, cpu::norm},
};

/// Elements per task: its slices fit into the L2 cache.
const BLOCK: usize = 1 << 14;

impl SgdStep for Cpu {
    fn sgd(&self, update: SgdUpdate<'_, Self>, runs: &[RateRun]) -> Result<()> {
        let runs = update.coefficients_of(runs)?;
        let SgdUpdate { params, grads, velocity, hyper, max_norm, norm: to, .. } = update;
        let (mut params, mut grads, mut velocity) = (params.f32(), grads.f32(), velocity.map(SliceMut::f32));
        let norm = norm(self.isa(), grads) as f32;
        to.f32()[0] = norm;
        if !norm.is_finite() {
            return Ok(());
        }
        let factor = max_norm.map_or(1.0, |max_norm| clip_factor(norm, max_norm));
        for (len, coefficients) in runs {
            let (p, g, v);
            (p, params) = params.split_at_mut(len);
            (g, grads) = grads.split_at(len);
            (v, velocity) = match velocity {
                Some(whole) => {
                    let (v, rest) = whole.split_at_mut(len);
                    (Some(v), Some(rest))
                }
                None => (None, None),
            };
            let step = |p, g, v| {
                let step = Step { p, g, v, factor, nesterov: hyper.nesterov, coefficients };
                simd::dispatch(self.isa(), step);
            };
            let tasks = p.par_chunks_mut(BLOCK).zip(g.par_chunks(BLOCK));
            match v {
                Some(v) => tasks.zip(v.par_chunks_mut(BLOCK)).for_each(|((p, g), v)| step(p, g, Some(v))),
                None => tasks.for_each(|(p, g)| step(p, g, None)),
            }
        }
        Ok(())
    }
}

struct Step<'a> {
    p: &'a mut [f32],
    g: &'a [f32],
    v: Option<&'a mut [f32]>,
    factor: f32,
    nesterov: bool,
    coefficients: SgdCoefficients,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let SgdCoefficients { lr, momentum, weight_decay } = self.coefficients;
        let [factor, lr, momentum, decay] = [self.factor, lr, momentum, weight_decay].map(|value| s.splat(value));
        for j in (0..self.p.len()).step_by(S::LANES) {
            let p = load(s, self.p, j);
            let g = s.fma(decay, p, s.mul(load(s, self.g, j), factor));
            let direction = match self.v.as_deref_mut() {
                None => g,
                Some(velocity) => {
                    let v = s.fma(momentum, load(s, velocity, j), g);
                    store(s, velocity, j, v);
                    if self.nesterov { s.fma(momentum, v, g) } else { v }
                }
            };
            store(s, self.p, j, s.fnma(lr, direction, p));
        }
    }
}
