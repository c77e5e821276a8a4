//! The reference against finite differences; every instruction set against the reference over sequences of odd lengths,
//! packed and split, with and without dropout.

use super::{reference, *};
use crate::{Arena, ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, ops::testing::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let mut factors = vec![0.0; 6];
    Dropout::new(Seed { run: 3, step: 1 }, 0, 0.4).unwrap().factors(crate::simd::level(), 0, &mut factors);
    let head = reference::Head {
        dim: 4,
        q: widen(&random(1, 8)),
        k: widen(&random(2, 12)),
        v: widen(&random(3, 12)),
        factors: widen(&factors),
    };
    let dy = widen(&random(4, 8));
    let (dq, dk, dv) = reference::backward(&head, &dy);
    let loss = |head: reference::Head<f64>| dot(&reference::forward(&head), &dy);
    assert_gradient("dq", &head.q, &dq, |q| loss(reference::Head { q: q.to_vec(), ..head.clone() }));
    assert_gradient("dk", &head.k, &dk, |k| loss(reference::Head { k: k.to_vec(), ..head.clone() }));
    assert_gradient("dv", &head.v, &dv, |v| loss(reference::Head { v: v.to_vec(), ..head.clone() }));
}

#[test]
fn a_bias_on_the_keys_has_no_gradient() {
    let factors = vec![1.0; 6];
    let head = reference::Head {
        dim: 4,
        q: widen(&random(1, 8)),
        k: widen(&random(2, 12)),
        v: widen(&random(3, 12)),
        factors,
    };
    let (_, dk, _) = reference::backward(&head, &widen(&random(4, 8)));
    for d in 0..4 {
        let sum: f64 = dk.iter().skip(d).step_by(4).sum();
        assert!(sum.abs() < 1e-15, "{sum}");
    }
}

struct Case {
    device: Cpu,
    heads: usize,
    dim: usize,
    lengths: Vec<usize>,
    p: f32,
    /// Only the first row of each sequence asks.
    split: bool,
}

fn columns(matrix: &[f32], cols: usize, rows: std::ops::Range<usize>, first: usize, dim: usize) -> Vec<f64> {
    rows.flat_map(|row| widen(&matrix[row * cols + first..][..dim])).collect()
}

/// Output and gradients of a packed projection by the reference: o `[Tq, H]`, dq `[Tq, H]`, dk and dv `[T, H]`.
fn expected(
    case: &Case,
    q: &[f32],
    kv: &[f32],
    dy: &[f32],
    queries: &Sequences<Cpu>,
    keys: &Sequences<Cpu>,
) -> [Vec<f64>; 4] {
    let width = case.heads * case.dim;
    let dropout = Dropout::new(Seed { run: 5, step: 0 }, 0, case.p);
    let [mut o, mut dq] = [0, 1].map(|_| vec![0.0; queries.tokens() * width]);
    let [mut dk, mut dv] = [0, 1].map(|_| vec![0.0; keys.tokens() * width]);
    for sequence in 0..queries.count() {
        for h in 0..case.heads {
            let (rows, key_rows) = (queries.range(sequence), keys.range(sequence));
            let mut factors = vec![1.0; rows.len() * key_rows.len()];
            if let Some(dropout) = dropout {
                for (query, factors) in factors.chunks_exact_mut(key_rows.len()).enumerate() {
                    let first = dropout_element(sequence, case.heads, h, query, key_rows.len());
                    for (key, factor) in factors.iter_mut().enumerate() {
                        *factor = dropout.factor(first + key as u64);
                    }
                }
            }
            let head = reference::Head {
                dim: case.dim,
                q: columns(q, width, rows.clone(), h * case.dim, case.dim),
                k: columns(kv, 2 * width, key_rows.clone(), h * case.dim, case.dim),
                v: columns(kv, 2 * width, key_rows.clone(), width + h * case.dim, case.dim),
                factors: widen(&factors),
            };
            let dy = columns(dy, width, rows.clone(), h * case.dim, case.dim);
            let (gq, gk, gv) = reference::backward(&head, &dy);
            let put = |to: &mut Vec<f64>, rows: std::ops::Range<usize>, from: Vec<f64>| {
                for (row, from) in rows.zip(from.chunks_exact(case.dim)) {
                    to[row * width + h * case.dim..][..case.dim].copy_from_slice(from);
                }
            };
            put(&mut o, rows.clone(), reference::forward(&head));
            put(&mut dq, rows, gq);
            put(&mut dk, key_rows.clone(), gk);
            put(&mut dv, key_rows, gv);
        }
    }
    [o, dq, dk, dv]
}

fn run(case: &Case) {
    let width = case.heads * case.dim;
    let workspace = Workspace::new(case.device.clone());
    let keys = Sequences::new(&case.device, case.lengths.iter().copied()).unwrap();
    let queries =
        if case.split { Sequences::new(&case.device, case.lengths.iter().map(|_| 1)).unwrap() } else { keys.clone() };
    // Scaled up, so that probabilities are not all alike.
    let grow = |values: Vec<f32>| values.into_iter().map(|v| 2.0 * v).collect::<Vec<_>>();
    let (q, kv) = (grow(random(1, queries.tokens() * width)), grow(random(2, keys.tokens() * 2 * width)));
    let mut builder = ArenaBuilder::new(case.device.clone());
    let mut train = |name: &str, rows: usize, data: Vec<f32>| {
        builder.train(name, HostTensor::new([rows, data.len() / rows], data).unwrap(), Mask::Whole).unwrap()
    };
    let params = if case.split {
        vec![train("q", queries.tokens(), q.clone()), train("kv", keys.tokens(), kv.clone())]
    } else {
        let packed =
            q.chunks_exact(width).zip(kv.chunks_exact(2 * width)).flat_map(|(q, kv)| [q, kv].concat()).collect();
        vec![train("qkv", keys.tokens(), packed)]
    };
    let arena: Arena<Cpu> = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 5, step: 0 });
    let vars: Vec<_> = params.iter().map(|param| tape.parameter(param).unwrap()).collect();
    let projections = match vars.as_slice() {
        [query, key_value] => Projections::Split { query, key_value },
        [qkv] => Projections::Packed(qkv),
        _ => unreachable!(),
    };
    let args = AttentionArgs { heads: case.heads, queries: &queries, keys: &keys, dropout: case.p };
    let o = tape.attention(projections, &args).unwrap();
    let dy = random(3, queries.tokens() * width);
    let [expected_o, dq, dk, dv] = expected(case, &q, &kv, &dy, &queries, &keys);
    let what =
        format!("{} {} heads of {}, {:?}, p {}", case.device.level(), case.heads, case.dim, case.lengths, case.p);
    assert_close(&format!("o {what}"), o.tensor().to_array().unwrap().as_slice().unwrap(), &expected_o, 1e-5);
    let gradient = backward_from(tape, &o, &dy, &arena, &workspace);
    let rows = |data: &[f64], row: usize| data[row * width..][..width].to_vec();
    let expected: Vec<f64> = if case.split {
        dq.into_iter().chain((0..keys.tokens()).flat_map(|row| [rows(&dk, row), rows(&dv, row)].concat())).collect()
    } else {
        (0..keys.tokens()).flat_map(|row| [rows(&dq, row), rows(&dk, row), rows(&dv, row)].concat()).collect()
    };
    assert_close(&format!("gradient {what}"), &gradient, &expected, 2e-5);
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    for device in cpus() {
        for (heads, dim, lengths) in [
            (1, 1, vec![1]),
            (1, 3, vec![2, 5]),
            (3, 8, vec![1, 17, 4]),
            (2, 32, vec![33, 7, 1, 64]),
            (1, 64, vec![65, 130]),
            (12, 32, vec![11, 40]),
        ] {
            for p in [0.0, 0.25] {
                for split in [false, true] {
                    run(&Case { device: device.clone(), heads, dim, lengths: lengths.clone(), p, split });
                }
            }
        }
    }
}

#[test]
fn scores_far_from_zero_do_not_overflow() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let data: Vec<f32> = random(1, 5 * 12).into_iter().map(|v| v * 300.0).collect();
    let qkv = builder.train("qkv", HostTensor::new([5, 12], data).unwrap(), Mask::Whole).unwrap();
    let arena = builder.build().unwrap();
    let sequences = Sequences::new(workspace.device(), [5]).unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let qkv = tape.parameter(&qkv).unwrap();
    let args = AttentionArgs { heads: 1, queries: &sequences, keys: &sequences, dropout: 0.0 };
    let o = tape.attention(Projections::Packed(&qkv), &args).unwrap();
    let gradient = backward_from(tape, &o, &random(2, 20), &arena, &workspace);
    assert!(o.tensor().to_array().unwrap().iter().chain(&gradient).all(|v| v.is_finite()));
}

#[test]
fn rows_that_are_not_the_sequences_are_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let sequences = Sequences::new(workspace.device(), [2, 2]).unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let qkv = tape.constant(workspace.tensor(ndarray::Array2::ones((5, 12)).view()).unwrap());
    let mut attend = |heads| {
        let args = AttentionArgs { heads, queries: &sequences, keys: &sequences, dropout: 0.0 };
        tape.attention(Projections::Packed(&qkv), &args).unwrap_err().to_string()
    };
    assert!(attend(2).contains("[5, 12], expected [4, 12]"), "{}", attend(2));
    assert!(attend(3).contains("3 heads do not divide 4 columns"), "{}", attend(3));
}

#[test]
fn packed_projections_with_other_sequences_for_the_keys_are_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let qkv = tape.constant(workspace.tensor(ndarray::Array2::ones((4, 12)).view()).unwrap());
    // As many sequences and tokens, but the first query would look at a key of the second sequence.
    let [queries, keys] = [[1, 3], [2, 2]].map(|lengths| Sequences::new(workspace.device(), lengths).unwrap());
    let args = AttentionArgs { heads: 2, queries: &queries, keys: &keys, dropout: 0.0 };
    let error = tape.attention(Projections::Packed(&qkv), &args).unwrap_err();
    assert!(matches!(error, Error::Invalid { op: "attention", .. }), "{error}");
}
