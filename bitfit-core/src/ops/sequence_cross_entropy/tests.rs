//! The reference against finite differences, a case computed by hand and the cross-entropy of rows, the conformance
//! tests on the CPU, and errors.

use super::{conformance::some_targets, reference, *};
use crate::{ArenaBuilder, Cpu, Workspace, backend::conformance::support::*, ops::cross_entropy};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let lengths = [2, 1, 4];
    let (z, targets) = (widen(&random(1, 14)), some_targets(&lengths, 2));
    let dz = reference::backward(&z, &lengths, &targets, 2, 0.7);
    assert_gradient("dz", &z, &dz, |z| 0.7 * reference::forward(z, &lengths, &targets, 2));
}

#[test]
fn with_one_column_and_one_length_it_is_the_cross_entropy_of_rows() {
    let (z, targets) = (widen(&random(1, 15)), [4, 0, 2]);
    let over_sequences = reference::forward(&z, &[5, 5, 5], &targets, 1);
    assert!((over_sequences - cross_entropy::reference::forward(&z, &targets, 5)).abs() < 1e-12);
    // p = (1/4, 3/4): -ln(3/4).
    let loss = reference::forward(&[0.0, 3f64.ln()], &[2], &[1], 1);
    assert!((loss - (4.0f64 / 3.0).ln()).abs() < 1e-12, "{loss}");
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let sequences = Sequences::new(workspace.device(), [2, 3]).unwrap();
    for (rows, columns, targets, words) in [
        (5, 2, &[0, 1, 2, 3][..], "row 3 of sequence 1, which has 3"),
        (5, 2, &[2, 0, 0, 0], "row 2 of sequence 0, which has 2"),
        (5, 2, &[0, 0], "expected [4]"),
        (4, 2, &[0; 4], "expected [5, 2]"),
        (5, 0, &[], "no columns"),
    ] {
        let z = tape.constant(Tensor::new(workspace.scratch(rows * columns).unwrap(), rows, columns).unwrap());
        let message = tape.sequence_cross_entropy(&z, &sequences, targets).unwrap_err().to_string();
        assert!(message.contains("sequence_cross_entropy") && message.contains(words), "{message}");
    }
}
