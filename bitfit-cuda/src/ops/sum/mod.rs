//! Sum and mean on the GPU.

use bitfit_core::{
    DType, Result,
    backend::{Slice, SliceMut},
    ops::sum::Sum,
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("sum");

/// The number of elements that a block sums.
const CHUNK: usize = 4096;
/// Threads per block of the sums, as in the kernels.
const THREADS: u32 = 256;

impl Sum for Cuda {
    fn sum(&self, x: Slice<'_, Self>, divisor: usize, y: SliceMut<'_, Self>) -> Result<()> {
        let blocks = x.len.div_ceil(CHUNK);
        // One f64 for each block.
        let mut partial = self.temporary(DType::F32, 2 * blocks)?;
        let mut chunks = Arguments::new();
        chunks.input(x).usize(x.len).usize(CHUNK).output(partial.as_mut());
        self.launch(&SOURCE, "bitfit_sum_chunks", Shape::blocks(blocks, THREADS), &chunks)?;
        let mut total = Arguments::new();
        total.input(partial.as_ref()).usize(blocks).usize(divisor).output(y);
        self.launch(&SOURCE, "bitfit_sum_total", Shape::blocks(1, THREADS), &total)
    }

    fn sum_backward(
        &self,
        dy: Slice<'_, Self>,
        divisor: usize,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let len = dx.len;
        let mut arguments = Arguments::new();
        arguments.input(dy).usize(divisor).output(dx).flag(accumulate).usize(len);
        self.launch(&SOURCE, "bitfit_sum_backward", Shape::elements(len), &arguments)
    }
}
