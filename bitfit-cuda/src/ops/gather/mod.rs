//! The row gather on the GPU.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::gather::GatherRows,
};

use crate::{
    Cuda, Indices,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("gather");

impl GatherRows for Cuda {
    fn gather_rows(&self, x: Slice<'_, Self>, at: &Indices, cols: usize, y: SliceMut<'_, Self>) -> Result<()> {
        let len = y.len;
        let mut arguments = Arguments::new();
        arguments.input(x).indices(at).output(y).usize(cols).usize(len);
        self.launch(&SOURCE, "bitfit_gather_rows", Shape::elements(len), &arguments)
    }

    fn scatter_rows(&self, dy: Slice<'_, Self>, at: &Indices, cols: usize, dx: SliceMut<'_, Self>) -> Result<()> {
        let mut arguments = Arguments::new();
        arguments.input(dy).indices(at).output(dx).usize(at.len()).usize(cols);
        self.launch(&SOURCE, "bitfit_scatter_rows", Shape::blocks(at.len(), 128), &arguments)
    }
}
