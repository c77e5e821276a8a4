//! The optimizer step on the CPU: two passes over flat slices, one that sums squares and one that updates.
//!
//! Long slices are split into blocks of a fixed length, so that the result does not depend on the number of threads.
//! The squares are summed in f64 in sixteen partial sums regardless of the vector width, so that the norm is the same
//! under every instruction set.

use rayon::prelude::*;

use super::Coefficients;
#[cfg(feature = "engine")]
use super::{AdamWStep, RateRun, Update, clip_factor};
use crate::cpu::{
    load,
    simd::{self, Isa, Kernel, Simd},
    store,
};
#[cfg(feature = "engine")]
use crate::{Cpu, Result};

/// Elements per task: its four slices fit into the L2 cache.
const BLOCK: usize = 1 << 14;
/// Up to this many elements, distributing the work over threads costs more than it saves.
const SEQUENTIAL: usize = 1 << 16;

#[cfg(feature = "engine")]
impl AdamWStep for Cpu {
    fn adamw(&self, update: Update<'_, Self>) -> Result<()> {
        let run = (update.params.len, update.coefficients()?);
        self.step(update, &[run])
    }

    fn adamw_in_runs(&self, update: Update<'_, Self>, runs: &[RateRun]) -> Result<()> {
        let runs = update.coefficients_of(runs)?;
        self.step(update, &runs)
    }
}

#[cfg(feature = "engine")]
impl Cpu {
    fn step(&self, update: Update<'_, Self>, runs: &[(usize, Coefficients)]) -> Result<()> {
        let Update { params, grads, m, v, max_norm, norm, .. } = update;
        let elements = Elements { params: params.f32(), grads: grads.f32(), m: m.f32(), v: v.f32() };
        norm.f32()[0] = step_in_runs(self.isa(), elements, max_norm, runs);
        Ok(())
    }
}

/// Runs one step with coefficients for each run of elements, whose lengths add up to that of the slices. Returns the
/// norm of the gradient; if it is not finite, nothing is changed.
#[cfg(feature = "engine")]
fn step_in_runs(isa: Isa, elements: Elements<'_>, max_norm: Option<f32>, runs: &[(usize, Coefficients)]) -> f32 {
    let Elements { mut params, mut grads, mut m, mut v } = elements;
    let norm = norm(isa, grads) as f32;
    if !norm.is_finite() {
        return norm;
    }
    let factor = max_norm.map_or(1.0, |max_norm| clip_factor(norm, max_norm));
    for &(len, coefficients) in runs {
        let elements;
        (elements, (params, grads, m, v)) = {
            let ((p, params), (g, grads)) = (params.split_at_mut(len), grads.split_at(len));
            let ((m, m_rest), (v, v_rest)) = (m.split_at_mut(len), v.split_at_mut(len));
            (Elements { params: p, grads: g, m, v }, (params, grads, m_rest, v_rest))
        };
        step(isa, elements, factor, coefficients);
    }
    norm
}

/// The Euclidean norm. It is finite if and only if every element is: squares of f32 do not overflow in f64.
pub(crate) fn norm(isa: Isa, x: &[f32]) -> f64 {
    let block = |x| simd::dispatch(isa, SumOfSquares(x));
    let sum: f64 = if x.len() <= SEQUENTIAL {
        x.chunks(BLOCK).map(block).sum()
    } else {
        // Collected before they are added: the order of rayon's own sum depends on scheduling.
        x.par_chunks(BLOCK).map(block).collect::<Vec<_>>().iter().sum()
    };
    sum.sqrt()
}

struct SumOfSquares<'a>(&'a [f32]);

impl Kernel for SumOfSquares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0_f64; 16];
        let (whole, rest) = self.0.as_chunks::<16>();
        for x in whole {
            for (sum, &x) in sums.iter_mut().zip(x) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
        for (sum, &x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(x) * f64::from(x);
        }
        sums.iter().sum()
    }
}

/// The slices that a step reads and writes, all of the same length.
pub(crate) struct Elements<'a> {
    pub(crate) params: &'a mut [f32],
    pub(crate) grads: &'a [f32],
    pub(crate) m: &'a mut [f32],
    pub(crate) v: &'a mut [f32],
}

/// Runs one step, with the gradients multiplied by `factor`.
pub(crate) fn step(isa: Isa, elements: Elements<'_>, factor: f32, coefficients: Coefficients) {
    if elements.params.len() <= SEQUENTIAL {
        return simd::dispatch(isa, Step { elements, factor, coefficients });
    }
    let Elements { params, grads, m, v } = elements;
    params
        .par_chunks_mut(BLOCK)
        .zip(grads.par_chunks(BLOCK))
        .zip(m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK)))
        .for_each(|((params, grads), (m, v))| {
            simd::dispatch(isa, Step { elements: Elements { params, grads, m, v }, factor, coefficients });
        });
}

struct Step<'a> {
    elements: Elements<'a>,
    factor: f32,
    coefficients: Coefficients,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Elements { params, grads, m, v } = self.elements;
        let c = self.coefficients;
        let factor = s.splat(self.factor);
        let from_m = c.one_minus_beta1 < 0.5;
        let towards_g = s.splat(if from_m { c.one_minus_beta1 } else { c.one_minus_beta1 - 1.0 });
        let (beta2, one_minus_beta2) = (s.splat(c.beta2), s.splat(c.one_minus_beta2));
        let (root, eps) = (s.splat(c.root), s.splat(c.eps));
        let (keep, step_size) = (s.splat(c.keep), s.splat(c.step_size));
        for j in (0..params.len()).step_by(S::LANES) {
            let g = s.mul(load(s, grads, j), factor);
            let old = load(s, m, j);
            let first = s.fma(towards_g, s.sub(g, old), if from_m { old } else { g });
            let second = s.fma(s.mul(one_minus_beta2, g), g, s.mul(load(s, v, j), beta2));
            let divisor = s.add(s.div(s.sqrt(second), root), eps);
            let p = s.mul(load(s, params, j), keep);
            store(s, m, j, first);
            store(s, v, j, second);
            store(s, params, j, s.sub(p, s.div(s.mul(step_size, first), divisor)));
        }
    }
}
