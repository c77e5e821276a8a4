//! The step of SGD on the GPU. The norm stays on the device, as in [`super::adamw`].

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::{
        adamw::RateRun,
        sgd::{SgdStep, SgdUpdate},
    },
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("sgd");

impl SgdStep for Cuda {
    fn sgd(&self, update: SgdUpdate<'_, Self>, runs: &[RateRun]) -> Result<()> {
        let runs = update.coefficients_of(runs)?;
        let SgdUpdate { params, grads, mut velocity, hyper, max_norm, mut norm } = update;
        self.gradient_norm(grads, norm.reborrow())?;
        let mut first = 0;
        for (len, coefficients) in runs.into_iter().filter(|(len, _)| *len > 0) {
            let p = SliceMut::new(&mut *params.buffer, params.offset + first, len);
            let g = Slice::new(grads.buffer, grads.offset + first, len);
            let v = velocity.as_mut().map(|v| SliceMut::new(&mut *v.buffer, v.offset + first, len));
            let mut step = Arguments::new();
            step.output(p).input(g).optional_output(v);
            step.input(norm.as_slice()).flag(max_norm.is_some()).f32(max_norm.unwrap_or(0.0));
            step.f32(coefficients.lr).f32(coefficients.momentum).f32(coefficients.weight_decay);
            step.flag(hyper.nesterov).usize(len);
            self.launch_alone(&SOURCE, "bitfit_sgd_step", Shape::elements(len), &step)?;
            first += len;
        }
        Ok(())
    }
}
