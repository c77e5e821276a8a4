//! The optimizer step on the GPU. The norm stays on the device, where the kernels apply it: for clipping, and to skip a
//! step.

use bitfit_core::{
    DType, Result,
    ops::adamw::{AdamWStep, Update},
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
    fn adamw(&self, mut update: Update<'_, Self>) -> Result<()> {
        let coefficients = update.coefficients()?;
        let len = update.params.len;
        let blocks = len.div_ceil(CHUNK);
        // One f64 for each block.
        let mut partial = self.temporary(DType::F32, 2 * blocks)?;
        let mut squares = Arguments::new();
        squares.input(update.grads).usize(len).usize(CHUNK).output(partial.as_mut());
        self.launch(&SOURCE, "bitfit_adamw_squares", Shape::blocks(blocks, THREADS), &squares)?;
        let mut norm = Arguments::new();
        norm.input(partial.as_ref()).usize(blocks).output(update.norm.reborrow());
        self.launch(&SOURCE, "bitfit_adamw_norm", Shape::blocks(1, THREADS), &norm)?;

        let mut step = Arguments::new();
        step.output(update.params).input(update.grads).output(update.m).output(update.v);
        step.input(update.norm.as_slice()).flag(update.max_norm.is_some()).f32(update.max_norm.unwrap_or(0.0));
        step.f32(coefficients.keep).f32(coefficients.one_minus_beta1);
        step.f32(coefficients.beta2).f32(coefficients.one_minus_beta2);
        step.f32(coefficients.root).f32(coefficients.eps).f32(coefficients.step_size).usize(len);
        self.launch(&SOURCE, "bitfit_adamw_step", Shape::elements(len), &step)
    }
}
