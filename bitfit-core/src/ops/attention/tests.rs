//! The reference against finite differences, the conformance tests on the CPU, and errors.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, Precision, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let mut factors = vec![0.0; 6];
    Dropout::new(Seed { run: 3, step: 1 }, 0, 0.4).unwrap().factors(crate::cpu::Isa::selected(), 0, &mut factors);
    let head = reference::Head {
        dim: 4,
        q: widen(&random(1, 8)),
        k: widen(&random(2, 12)),
        v: widen(&random(3, 12)),
        position_bias: widen(&random(5, 6)),
        factors: widen(&factors),
    };
    let dy = widen(&random(4, 8));
    let [dq, dk, dv, db] = reference::backward(&head, &dy);
    let loss = |head: reference::Head<f64>| dot(&reference::forward(&head), &dy);
    assert_gradient("dq", &head.q, &dq, |q| loss(reference::Head { q: q.to_vec(), ..head.clone() }));
    assert_gradient("dk", &head.k, &dk, |k| loss(reference::Head { k: k.to_vec(), ..head.clone() }));
    assert_gradient("dv", &head.v, &dv, |v| loss(reference::Head { v: v.to_vec(), ..head.clone() }));
    assert_gradient("db", &head.position_bias, &db, |bias| {
        loss(reference::Head { position_bias: bias.to_vec(), ..head.clone() })
    });
}

#[test]
fn the_same_bits_come_from_any_number_of_threads() {
    for precision in Precision::ALL {
        let (device, dtype) = (Cpu::default().with_precision(precision), precision.activation_dtype());
        let case = conformance::Case {
            dtype,
            heads: 4,
            dim: 8,
            keys: vec![130, 3, 60],
            queries: None,
            p: 0.25,
            reach: Some(4),
        };
        let values = case.values();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| conformance::found(&device, &case, &values, 1))
        };
        let one = run(1);
        for threads in [2, 4, 4] {
            for (found, one) in run(threads).iter().zip(&one) {
                assert_same_bits(&format!("{dtype:?}, {threads} threads"), found, one);
            }
        }
    }
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn a_bias_on_the_keys_has_no_gradient() {
    let factors = vec![1.0; 6];
    let head = reference::Head {
        dim: 4,
        q: widen(&random(1, 8)),
        k: widen(&random(2, 12)),
        v: widen(&random(3, 12)),
        position_bias: widen(&random(5, 6)),
        factors,
    };
    let [_, dk, ..] = reference::backward(&head, &widen(&random(4, 8)));
    for d in 0..4 {
        let sum: f64 = dk.iter().skip(d).step_by(4).sum();
        assert!(sum.abs() < 1e-15, "{sum}");
    }
}

#[test]
fn rows_that_are_not_the_sequences_are_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let sequences = Sequences::new(workspace.device(), [2, 2]).unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let qkv = tape.constant(workspace.tensor(ndarray::Array2::ones((5, 12)).view()).unwrap());
    let mut attend = |heads| {
        let args = AttentionArgs { heads, queries: &sequences, keys: &sequences, position_bias: None, dropout: 0.0 };
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
    // The same numbers of sequences and tokens, but the first query would attend to a key of the second sequence.
    let [queries, keys] = [[1, 3], [2, 2]].map(|lengths| Sequences::new(workspace.device(), lengths).unwrap());
    let args = AttentionArgs { heads: 2, queries: &queries, keys: &keys, position_bias: None, dropout: 0.0 };
    let error = tape.attention(Projections::Packed(&qkv), &args).unwrap_err();
    assert!(matches!(error, Error::Invalid { op: "attention", .. }), "{error}");
}
