//! The reference against finite differences and a case computed by hand, the conformance tests on the CPU, what is
//! saved, and errors.

use super::{conformance::some_labels, reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (z, labels) = (widen(&random(1, 20)), [3, 0, 3, 4]);
    let dz = reference::backward(&z, &labels, 5, 0.7);
    assert_gradient("dz", &z, &dz, |z| 0.7 * reference::forward(z, &labels, 5));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn equal_logits_cost_the_logarithm_of_the_classes() {
    for classes in 1..20 {
        let loss = reference::forward(&vec![0.3; 2 * classes], &some_labels(2, classes), classes);
        assert!((loss - (classes as f64).ln()).abs() < 1e-12);
    }
    // p = (1/4, 3/4): -ln(3/4).
    let loss = reference::forward(&[0.0, 3f64.ln()], &[1], 2);
    assert!((loss - (4.0f64 / 3.0).ln()).abs() < 1e-12, "{loss}");
}

#[test]
fn probabilities_are_kept_only_for_a_gradient() {
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("z", HostTensor::new([64, 8], random(1, 512)).unwrap(), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    for (trains, kept) in [(true, 512), (false, 0)] {
        let workspace = Workspace::new(Cpu::default());
        let labels = Indices::new(workspace.device(), &some_labels(64, 8)).unwrap();
        let mut tape = match trains {
            true => Tape::train(&workspace, &arena, Seed { run: 0, step: 0 }),
            false => Tape::infer(&workspace, &arena),
        };
        let z = tape.parameter(&param).unwrap();
        let before = workspace.allocated_bytes();
        let loss = tape.cross_entropy(&z, &labels).unwrap();
        // The loss itself takes a buffer of the smallest size.
        assert_eq!(workspace.allocated_bytes() - before, (64 + kept) * 4);
        assert_eq!(tape.recorded(), if trains { 2 } else { 0 });
        let expected = reference::forward(&widen(&random(1, 512)), &some_labels(64, 8), 8);
        assert_close("loss", loss.tensor().to_array().unwrap().as_slice().unwrap(), &[expected], 1e-6);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    for (rows, labels, words) in
        [(2, &[0, 3][..], "label 3 is out of range for 3 classes"), (2, &[0], "expected [2]"), (0, &[], "no rows")]
    {
        let z = tape.constant(Tensor::new(workspace.scratch(rows * 3).unwrap(), rows, 3).unwrap());
        let labels = Indices::new(workspace.device(), labels).unwrap();
        let message = tape.cross_entropy(&z, &labels).unwrap_err().to_string();
        assert!(message.contains("cross_entropy") && message.contains(words), "{message}");
    }
}
