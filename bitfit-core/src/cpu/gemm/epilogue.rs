//! Epilogues: work on each block of a product while the block is in cache.
//!
//! An epilogue sees every element once, in blocks of at most [`MC`](super::MC) rows, from several threads at once. What
//! it stores is the output, in f32 or rounded to bfloat16; other results it writes to an [`Aux`] or [`ColumnPartials`].
//! An op can define its own by implementing [`Epilogue`]; those here are used by the encoder.

use super::{Aux, Block, ColumnPartials, MatMut, MatRef, NC, Slope};
use crate::cpu::{
    load,
    simd::{self, Kernel, Simd, math},
    store,
};

/// Prefetch distance in rows of a matrix beside the product. A block's rows of it are short and far apart, which the
/// hardware prefetcher does not detect.
const ROWS_AHEAD: usize = 4;

/// Work on the blocks of a product. Results must not depend on the columns of a block, which may depend on the number
/// of threads.
pub trait Epilogue: Sync {
    /// Processes a block. Called once for each block, when its values are final. If the block
    /// [is rounded](Block::is_rounded), every element has to be stored.
    fn apply(&self, block: &mut Block<'_>);
}

/// The epilogue that leaves the product as it is.
#[derive(Clone, Copy, Debug)]
pub struct NoEpilogue;

impl Epilogue for NoEpilogue {
    fn apply(&self, block: &mut Block<'_>) {
        if block.is_rounded() {
            simd::dispatch(block.isa(), Round(block));
        }
    }
}

/// Stores the product as it is, where the output is another matrix.
struct Round<'a, 'b>(&'a mut Block<'b>);

impl Kernel for Round<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in self.0.rows() {
            self.0.prefetch(s, i + ROWS_AHEAD);
            let mut row = self.0.row(i);
            for j in (0..row.len()).step_by(S::LANES) {
                row.store(s, j, row.load(s, j));
            }
        }
    }
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
            self.block.prefetch(s, i + ROWS_AHEAD);
            let mut row = self.block.row(i);
            for j in (0..row.len()).step_by(S::LANES) {
                row.store(s, j, s.add(row.load(s, j), load(s, self.bias, j)));
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

impl<'a, T: Slope> BiasGelu<'a, T> {
    /// An epilogue for a product with `bias.len()` columns; `derivative` has the product's shape.
    pub fn new(bias: &'a [f32], derivative: Option<&'a mut [T]>) -> Self {
        Self { bias, derivative: derivative.map(|data| Aux::new(MatMut::new(data, bias.len()))) }
    }
}

impl<T: Slope> Epilogue for BiasGelu<'_, T> {
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

impl<T: Slope> Kernel for ApplyGelu<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in self.block.rows() {
            self.block.prefetch(s, i + ROWS_AHEAD);
            match self.derivative {
                Some(derivative) => {
                    derivative.prefetch(s, i + ROWS_AHEAD, self.block.cols());
                    let (mut row, slopes) = self.block.row_and_aux(i, derivative);
                    for j in (0..row.len()).step_by(S::LANES) {
                        let (value, slope) = math::gelu(s, s.add(row.load(s, j), load(s, self.bias, j)));
                        row.store(s, j, value);
                        T::store(s, &mut slopes[j..], slope);
                    }
                }
                None => {
                    let mut row = self.block.row(i);
                    for j in (0..row.len()).step_by(S::LANES) {
                        let (value, _) = math::gelu(s, s.add(row.load(s, j), load(s, self.bias, j)));
                        row.store(s, j, value);
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

impl<'a, T: Slope> MulColumnSum<'a, T> {
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

impl<T: Slope> Epilogue for MulColumnSum<'_, T> {
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

impl<T: Slope> Kernel for Multiply<'_, '_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in self.block.rows() {
            self.block.prefetch(s, i + ROWS_AHEAD);
            self.factor.prefetch(s, i + ROWS_AHEAD, self.block.cols());
            let factor = &self.factor.row(i)[self.block.cols()];
            let mut row = self.block.row(i);
            for j in (0..row.len()).step_by(S::LANES) {
                let product = s.mul(row.load(s, j), T::load(s, &factor[j..]));
                row.store(s, j, product);
                store(s, self.sums, j, s.add(load(s, self.sums, j), product));
            }
        }
    }
}
