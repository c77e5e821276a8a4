//! Linear layers on the CPU, with weights packed for their products (`gemm`).

mod weight_gradient;

use rayon::prelude::*;

use super::{Linear, WeightGradient};
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    cpu::{
        Elements, ElementsMut, Float, Matrix, Packed, ROW_BLOCK, blocks_of,
        gemm::{self, Bias, MatMut, MatRef, NoEpilogue, Output, StoreBf16},
        load,
        simd::{self, Isa, Kernel, Simd},
        store, sum_columns,
    },
    memory::ThreadScratch,
};

impl Linear for Cpu {
    fn linear(
        &self,
        x: Slice<'_, Self>,
        weight: &Matrix,
        bias: &[Slice<'_, Self>],
        y: SliceMut<'_, Self>,
    ) -> Result<()> {
        self.check_weights("linear", &[weight])?;
        let bias = ThreadScratch::concat(bias.iter().map(Slice::f32));
        let isa = self.isa();
        match (&weight.0, &*bias) {
            (Packed::F32(w), []) => gemm::forward(isa, x.f32(), w, y.f32(), false, &NoEpilogue),
            (Packed::F32(w), bias) => gemm::forward(isa, x.f32(), w, y.f32(), false, &Bias(bias)),
            (Packed::Bf16(w), bias) => self.with_bf16(&x, |x| {
                let x = MatRef::new(x, w.in_features());
                let y = MatMut::new(y.bf16(), w.out_features());
                match bias {
                    [] => gemm::forward_view(isa, x, w, Output::Discard, &StoreBf16::new(NoEpilogue, y)),
                    bias => gemm::forward_view(isa, x, w, Output::Discard, &StoreBf16::new(Bias(bias), y)),
                }
            }),
        }
        Ok(())
    }

    fn linear_input(
        &self,
        dy: Slice<'_, Self>,
        weight: &Matrix,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        self.check_weights("linear", &[weight])?;
        let isa = self.isa();
        match (&weight.0, dx.elements()) {
            (Packed::F32(w), ElementsMut::F32(dx)) => {
                gemm::input_gradient(isa, dy.f32(), w, dx, accumulate, &NoEpilogue);
            }
            (Packed::Bf16(w), ElementsMut::F32(dx)) => {
                self.with_bf16(&dy, |dy| gemm::input_gradient(isa, dy, w, dx, accumulate, &NoEpilogue));
            }
            (Packed::Bf16(w), ElementsMut::Bf16(dx)) => self.with_bf16(&dy, |dy| {
                let to = StoreBf16::new(NoEpilogue, MatMut::new(dx, w.in_features()));
                gemm::input_gradient_view(isa, MatRef::new(dy, w.out_features()), w, Output::Discard, &to);
            }),
            (Packed::F32(_), ElementsMut::Bf16(_)) => unreachable!("the tape converts inputs of f32 weights to f32"),
        }
        Ok(())
    }

    fn weight_gradient(&self, input: WeightGradient<'_, Self>, dw: SliceMut<'_, Self>) -> Result<()> {
        weight_gradient::weight_gradient(self.isa(), &input, dw.f32());
        Ok(())
    }

    fn select_columns(&self, x: Slice<'_, Self>, cols: usize, chosen: &[u32], to: SliceMut<'_, Self>) -> Result<()> {
        match x.elements() {
            Elements::F32(x) => weight_gradient::select(x, cols, 0, chosen, to.f32()),
            Elements::Bf16(x) => weight_gradient::select(x, cols, 0, chosen, to.f32()),
        }
        Ok(())
    }

    fn column_sum(&self, dy: Slice<'_, Self>, cols: usize, first: usize, sum: SliceMut<'_, Self>) -> Result<()> {
        match dy.elements() {
            Elements::F32(dy) => column_sum(self.isa(), dy, cols, first, sum.f32()),
            Elements::Bf16(dy) => column_sum(self.isa(), dy, cols, first, sum.f32()),
        }
        Ok(())
    }
}

fn column_sum<T: Float>(isa: Isa, dy: &[T], cols: usize, first: usize, sum: &mut [f32]) {
    let width = sum.len();
    let mut partial = ThreadScratch::filled(dy.len().div_ceil(ROW_BLOCK * cols) * width, 0.0);
    partial.par_chunks_exact_mut(width).zip(blocks_of(dy, cols)).for_each(|(sum, dy)| {
        simd::dispatch(isa, AddRows { rows: dy.chunks_exact(cols).map(|dy| &dy[first..first + width]), sum });
    });
    sum_columns(&partial, sum);
}

/// Adds rows to `sum`.
struct AddRows<'a, I> {
    rows: I,
    sum: &'a mut [f32],
}

impl<'b, T: Float, I: Iterator<Item = &'b [T]>> Kernel for AddRows<'_, I> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows {
            for j in (0..row.len()).step_by(S::LANES) {
                let sum = s.add(load(s, self.sum, j), T::load(s, &row[j..]));
                store(s, self.sum, j, sum);
            }
        }
    }
}
