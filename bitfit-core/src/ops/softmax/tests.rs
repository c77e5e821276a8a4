//! The reference against finite differences, the conformance tests on the CPU, and what is saved.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (x, dy) = (widen(&random(1, 15)), widen(&random(2, 15)));
    let dx = reference::backward(&dy, &reference::forward(&x, 5), 5);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::forward(x, 5), &dy));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn nothing_is_kept_but_the_output_and_nothing_recorded_for_a_constant() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("x", HostTensor::new([64, 8], random(1, 512)).unwrap(), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let x = tape.parameter(&param).unwrap();
    let constant = tape.constant(x.tensor().clone());
    let before = workspace.allocated_bytes();
    let y = tape.softmax(&x).unwrap();
    assert_eq!((workspace.allocated_bytes() - before, tape.recorded()), (512 * 4, 2));
    assert!(y.slot().is_some());
    assert!(tape.softmax(&constant).unwrap().slot().is_none());
    assert_eq!(tape.recorded(), 2);
}
