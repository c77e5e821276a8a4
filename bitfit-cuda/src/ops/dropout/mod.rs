//! Dropout on the GPU, with the same masks as on the CPU.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::dropout::DropoutMask,
    rng::Dropout,
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("dropout");

impl DropoutMask for Cuda {
    fn dropout(&self, dropout: Dropout, x: Slice<'_, Self>, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()> {
        let len = y.len;
        let mut arguments = Arguments::new();
        arguments.input(x).output(y).flag(accumulate).usize(len).dropout(Some(dropout));
        self.launch(&SOURCE, "bitfit_dropout", Shape::elements(len.div_ceil(128) * 16), &arguments)
    }
}
