//! The reference against finite differences, the conformance tests on the CPU, what is saved, and errors.

use super::{conformance::some_rows, reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let at = [2, 0, 2, 4];
    let (x, dy) = (widen(&random(1, 15)), widen(&random(2, 12)));
    let dx = reference::backward(&dy, &at, 5, 3);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::forward(x, &at, 3), &dy));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn nothing_but_the_list_is_kept_and_a_constant_is_not_recorded() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("x", HostTensor::new([64, 16], random(1, 1024)).unwrap(), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let at = Indices::new(workspace.device(), &some_rows(32, 64)).unwrap();
    let x = tape.parameter(&param).unwrap();
    let constant = tape.constant(x.tensor().clone());
    assert!(tape.gather_rows(&constant, &at).unwrap().slot().is_none());
    assert_eq!(tape.recorded(), 1);
    drop(constant);
    let y = tape.gather_rows(&x, &at).unwrap();
    assert!(y.slot().is_some() && tape.recorded() == 2);
    drop((x, y));
    let before = workspace.allocated_bytes();
    let _lent = [workspace.scratch(1024).unwrap(), workspace.scratch(512).unwrap()];
    assert_eq!(workspace.allocated_bytes(), before, "both buffers are free");
}

#[test]
fn a_row_out_of_range_is_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let x = tape.constant(Tensor::new(workspace.scratch(12).unwrap(), 3, 4).unwrap());
    let at = Indices::new(workspace.device(), &[0, 3]).unwrap();
    let message = tape.gather_rows(&x, &at).unwrap_err().to_string();
    assert!(message.contains("gather_rows: row 3 is out of range for a matrix of 3 rows"), "{message}");
}
