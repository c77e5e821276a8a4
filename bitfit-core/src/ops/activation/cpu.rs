//! The activations on the CPU: a fixed run of elements to a task, one pass of vectors over it.

use rayon::prelude::*;

use super::{Activation, Activations};
use crate::{
    Cpu, Result, Slice, SliceMut,
    cpu::{ELEMENT_BLOCK, load, store},
    simd::{self, Kernel, Map, Simd},
};

impl Activations for Cpu {
    fn activate(
        &self,
        f: Activation,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
        slope: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let level = self.level();
        let tasks = y.f32().par_chunks_mut(ELEMENT_BLOCK).zip(x.f32().par_chunks(ELEMENT_BLOCK));
        match (f, slope) {
            (Activation::Relu, _) => tasks.for_each(|(y, x)| simd::map_slice(level, Relu, x, y)),
            (Activation::Tanh, _) => tasks.for_each(|(y, x)| simd::tanh_slice(level, x, y)),
            (Activation::Gelu, None) => tasks.for_each(|(y, x)| simd::gelu_slice(level, x, y, None)),
            (Activation::Gelu, Some(slope)) => tasks
                .zip(slope.f32().par_chunks_mut(ELEMENT_BLOCK))
                .for_each(|((y, x), slope)| simd::gelu_slice(level, x, y, Some(slope))),
        }
        Ok(())
    }

    fn activate_backward(
        &self,
        f: Activation,
        dy: Slice<'_, Self>,
        kept: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let (dy, kept) = (dy.f32().par_chunks(ELEMENT_BLOCK), kept.f32().par_chunks(ELEMENT_BLOCK));
        let tasks = dx.f32().par_chunks_mut(ELEMENT_BLOCK).zip(dy).zip(kept);
        tasks.for_each(|((dx, dy), kept)| {
            simd::dispatch(self.level(), ElementsBackward { f, dy, kept, dx, accumulate });
        });
        Ok(())
    }
}

struct Relu;

impl Map for Relu {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, x: S::F32) -> S::F32 {
        // x second: a NaN passes.
        s.max(s.zero(), x)
    }
}

/// `dx = dy ∘ f'`, or added to dx.
struct ElementsBackward<'a> {
    f: Activation,
    dy: &'a [f32],
    kept: &'a [f32],
    dx: &'a mut [f32],
    accumulate: bool,
}

impl Kernel for ElementsBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let one = s.splat(1.0);
        for j in (0..self.dx.len()).step_by(S::LANES) {
            let (dy, kept) = (load(s, self.dy, j), load(s, self.kept, j));
            let dx = match self.f {
                Activation::Relu => s.select(s.lt(s.zero(), kept), dy, s.zero()),
                Activation::Gelu => s.mul(dy, kept),
                // Near saturation 1 - y is exact where 1 - y² is not.
                Activation::Tanh => s.mul(dy, s.mul(s.sub(one, kept), s.add(one, kept))),
            };
            let before = if self.accumulate { load(s, self.dx, j) } else { s.zero() };
            store(s, self.dx, j, s.add(before, dx));
        }
    }
}
