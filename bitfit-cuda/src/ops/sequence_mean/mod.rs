//! The mean over sequences on the GPU: a block processes a sequence.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::{attention::Sequences, sequence_mean::SequenceMean},
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("sequence_mean");

impl SequenceMean for Cuda {
    fn sequence_mean(
        &self,
        x: Slice<'_, Self>,
        sequences: &Sequences<Self>,
        cols: usize,
        y: SliceMut<'_, Self>,
    ) -> Result<()> {
        let mut arguments = Arguments::new();
        arguments.input(x).indices(sequences.offsets().data()).output(y).usize(cols);
        self.launch(&SOURCE, "bitfit_sequence_mean", Shape::blocks(sequences.count(), 128), &arguments)
    }

    fn sequence_mean_backward(
        &self,
        dy: Slice<'_, Self>,
        sequences: &Sequences<Self>,
        cols: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let mut arguments = Arguments::new();
        arguments.input(dy).indices(sequences.offsets().data()).output(dx).flag(accumulate).usize(cols);
        self.launch(&SOURCE, "bitfit_sequence_mean_backward", Shape::blocks(sequences.count(), 128), &arguments)
    }
}
