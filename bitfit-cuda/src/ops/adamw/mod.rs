//! The optimizer step on the GPU. The norm stays on the device, where the kernels apply it: for clipping, and to skip a
//! step.

use bitfit_core::{
    DType, Result,
    backend::{Slice, SliceMut},
    ops::adamw::{AdamWStep, Coefficients, RateRun, Update},
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("adamw");

/// The number of elements whose squares a block sums.
const CHUNK: usize = 1024;
/// Threads per block of the sums, as in the kernels.
const THREADS: u32 = 256;

impl AdamWStep for Cuda {
    fn adamw(&self, update: Update<'_, Self>) -> Result<()> {
        let run = (update.params.len, update.coefficients()?);
        self.step_in_runs(update, &[run])
    }

    fn adamw_in_runs(&self, update: Update<'_, Self>, runs: &[RateRun]) -> Result<()> {
        let runs = update.coefficients_of(runs)?;
        self.step_in_runs(update, &runs)
    }
}

impl Cuda {
    /// Runs one step with coefficients for each run of elements, whose lengths add up to that of the slices.
    fn step_in_runs(&self, mut update: Update<'_, Self>, runs: &[(usize, Coefficients)]) -> Result<()> {
        self.gradient_norm(update.grads, update.norm.reborrow())?;
        let mut first = 0;
        for (len, coefficients) in runs.iter().filter(|(len, _)| *len > 0) {
            self.step(&mut update, first, *len, coefficients)?;
            first += len;
        }
        Ok(())
    }

    /// Writes the norm of the whole gradient to the one element of `to`.
    pub(super) fn gradient_norm(&self, grads: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()> {
        let len = grads.len;
        let blocks = len.div_ceil(CHUNK);
        // One f64 for each block.
        let mut partial = self.temporary(DType::F32, 2 * blocks)?;
        let mut squares = Arguments::new();
        squares.input(grads).usize(len).usize(CHUNK).output(partial.as_mut());
        self.launch(&SOURCE, "bitfit_adamw_squares", Shape::blocks(blocks, THREADS), &squares)?;
        let mut norm = Arguments::new();
        norm.input(partial.as_ref()).usize(blocks).output(to);
        self.launch(&SOURCE, "bitfit_adamw_norm", Shape::blocks(1, THREADS), &norm)
    }

    /// Updates `len` elements from `first` on, with the norm that is there.
    fn step(&self, update: &mut Update<'_, Self>, first: usize, len: usize, coefficients: &Coefficients) -> Result<()> {
        let Update { params, grads, m, v, max_norm, norm, .. } = update;
        let grads = Slice::new(grads.buffer, grads.offset + first, len);
        let [params, m, v] = [params, m, v].map(|whole| SliceMut::new(&mut *whole.buffer, whole.offset + first, len));
        let mut step = Arguments::new();
        step.output(params).input(grads).output(m).output(v);
        step.input(norm.as_slice()).flag(max_norm.is_some()).f32(max_norm.unwrap_or(0.0));
        step.f32(coefficients.keep).f32(coefficients.one_minus_beta1);
        step.f32(coefficients.beta2).f32(coefficients.one_minus_beta2);
        step.f32(coefficients.root).f32(coefficients.eps).f32(coefficients.step_size).usize(len);
        self.launch_alone(&SOURCE, "bitfit_adamw_step", Shape::elements(len), &step)
    }
}
