//! The feed-forward on the CPU: two products, with the activation and its derivative in their epilogues. In bfloat16
//! the epilogue rounds the hidden matrix, and the next product reads it without a copy.

use super::{BackwardInput, FeedForward, Input};
use crate::{
    Cpu, Result,
    backend::SliceMut,
    cpu::{
        Packed,
        gemm::{self, BiasGelu, MatMut, MatRef, MulColumnSum, NoEpilogue, Output, StoreBf16},
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
        let (isa, bias) = (self.isa(), input.bias.f32());
        match (&input.up.0, &input.down.0) {
            (Packed::F32(up), Packed::F32(down)) => {
                let hidden = hidden.f32();
                let gelu = BiasGelu::new(bias, derivative.map(SliceMut::f32));
                gemm::forward(isa, input.x.f32(), up, hidden, false, &gelu);
                gemm::forward(isa, hidden, down, y.f32(), false, &NoEpilogue);
            }
            (Packed::Bf16(up), Packed::Bf16(down)) => {
                let hidden = hidden.bf16();
                let gelu = BiasGelu::new(bias, derivative.map(SliceMut::bf16));
                let gelu = StoreBf16::new(gelu, MatMut::new(&mut *hidden, up.out_features()));
                self.with_bf16(&input.x, |x| {
                    gemm::forward_view(isa, MatRef::new(x, up.in_features()), up, Output::Discard, &gelu);
                });
                let y = StoreBf16::new(NoEpilogue, MatMut::new(y.bf16(), down.out_features()));
                gemm::forward_view(isa, MatRef::new(hidden, down.in_features()), down, Output::Discard, &y);
            }
            _ => unreachable!("the tape refuses weights of different types"),
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
        let isa = self.isa();
        match (&input.up.0, &input.down.0) {
            (Packed::F32(up), Packed::F32(down)) => {
                let hidden = hidden.f32();
                let slopes = MulColumnSum::new(input.derivative.f32(), down.in_features());
                gemm::input_gradient(isa, input.dy.f32(), down, hidden, false, &slopes);
                if let Some(sum) = sums.part(0, down.in_features()) {
                    slopes.add_to(sum.f32());
                }
                if let Some((dx, accumulate)) = dx {
                    gemm::input_gradient(isa, hidden, up, dx.f32(), accumulate, &NoEpilogue);
                }
            }
            (Packed::Bf16(up), Packed::Bf16(down)) => {
                let hidden = hidden.bf16();
                let slopes = MulColumnSum::new(input.derivative.bf16(), down.in_features());
                let slopes = StoreBf16::new(slopes, MatMut::new(&mut *hidden, down.in_features()));
                self.with_bf16(&input.dy, |dy| {
                    gemm::input_gradient_view(
                        isa,
                        MatRef::new(dy, down.out_features()),
                        down,
                        Output::Discard,
                        &slopes,
                    );
                });
                let slopes = slopes.into_first();
                if let Some(sum) = sums.part(0, down.in_features()) {
                    slopes.add_to(sum.f32());
                }
                if let Some((dx, accumulate)) = dx {
                    gemm::input_gradient(isa, hidden, up, dx.f32(), accumulate, &NoEpilogue);
                }
            }
            _ => unreachable!("the tape refuses weights of different types"),
        }
        Ok(())
    }
}
