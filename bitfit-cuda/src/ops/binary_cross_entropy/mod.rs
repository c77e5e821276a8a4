//! The binary cross-entropy on the GPU.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::binary_cross_entropy::BinaryCrossEntropy,
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("binary_cross_entropy");

impl BinaryCrossEntropy for Cuda {
    fn binary_cross_entropy(
        &self,
        logits: Slice<'_, Self>,
        targets: Slice<'_, Self>,
        loss: SliceMut<'_, Self>,
    ) -> Result<()> {
        let mut arguments = Arguments::new();
        arguments.input(logits).input(targets).output(loss).usize(logits.len);
        self.launch(&SOURCE, "bitfit_binary_cross_entropy", Shape::blocks(1, 256), &arguments)
    }

    fn binary_cross_entropy_backward(
        &self,
        dloss: Slice<'_, Self>,
        logits: Slice<'_, Self>,
        targets: Slice<'_, Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let mut arguments = Arguments::new();
        arguments.input(dloss).input(logits).input(targets).output(dlogits).flag(accumulate).usize(logits.len);
        self.launch(&SOURCE, "bitfit_binary_cross_entropy_backward", Shape::elements(logits.len), &arguments)
    }
}
