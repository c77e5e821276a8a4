//! The reference against finite differences, the conformance tests on the CPU, what is saved, and errors.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let x = widen(&random(1, 12));
    for divisor in [1, 12] {
        let dx = reference::backward(0.7, divisor, 12);
        assert_gradient("dx", &x, &dx, |x| 0.7 * reference::forward(x, divisor));
    }
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn nothing_is_saved_nothing_recorded_for_a_constant_and_no_mean_taken_of_nothing() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("x", HostTensor::new([64, 8], random(1, 512)).unwrap(), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let x = tape.parameter(&param).unwrap();
    let constant = tape.constant(x.tensor().clone());
    let before = workspace.allocated_bytes();
    let mean = tape.mean(&x).unwrap();
    assert_eq!(workspace.allocated_bytes() - before, 64 * 4, "only the mean, in the smallest buffer there is");
    assert!(mean.slot().is_some() && tape.recorded() == 2);
    assert!(tape.sum(&constant).unwrap().slot().is_none());
    assert_eq!(tape.recorded(), 2);
    let none = tape.constant(Tensor::new(workspace.scratch(0).unwrap(), 0, 8).unwrap());
    let message = tape.mean(&none).unwrap_err().to_string();
    assert_eq!(message, "mean: x has no elements, so there is no mean");
}
