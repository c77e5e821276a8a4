//! The conformance tests on the CPU, and that an f32 matrix is not copied.

use super::*;
use crate::{ArenaBuilder, Cpu, Seed, Workspace, backend::conformance::support::*};

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn an_f32_matrix_is_returned_itself() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let x = tape.constant(Tensor::new(workspace.scratch(6).unwrap(), 2, 3).unwrap());
    let y = tape.to_f32(&x).unwrap();
    assert!(std::ptr::eq(y.slice().buffer, x.slice().buffer) && tape.recorded() == 0);
}
