//! The cross-entropy over sequences on the GPU: a warp processes a sequence and a column; the mean of the losses is the
//! cross-entropy's kernel.

use bitfit_core::{
    DType, Result,
    backend::{Slice, SliceMut},
    ops::sequence_cross_entropy::{Choice, SequenceCrossEntropy},
};

use super::cross_entropy;
use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("sequence_cross_entropy");

impl SequenceCrossEntropy for Cuda {
    fn sequence_cross_entropy(
        &self,
        logits: Slice<'_, Self>,
        choice: &Choice<Self>,
        loss: SliceMut<'_, Self>,
        probabilities: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let count = choice.rows.len();
        let mut losses = self.temporary(DType::F32, count)?;
        let mut each = Arguments::new();
        each.input(logits).indices(choice.sequences.offsets().data()).indices(choice.rows.data());
        each.output(losses.as_mut()).optional_output(probabilities).usize(count).usize(choice.columns);
        self.launch(&SOURCE, "bitfit_sequence_cross_entropy", Shape::warps(count), &each)?;
        let mut mean = Arguments::new();
        mean.input(losses.as_ref()).output(loss).usize(count);
        self.launch(&cross_entropy::SOURCE, "bitfit_cross_entropy_mean", Shape::blocks(1, 256), &mean)
    }

    fn sequence_cross_entropy_backward(
        &self,
        dloss: Slice<'_, Self>,
        probabilities: Slice<'_, Self>,
        choice: &Choice<Self>,
        dlogits: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let count = choice.rows.len();
        let mut arguments = Arguments::new();
        arguments.input(dloss).input(probabilities);
        arguments.indices(choice.sequences.offsets().data()).indices(choice.rows.data());
        arguments.output(dlogits).flag(accumulate).usize(count).usize(choice.columns);
        self.launch(&SOURCE, "bitfit_sequence_cross_entropy_backward", Shape::warps(count), &arguments)
    }
}
