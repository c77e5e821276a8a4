//! The softmax on the GPU: a warp processes a row.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::softmax::Softmax,
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("softmax");

impl Softmax for Cuda {
    fn softmax(&self, x: Slice<'_, Self>, cols: usize, y: SliceMut<'_, Self>) -> Result<()> {
        let rows = x.len / cols.max(1);
        let mut arguments = Arguments::new();
        arguments.input(x).output(y).usize(rows).usize(cols);
        self.launch(&SOURCE, "bitfit_softmax", Shape::warps(rows), &arguments)
    }

    fn softmax_backward(
        &self,
        dy: Slice<'_, Self>,
        y: Slice<'_, Self>,
        cols: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let rows = y.len / cols.max(1);
        let mut arguments = Arguments::new();
        arguments.input(dy).input(y).output(dx).flag(accumulate).usize(rows).usize(cols);
        self.launch(&SOURCE, "bitfit_softmax_backward", Shape::warps(rows), &arguments)
    }
}
