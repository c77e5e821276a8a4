//! `LN(r + m ∘ (x + b))` on the CPU: each task takes a block of rows; a row passes three times through the L1 cache in
//! forward and twice in backward.

use half::bf16;
use rayon::prelude::*;

use super::{AddNorm, BackwardInput, BackwardOutput, Input, Output};
use crate::{
    Cpu, DType, Result,
    backend::{Slice, SliceMut},
    cpu::{
        Float, ROW_BLOCK, blocks, blocks_of, load, optional_blocks,
        simd::{self, Isa, Kernel, Simd},
        store, sum_columns,
    },
    memory::ThreadScratch,
    rng::Dropout,
};

impl AddNorm for Cpu {
    fn add_norm(&self, input: Input<'_, Self>, output: Output<'_, Self>) -> Result<()> {
        let narrow = output.saved.as_ref().map_or(DType::F32, |saved| saved.normalized.dtype);
        match (input.x.dtype, narrow) {
            (DType::F32, DType::F32) => self.add_norm_of::<f32, f32>(input, output),
            (DType::F32, DType::Bf16) => self.add_norm_of::<f32, bf16>(input, output),
            (DType::Bf16, DType::F32) => self.add_norm_of::<bf16, f32>(input, output),
            (DType::Bf16, DType::Bf16) => self.add_norm_of::<bf16, bf16>(input, output),
        }
        Ok(())
    }

    fn add_norm_backward(&self, input: BackwardInput<'_, Self>, output: BackwardOutput<'_, Self>) -> Result<()> {
        let narrow = input.saved.as_ref().map_or(DType::F32, |(normalized, _)| normalized.dtype);
        match (output.x.as_ref().map_or(DType::F32, |dx| dx.dtype), narrow) {
            (DType::F32, DType::F32) => self.add_norm_backward_of::<f32, f32>(input, output),
            (DType::F32, DType::Bf16) => self.add_norm_backward_of::<f32, bf16>(input, output),
            (DType::Bf16, DType::F32) => self.add_norm_backward_of::<bf16, f32>(input, output),
            (DType::Bf16, DType::Bf16) => self.add_norm_backward_of::<bf16, bf16>(input, output),
        }
        Ok(())
    }
}

impl Cpu {
    /// Forward for x of type `X`, saving x̂ as `K`.
    fn add_norm_of<X: Float, K: Float>(&self, input: Input<'_, Self>, output: Output<'_, Self>) {
        let Output { y, rounded, saved } = output;
        let cols = input.cols;
        let x = X::of(&input.x);
        let rows = x.len() / cols;
        let linear_bias = input.linear_bias.as_ref().map(Slice::f32);
        let residual = input.residual.as_ref().map(Slice::f32);
        let (gamma, beta) = (input.gamma.f32(), input.beta.f32());
        let (normalized, rstd) = saved.map(|saved| (K::of_mut(saved.normalized), saved.rstd.f32())).unzip();
        let tasks = blocks(y.f32(), cols)
            .zip(optional_blocks(normalized, rows, cols))
            .zip(optional_blocks(rstd, rows, 1))
            .zip(optional_blocks(rounded.map(SliceMut::bf16), rows, cols))
            .zip(blocks_of(x, cols))
            .enumerate();
        tasks.for_each_init(
            || ThreadScratch::filled(cols, 1.0),
            |factors, (block, ((((y, mut normalized), mut rstd), mut rounded), x))| {
                let first = block * ROW_BLOCK;
                for (i, (y, x)) in y.chunks_exact_mut(cols).zip(x.chunks_exact(cols)).enumerate() {
                    let at = (first + i) * cols;
                    draw(self.isa(), input.dropout, at, factors);
                    let residual = residual.map(|r| &r[at..at + cols]);
                    let moments = Moments { x, linear_bias, residual, factors, eps: input.eps, v: y };
                    let (mean, inverse) = simd::dispatch(self.isa(), moments);
                    let normalized = normalized.as_mut().map(|normalized| &mut normalized[i * cols..][..cols]);
                    if let Some(rstd) = &mut rstd {
                        rstd[i] = inverse;
                    }
                    let rounded = rounded.as_mut().map(|rounded| &mut rounded[i * cols..][..cols]);
                    simd::dispatch(self.isa(), Normalise { mean, rstd: inverse, gamma, beta, normalized, rounded, y });
                }
            },
        );
    }

    /// Backward for dx of type `X`, with x̂ saved as `K`.
    fn add_norm_backward_of<X: Float, K: Float>(
        &self,
        input: BackwardInput<'_, Self>,
        output: BackwardOutput<'_, Self>,
    ) {
        let BackwardOutput { mut sums, residual, x } = output;
        let cols = input.cols;
        let dy = input.dy.f32();
        let rows = dy.len() / cols;
        let gamma = input.gamma.f32();
        let saved = input.saved.map(|(normalized, rstd)| (K::of(&normalized), rstd.f32()));
        // For each block of rows, the sums for β, b and γ.
        let mut partial = ThreadScratch::filled(rows.div_ceil(ROW_BLOCK) * 3 * cols, 0.0);
        let tasks = partial
            .par_chunks_exact_mut(3 * cols)
            .zip(optional_blocks(residual.map(SliceMut::f32), rows, cols))
            .zip(optional_blocks(x.map(X::of_mut), rows, cols))
            .zip(blocks_of(dy, cols))
            .enumerate();
        tasks.for_each_init(
            || ThreadScratch::filled(cols, 1.0),
            |factors, (block, (((partial, mut dr), mut dx), dy))| {
                let (dbeta, rest) = partial.split_at_mut(cols);
                let (dbias, dgamma) = rest.split_at_mut(cols);
                for (i, dy) in dy.chunks_exact(cols).enumerate() {
                    let row = block * ROW_BLOCK + i;
                    let Some((normalized, rstd)) = saved else {
                        simd::dispatch(self.isa(), Add { from: dy, to: dbeta });
                        continue;
                    };
                    draw(self.isa(), input.dropout, row * cols, factors);
                    let backward = RowBackward {
                        dy,
                        normalized: &normalized[row * cols..][..cols],
                        rstd: rstd[row],
                        gamma,
                        factors,
                        dbeta,
                        dbias,
                        dgamma,
                        dr: dr.as_mut().map(|dr| &mut dr[i * cols..][..cols]),
                        dx: dx.as_mut().map(|dx| &mut dx[i * cols..][..cols]),
                    };
                    simd::dispatch(self.isa(), backward);
                }
            },
        );
        for index in 0..3 {
            if let Some(sum) = sums.part(index, cols) {
                let sum = sum.f32();
                for partial in partial.chunks_exact(3 * cols) {
                    sum_columns(&partial[index * cols..][..cols], sum);
                }
            }
        }
    }
}

/// Writes the dropout factors of the elements from `at` on; without dropout they stay 1.
fn draw(isa: Isa, dropout: Option<Dropout>, at: usize, factors: &mut [f32]) {
    if let Some(dropout) = dropout {
        dropout.factors(isa, at as u64, factors);
    }
}

/// Computes `v = r + m ∘ (x + b)` of one row, its mean and rstd.
struct Moments<'a, X> {
    x: &'a [X],
    linear_bias: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    factors: &'a [f32],
    eps: f32,
    v: &'a mut [f32],
}

impl<X: Float> Kernel for Moments<'_, X> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        let cols = self.x.len();
        let mut sum = s.zero();
        for j in (0..cols).step_by(S::LANES) {
            let mut v = X::load(s, &self.x[j..]);
            if let Some(linear_bias) = self.linear_bias {
                v = s.add(v, load(s, linear_bias, j));
            }
            v = s.mul(v, load(s, self.factors, j));
            if let Some(residual) = self.residual {
                v = s.add(v, load(s, residual, j));
            }
            sum = s.add(sum, v);
            store(s, self.v, j, v);
        }
        let mean = s.reduce_sum(sum) / cols as f32;
        let mut squares = s.zero();
        for j in (0..cols).step_by(S::LANES) {
            let mut d = s.sub(load(s, self.v, j), s.splat(mean));
            if j + S::LANES > cols {
                // Lanes past the end of the row hold -mean, and are set to zero.
                let mut row = [0.0; 16];
                s.store_partial(&mut row[..cols - j], d);
                d = s.load(&row);
            }
            squares = s.fma(d, d, squares);
        }
        let variance = s.reduce_sum(squares) / cols as f32;
        (mean, 1.0 / (variance + self.eps).sqrt())
    }
}

/// Computes x̂ and y of one row from v, which is in y.
struct Normalise<'a, K> {
    mean: f32,
    rstd: f32,
    gamma: &'a [f32],
    beta: &'a [f32],
    normalized: Option<&'a mut [K]>,
    rounded: Option<&'a mut [bf16]>,
    y: &'a mut [f32],
}

impl<K: Float> Kernel for Normalise<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (mean, rstd) = (s.splat(self.mean), s.splat(self.rstd));
        for j in (0..self.y.len()).step_by(S::LANES) {
            let normalized = s.mul(s.sub(load(s, self.y, j), mean), rstd);
            if let Some(saved) = &mut self.normalized {
                K::store(s, &mut saved[j..], normalized);
            }
            let y = s.fma(load(s, self.gamma, j), normalized, load(s, self.beta, j));
            if let Some(rounded) = &mut self.rounded {
                <bf16 as Float>::store(s, &mut rounded[j..], y);
            }
            store(s, self.y, j, y);
        }
    }
}

/// Backward of one row.
struct RowBackward<'a, X, K> {
    dy: &'a [f32],
    normalized: &'a [K],
    rstd: f32,
    gamma: &'a [f32],
    factors: &'a [f32],
    dbeta: &'a mut [f32],
    dbias: &'a mut [f32],
    dgamma: &'a mut [f32],
    dr: Option<&'a mut [f32]>,
    dx: Option<&'a mut [X]>,
}

impl<X: Float, K: Float> Kernel for RowBackward<'_, X, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let cols = self.dy.len();
        let (mut sum, mut product) = (s.zero(), s.zero());
        for j in (0..cols).step_by(S::LANES) {
            let (dy, normalized) = (load(s, self.dy, j), K::load(s, &self.normalized[j..]));
            let g = s.mul(load(s, self.gamma, j), dy);
            sum = s.add(sum, g);
            product = s.fma(g, normalized, product);
            store(s, self.dbeta, j, s.add(load(s, self.dbeta, j), dy));
            store(s, self.dgamma, j, s.fma(dy, normalized, load(s, self.dgamma, j)));
        }
        let mean = s.splat(s.reduce_sum(sum) / cols as f32);
        let product = s.splat(s.reduce_sum(product) / cols as f32);
        let rstd = s.splat(self.rstd);
        for j in (0..cols).step_by(S::LANES) {
            let g = s.mul(load(s, self.gamma, j), load(s, self.dy, j));
            let centred = s.fnma(K::load(s, &self.normalized[j..]), product, s.sub(g, mean));
            let dr = s.mul(rstd, centred);
            let dx = s.mul(dr, load(s, self.factors, j));
            store(s, self.dbias, j, s.add(load(s, self.dbias, j), dx));
            if let Some(out) = &mut self.dr {
                store(s, out, j, dr);
            }
            if let Some(out) = &mut self.dx {
                X::store(s, &mut out[j..], dx);
            }
        }
    }
}

/// `to += from`.
struct Add<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for j in (0..self.to.len()).step_by(S::LANES) {
            store(s, self.to, j, s.add(load(s, self.to, j), load(s, self.from, j)));
        }
    }
}
