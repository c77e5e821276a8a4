//! Attention on the CPU: a sequence to a task, head after head, in tiles of a few queries against all keys of the
//! sequence, so that a tile of scores stays in the second cache and a row of it is normalised in the first.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder, linalg::general_mat_mul, s};
use rayon::prelude::*;

use super::{Attention, Input, Projections, dropout_element};
use crate::{
    Cpu, Result, Slice, SliceMut,
    cpu::{load, store},
    simd::{self, Kernel, Level, Simd, math},
};

/// Queries of one tile.
const QUERY_TILE: usize = 64;

impl Attention for Cpu {
    fn attention(
        &self,
        input: &Input<'_, Self>,
        o: SliceMut<'_, Self>,
        log_sums: Option<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let o = split(o.f32(), input.queries.host(), input.width());
        let log_sums = match log_sums {
            Some(log_sums) => split(log_sums.f32(), input.queries.host(), input.heads).into_iter().map(Some).collect(),
            None => (0..o.len()).map(|_| None).collect::<Vec<_>>(),
        };
        let tile = Tile::new(self.level(), input);
        let scale = 1.0 / (input.head_dim as f32).sqrt();
        o.into_par_iter().zip(log_sums).enumerate().for_each_init(
            || tile.clone(),
            |tile, (sequence, (o, mut log_sums))| {
                let rows = input.queries.range(sequence);
                for head in 0..input.heads {
                    let [q, k, v] = operands(input, sequence, head);
                    for first in (0..rows.len()).step_by(QUERY_TILE) {
                        let queries = first..rows.len().min(first + QUERY_TILE);
                        tile.product(scale, q.slice(s![queries.clone(), ..]), k.t());
                        tile.draw(input, sequence, head, queries.clone());
                        for (i, row) in queries.clone().enumerate() {
                            let log_sum = tile.softmax(i);
                            if let Some(log_sums) = &mut log_sums {
                                log_sums[row * input.heads + head] = log_sum;
                            }
                            tile.drop(i);
                        }
                        let mut o = head_of_mut(o, input.width(), head * input.head_dim, input.head_dim);
                        let mut o = o.slice_mut(s![queries.clone(), ..]);
                        general_mat_mul(1.0, &tile.p(queries.len()), &v, 0.0, &mut o);
                    }
                }
            },
        );
        Ok(())
    }

    fn attention_backward(
        &self,
        input: &Input<'_, Self>,
        log_sums: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        gradient: Projections<SliceMut<'_, Self>>,
    ) -> Result<()> {
        let (width, heads, dim) = (input.width(), input.heads, input.head_dim);
        let (log_sums, dy) = (log_sums.f32(), dy.f32());
        let (queries, keys) = (input.queries.host(), input.keys.host());
        // Of each sequence its own rows of the gradients, to write without asking the others.
        let gradients: Vec<Projections<&mut [f32]>> = match gradient {
            Projections::Packed(qkv) => {
                split(qkv.f32(), queries, 3 * width).into_iter().map(Projections::Packed).collect()
            }
            Projections::Split { query, key_value } => split(query.f32(), queries, width)
                .into_iter()
                .zip(split(key_value.f32(), keys, 2 * width))
                .map(|(query, key_value)| Projections::Split { query, key_value })
                .collect(),
        };
        let scale = 1.0 / (dim as f32).sqrt();
        gradients.into_par_iter().enumerate().for_each_init(
            || (Tile::new(self.level(), input), Tile::new(self.level(), input), KeyGradients::default()),
            |(p, dp, sums), (sequence, mut gradient)| {
                let rows = input.queries.range(sequence);
                for head in 0..heads {
                    let [q, k, v] = operands(input, sequence, head);
                    let dy = head_of(&dy[rows.start * width..rows.end * width], width, head * dim, dim);
                    sums.clear(k.nrows(), dim);
                    for first in (0..rows.len()).step_by(QUERY_TILE) {
                        let tile = first..rows.len().min(first + QUERY_TILE);
                        let dy = dy.slice(s![tile.clone(), ..]);
                        let q = q.slice(s![tile.clone(), ..]);
                        p.product(scale, q, k.t());
                        dp.product(1.0, dy, v.t());
                        p.draw(input, sequence, head, tile.clone());
                        for (i, row) in tile.clone().enumerate() {
                            let log_sum = log_sums[(rows.start + row) * heads + head];
                            p.softmax_backward(i, log_sum, dp);
                        }
                        // `p` now holds m ∘ p, `dp` holds ds.
                        let (p, ds) = (p.p(tile.len()), dp.p(tile.len()));
                        general_mat_mul(1.0, &p.t(), &dy, 1.0, &mut sums.value(dim));
                        general_mat_mul(scale, &ds.t(), &q, 1.0, &mut sums.key(dim));
                        let (dq, stride) = match &mut gradient {
                            Projections::Packed(qkv) => (&mut **qkv, 3 * width),
                            Projections::Split { query, .. } => (&mut **query, width),
                        };
                        let mut dq = head_of_mut(dq, stride, head * dim, dim);
                        general_mat_mul(scale, &ds, &k, 0.0, &mut dq.slice_mut(s![tile, ..]));
                    }
                    let (dkv, stride, first) = match &mut gradient {
                        Projections::Packed(qkv) => (&mut **qkv, 3 * width, width),
                        Projections::Split { key_value, .. } => (&mut **key_value, 2 * width, 0),
                    };
                    head_of_mut(dkv, stride, first + head * dim, dim).assign(&sums.key(dim));
                    head_of_mut(dkv, stride, first + width + head * dim, dim).assign(&sums.value(dim));
                }
            },
        );
        Ok(())
    }
}

/// A matrix of rows cut at the sequences' bounds.
fn split<'a>(mut data: &'a mut [f32], offsets: &[u32], cols: usize) -> Vec<&'a mut [f32]> {
    let mut parts = Vec::with_capacity(offsets.len() - 1);
    for bounds in offsets.windows(2) {
        let (part, rest) = data.split_at_mut((bounds[1] - bounds[0]) as usize * cols);
        parts.push(part);
        data = rest;
    }
    parts
}

/// q, k and v of one sequence and head.
fn operands<'a>(input: &Input<'a, Cpu>, sequence: usize, head: usize) -> [ArrayView2<'a, f32>; 3] {
    let (width, dim) = (input.width(), input.head_dim);
    let at = head * dim;
    let rows =
        |data: &Slice<'a, Cpu>, range: Range<usize>, cols: usize| &data.f32()[range.start * cols..range.end * cols];
    let (queries, keys) = (input.queries.range(sequence), input.keys.range(sequence));
    match &input.projections {
        Projections::Packed(qkv) => {
            let rows = rows(qkv, queries, 3 * width);
            [0, width, 2 * width].map(|first| head_of(rows, 3 * width, first + at, dim))
        }
        Projections::Split { query, key_value } => {
            let query = head_of(rows(query, queries, width), width, at, dim);
            let rows = rows(key_value, keys, 2 * width);
            [query, head_of(rows, 2 * width, at, dim), head_of(rows, 2 * width, width + at, dim)]
        }
    }
}

/// Columns `first .. first + dim` of rows of `stride` elements.
fn head_of(rows: &[f32], stride: usize, first: usize, dim: usize) -> ArrayView2<'_, f32> {
    let shape = (rows.len() / stride, dim).strides((stride, 1));
    ArrayView2::from_shape(shape, &rows[first..]).expect("the columns lie within the row")
}

fn head_of_mut(rows: &mut [f32], stride: usize, first: usize, dim: usize) -> ArrayViewMut2<'_, f32> {
    let shape = (rows.len() / stride, dim).strides((stride, 1));
    ArrayViewMut2::from_shape(shape, &mut rows[first..]).expect("the columns lie within the row")
}

/// Some queries against all keys of a sequence: scores, then probabilities, in place.
#[derive(Clone)]
struct Tile {
    level: Level,
    keys: usize,
    data: Vec<f32>,
    /// The dropout's factors of the rows, each padded to a multiple of 16; of one row, all 1, where nothing is dropped.
    factors: Vec<f32>,
    drops: bool,
}

impl Tile {
    fn new(level: Level, input: &Input<'_, Cpu>) -> Self {
        let longest = input.keys.longest();
        let rows = QUERY_TILE.min(input.queries.longest());
        let drops = input.dropout.is_some();
        let factors = vec![1.0; if drops { rows * longest.next_multiple_of(16) } else { longest }];
        Self { level, keys: 0, data: vec![0.0; rows * longest], factors, drops }
    }

    fn p(&self, rows: usize) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((rows, self.keys), &self.data[..rows * self.keys]).expect("a tile of whole rows")
    }

    fn row(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.keys..][..self.keys]
    }

    /// `scale · a · b`.
    fn product(&mut self, scale: f32, a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) {
        self.keys = b.ncols();
        let data = &mut self.data[..a.nrows() * self.keys];
        let mut to = ArrayViewMut2::from_shape((a.nrows(), self.keys), data).expect("a tile of whole rows");
        general_mat_mul(scale, &a, &b, 0.0, &mut to);
    }

    /// Draws the dropout's factors of some rows of p.
    fn draw(&mut self, input: &Input<'_, Cpu>, sequence: usize, head: usize, queries: Range<usize>) {
        if let Some(dropout) = input.dropout {
            let first = dropout_element(sequence, input.heads, head, queries.start, self.keys);
            let stride = self.keys.next_multiple_of(16);
            dropout.factors(self.level, first, &mut self.factors[..queries.len() * stride]);
        }
    }

    /// The drawn factors of one row.
    fn row_factors(&self, i: usize) -> &[f32] {
        let row = if self.drops { i * self.keys.next_multiple_of(16) } else { 0 };
        &self.factors[row..][..self.keys]
    }

    /// Turns a row of scores into probabilities; returns their log-sum-exp.
    fn softmax(&mut self, i: usize) -> f32 {
        let level = self.level;
        simd::dispatch(level, SoftmaxRow { row: self.row(i) })
    }

    /// Applies the drawn factors to a row.
    fn drop(&mut self, i: usize) {
        if self.drops {
            let first = i * self.keys.next_multiple_of(16);
            let row = &mut self.data[i * self.keys..][..self.keys];
            for (p, factor) in row.iter_mut().zip(&self.factors[first..]) {
                *p *= factor;
            }
        }
    }

    /// Turns a row of scores into `m ∘ p`, and the same row of `do · vᵀ` into ds.
    fn softmax_backward(&mut self, i: usize, log_sum: f32, dp: &mut Tile) {
        let mut data = std::mem::take(&mut self.data);
        let row = &mut data[i * self.keys..][..self.keys];
        simd::dispatch(self.level, SoftmaxRowBackward { row, dp: dp.row(i), factors: self.row_factors(i), log_sum });
        self.data = data;
    }
}

/// Gradients of k and v of one sequence and head, summed over the tiles of queries.
#[derive(Default)]
struct KeyGradients {
    key: Vec<f32>,
    value: Vec<f32>,
}

impl KeyGradients {
    fn clear(&mut self, keys: usize, dim: usize) {
        for sum in [&mut self.key, &mut self.value] {
            sum.clear();
            sum.resize(keys * dim, 0.0);
        }
    }

    fn key(&mut self, dim: usize) -> ArrayViewMut2<'_, f32> {
        head_of_mut(&mut self.key, dim, 0, dim)
    }

    fn value(&mut self, dim: usize) -> ArrayViewMut2<'_, f32> {
        head_of_mut(&mut self.value, dim, 0, dim)
    }
}

struct SoftmaxRow<'a> {
    row: &'a mut [f32],
}

impl Kernel for SoftmaxRow<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let max = self.row.iter().fold(f32::NEG_INFINITY, |max, &score| max.max(score));
        let at = s.splat(max);
        let mut sum = s.zero();
        let whole = self.row.len() / S::LANES * S::LANES;
        for j in (0..whole).step_by(S::LANES) {
            let e = math::exp(s, s.sub(load(s, self.row, j), at));
            sum = s.add(sum, e);
            store(s, self.row, j, e);
        }
        let mut total = s.reduce_sum(sum);
        if whole < self.row.len() {
            // Lanes behind the row's end hold exp(-max); only those within are stored and summed.
            let e = math::exp(s, s.sub(load(s, self.row, whole), at));
            store(s, self.row, whole, e);
            total += self.row[whole..].iter().sum::<f32>();
        }
        let inverse = s.splat(1.0 / total);
        for j in (0..self.row.len()).step_by(S::LANES) {
            let p = s.mul(load(s, self.row, j), inverse);
            store(s, self.row, j, p);
        }
        max + total.ln()
    }
}

struct SoftmaxRowBackward<'a> {
    row: &'a mut [f32],
    dp: &'a mut [f32],
    factors: &'a [f32],
    log_sum: f32,
}

impl Kernel for SoftmaxRowBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let log_sum = s.splat(self.log_sum);
        let mut sum = s.zero();
        for j in (0..self.row.len()).step_by(S::LANES) {
            let p = math::exp(s, s.sub(load(s, self.row, j), log_sum));
            let dp = s.mul(load(s, self.dp, j), load(s, self.factors, j));
            store(s, self.row, j, p);
            store(s, self.dp, j, dp);
            // Lanes behind the row's end hold exp(-L), which may be infinite; read again, they are zero.
            let p = if j + S::LANES > self.row.len() { load(s, self.row, j) } else { p };
            sum = s.fma(p, dp, sum);
        }
        let mean = s.splat(s.reduce_sum(sum));
        for j in (0..self.row.len()).step_by(S::LANES) {
            let p = load(s, self.row, j);
            let ds = s.mul(p, s.sub(load(s, self.dp, j), mean));
            store(s, self.dp, j, ds);
            store(s, self.row, j, s.mul(p, load(s, self.factors, j)));
        }
    }
}
