//! What is done to each block of a product while it is in the cache.
//!
//! An epilogue sees every element once, in blocks of at most [`ROW_BLOCK`](super::ROW_BLOCK) rows, from many threads at
//! a time. What it writes beside the product goes through a [`Aux`] or [`ColumnPartials`]. Ops write their own by
//! implementing [`Epilogue`]; these are the ones the encoder needs.

use half::bf16;

use super::{Aux, Block, COL_BLOCK, ColumnPartials, MatMut, MatRef};
use crate::cpu::simd::{self, Kernel, Simd, math};

/// How many rows ahead a matrix beside the product is asked for. A block's rows of it are short pieces far apart, which the CPU
/// does not foresee.
const ROWS_AHEAD: usize = 4;

/// Work on the blocks of a product. Where a block's columns end may depend on the number of threads; no result should.
pub trait Epilogue: Sync {
    /// Called once with each block, when its values are final.
    fn apply(&self, block: &mut Block<'_>);
}

/// Nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoEpilogue;

impl Epilogue for NoEpilogue {
    fn apply(&self, _block: &mut Block<'_>) {}
}

/// `y += b`, b one row.
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

/// An element type that blocks are read from and written to beside the product.
pub trait Element: Copy + Send + Sync {
    /// The first `min(from.len(), LANES)` values, zero in the lanes after them.
    fn load<S: Simd>(s: S, from: &[Self]) -> S::F32;
    /// Writes the first `min(to.len(), LANES)` lanes, rounded to the type.
    fn store<S: Simd>(s: S, to: &mut [Self], v: S::F32);
}

impl Element for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32]) -> S::F32 {
        s.load_partial(from)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, to: &mut [f32], v: S::F32) {
        s.store_partial(to, v);
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[bf16]) -> S::F32 {
        s.load_bf16(from)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, to: &mut [bf16], v: S::F32) {
        s.store_bf16(to, v);
    }
}

/// `y = gelu(y + b)`, and where asked for `gelu'(y + b)` beside it: all that the backward pass reads.
#[derive(Debug)]
pub struct BiasGelu<'a, T = f32> {
    bias: &'a [f32],
    derivative: Option<Aux<'a, T>>,
}

impl<'a, T: Element> BiasGelu<'a, T> {
    /// `derivative` has the product's shape and `bias.len()` columns.
    pub fn new(bias: &'a [f32], derivative: Option<&'a mut [T]>) -> Self {
        Self { bias, derivative: derivative.map(|data| Aux::new(MatMut::new(data, bias.len()))) }
    }
}

impl<T: Element> Epilogue for BiasGelu<'_, T> {
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

impl<T: Element> Kernel for ApplyGelu<'_, '_, T> {
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

/// `y *= factor` element by element, and the column sums of the result: through an activation backward, with its bias's
/// gradient on the way.
#[derive(Debug)]
pub struct MulColumnSum<'a, T = f32> {
    factor: MatRef<'a, T>,
    sums: ColumnPartials,
}

impl<'a, T: Element> MulColumnSum<'a, T> {
    /// `factor` has the product's shape, `cols` columns.
    pub fn new(factor: &'a [T], cols: usize) -> Self {
        let factor = MatRef::new(factor, cols);
        Self { factor, sums: ColumnPartials::new(factor.rows(), cols) }
    }

    /// After the product: adds the sum over all rows to `to`, in the same order whatever the threads.
    pub fn add_to(self, to: &mut [f32]) {
        self.sums.add_to(to);
    }
}

impl<T: Element> Epilogue for MulColumnSum<'_, T> {
    fn apply(&self, block: &mut Block<'_>) {
        let mut sums = [0.0; COL_BLOCK];
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

impl<T: Element> Kernel for Multiply<'_, '_, T> {
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

/// Another epilogue, and then its result rounded to bfloat16 beside the product.
#[derive(Debug)]
pub struct Narrow<'a, E> {
    first: E,
    to: Aux<'a, bf16>,
}

impl<'a, E: Epilogue> Narrow<'a, E> {
    /// `to` has the product's shape.
    pub fn new(first: E, to: MatMut<'a, bf16>) -> Self {
        Self { first, to: Aux::new(to) }
    }

    /// The other epilogue, after the product.
    pub fn into_first(self) -> E {
        self.first
    }
}

impl<E: Epilogue> Epilogue for Narrow<'_, E> {
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
