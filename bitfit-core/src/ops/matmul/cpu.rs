//! Matrix multiplication on the CPU: fixed blocks of rows of the output, each multiplied by ndarray.

use ndarray::{ArrayView2, ArrayViewMut2, linalg::general_mat_mul, s};
use rayon::prelude::*;

use super::Matmul;
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
};

/// Rows of the output per task: enough that packing the right operand again for each task costs little.
const PRODUCT_ROWS: usize = 64;

impl Matmul for Cpu {
    fn matmul(
        &self,
        [m, k, n]: [usize; 3],
        a: Slice<'_, Self>,
        b: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
    ) -> Result<()> {
        product(matrix(a.f32(), m, k), matrix(b.f32(), k, n), y.f32(), false);
        Ok(())
    }

    fn matmul_left(
        &self,
        [m, k, n]: [usize; 3],
        dy: Slice<'_, Self>,
        b: Slice<'_, Self>,
        da: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        product(matrix(dy.f32(), m, n), matrix(b.f32(), k, n).t(), da.f32(), accumulate);
        Ok(())
    }

    fn matmul_right(
        &self,
        [m, k, n]: [usize; 3],
        a: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        db: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        product(matrix(a.f32(), m, k).t(), matrix(dy.f32(), m, n), db.f32(), accumulate);
        Ok(())
    }
}

/// `c = a · b`, or `c += a · b` if `accumulate`; c is row-major.
fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, c: &mut [f32], accumulate: bool) {
    let cols = b.ncols();
    let beta = if accumulate { 1.0 } else { 0.0 };
    c.par_chunks_mut(PRODUCT_ROWS * cols.max(1)).enumerate().for_each(|(block, c)| {
        let rows = c.len() / cols;
        let a = a.slice(s![block * PRODUCT_ROWS..block * PRODUCT_ROWS + rows, ..]);
        let mut c = ArrayViewMut2::from_shape((rows, cols), c).expect("a slice of whole rows");
        general_mat_mul(1.0, &a, &b, beta, &mut c);
    });
}

fn matrix(data: &[f32], rows: usize, cols: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((rows, cols), data).expect("a matrix of its tensor's shape")
}
