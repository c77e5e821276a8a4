//! The feed-forward on the CPU: two products, with the activation and its derivative in their epilogues.

use super::{BackwardInput, FeedForward, Input};
use crate::{ColumnSums, Cpu, Result, SliceMut, gemm};

impl FeedForward for Cpu {
    fn feed_forward(
        &self,
        input: Input<'_, Self>,
        hidden: SliceMut<'_, Self>,
        derivative: Option<SliceMut<'_, Self>>,
        y: SliceMut<'_, Self>,
    ) -> Result<()> {
        let hidden = hidden.f32();
        let epilogue = gemm::BiasGelu::new(input.bias.f32(), derivative.map(SliceMut::f32));
        gemm::forward(self.level(), input.x.f32(), input.up, hidden, false, &epilogue);
        gemm::forward(self.level(), hidden, input.down, y.f32(), false, &gemm::NoEpilogue);
        Ok(())
    }

    fn feed_forward_backward(
        &self,
        input: BackwardInput<'_, Self>,
        hidden: SliceMut<'_, Self>,
        mut sums: ColumnSums<'_, Self, 1>,
        dx: Option<(SliceMut<'_, Self>, bool)>,
    ) -> Result<()> {
        let hidden = hidden.f32();
        let epilogue = gemm::MulColumnSum::new(input.derivative.f32(), input.down.in_features());
        gemm::input_gradient(self.level(), input.dy.f32(), input.down, hidden, false, &epilogue);
        if let Some(sum) = sums.part(0, input.down.in_features()) {
            epilogue.add_to(sum.f32());
        }
        if let Some((dx, accumulate)) = dx {
            gemm::input_gradient(self.level(), hidden, input.up, dx.f32(), accumulate, &gemm::NoEpilogue);
        }
        Ok(())
    }
}
