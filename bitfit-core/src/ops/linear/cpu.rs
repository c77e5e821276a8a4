//! Linear layers on the CPU, with weights packed for their products (`gemm`).

mod weight_gradient;

use rayon::prelude::*;

use super::{Linear, WeightGradient};
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    cpu::{
        Elements, ElementsMut, Float, Matrix, ROW_BLOCK, blocks_of,
        gemm::{Bias, MatMut, NoEpilogue, Output},
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
        let out = weight.out_features();
        let y = match weight.is_f32() {
            true => Output::Write(MatMut::new(y.f32(), out)),
            false => Output::Round(MatMut::new(y.bf16(), out)),
        };
        match &*bias {
            [] => weight.forward(self, x.elements(), y, &NoEpilogue),
            bias => weight.forward(self, x.elements(), y, &Bias(bias)),
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
        let cols = weight.in_features();
        let dx = match dx.elements() {
            ElementsMut::F32(dx) if accumulate => Output::Accumulate(MatMut::new(dx, cols)),
            ElementsMut::F32(dx) => Output::Write(MatMut::new(dx, cols)),
            // Not of an f32 weight: the tape converts its inputs to f32.
            ElementsMut::Bf16(dx) => {
                assert!(!accumulate, "the product is added to f32 alone");
                Output::Round(MatMut::new(dx, cols))
            }
        };
        weight.input_gradient(self, dy.elements(), dx, &NoEpilogue);
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
