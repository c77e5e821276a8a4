//! Attention on the CPU: the sequences and their heads side by side, each head in tiles of a few queries against all keys of
//! its sequence, so that a tile of scores stays in the second cache and never exists as a whole.
//!
//! A head's queries, keys and values are gathered into rows of their own first: the products read each of them many times. In
//! bfloat16 p and ds are rounded as well, for the products that read them; sums, scores and statistics are f32.

use std::{cell::Cell, ops::Range, thread::LocalKey};

use rayon::prelude::*;

use super::{
    Attention, Input, Projections,
    columns::{Columns, put},
    dropout_element,
    form::Form,
    softmax::{SoftmaxTile, SoftmaxTileBackward},
};
use crate::{
    Cpu, DType, Result,
    backend::{Slice, SliceMut},
    cpu::{
        ElementsMut,
        gemm::{MatMut, MatRef, NoEpilogue, Output, Pair, RightOperand, gemm, multiply},
        simd::{self, Isa},
    },
    memory::ThreadScratch,
};

/// Queries of one tile: enough that the products which sum over them, dk and dv, are not all loads and stores; few enough that a
/// tile of long sequences stays in the second cache. Even, so that a pair of rows is in one tile.
const QUERY_TILE: usize = 64;

/// Scores of a sequence, all heads together, below which its heads are not worth sharing out.
const SHARED_SCORES: usize = 1 << 16;

impl Attention for Cpu {
    fn attention(&self, input: &Input<'_, Self>, o: SliceMut<'_, Self>, lse: Option<SliceMut<'_, Self>>) -> Result<()> {
        match input.dtype() {
            DType::F32 => attention::<f32>(self.isa(), input, o, lse),
            DType::Bf16 => attention::<Pair>(self.isa(), input, o, lse),
        }
        Ok(())
    }

    fn attention_backward(
        &self,
        input: &Input<'_, Self>,
        lse: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        gradient: Projections<SliceMut<'_, Self>>,
    ) -> Result<()> {
        match input.dtype() {
            DType::F32 => attention_backward::<f32>(self.isa(), input, lse, dy, gradient),
            DType::Bf16 => attention_backward::<Pair>(self.isa(), input, lse, dy, gradient),
        }
        Ok(())
    }
}

fn attention<T: Kept>(isa: Isa, input: &Input<'_, Cpu>, o: SliceMut<'_, Cpu>, lse: Option<SliceMut<'_, Cpu>>) {
    let (width, dim) = (input.width(), input.head_dim);
    let o = split(o, input.queries.host(), width);
    let lse: Vec<Option<&mut [f32]>> = match lse {
        Some(lse) => split_slice(lse.f32(), input.queries.host(), input.heads).into_iter().map(Some).collect(),
        None => o.iter().map(|_| None).collect(),
    };
    o.into_par_iter().zip(lse).enumerate().for_each(|(sequence, (mut o, mut lse))| {
        let queries = input.queries.range(sequence).len();
        let scores = queries * input.keys.range(sequence).len();
        // Head after head: o [queries, D], then the log-sums [queries].
        let mut heads = ThreadScratch::unspecified(input.heads * queries * (dim + 1));
        for_each_head(input.heads * scores, &mut heads, queries * (dim + 1), |head, out| {
            let (o, lse) = out.split_at_mut(queries * dim);
            let at = Head { isa, input, sequence, head };
            with_scratch::<T>(|scratch| scratch.forward(&at, o, lse));
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

fn attention_backward<T: Kept>(
    isa: Isa,
    input: &Input<'_, Cpu>,
    lse: Slice<'_, Cpu>,
    dy: Slice<'_, Cpu>,
    gradient: Projections<SliceMut<'_, Cpu>>,
) {
    let (width, dim) = (input.width(), input.head_dim);
    let lse = lse.f32();
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
        let mut heads = ThreadScratch::unspecified(input.heads * size);
        for_each_head(input.heads * queries * keys, &mut heads, size, |head, out| {
            let at = Head { isa, input, sequence, head };
            with_scratch::<T>(|scratch| scratch.backward(&at, lse, &dy, out));
        });
        for (head, out) in heads.chunks_exact(size).enumerate() {
            let (dq, rest) = out.split_at(queries * dim);
            let (dk, dv) = rest.split_at(keys * dim);
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

/// A form whose scratch a thread keeps.
trait Kept: Form {
    fn scratch() -> &'static LocalKey<Cell<Option<Box<Scratch<Self>>>>>;
}

/// A thread's scratch in a form.
macro_rules! kept {
    ($form:ty, $scratch:ident) => {
        thread_local! {
            static $scratch: Cell<Option<Box<Scratch<$form>>>> = const { Cell::new(None) };
        }

        impl Kept for $form {
            fn scratch() -> &'static LocalKey<Cell<Option<Box<Scratch<$form>>>>> {
                &$scratch
            }
        }
    };
}

kept!(f32, F32_SCRATCH);
kept!(Pair, PAIR_SCRATCH);

/// Lets `work` use this thread's scratch. Taken out while in use: a thread that waits for others may be handed a head of its own.
fn with_scratch<T: Kept>(work: impl FnOnce(&mut Scratch<T>)) {
    let mut scratch = T::scratch().take().unwrap_or_default();
    work(&mut scratch);
    T::scratch().set(Some(scratch));
}

/// Which head of which sequence.
struct Head<'a, 'b> {
    isa: Isa,
    input: &'a Input<'b, Cpu>,
    sequence: usize,
    head: usize,
}

impl Head<'_, '_> {
    /// The head's columns of a matrix of `stride` columns, from `part` on.
    fn columns(&self, stride: usize, part: usize) -> Columns {
        let dim = self.input.head_dim;
        Columns { stride, first: part + self.head * dim, count: dim }
    }
}

/// A head of a sequence in one form or the other, and a tile of its scores.
#[derive(Default)]
struct Scratch<T> {
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
    dy: Vec<T>,
    /// kᵀ and vᵀ, laid out for the products that make scores and dp.
    k_transposed: RightOperand<T>,
    v_transposed: RightOperand<T>,
    /// In a form that pairs, down the columns: v forward; q, k and dy backward.
    stacked: [Vec<T>; 3],
    scores: Scores,
    /// dp, then ds.
    ds: Vec<f32>,
    /// In a form that pairs, p or ds along the rows, and both down the columns.
    along: Vec<T>,
    p_down: Vec<T>,
    ds_down: Vec<T>,
}

/// A tile of scores, then of p.
#[derive(Default)]
struct Scores {
    p: Vec<f32>,
    /// The dropout's factors, rows padded to a multiple of 16.
    factors: Vec<f32>,
}

impl<T: Form> Scratch<T> {
    fn gather(&mut self, at: &Head<'_, '_>) {
        let &Head { isa, input, sequence, .. } = at;
        let width = input.width();
        let (queries, keys) = (input.queries.range(sequence), input.keys.range(sequence));
        match &input.projections {
            Projections::Packed(qkv) => {
                for (part, to) in [&mut self.q, &mut self.k, &mut self.v].into_iter().enumerate() {
                    T::take(isa, qkv, queries.clone(), at.columns(3 * width, part * width), to);
                }
            }
            Projections::Split { query, key_value } => {
                T::take(isa, query, queries, at.columns(width, 0), &mut self.q);
                T::take(isa, key_value, keys.clone(), at.columns(2 * width, 0), &mut self.k);
                T::take(isa, key_value, keys, at.columns(2 * width, width), &mut self.v);
            }
        }
        self.k_transposed.pack(isa, MatRef::new(&self.k, T::places(input.head_dim)).t());
    }

    fn forward(&mut self, at: &Head<'_, '_>, o: &mut [f32], lse: &mut [f32]) {
        let &Head { isa, input, sequence, .. } = at;
        let (dim, keys) = (input.head_dim, input.keys.range(sequence).len());
        self.gather(at);
        let Self { q, v, k_transposed, scores, stacked: [v_stacked, ..], along, .. } = self;
        let q = MatRef::new(q, T::places(dim));
        let v = T::stack(isa, v, dim, v_stacked);
        for tile in tiles(lse.len()) {
            scores.compute(at, &tile, q, k_transposed);
            let Scores { p, factors } = scores;
            simd::dispatch(isa, SoftmaxTile { p, keys, factors, lse: &mut lse[tile.clone()] });
            let o = MatMut::new(&mut o[tile.start * dim..tile.end * dim], dim);
            gemm(isa, 1.0, T::along(isa, p, keys, along), v, Output::Write(o));
        }
    }

    fn backward(&mut self, at: &Head<'_, '_>, lse: &[f32], dy: &Slice<'_, Cpu>, out: &mut [f32]) {
        let &Head { isa, input, sequence, head } = at;
        let (width, dim) = (input.width(), input.head_dim);
        let scale = 1.0 / (dim as f32).sqrt();
        let (rows, keys) = (input.queries.range(sequence), input.keys.range(sequence).len());
        self.gather(at);
        T::take(isa, dy, rows.clone(), at.columns(width, 0), &mut self.dy);
        let Self { q, k, v, dy, k_transposed, v_transposed, scores, ds, stacked, along, p_down, ds_down } = self;
        let [q_stacked, k_stacked, dy_stacked] = stacked;
        v_transposed.pack(isa, MatRef::new(v, T::places(dim)).t());
        let [q_stacked, k_stacked, dy_stacked] =
            [(&*q, q_stacked), (&*k, k_stacked), (&*dy, dy_stacked)].map(|(rows, to)| T::stack(isa, rows, dim, to));
        let [q, dy] = [&*q, &*dy].map(|rows| MatRef::new(rows, T::places(dim)));
        let (dq, rest) = out.split_at_mut(rows.len() * dim);
        let (dk, dv) = rest.split_at_mut(keys * dim);
        for tile in tiles(rows.len()) {
            scores.compute(at, &tile, q, k_transposed);
            ds.resize(tile.len() * keys, 0.0);
            let dy = dy.part(tile.clone(), 0..T::places(dim));
            multiply(isa, 1.0, dy, v_transposed, Output::Write(MatMut::new(ds, keys)), &NoEpilogue);
            let Scores { p, factors } = scores;
            let lse = tile.clone().map(|row| lse[(rows.start + row) * input.heads + head]);
            simd::dispatch(isa, SoftmaxTileBackward { p, ds, keys, factors, lse });
            // `p` now holds m ∘ p. A tile begins with the first row of a pair.
            let own = T::places(tile.start)..T::places(tile.end);
            let [q, dy] = [q_stacked, dy_stacked].map(|stacked| stacked.part(own.clone(), 0..dim));
            let sum = |to| if tile.start == 0 { Output::Write(to) } else { Output::Accumulate(to) };
            gemm(isa, 1.0, T::down(isa, p, keys, p_down).t(), dy, sum(MatMut::new(dv, dim)));
            gemm(isa, scale, T::down(isa, ds, keys, ds_down).t(), q, sum(MatMut::new(dk, dim)));
            let dq = MatMut::new(&mut dq[tile.start * dim..tile.end * dim], dim);
            gemm(isa, scale, T::along(isa, ds, keys, along), k_stacked, Output::Write(dq));
        }
    }
}

impl Scores {
    /// The scores of some queries, `q · kᵀ / √D`, and the factors of their dropout.
    fn compute<T: Form>(&mut self, at: &Head<'_, '_>, tile: &Range<usize>, q: MatRef<'_, T>, k: &RightOperand<T>) {
        let &Head { isa, input, sequence, head } = at;
        let keys = input.keys.range(sequence).len();
        self.p.resize(tile.len() * keys, 0.0);
        let q = q.part(tile.clone(), 0..q.cols());
        let to = Output::Write(MatMut::new(&mut self.p, keys));
        multiply(isa, 1.0 / (input.head_dim as f32).sqrt(), q, k, to, &NoEpilogue);
        if let Some(dropout) = input.dropout {
            self.factors.resize(tile.len() * keys.next_multiple_of(16), 0.0);
            let first = dropout_element(sequence, input.heads, head, tile.start, keys);
            dropout.factors(isa, first, &mut self.factors);
        } else {
            self.factors.clear();
        }
    }
}

/// The tiles of so many queries.
fn tiles(queries: usize) -> impl Iterator<Item = Range<usize>> {
    (0..queries).step_by(QUERY_TILE).map(move |first| first..queries.min(first + QUERY_TILE))
}
