//! The reference against finite differences, the conformance tests on the CPU, what is kept, errors.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let lengths = [2, 1, 3];
    let (x, dy) = (widen(&random(1, 18)), widen(&random(2, 9)));
    let dx = reference::backward(&dy, &lengths, 3);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::forward(x, &lengths, 3), &dy));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn a_constant_is_not_recorded_and_other_rows_are_refused() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("x", HostTensor::new([4, 2], random(1, 8)).unwrap(), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let x = tape.parameter(&param).unwrap();
    let constant = tape.constant(x.tensor().clone());
    let sequences = |lengths: [usize; 2]| Sequences::new(workspace.device(), lengths).unwrap();
    assert!(tape.sequence_mean(&constant, &sequences([3, 1])).unwrap().slot().is_none());
    assert!(tape.sequence_mean(&x, &sequences([3, 1])).unwrap().slot().is_some());
    let message = tape.sequence_mean(&x, &sequences([3, 2])).unwrap_err().to_string();
    assert_eq!(message, "sequence_mean: x has shape [4, 2], expected [5, 2]");
}
