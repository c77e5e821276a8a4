//! Linear layers on the CPU: frozen weights are packed (`gemm`), trainable ones are read in place.

use ndarray::{ArrayView2, ArrayViewMut2, Axis, linalg::general_mat_mul, s};
use rayon::prelude::*;

use super::{Dense, Linear};
use crate::{
    Cpu, Mask, Result,
    backend::{Slice, SliceMut},
    cpu::{
        Elements, ElementsMut, Float, Matrix, ROW_BLOCK, blocks, blocks_of,
        gemm::{self, Bias, MatMut, MatRef, NoEpilogue, Output, StoreBf16},
        load,
        simd::{self, Isa, Kernel, Simd},
        store, sum_columns,
    },
    memory::ThreadScratch,
};

/// Rows of a weight gradient per task.
const GRADIENT_ROWS: usize = 64;

impl Linear for Cpu {
    fn linear(
        &self,
        x: Slice<'_, Self>,
        weight: &Matrix,
        bias: &[Slice<'_, Self>],
        y: SliceMut<'_, Self>,
    ) -> Result<()> {
        let bias = ThreadScratch::concat(bias.iter().map(Slice::f32));
        let isa = self.isa();
        match (weight, &*bias) {
            (Matrix::F32(w), []) => gemm::forward(isa, x.f32(), w, y.f32(), false, &NoEpilogue),
            (Matrix::F32(w), bias) => gemm::forward(isa, x.f32(), w, y.f32(), false, &Bias(bias)),
            (Matrix::Bf16(w), bias) => self.with_bf16(&x, |x| {
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
        let isa = self.isa();
        match (weight, dx.elements()) {
            (Matrix::F32(w), ElementsMut::F32(dx)) => {
                gemm::input_gradient(isa, dy.f32(), w, dx, accumulate, &NoEpilogue);
            }
            (Matrix::Bf16(w), ElementsMut::F32(dx)) => {
                self.with_bf16(&dy, |dy| gemm::input_gradient(isa, dy, w, dx, accumulate, &NoEpilogue));
            }
            (Matrix::Bf16(w), ElementsMut::Bf16(dx)) => self.with_bf16(&dy, |dy| {
                let to = StoreBf16::new(NoEpilogue, MatMut::new(dx, w.in_features()));
                gemm::input_gradient_view(isa, MatRef::new(dy, w.out_features()), w, Output::Discard, &to);
            }),
            (Matrix::F32(_), ElementsMut::Bf16(_)) => unreachable!("the tape converts inputs of f32 weights to f32"),
        }
        Ok(())
    }

    fn linear_trainable(
        &self,
        x: Slice<'_, Self>,
        weight: Dense<'_, Self>,
        bias: &[Slice<'_, Self>],
        y: SliceMut<'_, Self>,
    ) -> Result<()> {
        let bias = ThreadScratch::concat(bias.iter().map(Slice::f32));
        let w = matrix(weight.data.f32(), weight.in_features);
        let out_features = weight.out_features;
        blocks(y.f32(), out_features).zip(blocks_of(x.f32(), weight.in_features)).for_each(|(y, x)| {
            for y in y.chunks_exact_mut(out_features) {
                if bias.is_empty() { y.fill(0.0) } else { y.copy_from_slice(&bias) }
            }
            general_mat_mul(1.0, &matrix(x, weight.in_features), &w.t(), 1.0, &mut matrix_mut(y, out_features));
        });
        Ok(())
    }

    fn linear_trainable_input(
        &self,
        dy: Slice<'_, Self>,
        weight: Dense<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let w = matrix(weight.data.f32(), weight.in_features);
        let beta = if accumulate { 1.0 } else { 0.0 };
        blocks(dx.f32(), weight.in_features).zip(blocks_of(dy.f32(), weight.out_features)).for_each(|(dx, dy)| {
            general_mat_mul(1.0, &matrix(dy, weight.out_features), &w, beta, &mut matrix_mut(dx, weight.in_features));
        });
        Ok(())
    }

    fn linear_weight(
        &self,
        dy: Slice<'_, Self>,
        x: Slice<'_, Self>,
        shape: [usize; 2],
        mask: &Mask,
        dw: SliceMut<'_, Self>,
    ) -> Result<()> {
        let [out_features, in_features] = shape;
        let (dy, x, dw) = (matrix(dy.f32(), out_features), matrix(x.f32(), in_features), dw.f32());
        match mask {
            Mask::None => {}
            Mask::All => product_of_columns(dy, x, dw),
            // Select the columns first, so that the product has the size of the mask.
            Mask::Rows(rows) => product_of_columns(select_columns(dy, rows).view(), x, dw),
            Mask::Columns(cols) => product_of_columns(dy, select_columns(x, cols).view(), dw),
            Mask::Elements(elements) => dw.par_iter_mut().zip(elements).for_each(|(dw, &element)| {
                let (row, col) = (element as usize / in_features, element as usize % in_features);
                *dw += dy.column(row).dot(&x.column(col));
            }),
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

/// `c += aᵀ · b`; a `[T, m]`, b `[T, n]`, c `[m, n]`.
fn product_of_columns(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, c: &mut [f32]) {
    let cols = b.ncols();
    c.par_chunks_mut(GRADIENT_ROWS * cols).enumerate().for_each(|(block, c)| {
        let first = block * GRADIENT_ROWS;
        let a = a.slice(s![.., first..first + c.len() / cols]);
        general_mat_mul(1.0, &a.t(), &b, 1.0, &mut matrix_mut(c, cols));
    });
}

fn select_columns(matrix: ArrayView2<'_, f32>, columns: &[u32]) -> ndarray::Array2<f32> {
    let columns: Vec<usize> = columns.iter().map(|&column| column as usize).collect();
    matrix.select(Axis(1), &columns)
}

/// A view of a slice as a matrix.
fn matrix(data: &[f32], cols: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((data.len() / cols, cols), data).expect("a slice of whole rows")
}

fn matrix_mut(data: &mut [f32], cols: usize) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((data.len() / cols, cols), data).expect("a slice of whole rows")
}
