//! Attention on the CPU: the sequences and their heads side by side, each head in tiles of a few queries against all keys of
//! its sequence, so that a tile of scores stays in the second cache and never exists as a whole.
//!
//! A head's queries, keys and values are gathered into rows of their own first, in f32 whatever the projections are: the
//! products read each of them many times.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use super::{
    Attention, Input, Projections,
    columns::{Columns, put, take},
    dropout_element,
};
use crate::{
    Cpu, DType, Result, Slice, SliceMut,
    cpu::{ElementsMut, load, store},
    gemm::{MatMut, MatRef, NoEpilogue, Output, RightOperand, gemm, multiply},
    lent::Lent,
    simd::{self, Kernel, Level, Simd, math},
};

/// Queries of one tile.
const QUERY_TILE: usize = 32;

/// Scores of a sequence, all heads together, below which its heads are not worth sharing out.
const SHARED_SCORES: usize = 1 << 16;

impl Attention for Cpu {
    fn attention(
        &self,
        input: &Input<'_, Self>,
        o: SliceMut<'_, Self>,
        log_sums: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let (level, width, dim) = (self.level(), input.width(), input.head_dim);
        let o = split(o, input.queries.host(), width);
        let log_sums: Vec<Option<&mut [f32]>> = match log_sums {
            Some(log_sums) => {
                split_slice(log_sums.f32(), input.queries.host(), input.heads).into_iter().map(Some).collect()
            }
            None => o.iter().map(|_| None).collect(),
        };
        o.into_par_iter().zip(log_sums).enumerate().for_each(|(sequence, (mut o, mut log_sums))| {
            let queries = input.queries.range(sequence).len();
            let scores = queries * input.keys.range(sequence).len();
            // Head after head: o [queries, D], then the log-sums [queries].
            let mut heads = Lent::any(input.heads * queries * (dim + 1));
            for_each_head(input.heads * scores, &mut heads, queries * (dim + 1), |head, out| {
                let (o, log_sums) = out.split_at_mut(queries * dim);
                let at = Head { level, input, sequence, head };
                with_scratch(|scratch| scratch.forward(&at, o, log_sums));
            });
            for (head, out) in heads.chunks_exact(queries * (dim + 1)).enumerate() {
                let (from, sums) = out.split_at(queries * dim);
                put(level, &mut o, Columns { stride: width, first: head * dim, count: dim }, from);
                if let Some(log_sums) = &mut log_sums {
                    sums.iter().enumerate().for_each(|(row, sum)| log_sums[row * input.heads + head] = *sum);
                }
            }
        });
        Ok(())
    }

    fn attention_backward(
        &self,
        input: &Input<'_, Self>,
        log_sums: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        gradient: Projections<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let (level, width, dim) = (self.level(), input.width(), input.head_dim);
        let log_sums = log_sums.f32();
        let (queries, keys) = (input.queries.host(), input.keys.host());
        // Of each sequence its own rows of the gradients, to write without asking the others.
        let gradients: Vec<Projections<ElementsMut<'_>>> = match gradient {
            Projections::Packed(qkv) => split(qkv, queries, 3 * width).into_iter().map(Projections::Packed).collect(),
            Projections::Split { query, key_value } => split(query, queries, width)
                .into_iter()
                .zip(split(key_value, keys, 2 * width))
                .map(|(query, key_value)| Projections::Split { query, key_value })
                .collect(),
        };
        gradients.into_par_iter().enumerate().for_each(|(sequence, mut gradient)| {
            let (queries, keys) = (input.queries.range(sequence).len(), input.keys.range(sequence).len());
            // Head after head: dq [queries, D], dk and dv [keys, D].
            let size = (queries + 2 * keys) * dim;
            let mut heads = Lent::any(input.heads * size);
            for_each_head(input.heads * queries * keys, &mut heads, size, |head, out| {
                let at = Head { level, input, sequence, head };
                with_scratch(|scratch| scratch.backward(&at, log_sums, &dy, out));
            });
            for (head, out) in heads.chunks_exact(size).enumerate() {
                let (dq, rest) = out.split_at(queries * dim);
                let (dk, dv) = rest.split_at(keys * dim);
                let columns = |stride, part| Columns { stride, first: part + head * dim, count: dim };
                match &mut gradient {
                    Projections::Packed(qkv) => {
                        for (part, from) in [dq, dk, dv].into_iter().enumerate() {
                            put(level, qkv, columns(3 * width, part * width), from);
                        }
                    }
                    Projections::Split { query, key_value } => {
                        put(level, query, columns(width, 0), dq);
                        put(level, key_value, columns(2 * width, 0), dk);
                        put(level, key_value, columns(2 * width, width), dv);
                    }
                }
            }
        });
        Ok(())
    }
}

/// Runs `work` for every head's part of `out`, `size` elements each; side by side where there are scores enough.
fn for_each_head(scores: usize, out: &mut [f32], size: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if scores < SHARED_SCORES {
        out.chunks_exact_mut(size).enumerate().for_each(|(head, out)| work(head, out));
    } else {
        out.par_chunks_exact_mut(size).enumerate().for_each(|(head, out)| work(head, out));
    }
}

/// A matrix of rows cut at the sequences' bounds.
fn split<'a>(data: SliceMut<'a, Cpu>, offsets: &[u32], cols: usize) -> Vec<ElementsMut<'a>> {
    match data.dtype {
        DType::F32 => split_slice(data.f32(), offsets, cols).into_iter().map(ElementsMut::F32).collect(),
        DType::Bf16 => split_slice(data.bf16(), offsets, cols).into_iter().map(ElementsMut::Bf16).collect(),
    }
}

fn split_slice<'a, T>(mut data: &'a mut [T], offsets: &[u32], cols: usize) -> Vec<&'a mut [T]> {
    let mut parts = Vec::with_capacity(offsets.len() - 1);
    for bounds in offsets.windows(2) {
        let (part, rest) = data.split_at_mut((bounds[1] - bounds[0]) as usize * cols);
        parts.push(part);
        data = rest;
    }
    parts
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// This thread's scratch. Taken out while in use: a thread that waits for others may be handed a head of its own.
fn with_scratch(work: impl FnOnce(&mut Scratch)) {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    work(&mut scratch);
    SCRATCH.set(Some(scratch));
}

/// Which head of which sequence.
struct Head<'a, 'b> {
    level: Level,
    input: &'a Input<'b, Cpu>,
    sequence: usize,
    head: usize,
}

/// One head of one sequence, and a tile of its scores.
#[derive(Default)]
struct Scratch {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    dy: Vec<f32>,
    /// kᵀ and vᵀ, laid out for the products that make scores and dp.
    k_transposed: RightOperand,
    v_transposed: RightOperand,
    /// Scores, then p.
    p: Vec<f32>,
    /// dp, then ds.
    ds: Vec<f32>,
    /// The dropout's factors, rows padded to a multiple of 16.
    factors: Vec<f32>,
}

impl Scratch {
    fn gather(&mut self, at: &Head<'_, '_>) {
        let &Head { level, input, sequence, head } = at;
        let (width, dim) = (input.width(), input.head_dim);
        let (queries, keys) = (input.queries.range(sequence), input.keys.range(sequence));
        let columns = |stride, part| Columns { stride, first: part + head * dim, count: dim };
        match &input.projections {
            Projections::Packed(qkv) => {
                for (part, to) in [&mut self.q, &mut self.k, &mut self.v].into_iter().enumerate() {
                    take(level, qkv, queries.clone(), columns(3 * width, part * width), to);
                }
            }
            Projections::Split { query, key_value } => {
                take(level, query, queries, columns(width, 0), &mut self.q);
                take(level, key_value, keys.clone(), columns(2 * width, 0), &mut self.k);
                take(level, key_value, keys, columns(2 * width, width), &mut self.v);
            }
        }
        self.k_transposed.pack(level, MatRef::new(&self.k, dim).t());
    }

    /// The scores of some queries, `q · kᵀ / √D`, to `p`, and the factors of their dropout.
    fn scores(&mut self, at: &Head<'_, '_>, tile: &Range<usize>) {
        let &Head { level, input, sequence, head } = at;
        let (dim, keys) = (input.head_dim, self.k.len() / input.head_dim);
        self.p.resize(tile.len() * keys, 0.0);
        let q = MatRef::new(&self.q, dim).part(tile.clone(), 0..dim);
        let to = Output::Write(MatMut::new(&mut self.p, keys));
        multiply(level, 1.0 / (dim as f32).sqrt(), q, &self.k_transposed, to, &NoEpilogue);
        if let Some(dropout) = input.dropout {
            self.factors.resize(tile.len() * keys.next_multiple_of(16), 0.0);
            let first = dropout_element(sequence, input.heads, head, tile.start, keys);
            dropout.factors(level, first, &mut self.factors);
        } else {
            self.factors.clear();
        }
    }

    fn forward(&mut self, at: &Head<'_, '_>, o: &mut [f32], log_sums: &mut [f32]) {
        let &Head { level, input, .. } = at;
        let dim = input.head_dim;
        self.gather(at);
        let keys = self.k.len() / dim;
        for tile in tiles(log_sums.len()) {
            self.scores(at, &tile);
            let (p, factors) = (&mut self.p, &self.factors);
            simd::dispatch(level, SoftmaxTile { p, keys, factors, log_sums: &mut log_sums[tile.clone()] });
            let o = MatMut::new(&mut o[tile.start * dim..tile.end * dim], dim);
            gemm(level, 1.0, MatRef::new(&self.p, keys), MatRef::new(&self.v, dim), Output::Write(o));
        }
    }

    fn backward(&mut self, at: &Head<'_, '_>, log_sums: &[f32], dy: &Slice<'_, Cpu>, out: &mut [f32]) {
        let &Head { level, input, sequence, head } = at;
        let (width, dim) = (input.width(), input.head_dim);
        let scale = 1.0 / (dim as f32).sqrt();
        let rows = input.queries.range(sequence);
        self.gather(at);
        let columns = Columns { stride: width, first: head * dim, count: dim };
        take(level, dy, rows.clone(), columns, &mut self.dy);
        self.v_transposed.pack(level, MatRef::new(&self.v, dim).t());
        let keys = self.k.len() / dim;
        let (dq, rest) = out.split_at_mut(rows.len() * dim);
        let (dk, dv) = rest.split_at_mut(keys * dim);
        for tile in tiles(rows.len()) {
            self.scores(at, &tile);
            self.ds.resize(tile.len() * keys, 0.0);
            let dy = MatRef::new(&self.dy, dim).part(tile.clone(), 0..dim);
            multiply(level, 1.0, dy, &self.v_transposed, Output::Write(MatMut::new(&mut self.ds, keys)), &NoEpilogue);
            let (p, ds, factors) = (&mut self.p, &mut self.ds, &self.factors);
            let log_sums = tile.clone().map(|row| log_sums[(rows.start + row) * input.heads + head]);
            simd::dispatch(level, SoftmaxTileBackward { p, ds, keys, factors, log_sums });
            // `p` now holds m ∘ p.
            let [p, ds] = [&self.p, &self.ds].map(|tile| MatRef::new(tile, keys));
            let q = MatRef::new(&self.q, dim).part(tile.clone(), 0..dim);
            let sum = |to| if tile.start == 0 { Output::Write(to) } else { Output::Accumulate(to) };
            gemm(level, 1.0, p.t(), dy, sum(MatMut::new(dv, dim)));
            gemm(level, scale, ds.t(), q, sum(MatMut::new(dk, dim)));
            let dq = MatMut::new(&mut dq[tile.start * dim..tile.end * dim], dim);
            gemm(level, scale, ds, MatRef::new(&self.k, dim), Output::Write(dq));
        }
    }
}

/// The tiles of so many queries.
fn tiles(queries: usize) -> impl Iterator<Item = Range<usize>> {
    (0..queries).step_by(QUERY_TILE).map(move |first| first..queries.min(first + QUERY_TILE))
}

/// The factors of row i of a tile, where there is dropout.
fn row_factors(factors: &[f32], i: usize, keys: usize) -> Option<&[f32]> {
    (!factors.is_empty()).then(|| &factors[i * keys.next_multiple_of(16)..][..keys])
}

/// Rows of scores to `m ∘ p`, with their log-sum-exps.
struct SoftmaxTile<'a> {
    p: &'a mut [f32],
    keys: usize,
    factors: &'a [f32],
    log_sums: &'a mut [f32],
}

impl Kernel for SoftmaxTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, (row, log_sum)) in self.p.chunks_exact_mut(self.keys).zip(self.log_sums).enumerate() {
            let mut greatest = s.splat(f32::NEG_INFINITY);
            let whole = row.len() / S::LANES * S::LANES;
            for j in (0..whole).step_by(S::LANES) {
                greatest = s.max(load(s, row, j), greatest);
            }
            let max = row[whole..].iter().fold(s.reduce_max(greatest), |max, &score| max.max(score));
            let at = s.splat(max);
            let mut sum = s.zero();
            for j in (0..row.len()).step_by(S::LANES) {
                let e = math::exp(s, s.sub(load(s, row, j), at));
                store(s, row, j, e);
                // Lanes behind the row's end hold exp(-max); read again, they are zero.
                let e = if j == whole { load(s, row, j) } else { e };
                sum = s.add(sum, e);
            }
            let total = s.reduce_sum(sum);
            *log_sum = max + total.ln();
            let inverse = s.splat(1.0 / total);
            let factors = row_factors(self.factors, i, self.keys);
            for j in (0..row.len()).step_by(S::LANES) {
                let mut p = s.mul(load(s, row, j), inverse);
                if let Some(factors) = factors {
                    p = s.mul(p, load(s, factors, j));
                }
                store(s, row, j, p);
            }
        }
    }
}

/// Rows of scores to `m ∘ p`, and the same rows of `do · vᵀ` to ds.
struct SoftmaxTileBackward<'a, L> {
    p: &'a mut [f32],
    ds: &'a mut [f32],
    keys: usize,
    factors: &'a [f32],
    log_sums: L,
}

impl<L: Iterator<Item = f32>> Kernel for SoftmaxTileBackward<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.p.chunks_exact_mut(self.keys).zip(self.ds.chunks_exact_mut(self.keys)).zip(self.log_sums);
        for (i, ((row, ds), log_sum)) in rows.enumerate() {
            let log_sum = s.splat(log_sum);
            let factors = row_factors(self.factors, i, self.keys);
            let whole = row.len() / S::LANES * S::LANES;
            let mut sum = s.zero();
            for j in (0..row.len()).step_by(S::LANES) {
                let p = math::exp(s, s.sub(load(s, row, j), log_sum));
                store(s, row, j, p);
                // Lanes behind the row's end hold exp(-L), which may be infinite; read again, they are zero.
                let p = if j == whole { load(s, row, j) } else { p };
                let mut dp = load(s, ds, j);
                if let Some(factors) = factors {
                    dp = s.mul(dp, load(s, factors, j));
                    store(s, ds, j, dp);
                }
                sum = s.fma(p, dp, sum);
            }
            let mean = s.splat(s.reduce_sum(sum));
            for j in (0..row.len()).step_by(S::LANES) {
                let p = load(s, row, j);
                store(s, ds, j, s.mul(p, s.sub(load(s, ds, j), mean)));
                if let Some(factors) = factors {
                    store(s, row, j, s.mul(p, load(s, factors, j)));
                }
            }
        }
    }
}
