//! The conformance checks of attention: sequences of any length, packed and split projections, dropout, both types.

mod parts;

use std::ops::Range;

use parts::{a_part_of_a_batch_draws_the_masks_of_its_sequences, a_part_of_a_batch_has_the_bits_of_its_rows};

use super::{
    AttentionArgs, Projections, RowsOf, Sequences, dropout_element, position_bias_row, reference, sequence_elements,
};
use crate::{
    Arena, ArenaBuilder, Backend, BatchOffset, DType, HostTensor, Indices, Mask, Tape, Workspace,
    backend::conformance::{Check, list, support::*},
    rng::Dropout,
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["attention":
        agrees_with_the_reference,
        agrees_with_the_reference_on_long_sequences,
        a_position_bias_is_added_to_the_scores,
        queries_may_be_of_other_lengths_than_keys,
        a_sequence_may_have_no_query,
        gradients_add_up_and_bits_come_again,
        inference_is_training_that_keeps_nothing,
        scores_far_from_zero_do_not_overflow,
        a_part_of_a_batch_draws_the_masks_of_its_sequences,
        a_part_of_a_batch_has_the_bits_of_its_rows,
    ]
}

/// Sequences of queries and of keys.
pub(super) struct Case {
    pub dtype: DType,
    pub heads: usize,
    pub dim: usize,
    pub keys: Vec<usize>,
    /// The lengths of the sequences of queries; `None` for packed projections, where they are those of the keys.
    pub queries: Option<Vec<usize>>,
    pub p: f32,
    /// R of a position bias.
    pub reach: Option<usize>,
}

/// The operands, rounded to the type of the case: q `[Tq, H]` and, side by side, k and v `[T, 2H]`.
pub(super) struct Values {
    q: Vec<f32>,
    kv: Vec<f32>,
    dy: Vec<f32>,
    /// Where the sequences stand in their batch.
    offset: BatchOffset,
}

impl Case {
    fn width(&self) -> usize {
        self.heads * self.dim
    }

    fn what(&self) -> String {
        let Self { dtype, heads, dim, keys, queries, p, reach } = self;
        format!("{dtype:?} {heads} heads of {dim}, keys {keys:?}, queries {queries:?}, p {p}, bias {reach:?}")
    }

    /// The table of the position bias.
    fn bias(&self) -> Option<HostTensor> {
        self.reach.map(|reach| {
            let rows = 2 * reach + 1;
            let values = random(4, rows * self.heads).into_iter().map(|value| 3.0 * value).collect();
            HostTensor::new([rows, self.heads], values).unwrap()
        })
    }

    fn lengths(&self) -> [&[usize]; 2] {
        [self.queries.as_deref().unwrap_or(&self.keys), &self.keys]
    }

    pub fn values(&self) -> Values {
        let [queries, keys] = self.lengths().map(|lengths| lengths.iter().sum::<usize>());
        // Scaled up, so that the probabilities differ.
        let grown = |seed, len| {
            let values: Vec<f32> = random(seed, len).into_iter().map(|v| 2.0 * v).collect();
            rounded(self.dtype, &values)
        };
        let width = self.width();
        Values {
            q: grown(1, queries * width),
            kv: grown(2, keys * 2 * width),
            dy: rounded(self.dtype, &random(3, queries * width)),
            offset: BatchOffset::default(),
        }
    }
}

/// The rows of each sequence.
fn ranges(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut end = 0;
    lengths
        .iter()
        .map(|length| {
            end += length;
            end - length..end
        })
        .collect()
}

fn columns(matrix: &[f32], cols: usize, rows: Range<usize>, first: usize, dim: usize) -> Vec<f64> {
    rows.flat_map(|row| widen(&matrix[row * cols + first..][..dim])).collect()
}

/// The output and the gradients of the reference: o `[Tq, H]`, dq `[Tq, H]`, dk and dv `[T, H]`, db `[2R + 1, N]`.
fn expected(case: &Case, values: &Values) -> [Vec<f64>; 5] {
    let (width, dim) = (case.width(), case.dim);
    let [queries, keys] = case.lengths().map(ranges);
    let dropout = Dropout::new(SEED, 0, case.p)
        .map(|mask| mask.in_batch(values.offset, RowsOf::Sequences, sequence_elements(case.heads)));
    let [mut o, mut dq] = [(); 2].map(|()| vec![0.0; values.q.len()]);
    let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0; values.kv.len() / 2]);
    let mut db = vec![0.0; case.bias().map_or(0, |table| table.data().len())];
    for (sequence, (rows, key_rows)) in queries.into_iter().zip(keys).enumerate() {
        for h in 0..case.heads {
            let mut factors = vec![1.0; rows.len() * key_rows.len()];
            if let Some(dropout) = dropout {
                for (query, factors) in factors.chunks_exact_mut(key_rows.len()).enumerate() {
                    let first = dropout_element(sequence, case.heads, h, query, key_rows.len());
                    for (key, factor) in factors.iter_mut().enumerate() {
                        *factor = dropout.factor(first + key as u64);
                    }
                }
            }
            let mut position_bias = vec![0.0; factors.len()];
            if let (Some(reach), Some(table)) = (case.reach, case.bias()) {
                for (i, bias) in position_bias.iter_mut().enumerate() {
                    let row = position_bias_row(i / key_rows.len(), i % key_rows.len(), reach);
                    *bias = f64::from(table.data()[row * case.heads + h]);
                }
            }
            let head = reference::Head {
                dim,
                q: columns(&values.q, width, rows.clone(), h * dim, dim),
                k: columns(&values.kv, 2 * width, key_rows.clone(), h * dim, dim),
                v: columns(&values.kv, 2 * width, key_rows.clone(), width + h * dim, dim),
                position_bias,
                factors: widen(&factors),
            };
            let dy = columns(&values.dy, width, rows.clone(), h * dim, dim);
            let [gq, gk, gv, gb] = reference::backward(&head, &dy);
            if let Some(reach) = case.reach {
                for (i, gradient) in gb.into_iter().enumerate() {
                    let row = position_bias_row(i / key_rows.len(), i % key_rows.len(), reach);
                    db[row * case.heads + h] += gradient;
                }
            }
            let put = |to: &mut Vec<f64>, rows: Range<usize>, from: Vec<f64>| {
                for (row, from) in rows.zip(from.chunks_exact(dim)) {
                    to[row * width + h * dim..][..dim].copy_from_slice(from);
                }
            };
            put(&mut o, rows.clone(), reference::forward(&head));
            put(&mut dq, rows.clone(), gq);
            put(&mut dk, key_rows.clone(), gk);
            put(&mut dv, key_rows.clone(), gv);
        }
    }
    [o, dq, dk, dv, db]
}

/// The device's o, dq, dk, dv and db, in the layout of [`expected`]. The projections are read `times` times, so the
/// gradients are `times` as large.
pub(super) fn found<D: Backend>(device: &D, case: &Case, values: &Values, times: usize) -> [Vec<f32>; 5] {
    let width = case.width();
    let workspace = Workspace::new(device.clone());
    let keys = Sequences::new(device, case.keys.iter().copied()).unwrap();
    let queries = match &case.queries {
        Some(lengths) => {
            let end = |end: &mut u32, length: &usize| {
                *end += *length as u32;
                Some(*end)
            };
            let offsets: Vec<u32> = std::iter::once(0).chain(lengths.iter().scan(0, end)).collect();
            let there = Indices::new(device, &offsets).unwrap();
            Sequences::from_offsets(offsets, there)
        }
        None => keys.clone(),
    };
    let mut builder = ArenaBuilder::new(device.clone());
    let mut train = |name: &str, rows: usize, data: Vec<f32>| {
        builder.train(name, HostTensor::new([rows, data.len() / rows], data).unwrap(), Mask::All).unwrap()
    };
    let params = if case.queries.is_some() {
        vec![train("q", queries.tokens(), values.q.clone()), train("kv", keys.tokens(), values.kv.clone())]
    } else {
        let rows = values.q.chunks_exact(width).zip(values.kv.chunks_exact(2 * width));
        vec![train("qkv", keys.tokens(), rows.flat_map(|(q, kv)| [q, kv].concat()).collect())]
    };
    let bias = case.bias().map(|table| builder.train("bias", table, Mask::All).unwrap());
    let arena: Arena<D> = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, SEED).at(values.offset);
    let vars: Vec<_> = params
        .iter()
        .map(|param| {
            let var = tape.parameter(param).unwrap();
            stored(&mut tape, case.dtype, &var).unwrap()
        })
        .collect();
    let projections = match vars.as_slice() {
        [query, key_value] => Projections::Split { query, key_value },
        [qkv] => Projections::Packed(qkv),
        _ => unreachable!(),
    };
    // Fills the free buffers with NaN, so that an op that does not write all of its output is detected.
    let dirty = || {
        let mut lent: Vec<_> = [values.q.len(), values.kv.len(), values.q.len() + values.kv.len()]
            .into_iter()
            .flat_map(|len| [case.dtype.words(len); 2])
            .map(|words| workspace.scratch(words).unwrap())
            .collect();
        lent.iter_mut().for_each(|lent| device.fill(f32::NAN, lent.as_mut()).unwrap());
    };
    dirty();
    let bias = bias.map(|param| tape.parameter(&param).unwrap());
    let position_bias = bias.as_ref();
    let args = AttentionArgs { heads: case.heads, queries: &queries, keys: &keys, position_bias, dropout: case.p };
    let o = tape.attention(projections, &args).unwrap();
    assert_eq!(o.dtype(), case.dtype);
    let output = elements(&o);
    let mut y = o;
    for _ in 1..times {
        let next = tape.attention(projections, &args).unwrap();
        y = tape.add(&y, &next).unwrap();
    }
    dirty();
    let gradient = backward_from(tape, &y, &values.dy, &arena, &workspace);
    let (gradient, db) = gradient.split_at(values.q.len() + values.kv.len());
    let part = |data: &[f32], cols: usize, first: usize| -> Vec<f32> {
        data.chunks_exact(cols).flat_map(|row| row[first..first + width].to_vec()).collect()
    };
    let [dq, dk, dv] = if case.queries.is_some() {
        let (dq, dkv) = gradient.split_at(values.q.len());
        [dq.to_vec(), part(dkv, 2 * width, 0), part(dkv, 2 * width, width)]
    } else {
        [0, 1, 2].map(|index| part(gradient, 3 * width, index * width))
    };
    [output, dq, dk, dv, db.to_vec()]
}

fn agrees<D: Backend>(device: &D, case: &Case) {
    agree(device, case, &case.values());
}

fn agree<D: Backend>(device: &D, case: &Case, values: &Values) {
    let found = found(device, case, values, 1);
    let expected = expected(case, values);
    // One scale for the gradients of all three: if one key has all the weight, dq and dk are rounding noise.
    let scale = expected[1..4].iter().flatten().fold(0.0_f64, |max, value| max.max(value.abs()));
    for (index, what) in ["o", "dq", "dk", "dv", "db"].into_iter().enumerate() {
        let what = format!("{what} {}", case.what());
        let f32 = if index == 0 { 1e-5 } else { 2e-5 };
        let with = |values: &[f64]| values.iter().copied().chain((index > 0).then_some(scale)).collect::<Vec<_>>();
        let found: Vec<f32> = found[index].iter().copied().chain((index > 0).then_some(scale as f32)).collect();
        assert_close(&what, &found, &with(&expected[index]), tolerance(case.dtype, f32));
    }
}

/// Runs a case in both types, with and without dropout, packed and with one query per sequence.
fn every_way<D: Backend>(device: &D, heads: usize, dim: usize, lengths: &[usize]) {
    for dtype in types(device) {
        for p in [0.0, 0.25] {
            for queries in [None, Some(vec![1; lengths.len()])] {
                agrees(device, &Case { dtype, heads, dim, keys: lengths.to_vec(), queries, p, reach: None });
            }
        }
    }
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for (heads, dim, lengths) in [
        (1, 1, &[1][..]),
        (1, 3, &[2, 5]),
        (3, 8, &[1, 17, 4]),
        (2, 32, &[33, 7, 1, 64]),
        (1, 64, &[65, 130]),
        (2, 64, &[17, 64, 1]),
        (2, 64, &[128, 3, 97]),
        (1, 32, &[80, 127, 16]),
        (12, 32, &[11, 40]),
        (2, 33, &[31, 2, 16]),
        (1, 96, &[33, 48]),
        (1, 128, &[70, 1, 15]),
        // Enough scores for the heads of a sequence to run in parallel.
        (4, 8, &[130, 3]),
    ] {
        every_way(device, heads, dim, lengths);
    }
}

fn agrees_with_the_reference_on_long_sequences<D: Backend>(device: &D) {
    for (heads, dim, lengths) in
        [(1, 1, &[1, 2, 31, 33, 130][..]), (1, 8, &[513, 1]), (2, 32, &[130, 2, 31, 33]), (1, 64, &[513])]
    {
        every_way(device, heads, dim, lengths);
    }
}

fn a_position_bias_is_added_to_the_scores<D: Backend>(device: &D) {
    for (dim, lengths, reach) in
        [(8, vec![1, 17, 4], 3), (32, vec![33, 7, 130], 8), (64, vec![70, 5], 64), (64, vec![300], 128)]
    {
        for dtype in types(device) {
            for p in [0.0, 0.25] {
                for queries in [None, Some(vec![1; lengths.len()]), Some(lengths.clone())] {
                    agrees(
                        device,
                        &Case { dtype, heads: 2, dim, keys: lengths.clone(), queries, p, reach: Some(reach) },
                    );
                }
            }
        }
    }
}

fn queries_may_be_of_other_lengths_than_keys<D: Backend>(device: &D) {
    for dtype in types(device) {
        for (queries, keys) in [([3, 1, 40], [5, 70, 2]), ([65, 2, 1], [1, 33, 64]), ([2, 31, 130], [7, 140, 64])] {
            let [queries, keys] = [queries, keys].map(|lengths| lengths.to_vec());
            agrees(device, &Case { dtype, heads: 2, dim: 32, keys, queries: Some(queries), p: 0.1, reach: None });
        }
    }
}

fn a_sequence_may_have_no_query<D: Backend>(device: &D) {
    for dtype in types(device) {
        for queries in [[1, 0, 1], [1, 1, 0]] {
            let (keys, queries) = (vec![33, 70, 5], Some(queries.to_vec()));
            agrees(device, &Case { dtype, heads: 2, dim: 32, keys, queries, p: 0.1, reach: None });
        }
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for dtype in types(device) {
        for queries in [None, Some(vec![1; 3])] {
            // Without dropout, because a second read of the same projections is another dropout site.
            for p in [0.0, 0.25] {
                let case =
                    Case { dtype, heads: 2, dim: 32, keys: vec![33, 1, 70], queries: queries.clone(), p, reach: None };
                let values = case.values();
                let once = found(device, &case, &values, 1);
                for (again, once) in found(device, &case, &values, 1).iter().zip(&once) {
                    assert_same_bits(&format!("a second run of {}", case.what()), again, once);
                }
                if p > 0.0 {
                    continue;
                }
                for (twice, once) in found(device, &case, &values, 2)[1..].iter().zip(&once[1..]) {
                    let expected: Vec<f64> = once.iter().map(|&g| 2.0 * f64::from(g)).collect();
                    assert_close(&format!("twice {}", case.what()), twice, &expected, 1e-6);
                }
            }
        }
    }
}

fn inference_is_training_that_keeps_nothing<D: Backend>(device: &D) {
    let case = Case { dtype: DType::F32, heads: 2, dim: 32, keys: vec![33, 1, 70], queries: None, p: 0.0, reach: None };
    for dtype in types(device) {
        let case = Case { dtype, keys: case.keys.clone(), queries: None, ..case };
        let values = case.values();
        let width = case.width();
        let sequences = Sequences::new(device, case.keys.iter().copied()).unwrap();
        let unkept = infer(device, |tape| {
            let rows = values.q.chunks_exact(width).zip(values.kv.chunks_exact(2 * width));
            let packed: Vec<f32> = rows.flat_map(|(q, kv)| [q, kv].concat()).collect();
            let array = ndarray::ArrayView2::from_shape((sequences.tokens(), 3 * width), &packed).unwrap();
            let qkv = tape.constant(tape.workspace().tensor(array)?);
            let qkv = stored(tape, dtype, &qkv)?;
            let (queries, keys) = (&sequences, &sequences);
            let args = AttentionArgs { heads: case.heads, queries, keys, position_bias: None, dropout: 0.25 };
            tape.attention(Projections::Packed(&qkv), &args)
        });
        assert_same_bits(&case.what(), &unkept, &found(device, &case, &values, 1)[0]);
    }
}

fn scores_far_from_zero_do_not_overflow<D: Backend>(device: &D) {
    for dtype in types(device) {
        for (dim, lengths) in [(4, vec![5]), (32, vec![70, 3])] {
            let case = Case { dtype, heads: 1, dim, keys: lengths, queries: None, p: 0.0, reach: None };
            let mut values = case.values();
            values.q.iter_mut().chain(&mut values.kv).for_each(|v| *v *= 150.0);
            let found = found(device, &case, &values, 1);
            assert!(found.iter().flatten().all(|v| v.is_finite()), "{}", case.what());
        }
    }
}
