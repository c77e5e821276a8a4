//! The feed-forward on the CPU: two products, with the activation and its derivative in their epilogues. In bfloat16
//! the output of the first product is rounded, and the next product reads it without a copy; the derivative is a
//! [`SlopeCode`] for each element.

use super::{BackwardInput, FeedForward, Input};
use crate::{
    Cpu, Result,
    backend::SliceMut,
    cpu::{
        Elements,
        gemm::{BiasGelu, MatMut, MulColumnSum, NoEpilogue, Output, SlopeCode},
    },
    tape::ColumnSums,
};

impl FeedForward for Cpu {
    fn feed_forward(
        &self,
        input: Input<'_, Self>,
        hidden: SliceMut<'_, Self>,
        derivative: Option<SliceMut<'_, Self>>,
        y: SliceMut<'_, Self>,
    ) -> Result<()> {
        self.check_weights("feed_forward", &[input.up, input.down])?;
        let bias = input.bias.f32();
        let ffn = input.up.out_features();
        if input.up.is_f32() {
            let hidden = hidden.f32();
            let gelu = BiasGelu::new(bias, derivative.map(SliceMut::f32));
            let to = Output::Write(MatMut::new(&mut *hidden, ffn));
            input.up.forward(self, input.x.elements(), to, &gelu);
            let y = Output::Write(MatMut::new(y.f32(), input.down.out_features()));
            input.down.forward(self, Elements::F32(hidden), y, &NoEpilogue);
        } else {
            let hidden = hidden.bf16();
            let codes = derivative.map(|derivative| -> &mut [SlopeCode] {
                &mut bytemuck::cast_slice_mut(derivative.bf16())[..hidden.len()]
            });
            let gelu = BiasGelu::new(bias, codes);
            let to = Output::Round(MatMut::new(&mut *hidden, ffn));
            input.up.forward(self, input.x.elements(), to, &gelu);
            let y = Output::Round(MatMut::new(y.bf16(), input.down.out_features()));
            input.down.forward(self, Elements::Bf16(hidden), y, &NoEpilogue);
        }
        Ok(())
    }

    fn feed_forward_backward(
        &self,
        input: BackwardInput<'_, Self>,
        hidden: SliceMut<'_, Self>,
        mut sums: ColumnSums<'_, Self, 1>,
        dx: Option<(SliceMut<'_, Self>, bool)>,
    ) -> Result<()> {
        self.check_weights("feed_forward", &[input.up, input.down])?;
        let ffn = input.down.in_features();
        let input_gradient = |dz: Elements<'_>| {
            if let Some((to, accumulate)) = dx {
                let to = MatMut::new(to.f32(), input.up.in_features());
                let to = if accumulate { Output::Accumulate(to) } else { Output::Write(to) };
                input.up.input_gradient(self, dz, to, &NoEpilogue);
            }
        };
        if input.down.is_f32() {
            let hidden = hidden.f32();
            let slopes = MulColumnSum::new(input.derivative.f32(), ffn);
            let to = Output::Write(MatMut::new(&mut *hidden, ffn));
            input.down.input_gradient(self, input.dy.elements(), to, &slopes);
            if let Some(sum) = sums.part(0, ffn) {
                slopes.add_to(sum.f32());
            }
            input_gradient(Elements::F32(hidden));
        } else {
            let hidden = hidden.bf16();
            let codes: &[SlopeCode] = bytemuck::cast_slice(input.derivative.bf16());
            let slopes = MulColumnSum::new(&codes[..hidden.len()], ffn);
            let to = Output::Round(MatMut::new(&mut *hidden, ffn));
            input.down.input_gradient(self, input.dy.elements(), to, &slopes);
            if let Some(sum) = sums.part(0, ffn) {
                slopes.add_to(sum.f32());
            }
            input_gradient(Elements::Bf16(hidden));
        }
        Ok(())
    }
}
