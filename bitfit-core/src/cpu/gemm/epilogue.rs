//! Epilogues: work on each block of a product while the block is in cache.
//!
//! An epilogue sees every element once, in blocks of at most [`MC`](super::MC) rows, from several threads at once. It
//! writes results other than the product itself to an [`Aux`] or [`ColumnPartials`]. An op can define its own by
//! implementing [`Epilogue`]; those here are used by the encoder.

use half::bf16;

use super::{Aux, Block, ColumnPartials, MatMut, MatRef, NC};
use crate::cpu::{
    Float,
    simd::{self, Kernel, Simd, math},
};

/// Prefetch distance in rows of an auxiliary matrix. A block's rows of it are short and far apart, which defeats the
/// hardware prefetcher.
const ROWS_AHEAD: usize = 4;

/// Work on the blocks of a product. Results must not depend on the columns of a block, which may depend on the number
/// of threads.
pub trait Epilogue: Sync {
    /// Processes a block. Called once for each block, when its values are final.
    fn apply(&self, block: &mut Block<'_>);
}

/// The epilogue that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoEpilogue;

impl Epilogue for NoEpilogue {
    fn apply(&self, _block: &mut Block<'_>) {}
}

/// `y += b`, where b is one row that is added to every row of y.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a>(pub &'a [f32]);

impl Epilogue for Bias<'_> {
    fn apply(&self, block: &mut Block<'_>) {
        simd::dispatch(block.isa(), AddBias { bias: &self.0[block.cols()], block });
    }
}

struct AddBias<'a, 'b> {
    bias: &'a [f32],
    block: &'a mut Block<'b>,
}

impl Kernel for AddBias<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in self.block.rows() {
            let row = self.block.row_mut(i);
            for (y, b) in row.chunks_mut(S::LANES).zip(self.bias.chunks(S::LANES)) {
                let sum = s.add(s.load_partial(y), s.load_partial(b));
                s.store_partial(y, sum);
            }
        }
    }
}

/// `y = gelu(y + b)`, with `gelu'(y + b)` in an auxiliary matrix if there is one: all that backward reads.
#[derive(Debug)]
pub struct BiasGelu<'a, T = f32> {
    bias: &'a [f32],
    derivative: Option<Aux<'a, T>>,
}

impl<'a, T: Float> BiasGelu<'a, T> {
    /// An epilogue for a product with `bias.len()` columns; `derivative` has the product's shape.
    pub fn new(bias: &'a [f32], derivative: Option<&'a mut [T]>) -> Self {
        Self { bias, derivative: derivative.map(|data| Aux::new(MatMut::new(data, bias.len()))) }
    }
}

impl<T: Float> Epilogue for BiasGelu<'_, T> {
    fn apply(&self, block: &mut Block<'_>) {
        let bias = &self.bias[block.cols()];
        simd::dispatch(block.isa(), ApplyGelu { bias, derivative: self.derivative.as_ref(), block });
    }
}

struct ApplyGelu<'a, 'b, T> {
    bias: &'a [f32],
    derivative: Option<&'a Aux<'a, T>>,
    block: &'a mut Block<'b>,
}

impl<T: Float> Kernel for ApplyGelu<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in self.block.rows() {
            match self.derivative {
                Some(derivative) => {
                    derivative.prefetch(s, i + ROWS_AHEAD, self.block.cols());
                    let (row, slopes) = self.block.row_and_aux(i, derivative);
                    let chunks = row.chunks_mut(S::LANES).zip(slopes.chunks_mut(S::LANES));
                    for ((y, slope), b) in chunks.zip(self.bias.chunks(S::LANES)) {
                        let (value, rate) = math::gelu(s, s.add(s.load_partial(y), s.load_partial(b)));
                        s.store_partial(y, value);
                        T::store(s, slope, rate);
                    }
                }
                None => {
                    let row = self.block.row_mut(i);
                    for (y, b) in row.chunks_mut(S::LANES).zip(self.bias.chunks(S::LANES)) {
                        let (value, _) = math::gelu(s, s.add(s.load_partial(y), s.load_partial(b)));
                        s.store_partial(y, value);
                    }
                }
            }
        }
    }
}

/// `y *= factor` element by element, and the column sums of the result: the backward of an activation together with the
/// gradient of the bias.
#[derive(Debug)]
pub struct MulColumnSum<'a, T = f32> {
    factor: MatRef<'a, T>,
    sums: ColumnPartials,
}

impl<'a, T: Float> MulColumnSum<'a, T> {
    /// An epilogue for a product with `cols` columns; `factor` has the product's shape.
    pub fn new(factor: &'a [T], cols: usize) -> Self {
        let factor = MatRef::new(factor, cols);
        Self { factor, sums: ColumnPartials::new(factor.rows(), cols) }
    }

    /// Adds the sums over all rows to `to` after the product, in an order that does not depend on the number of
    /// threads.
    pub fn add_to(self, to: &mut [f32]) {
        self.sums.add_to(to);
    }
}

impl<T: Float> Epilogue for MulColumnSum<'_, T> {
    fn apply(&self, block: &mut Block<'_>) {
        let mut sums = [0.0; NC];
        let sums = &mut sums[..block.cols().len()];
        simd::dispatch(block.isa(), Multiply { factor: self.factor, sums, block });
        self.sums.of(block).copy_from_slice(sums);
    }
}

struct Multiply<'a, 'b, T> {
    factor: MatRef<'a, T>,
    sums: &'a mut [f32],
    block: &'a mut Block<'b>,
}

impl<T: Float> Kernel for Multiply<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in self.block.rows() {
            self.factor.prefetch(s, i + ROWS_AHEAD, self.block.cols());
            let factor = &self.factor.row(i)[self.block.cols()];
            let row = self.block.row_mut(i);
            let chunks = row.chunks_mut(S::LANES).zip(factor.chunks(S::LANES));
            for ((y, f), sum) in chunks.zip(self.sums.chunks_mut(S::LANES)) {
                let product = s.mul(s.load_partial(y), T::load(s, f));
                s.store_partial(y, product);
                let total = s.add(s.load_partial(sum), product);
                s.store_partial(sum, total);
            }
        }
    }
}

/// Another epilogue, followed by storing the result rounded to bfloat16 in an auxiliary matrix.
#[derive(Debug)]
pub struct StoreBf16<'a, E> {
    first: E,
    to: Aux<'a, bf16>,
}

impl<'a, E: Epilogue> StoreBf16<'a, E> {
    /// Stores the result of `first` to `to`, which has the product's shape.
    pub fn new(first: E, to: MatMut<'a, bf16>) -> Self {
        Self { first, to: Aux::new(to) }
    }

    /// Returns the first epilogue, for use after the product.
    pub fn into_first(self) -> E {
        self.first
    }
}

impl<E: Epilogue> Epilogue for StoreBf16<'_, E> {
    fn apply(&self, block: &mut Block<'_>) {
        self.first.apply(block);
        simd::dispatch(block.isa(), Round { to: &self.to, block });
    }
}

struct Round<'a, 'b> {
    to: &'a Aux<'a, bf16>,
    block: &'a mut Block<'b>,
}

impl Kernel for Round<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in self.block.rows() {
            self.to.prefetch(s, i + ROWS_AHEAD, self.block.cols());
            let (row, to) = self.block.row_and_aux(i, self.to);
            for (from, to) in row.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
                s.store_bf16(to, s.load_partial(from));
            }
        }
    }
}
