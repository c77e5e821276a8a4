//! The weighted cross-entropy on the GPU: a warp processes a row; a second kernel sums the rows' losses.

use bitfit_core::{
    DType, Result,
    backend::{Slice, SliceMut},
    ops::weighted_cross_entropy::{Input, WeightedCrossEntropy},
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("weighted_cross_entropy");

impl WeightedCrossEntropy for Cuda {
    fn weighted_cross_entropy(&self, input: Input<'_, Self>, loss: SliceMut<'_, Self>) -> Result<()> {
        let (rows, classes) = (input.rows, input.classes());
        let mut losses = self.temporary(DType::F32, rows)?;
        let mut each = Arguments::new();
        each.input(input.logits).indices(input.labels).input(input.weights).output(losses.as_mut());
        each.f32(input.label_smoothing).f32(input.focal_gamma).usize(rows).usize(classes);
        self.launch(&SOURCE, "bitfit_weighted_cross_entropy_rows", Shape::warps(rows), &each)?;
        let mut mean = Arguments::new();
        mean.input(losses.as_ref()).output(loss).f32(input.total).usize(rows);
        self.launch(&SOURCE, "bitfit_weighted_cross_entropy_mean", Shape::blocks(1, 256), &mean)
    }

    fn weighted_cross_entropy_backward(
        &self,
        dloss: Slice<'_, Self>,
        input: Input<'_, Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let (rows, classes) = (input.rows, input.classes());
        let mut arguments = Arguments::new();
        arguments.input(dloss).input(input.logits).indices(input.labels).input(input.weights).output(dlogits);
        arguments.flag(accumulate).f32(input.label_smoothing).f32(input.focal_gamma).f32(input.total);
        arguments.usize(rows).usize(classes);
        self.launch(&SOURCE, "bitfit_weighted_cross_entropy_backward", Shape::warps(rows), &arguments)
    }
}
