//! The activations on the CPU: each task makes one vectorised pass over a fixed number of elements.

use rayon::prelude::*;

use super::{Activation, Activations};
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    cpu::{
        ELEMENT_BLOCK, load,
        simd::{self, Kernel, Map, Simd, math},
        store,
    },
};

impl Activations for Cpu {
    fn activate(
        &self,
        f: Activation,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
        slope: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let isa = self.isa();
        let tasks = y.f32().par_chunks_mut(ELEMENT_BLOCK).zip(x.f32().par_chunks(ELEMENT_BLOCK));
        match (f, slope) {
            (Activation::Relu, _) => tasks.for_each(|(y, x)| simd::map_slice(isa, Relu, x, y)),
            (Activation::Tanh, _) => tasks.for_each(|(y, x)| simd::tanh_slice(isa, x, y)),
            (Activation::Sigmoid, _) => tasks.for_each(|(y, x)| simd::map_slice(isa, Sigmoid, x, y)),
            (Activation::Exp, _) => tasks.for_each(|(y, x)| simd::exp_slice(isa, x, y)),
            (Activation::Gelu, None) => tasks.for_each(|(y, x)| simd::gelu_slice(isa, x, y, None)),
            (Activation::Gelu, Some(slope)) => tasks
                .zip(slope.f32().par_chunks_mut(ELEMENT_BLOCK))
                .for_each(|((y, x), slope)| simd::gelu_slice(isa, x, y, Some(slope))),
        }
        Ok(())
    }

    fn activate_backward(
        &self,
        f: Activation,
        dy: Slice<'_, Self>,
        saved: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let (dy, saved) = (dy.f32().par_chunks(ELEMENT_BLOCK), saved.f32().par_chunks(ELEMENT_BLOCK));
        let tasks = dx.f32().par_chunks_mut(ELEMENT_BLOCK).zip(dy).zip(saved);
        tasks.for_each(|((dx, dy), saved)| {
            simd::dispatch(self.isa(), ElementsBackward { f, dy, saved, dx, accumulate });
        });
        Ok(())
    }
}

struct Relu;

impl Map for Relu {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, x: S::F32) -> S::F32 {
        // With x as the second operand, a NaN in x is propagated.
        s.max(s.zero(), x)
    }
}

struct Sigmoid;

impl Map for Sigmoid {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, x: S::F32) -> S::F32 {
        let one = s.splat(1.0);
        s.div(one, s.add(one, math::exp(s, s.neg(x))))
    }
}

/// `dx = dy ∘ f'`, or `dx += dy ∘ f'` if `accumulate`.
struct ElementsBackward<'a> {
    f: Activation,
    dy: &'a [f32],
    saved: &'a [f32],
    dx: &'a mut [f32],
    accumulate: bool,
}

impl Kernel for ElementsBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let one = s.splat(1.0);
        for j in (0..self.dx.len()).step_by(S::LANES) {
            let (dy, saved) = (load(s, self.dy, j), load(s, self.saved, j));
            let dx = match self.f {
                Activation::Relu => s.select(s.lt(s.zero(), saved), dy, s.zero()),
                Activation::Gelu => s.mul(dy, saved),
                Activation::Exp => s.mul(dy, saved),
                Activation::Sigmoid => s.mul(dy, s.mul(saved, s.sub(one, saved))),
                // Near saturation 1 - y is exact where 1 - y² is not.
                Activation::Tanh => s.mul(dy, s.mul(s.sub(one, saved), s.add(one, saved))),
            };
            let before = if self.accumulate { load(s, self.dx, j) } else { s.zero() };
            store(s, self.dx, j, s.add(before, dx));
        }
    }
}
