//! The reference against finite differences, the conformance tests on the CPU, errors.

use super::{conformance, reference};
use crate::{ArenaBuilder, Cpu, Tape, Tensor, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (x, dy) = (widen(&random(1, 18)), widen(&random(2, 36)));
    let dx = reference::backward(&dy, &x, 3);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::forward(x, 3), &dy));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn an_odd_number_of_rows_is_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let x = tape.constant(Tensor::new(workspace.scratch(6).unwrap(), 3, 2).unwrap());
    let message = tape.pair_features(&x).unwrap_err().to_string();
    assert_eq!(message, "pair_features: 3 rows are not those of pairs");
}
