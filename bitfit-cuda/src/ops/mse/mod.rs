//! The mean squared error on the GPU.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::mse::MeanSquaredError,
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("mse");

impl MeanSquaredError for Cuda {
    fn mse(&self, x: Slice<'_, Self>, targets: Slice<'_, Self>, loss: SliceMut<'_, Self>) -> Result<()> {
        let mut arguments = Arguments::new();
        arguments.input(x).input(targets).output(loss).usize(x.len);
        self.launch(&SOURCE, "bitfit_mse", Shape::blocks(1, 256), &arguments)
    }

    fn mse_backward(
        &self,
        dloss: Slice<'_, Self>,
        x: Slice<'_, Self>,
        targets: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let mut arguments = Arguments::new();
        arguments.input(dloss).input(x).input(targets).output(dx).flag(accumulate).usize(x.len);
        self.launch(&SOURCE, "bitfit_mse_backward", Shape::elements(x.len), &arguments)
    }
}
