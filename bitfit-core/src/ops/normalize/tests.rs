//! The reference against finite differences, and the conformance tests on the CPU.

use super::{conformance, reference};
use crate::backend::conformance::support::*;

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (x, dy) = (widen(&random(1, 12)), widen(&random(2, 12)));
    let dx = reference::backward(&dy, &x, 4);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::forward(x, 4), &dy));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}
