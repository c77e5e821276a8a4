//! The pair features on the GPU: a thread processes an element of both rows of a pair.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::pair_features::PairFeatures,
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("pair_features");

impl PairFeatures for Cuda {
    fn pair_features(&self, x: Slice<'_, Self>, cols: usize, y: SliceMut<'_, Self>) -> Result<()> {
        let len = x.len / 2;
        let mut arguments = Arguments::new();
        arguments.input(x).output(y).usize(cols).usize(len);
        self.launch(&SOURCE, "bitfit_pair_features", Shape::elements(len), &arguments)
    }

    fn pair_features_backward(
        &self,
        dy: Slice<'_, Self>,
        x: Slice<'_, Self>,
        cols: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let len = x.len / 2;
        let mut arguments = Arguments::new();
        arguments.input(dy).input(x).output(dx).flag(accumulate).usize(cols).usize(len);
        self.launch(&SOURCE, "bitfit_pair_features_backward", Shape::elements(len), &arguments)
    }
}
