//! The gradient of a weight on the CPU, for the entries that its mask chooses: `dW[o, i] = Σₜ dy[t, o] x[t, i]`.
//!
//! | entries | how |
//! |---|---|
//! | all, or many rows or columns | one product `dyᵀ · x` of dy or x, or of the chosen columns of them, on the packed kernels |
//! | a few rows or columns | sums of the rows of x or dy, weighted by the chosen columns of the other: one pass over it |
//! | elements | dot products of columns, transposed a few tokens at a time; of a few elements, of the columns in place |
//!
//! In bfloat16, two tokens that follow each other share a word, so that the products run along the tokens.

use std::{marker::PhantomData, ops::Range};

use rayon::prelude::*;

use super::super::WeightGradient;
use crate::{
    Cpu, Mask, Precision,
    backend::Slice,
    cpu::{
        Elements, Float,
        gemm::{self, MatMut, MatRef, Operand, Output},
        load,
        simd::{self, Isa, Kernel, Simd},
        store, sum_columns,
    },
    memory::ThreadScratch,
};

/// The most rows or columns whose gradient is a weighted sum.
const FEW: usize = 8;

/// Tokens in a task of a weighted sum. Fixed, so that sums do not depend on the number of threads.
const TOKENS: usize = 256;

/// Steps of a transposed operand are a multiple of this: whole rounds of AMX's tile registers, and whole cache lines.
const STEPS: usize = 16;

/// Columns of a matrix `[T, cols]` that is one operand of the gradient.
#[derive(Clone, Copy)]
struct Columns<'a> {
    data: Elements<'a>,
    cols: usize,
    first: usize,
    len: usize,
}

/// Adds the gradient's entries to `dw`, in the order of the mask.
pub(super) fn weight_gradient(isa: Isa, input: &WeightGradient<'_, Cpu>, dw: &mut [f32]) {
    let [out_features, in_features] = input.shape;
    if input.dy.len == 0 {
        return;
    }
    let dy = Columns { data: input.dy.elements(), cols: input.dy_cols, first: input.first, len: out_features };
    match input.mask {
        Mask::None => {}
        Mask::All => product(isa, input.precision, dy, Columns::all(&input.x, in_features), dw),
        Mask::Rows(rows) => {
            let weights = dy.select(rows);
            let x = Columns::all(&input.x, in_features);
            if rows.len() <= FEW {
                weighted_rows(isa, &weights, rows.len(), x, dw);
            } else {
                let weights = Columns::of(&weights, rows.len());
                product(isa, input.precision, weights, x, dw);
            }
        }
        Mask::Columns(columns) => {
            if columns.len() <= FEW {
                let mut sums = ThreadScratch::filled(columns.len() * out_features, 0.0);
                weighted_rows(isa, input.x.f32(), columns.len(), dy, &mut sums);
                for (row, dw) in dw.chunks_exact_mut(columns.len()).enumerate() {
                    dw.iter_mut().zip(sums.chunks_exact(out_features)).for_each(|(dw, sums)| *dw += sums[row]);
                }
            } else {
                product(isa, input.precision, dy, Columns::all(&input.x, columns.len()), dw);
            }
        }
        Mask::Elements(elements) => {
            elements_of(isa, input.precision, dy, Columns::all(&input.x, in_features), elements, dw);
        }
    }
}

impl<'a> Columns<'a> {
    /// All columns of a matrix.
    fn all(matrix: &Slice<'a, Cpu>, cols: usize) -> Self {
        Self { data: matrix.elements(), cols, first: 0, len: cols }
    }

    /// All columns of a matrix on the host.
    fn of(data: &'a [f32], cols: usize) -> Self {
        Self { data: Elements::F32(data), cols, first: 0, len: cols }
    }

    /// The number of rows of the matrix.
    fn tokens(&self) -> usize {
        let len = match self.data {
            Elements::F32(data) => data.len(),
            Elements::Bf16(data) => data.len(),
        };
        len / self.cols
    }

    /// The matrix of the chosen columns, `[T, chosen]`.
    fn select(&self, chosen: &[u32]) -> ThreadScratch {
        let mut to = ThreadScratch::unspecified(self.tokens() * chosen.len());
        match self.data {
            Elements::F32(data) => select(data, self.cols, self.first, chosen, &mut to),
            Elements::Bf16(data) => select(data, self.cols, self.first, chosen, &mut to),
        }
        to
    }

    /// The columns as words of [`Float::Word`]: rows of f32, or pairs of rows in bfloat16. Returns the words and the
    /// number of rows of them, a multiple of [`STEPS`], the last ones zero.
    fn words<T: Float>(&self, isa: Isa) -> (ThreadScratch, usize) {
        let steps = self.tokens().div_ceil(T::PER_STEP).next_multiple_of(STEPS);
        let mut to = ThreadScratch::unspecified(steps * self.len);
        match self.data {
            Elements::F32(data) => words::<f32, T>(isa, data, self, &mut to),
            Elements::Bf16(data) => words::<half::bf16, T>(isa, data, self, &mut to),
        }
        (to, steps)
    }

    /// The columns of some tokens as words, as [`words`](Self::words) makes them, in rows of `to`; those that are left
    /// of it are zero.
    fn words_of<T: Float>(&self, isa: Isa, tokens: Range<usize>, to: &mut [f32]) {
        match self.data {
            Elements::F32(data) => words_of::<f32, T>(isa, data, self, tokens, to),
            Elements::Bf16(data) => words_of::<half::bf16, T>(isa, data, self, tokens, to),
        }
    }
}

/// Writes the chosen columns of rows of `cols` elements.
pub(super) fn select<T: Float>(from: &[T], cols: usize, first: usize, chosen: &[u32], to: &mut [f32]) {
    to.par_chunks_mut(TOKENS * chosen.len()).zip(from.par_chunks(TOKENS * cols)).for_each(|(to, from)| {
        for (to, from) in to.chunks_exact_mut(chosen.len()).zip(from.chunks_exact(cols)) {
            to.iter_mut().zip(chosen).for_each(|(to, &column)| *to = from[first + column as usize].to_f32());
        }
    });
}

fn words<A: Float, T: Float>(isa: Isa, from: &[A], columns: &Columns<'_>, to: &mut [f32]) {
    let tokens = TOKENS * T::PER_STEP;
    let blocks = to.par_chunks_mut(TOKENS * columns.len).enumerate();
    blocks.for_each(|(i, to)| {
        let rows = columns.tokens();
        words_of::<A, T>(isa, from, columns, rows.min(i * tokens)..rows.min((i + 1) * tokens), to);
    });
}

fn words_of<A: Float, T: Float>(isa: Isa, from: &[A], columns: &Columns<'_>, tokens: Range<usize>, to: &mut [f32]) {
    let (cols, range) = (columns.cols, columns.first..columns.first + columns.len);
    let from = &from[tokens.start * cols..tokens.end * cols];
    simd::dispatch(isa, Words::<A, T> { from, cols, range, to, element: PhantomData });
}

/// Copies columns of rows, or of pairs of rows; rows past the last one are zero.
struct Words<'a, A, T> {
    from: &'a [A],
    cols: usize,
    range: Range<usize>,
    to: &'a mut [f32],
    element: PhantomData<T>,
}

impl<A: Float, T: Float> Kernel for Words<'_, A, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut rows = self.from.chunks_exact(self.cols).map(|row| &row[self.range.clone()]);
        for to in self.to.chunks_exact_mut(self.range.len()) {
            let Some(low) = rows.next() else {
                to.fill(0.0);
                continue;
            };
            let high = if T::PER_STEP == 2 { rows.next() } else { None };
            for at in (0..to.len()).step_by(S::LANES) {
                let low = A::load(s, &low[at..]);
                let word = if T::PER_STEP == 1 {
                    low
                } else {
                    s.pair_bf16(low, high.map_or(s.zero(), |high| A::load(s, &high[at..])))
                };
                store(s, to, at, word);
            }
        }
    }
}

/// `dw += aᵀ · b`; a `[T, m]`, b `[T, n]`, dw `[m, n]`.
fn product(isa: Isa, precision: Precision, a: Columns<'_>, b: Columns<'_>, dw: &mut [f32]) {
    match precision {
        Precision::F32 => product_of::<f32>(isa, a, b, dw),
        Precision::Bf16 | Precision::Int8 => product_of::<half::bf16>(isa, a, b, dw),
    }
}

fn product_of<T: Float>(isa: Isa, a: Columns<'_>, b: Columns<'_>, dw: &mut [f32]) {
    let (left, steps) = transposed::<T>(isa, a);
    let (right, _) = b.words::<T>(isa);
    let left: &[T::Word] = bytemuck::cast_slice(&left);
    let right: &[T::Word] = bytemuck::cast_slice(&right);
    gemm::gemm(
        isa,
        1.0,
        MatRef::new(left, steps),
        MatRef::new(right, b.len),
        Output::Accumulate(MatMut::new(dw, b.len)),
    );
}

/// The transpose of columns, as rows of words, and the number of words in a row.
fn transposed<T: Float>(isa: Isa, columns: Columns<'_>) -> (ThreadScratch, usize) {
    let (words, steps) = columns.words::<T>(isa);
    let mut to = ThreadScratch::unspecified(steps * columns.len);
    gemm::transpose(isa, MatRef::new(&words, columns.len), &mut to, steps);
    (to, steps)
}

/// `sums[i] += Σₜ weights[t, i] rows[t]`; weights `[T, count]`, rows `[T, n]`, sums `[count, n]`.
fn weighted_rows(isa: Isa, weights: &[f32], count: usize, rows: Columns<'_>, sums: &mut [f32]) {
    match rows.data {
        Elements::F32(data) => weighted_rows_of(isa, weights, count, data, rows, sums),
        Elements::Bf16(data) => weighted_rows_of(isa, weights, count, data, rows, sums),
    }
}

fn weighted_rows_of<T: Float>(
    isa: Isa,
    weights: &[f32],
    count: usize,
    data: &[T],
    columns: Columns<'_>,
    sums: &mut [f32],
) {
    let blocks = columns.tokens().div_ceil(TOKENS);
    let mut partial = ThreadScratch::filled(blocks * sums.len(), 0.0);
    let range = columns.first..columns.first + columns.len;
    partial
        .par_chunks_exact_mut(sums.len())
        .zip(weights.par_chunks(TOKENS * count).zip(data.par_chunks(TOKENS * columns.cols)))
        .for_each(|(sums, (weights, rows))| {
            let rows = MatRef::new(rows, columns.cols).part(0..weights.len() / count, range.clone());
            simd::dispatch(isa, WeightedRows { weights, count, rows, sums });
        });
    sum_columns(&partial, sums);
}

struct WeightedRows<'a, T> {
    weights: &'a [f32],
    count: usize,
    rows: MatRef<'a, T>,
    sums: &'a mut [f32],
}

impl<T: Float> Kernel for WeightedRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { weights, count, rows, sums } = self;
        let cols = rows.cols();
        // Four rows at a time, so that a sum is loaded and stored once for four of them.
        for first in (0..rows.rows()).step_by(4) {
            let len = (rows.rows() - first).min(4);
            for at in (0..cols).step_by(S::LANES) {
                let mut x = [s.zero(); 4];
                for (i, x) in x.iter_mut().enumerate().take(len) {
                    *x = T::load(s, &rows.row(first + i)[at..]);
                }
                for i in 0..count {
                    let to = &mut sums[i * cols..][..cols];
                    let mut sum = load(s, to, at);
                    for (k, &x) in x.iter().enumerate().take(len) {
                        sum = s.fma(s.splat(weights[(first + k) * count + i]), x, sum);
                    }
                    store(s, to, at, sum);
                }
            }
        }
    }
}

/// `dw[e] += Σₜ a[t, row] b[t, col]` of the chosen elements `row * n + col`.
fn elements_of(isa: Isa, precision: Precision, a: Columns<'_>, b: Columns<'_>, elements: &[u32], dw: &mut [f32]) {
    // The transposes take as long as the strided columns of so many elements.
    if 16 * elements.len() < a.len + b.len {
        let (rows, cols): (Vec<u32>, Vec<u32>) =
            elements.iter().map(|&element| (element / b.len as u32, element % b.len as u32)).unzip();
        let (a, b) = (a.select(&rows), b.select(&cols));
        for (a, b) in a.chunks_exact(elements.len()).zip(b.chunks_exact(elements.len())) {
            dw.iter_mut().zip(a.iter().zip(b)).for_each(|(dw, (a, b))| *dw += a * b);
        }
        return;
    }
    match precision {
        Precision::F32 => dot_products::<f32>(isa, a, b, elements, dw),
        Precision::Bf16 | Precision::Int8 => dot_products::<half::bf16>(isa, a, b, elements, dw),
    }
}

/// Tokens of a task of dot products. Fixed, so that sums do not depend on the number of threads.
const DOT_TOKENS: usize = 128;

/// Both operands are transposed in pieces of [`STEPS`] words a column, one cache line, which stay in the second-level
/// cache while every element reads its two columns of them.
fn dot_products<T: Float>(isa: Isa, a: Columns<'_>, b: Columns<'_>, elements: &[u32], dw: &mut [f32]) {
    let places: Vec<[u32; 2]> =
        elements.iter().map(|&element| [element / b.len as u32, element % b.len as u32]).collect();
    let tasks = a.tokens().div_ceil(DOT_TOKENS);
    let mut partial = ThreadScratch::unspecified(tasks * elements.len());
    partial.par_chunks_exact_mut(elements.len()).enumerate().for_each(|(task, dots)| {
        let tokens = task * DOT_TOKENS..a.tokens().min((task + 1) * DOT_TOKENS);
        let mut sums = ThreadScratch::filled(elements.len() * STEPS, 0.0);
        let mut words = ThreadScratch::unspecified(a.len.max(b.len) * STEPS);
        let mut left = ThreadScratch::unspecified(a.len * STEPS);
        let mut right = ThreadScratch::unspecified(b.len * STEPS);
        for first in tokens.clone().step_by(STEPS * T::PER_STEP) {
            let tokens = first..tokens.end.min(first + STEPS * T::PER_STEP);
            for (columns, to) in [(a, &mut left), (b, &mut right)] {
                let words = &mut words[..columns.len * STEPS];
                columns.words_of::<T>(isa, tokens.clone(), words);
                gemm::transpose_block(isa, MatRef::new(words, columns.len), to, STEPS);
            }
            let (a, b, sums) = (&left[..], &right[..], &mut sums[..]);
            simd::dispatch(isa, AddDots::<T::Word> { a, b, places: &places, sums, element: PhantomData });
        }
        simd::dispatch(isa, Reduce { sums: &sums, to: dots });
    });
    sum_columns(&partial, dw);
}

/// `sums[e] += a[row] ∘ b[col]` for the place `[row, col]` of each element, all of [`STEPS`] words.
struct AddDots<'a, T> {
    a: &'a [f32],
    b: &'a [f32],
    places: &'a [[u32; 2]],
    sums: &'a mut [f32],
    element: PhantomData<T>,
}

impl<T: Operand> Kernel for AddDots<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (&[row, col], sums) in self.places.iter().zip(self.sums.chunks_exact_mut(STEPS)) {
            let (a, b) = (&self.a[row as usize * STEPS..][..STEPS], &self.b[col as usize * STEPS..][..STEPS]);
            for at in (0..STEPS).step_by(S::LANES) {
                let sum = T::multiply(s, s.load(&a[at..]), s.load(&b[at..]), s.load(&sums[at..]));
                store(s, sums, at, sum);
            }
        }
    }
}

/// The sum of each [`STEPS`] values.
struct Reduce<'a> {
    sums: &'a [f32],
    to: &'a mut [f32],
}

impl Kernel for Reduce<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (sums, to) in self.sums.chunks_exact(STEPS).zip(self.to) {
            let vectors = (0..STEPS).step_by(S::LANES).map(|at| s.load(&sums[at..]));
            *to = s.reduce_sum(vectors.fold(s.zero(), |sum, part| s.add(sum, part)));
        }
    }
}
