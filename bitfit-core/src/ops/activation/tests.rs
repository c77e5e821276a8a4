//! The reference against finite differences, the conformance tests on the CPU, and what is saved.

use super::{conformance::ALL, reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    for f in ALL {
        // Scaled by four, to reach the flat parts of each function.
        let x: Vec<f64> = widen(&random(1, 40)).iter().map(|x| 4.0 * x).collect();
        let dy = widen(&random(2, 40));
        let dx = reference::backward(f, &x, &dy);
        assert_gradient(f.name(), &x, &dx, |x| dot(&reference::forward(f, x), &dy));
    }
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn only_gelu_keeps_more_than_its_output_and_a_constant_keeps_nothing() {
    let bytes = 64 * 8 * 4;
    for f in ALL {
        let kept = if f == Activation::Gelu { bytes } else { 0 };
        let workspace = Workspace::new(Cpu::default());
        let mut builder = ArenaBuilder::new(Cpu::default());
        let tensor = HostTensor::new([64, 8], random(1, 512)).unwrap();
        let param = builder.train("x", tensor, Mask::All).unwrap();
        let arena = builder.build().unwrap();
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
        let x = tape.parameter(&param).unwrap();
        let before = workspace.allocated_bytes();
        let y = tape.activate(f, &x).unwrap();
        assert_eq!(workspace.allocated_bytes() - before, bytes + kept, "{f:?}");
        assert_eq!(tape.recorded(), 2);
        drop(y);

        let workspace = Workspace::new(Cpu::default());
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
        let x = tape.constant(x.tensor().clone());
        let y = tape.activate(f, &x).unwrap();
        assert_eq!(workspace.allocated_bytes(), bytes, "{f:?}");
        assert!(y.slot().is_none() && tape.recorded() == 0);
    }
}
