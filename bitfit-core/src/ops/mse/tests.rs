//! The reference against finite differences and values computed by hand, the conformance tests on the CPU, what is
//! saved, and errors.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (x, t) = (widen(&random(1, 9)), widen(&random(2, 9)));
    assert_eq!(reference::forward(&[1.0, 2.0], &[4.0, 1.0]), 5.0);
    assert_gradient("dx", &x, &reference::backward(&x, &t, 0.7), |x| 0.7 * reference::forward(x, &t));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn nothing_is_copied_and_nothing_recorded_for_a_constant() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("x", HostTensor::new([512, 1], random(1, 512)).unwrap(), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let x = tape.parameter(&param).unwrap();
    let constant = tape.constant(x.tensor().clone());
    let before = workspace.allocated_bytes();
    let loss = tape.mse(&x, constant.tensor()).unwrap();
    assert_eq!(workspace.allocated_bytes() - before, 64 * 4, "only the loss, in the smallest buffer there is");
    assert!(loss.slot().is_some() && tape.recorded() == 2);
    assert_eq!(loss.tensor().to_array().unwrap()[(0, 0)], 0.0);
    assert!(tape.mse(&constant, x.tensor()).unwrap().slot().is_none());
    assert_eq!(tape.recorded(), 2);
}

#[test]
fn other_shapes_and_an_empty_batch_are_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let tensor = |rows, cols| Tensor::new(workspace.scratch(rows * cols).unwrap(), rows, cols).unwrap();
    for (rows, targets, words) in
        [(3, tensor(1, 3), "[1, 3]"), (3, tensor(2, 1), "[2, 1]"), (0, tensor(0, 1), "no elements")]
    {
        let x = tape.constant(tensor(rows, 1));
        let message = tape.mse(&x, &targets).unwrap_err().to_string();
        assert!(message.contains("mse") && message.contains(words), "{message}");
    }
}
