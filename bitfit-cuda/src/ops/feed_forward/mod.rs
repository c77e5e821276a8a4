//! The feed-forward on the GPU: two products in each direction, and one pass over the hidden matrix between them. The
//! GELU of cuBLASLt is not used, because it is the tanh approximation.

use bitfit_core::{
    Result,
    backend::SliceMut,
    ops::feed_forward::{BackwardInput, FeedForward, Input},
    tape::ColumnSums,
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, kernel, source},
};

pub(crate) static SOURCE: Source = source!("feed_forward");

impl FeedForward for Cuda {
    fn feed_forward(
        &self,
        input: Input<'_, Self>,
        mut hidden: SliceMut<'_, Self>,
        derivative: Option<SliceMut<'_, Self>>,
        y: SliceMut<'_, Self>,
    ) -> Result<()> {
        self.multiply_weight(input.x, input.up, hidden.reborrow())?;
        let cols = input.up.out_features();
        let rows = hidden.len / cols;
        let name = kernel!("bitfit_feed_forward_bias_gelu", hidden.dtype);
        let mut arguments = Arguments::new();
        arguments.input(input.bias).output(hidden.reborrow()).optional_output(derivative).usize(rows).usize(cols);
        self.launch(&SOURCE, name, Shape::tiles(rows, cols), &arguments)?;
        self.multiply_weight(hidden.as_slice(), input.down, y)
    }

    fn feed_forward_backward(
        &self,
        input: BackwardInput<'_, Self>,
        mut hidden: SliceMut<'_, Self>,
        mut sums: ColumnSums<'_, Self, 1>,
        dx: Option<(SliceMut<'_, Self>, bool)>,
    ) -> Result<()> {
        self.multiply_weight_back(input.dy, input.down, hidden.reborrow(), false)?;
        let cols = input.down.in_features();
        let rows = hidden.len / cols;
        let sum = sums.part(0, cols);
        let mut partial = sum.is_some().then(|| self.partial_sums(rows, cols)).transpose()?;
        let name = kernel!("bitfit_feed_forward_backward", hidden.dtype);
        let mut arguments = Arguments::new();
        arguments.input(input.derivative).output(hidden.reborrow()).usize(rows).usize(cols);
        arguments.optional_output(partial.as_mut().map(|partial| partial.as_mut()));
        self.launch(&SOURCE, name, Shape::tiles(rows, cols), &arguments)?;
        if let Some((partial, sum)) = partial.zip(sum) {
            self.add_partial_sums(partial, sum)?;
        }
        match dx {
            Some((dx, accumulate)) => self.multiply_weight_back(hidden.as_slice(), input.up, dx, accumulate),
            None => Ok(()),
        }
    }
}
