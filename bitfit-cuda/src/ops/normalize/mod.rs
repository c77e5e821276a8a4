//! The normalization of rows on the GPU: a warp processes a row.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::normalize::Normalize,
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("normalize");

impl Normalize for Cuda {
    fn normalize(
        &self,
        x: Slice<'_, Self>,
        cols: usize,
        y: SliceMut<'_, Self>,
        inverse: SliceMut<'_, Self>,
    ) -> Result<()> {
        let rows = inverse.len;
        let mut arguments = Arguments::new();
        arguments.input(x).output(y).output(inverse).usize(rows).usize(cols);
        self.launch(&SOURCE, "bitfit_normalize", Shape::warps(rows), &arguments)
    }

    fn normalize_backward(
        &self,
        dy: Slice<'_, Self>,
        y: Slice<'_, Self>,
        inverse: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let rows = inverse.len;
        let cols = dy.len / rows.max(1);
        let mut arguments = Arguments::new();
        arguments.input(dy).input(y).input(inverse).output(dx).flag(accumulate).usize(rows).usize(cols);
        self.launch(&SOURCE, "bitfit_normalize_backward", Shape::warps(rows), &arguments)
    }
}
