//! Attention on the CPU: sequences and heads run in parallel; each head takes tiles of a few queries against all keys
//! of its sequence, so that a tile of scores stays in the L2 cache and the whole matrix never exists.
//!
//! A head's queries, keys and values are first gathered into contiguous rows, because the products read each of them
//! many times. In bfloat16, p and ds are rounded for the products that read them; sums, scores and statistics are f32.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::{
    Attention, Input, Projections,
    columns::{Columns, put},
    dropout_element,
    operands::{self, words},
    position_bias_row,
    softmax::{SoftmaxTile, SoftmaxTileBackward},
};
use crate::{
    Cpu, DType, Result,
    backend::{Slice, SliceMut},
    cpu::{
        ElementsMut, Float,
        gemm::{MatMut, MatRef, NoEpilogue, Operand, Output, PackedMatrix, gemm, multiply},
        simd::{self, Isa},
    },
    memory::{ThreadScratch, with_thread_value},
};

/// Queries per tile: enough that the products which sum over them, dk and dv, are not dominated by loads and stores;
/// few enough that a tile of a long sequence stays in the L2 cache. Even, so that both rows of a pair are in one tile.
const QUERY_TILE: usize = 64;

/// Scores of all heads of a sequence below which one thread computes all heads.
const PARALLEL_SCORES: usize = 1 << 16;

impl Attention for Cpu {
    fn attention(&self, input: &Input<'_, Self>, o: SliceMut<'_, Self>, lse: Option<SliceMut<'_, Self>>) -> Result<()> {
        match input.dtype() {
            DType::F32 => attention::<f32>(self.isa(), input, o, lse),
            DType::Bf16 => attention::<bf16>(self.isa(), input, o, lse),
        }
        Ok(())
    }

    fn attention_backward(
        &self,
        input: &Input<'_, Self>,
        lse: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        gradient: Projections<SliceMut<'_, Self>>,
        bias_gradient: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        match input.dtype() {
            DType::F32 => attention_backward::<f32>(self.isa(), input, lse, dy, gradient, bias_gradient),
            DType::Bf16 => attention_backward::<bf16>(self.isa(), input, lse, dy, gradient, bias_gradient),
        }
        Ok(())
    }
}

fn attention<T: Float>(isa: Isa, input: &Input<'_, Cpu>, o: SliceMut<'_, Cpu>, lse: Option<SliceMut<'_, Cpu>>) {
    let (width, dim) = (input.width(), input.head_dim);
    let o = split(o, input.queries.host(), width);
    let lse: Vec<Option<&mut [f32]>> = match lse {
        Some(lse) => split_slice(lse.f32(), input.queries.host(), input.heads).into_iter().map(Some).collect(),
        None => o.iter().map(|_| None).collect(),
    };
    o.into_par_iter().zip(lse).enumerate().for_each(|(sequence, (mut o, mut lse))| {
        let queries = input.queries.range(sequence).len();
        if queries == 0 {
            return;
        }
        let scores = queries * input.keys.range(sequence).len();
        // For each head: o [queries, D], then the log-sum-exps [queries].
        let mut heads = ThreadScratch::unspecified(input.heads * queries * (dim + 1));
        for_each_head(input.heads * scores, &mut heads, queries * (dim + 1), |head, out| {
            let (o, lse) = out.split_at_mut(queries * dim);
            let at = Head { isa, input, sequence, head };
            with_thread_value(|scratch: &mut HeadScratch<T>| scratch.forward(&at, o, lse));
        });
        for (head, out) in heads.chunks_exact(queries * (dim + 1)).enumerate() {
            let (from, sums) = out.split_at(queries * dim);
            put(isa, &mut o, Head { isa, input, sequence, head }.columns(width, 0), from);
            if let Some(lse) = &mut lse {
                sums.iter().enumerate().for_each(|(row, sum)| lse[row * input.heads + head] = *sum);
            }
        }
    });
}

fn attention_backward<T: Float>(
    isa: Isa,
    input: &Input<'_, Cpu>,
    lse: Slice<'_, Cpu>,
    dy: Slice<'_, Cpu>,
    gradient: Projections<SliceMut<'_, Cpu>>,
    bias_gradient: Option<SliceMut<'_, Cpu>>,
) {
    let (width, dim) = (input.width(), input.head_dim);
    let lse = lse.f32();
    // The rows of a gradient of the position bias, which each sequence sums for itself.
    let distances = bias_gradient.as_ref().and(input.position_bias).map_or(0, |bias| bias.rows());
    let mut bias_sums: Vec<Vec<f32>> = vec![Vec::new(); input.queries.count()];
    let (queries, keys) = (input.queries.host(), input.keys.host());
    // The rows of each sequence, which its task writes independently of the others.
    let gradients: Vec<Projections<ElementsMut<'_>>> = match gradient {
        Projections::Packed(qkv) => split(qkv, queries, 3 * width).into_iter().map(Projections::Packed).collect(),
        Projections::Split { query, key_value } => split(query, queries, width)
            .into_iter()
            .zip(split(key_value, keys, 2 * width))
            .map(|(query, key_value)| Projections::Split { query, key_value })
            .collect(),
    };
    gradients.into_par_iter().zip(&mut bias_sums).enumerate().for_each(|(sequence, (mut gradient, bias_sums))| {
        let (queries, keys) = (input.queries.range(sequence).len(), input.keys.range(sequence).len());
        if queries == 0 {
            bias_sums.resize(input.heads * distances, 0.0);
            match gradient {
                Projections::Split { key_value: ElementsMut::F32(rows), .. } => rows.fill(0.0),
                Projections::Split { key_value: ElementsMut::Bf16(rows), .. } => rows.fill(bf16::ZERO),
                Projections::Packed(_) => {}
            }
            return;
        }
        // For each head: dq [queries, D], dk and dv [keys, D], and the gradient of its position bias.
        let size = (queries + 2 * keys) * dim + distances;
        let mut heads = ThreadScratch::unspecified(input.heads * size);
        for_each_head(input.heads * queries * keys, &mut heads, size, |head, out| {
            let at = Head { isa, input, sequence, head };
            with_thread_value(|scratch: &mut HeadScratch<T>| scratch.backward(&at, lse, &dy, out));
        });
        for (head, out) in heads.chunks_exact(size).enumerate() {
            let (dq, rest) = out.split_at(queries * dim);
            let (dk, rest) = rest.split_at(keys * dim);
            let (dv, of_bias) = rest.split_at(keys * dim);
            bias_sums.extend(of_bias);
            let at = Head { isa, input, sequence, head };
            match &mut gradient {
                Projections::Packed(qkv) => {
                    for (part, from) in [dq, dk, dv].into_iter().enumerate() {
                        put(isa, qkv, at.columns(3 * width, part * width), from);
                    }
                }
                Projections::Split { query, key_value } => {
                    put(isa, query, at.columns(width, 0), dq);
                    put(isa, key_value, at.columns(2 * width, 0), dk);
                    put(isa, key_value, at.columns(2 * width, width), dv);
                }
            }
        }
    });
    if let Some(gradient) = bias_gradient {
        for (i, element) in gradient.f32().iter_mut().enumerate() {
            let (distance, head) = (i / input.heads, i % input.heads);
            *element = bias_sums.iter().map(|sums| sums[head * distances + distance]).sum();
        }
    }
}

/// Calls `work` with every head's part of `out`, of `size` elements each; in parallel if there are enough scores.
fn for_each_head(scores: usize, out: &mut [f32], size: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if scores < PARALLEL_SCORES {
        out.chunks_exact_mut(size).enumerate().for_each(|(head, out)| work(head, out));
    } else {
        out.par_chunks_exact_mut(size).enumerate().for_each(|(head, out)| work(head, out));
    }
}

/// Splits a matrix at the bounds of the sequences.
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

/// One head of one sequence.
struct Head<'a, 'b> {
    isa: Isa,
    input: &'a Input<'b, Cpu>,
    sequence: usize,
    head: usize,
}

impl Head<'_, '_> {
    /// The head's columns of a matrix of `stride` columns, in the projection that starts at column `part`.
    fn columns(&self, stride: usize, part: usize) -> Columns {
        let dim = self.input.head_dim;
        Columns { stride, first: part + self.head * dim, count: dim }
    }
}

/// The operands of one head of a sequence, and a tile of its scores. `T` is the element type of the projections.
struct HeadScratch<T: Float> {
    q: Vec<T::Word>,
    k: Vec<T::Word>,
    v: Vec<T::Word>,
    dy: Vec<T::Word>,
    /// kᵀ and vᵀ, packed for the products that compute scores and dp.
    k_transposed: PackedMatrix<T::Word>,
    v_transposed: PackedMatrix<T::Word>,
    /// In bfloat16, paired down the columns: v in forward; q, k and dy in backward.
    stacked: [Vec<T::Word>; 3],
    scores: Scores,
    /// dp, then ds.
    ds: Vec<f32>,
    /// In bfloat16, p or ds paired along the rows, and both paired down the columns.
    along: Vec<T::Word>,
    p_down: Vec<T::Word>,
    ds_down: Vec<T::Word>,
}

impl<T: Float> Default for HeadScratch<T> {
    fn default() -> Self {
        Self {
            q: Vec::new(),
            k: Vec::new(),
            v: Vec::new(),
            dy: Vec::new(),
            k_transposed: PackedMatrix::new(),
            v_transposed: PackedMatrix::new(),
            stacked: Default::default(),
            scores: Scores::default(),
            ds: Vec::new(),
            along: Vec::new(),
            p_down: Vec::new(),
            ds_down: Vec::new(),
        }
    }
}

/// A tile of scores, which becomes a tile of p.
#[derive(Default)]
struct Scores {
    p: Vec<f32>,
    /// The dropout factors, rows padded to a multiple of 16; empty without dropout.
    factors: Vec<f32>,
    /// The position bias of the head by distance.
    bias: Vec<f32>,
}

impl<T: Float> HeadScratch<T> {
    fn gather(&mut self, at: &Head<'_, '_>) {
        let &Head { isa, input, sequence, .. } = at;
        let width = input.width();
        let (queries, keys) = (input.queries.range(sequence), input.keys.range(sequence));
        match &input.projections {
            Projections::Packed(qkv) => {
                for (part, to) in [&mut self.q, &mut self.k, &mut self.v].into_iter().enumerate() {
                    operands::take::<T>(isa, qkv, queries.clone(), at.columns(3 * width, part * width), to);
                }
            }
            Projections::Split { query, key_value } => {
                operands::take::<T>(isa, query, queries, at.columns(width, 0), &mut self.q);
                operands::take::<T>(isa, key_value, keys.clone(), at.columns(2 * width, 0), &mut self.k);
                operands::take::<T>(isa, key_value, keys, at.columns(2 * width, width), &mut self.v);
            }
        }
        self.k_transposed.pack(isa, MatRef::new(&self.k, words::<T>(input.head_dim)).t());
    }

    fn forward(&mut self, at: &Head<'_, '_>, o: &mut [f32], lse: &mut [f32]) {
        let &Head { isa, input, sequence, .. } = at;
        let (dim, keys) = (input.head_dim, input.keys.range(sequence).len());
        self.gather(at);
        let Self { q, v, k_transposed, scores, stacked: [v_stacked, ..], along, .. } = self;
        let q = MatRef::new(q, words::<T>(dim));
        let v = operands::stack::<T>(isa, v, dim, v_stacked);
        for tile in tiles(lse.len()) {
            scores.compute(at, &tile, q, k_transposed);
            let Scores { p, factors, .. } = scores;
            simd::dispatch(isa, SoftmaxTile { p, keys, factors, lse: &mut lse[tile.clone()] });
            let o = MatMut::new(&mut o[tile.start * dim..tile.end * dim], dim);
            gemm(isa, 1.0, operands::along::<T>(isa, p, keys, along), v, Output::Write(o));
        }
    }

    fn backward(&mut self, at: &Head<'_, '_>, lse: &[f32], dy: &Slice<'_, Cpu>, out: &mut [f32]) {
        let &Head { isa, input, sequence, head } = at;
        let (width, dim) = (input.width(), input.head_dim);
        let scale = 1.0 / (dim as f32).sqrt();
        let (rows, keys) = (input.queries.range(sequence), input.keys.range(sequence).len());
        self.gather(at);
        operands::take::<T>(isa, dy, rows.clone(), at.columns(width, 0), &mut self.dy);
        let Self { q, k, v, dy, k_transposed, v_transposed, scores, ds, stacked, along, p_down, ds_down } = self;
        let [q_stacked, k_stacked, dy_stacked] = stacked;
        v_transposed.pack(isa, MatRef::new(v, words::<T>(dim)).t());
        let [q_stacked, k_stacked, dy_stacked] = [(&*q, q_stacked), (&*k, k_stacked), (&*dy, dy_stacked)]
            .map(|(rows, to)| operands::stack::<T>(isa, rows, dim, to));
        let [q, dy] = [&*q, &*dy].map(|rows| MatRef::new(rows, words::<T>(dim)));
        let (dq, rest) = out.split_at_mut(rows.len() * dim);
        let (dk, rest) = rest.split_at_mut(keys * dim);
        let (dv, bias_sums) = rest.split_at_mut(keys * dim);
        bias_sums.fill(0.0);
        for tile in tiles(rows.len()) {
            scores.compute(at, &tile, q, k_transposed);
            ds.resize(tile.len() * keys, 0.0);
            let dy = dy.part(tile.clone(), 0..words::<T>(dim));
            multiply(isa, 1.0, dy, v_transposed, Output::Write(MatMut::new(ds, keys)), &NoEpilogue);
            let Scores { p, factors, .. } = scores;
            let lse = tile.clone().map(|row| lse[(rows.start + row) * input.heads + head]);
            simd::dispatch(isa, SoftmaxTileBackward { p, ds, keys, factors, lse });
            if !bias_sums.is_empty() {
                let reach = bias_sums.len() / 2;
                for (query, ds) in tile.clone().zip(ds.chunks_exact(keys)) {
                    ds.iter().enumerate().for_each(|(key, ds)| bias_sums[position_bias_row(query, key, reach)] += ds);
                }
            }
            // `p` now holds m ∘ p. A tile starts with the first row of a pair.
            let own = words::<T>(tile.start)..words::<T>(tile.end);
            let [q, dy] = [q_stacked, dy_stacked].map(|stacked| stacked.part(own.clone(), 0..dim));
            let sum = |to| if tile.start == 0 { Output::Write(to) } else { Output::Accumulate(to) };
            gemm(isa, 1.0, operands::down::<T>(isa, p, keys, p_down).t(), dy, sum(MatMut::new(dv, dim)));
            gemm(isa, scale, operands::down::<T>(isa, ds, keys, ds_down).t(), q, sum(MatMut::new(dk, dim)));
            let dq = MatMut::new(&mut dq[tile.start * dim..tile.end * dim], dim);
            gemm(isa, scale, operands::along::<T>(isa, ds, keys, along), k_stacked, Output::Write(dq));
        }
    }
}

impl Scores {
    /// Computes the scores of a tile of queries, `q · kᵀ / √D + b`, and the dropout factors.
    fn compute<W: Operand>(&mut self, at: &Head<'_, '_>, tile: &Range<usize>, q: MatRef<'_, W>, k: &PackedMatrix<W>) {
        let &Head { isa, input, sequence, head } = at;
        let keys = input.keys.range(sequence).len();
        self.p.resize(tile.len() * keys, 0.0);
        let q = q.part(tile.clone(), 0..q.cols());
        let to = Output::Write(MatMut::new(&mut self.p, keys));
        multiply(isa, 1.0 / (input.head_dim as f32).sqrt(), q, k, to, &NoEpilogue);
        if let Some(bias) = input.position_bias {
            let (reach, table) = (bias.reach(), bias.table.f32());
            self.bias.clear();
            self.bias.extend(table.iter().skip(head).step_by(bias.heads));
            for (query, scores) in tile.clone().zip(self.p.chunks_exact_mut(keys)) {
                for (key, score) in scores.iter_mut().enumerate() {
                    *score += self.bias[position_bias_row(query, key, reach)];
                }
            }
        }
        if let Some(dropout) = input.dropout {
            self.factors.resize(tile.len() * keys.next_multiple_of(16), 0.0);
            let first = dropout_element(sequence, input.heads, head, tile.start, keys);
            dropout.factors(isa, first, &mut self.factors);
        } else {
            self.factors.clear();
        }
    }
}

/// The tiles of a number of queries.
fn tiles(queries: usize) -> impl Iterator<Item = Range<usize>> {
    (0..queries).step_by(QUERY_TILE).map(move |first| first..queries.min(first + QUERY_TILE))
}
