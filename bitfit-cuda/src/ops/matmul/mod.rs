//! Matrix multiplication and its gradients on the GPU, through `products`.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::matmul::Matmul,
};

use crate::{
    Cuda,
    products::{Factor, Product},
};

impl Matmul for Cuda {
    fn matmul(
        &self,
        [m, k, n]: [usize; 3],
        a: Slice<'_, Self>,
        b: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
    ) -> Result<()> {
        self.multiply(Product { m, k, n, a: Factor::plain(a), b: Factor::plain(b), accumulate: false }, y)
    }

    fn matmul_left(
        &self,
        [m, k, n]: [usize; 3],
        dy: Slice<'_, Self>,
        b: Slice<'_, Self>,
        da: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let (a, b) = (Factor::plain(dy), Factor::transposed(b));
        self.multiply(Product { m, k: n, n: k, a, b, accumulate }, da)
    }

    fn matmul_right(
        &self,
        [m, k, n]: [usize; 3],
        a: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        db: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let (a, b) = (Factor::transposed(a), Factor::plain(dy));
        self.multiply(Product { m: k, k: m, n, a, b, accumulate }, db)
    }
}
