//! The cross-entropy on the GPU: a warp processes a row; a second kernel computes the mean of the rows' losses.

use bitfit_core::{
    DType, Result,
    backend::{Slice, SliceMut},
    ops::cross_entropy::{BackwardInput, CrossEntropy},
};

use crate::{
    Cuda, Indices,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("cross_entropy");

impl CrossEntropy for Cuda {
    fn cross_entropy(
        &self,
        logits: Slice<'_, Self>,
        labels: &Indices,
        classes: usize,
        loss: SliceMut<'_, Self>,
        probabilities: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let rows = labels.len();
        let mut losses = self.temporary(DType::F32, rows)?;
        let mut each = Arguments::new();
        each.input(logits).indices(labels).output(losses.as_mut()).optional_output(probabilities);
        each.usize(rows).usize(classes);
        self.launch(&SOURCE, "bitfit_cross_entropy_rows", Shape::warps(rows), &each)?;
        let mut mean = Arguments::new();
        mean.input(losses.as_ref()).output(loss).usize(rows);
        self.launch(&SOURCE, "bitfit_cross_entropy_mean", Shape::blocks(1, 256), &mean)
    }

    fn cross_entropy_backward(
        &self,
        input: BackwardInput<'_, Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let BackwardInput { dloss, probabilities, labels, classes } = input;
        let rows = labels.len();
        let mut arguments = Arguments::new();
        arguments.input(dloss).input(probabilities).indices(labels).output(dlogits).flag(accumulate);
        arguments.usize(rows).usize(classes);
        self.launch(&SOURCE, "bitfit_cross_entropy_backward", Shape::elements(rows * classes), &arguments)
    }
}
