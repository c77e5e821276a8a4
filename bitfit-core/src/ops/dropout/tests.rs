//! The reference against finite differences and the factors, the conformance tests on the CPU, and that the identity
//! makes no copy.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, Error, HostTensor, Mask, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let dropout = Dropout::new(SEED, 3, 0.4).unwrap();
    let (x, dy) = (widen(&random(1, 40)), widen(&random(2, 40)));
    assert_gradient("dx", &x, &reference::forward(dropout, &dy), |x| dot(&reference::forward(dropout, x), &dy));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn inference_and_a_probability_of_zero_return_x_itself() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("x", HostTensor::new([64, 8], random(1, 512)).unwrap(), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    for (mut tape, p) in [(Tape::infer(&workspace, &arena), 0.5), (Tape::train(&workspace, &arena, SEED), 0.0)] {
        let x = tape.parameter(&param).unwrap();
        let (bytes, recorded) = (workspace.allocated_bytes(), tape.recorded());
        let y = tape.dropout(&x, p, RowsOf::Tokens).unwrap();
        assert!(std::ptr::eq(y.slice().buffer, x.slice().buffer), "not even a copy");
        assert_eq!(y.slot(), x.slot());
        assert_eq!((workspace.allocated_bytes(), tape.recorded()), (bytes, recorded));
    }
}

#[test]
fn a_constant_is_dropped_too_but_not_recorded_and_nothing_but_y_is_kept() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, SEED);
    let mut ones = workspace.scratch(512).unwrap();
    workspace.device().fill(1.0, ones.as_mut()).unwrap();
    let x = tape.constant(Tensor::new(ones, 64, 8).unwrap());
    let before = workspace.allocated_bytes();
    let y = tape.dropout(&x, 0.5, RowsOf::Tokens).unwrap();
    assert_eq!(workspace.allocated_bytes() - before, 512 * 4);
    assert!(y.slot().is_none() && tape.recorded() == 0);
    assert!(y.tensor().to_array().unwrap().iter().any(|&y| y == 0.0));
}

#[test]
fn a_probability_outside_its_range_is_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let x = tape.constant(Tensor::new(workspace.scratch(1).unwrap(), 1, 1).unwrap());
    for p in [-0.1, 1.0, f32::NAN] {
        assert!(matches!(tape.dropout(&x, p, RowsOf::Tokens), Err(Error::Invalid { .. })), "{p}");
    }
}
