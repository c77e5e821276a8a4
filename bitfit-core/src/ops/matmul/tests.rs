//! The reference against finite differences, the conformance tests on the CPU, and what is saved.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let shape = [3, 4, 2];
    let (a, b, dy) = (widen(&random(1, 12)), widen(&random(2, 8)), widen(&random(3, 6)));
    let (da, db) = reference::backward(shape, &a, &b, &dy);
    assert_gradient("da", &a, &da, |a| dot(&reference::forward(shape, a, &b), &dy));
    assert_gradient("db", &b, &db, |b| dot(&reference::forward(shape, &a, b), &dy));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn a_side_is_kept_only_for_the_other_sides_gradient() {
    // Three sizes, so that the buffers of one cannot stand in for another's.
    for (train_a, train_b) in [(true, true), (true, false), (false, true), (false, false)] {
        let workspace = Workspace::new(Cpu::default());
        let mut builder = ArenaBuilder::new(Cpu::default());
        let mask = |trains| if trains { Mask::All } else { Mask::Elements(vec![0]) };
        let a = builder.train("a", HostTensor::new([4, 64], random(1, 256)).unwrap(), mask(train_a)).unwrap();
        let b = builder.train("b", HostTensor::new([64, 16], random(2, 1024)).unwrap(), mask(train_b)).unwrap();
        let arena = builder.build().unwrap();
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
        let mut input = |param, trains| {
            let var: Var<Cpu> = tape.parameter(param).unwrap();
            if trains { var } else { tape.constant(var.tensor().clone()) }
        };
        let (a, b) = (input(&a, train_a), input(&b, train_b));
        let recorded = tape.recorded();
        let y = tape.matmul(&a, &b).unwrap();
        assert_eq!(tape.recorded() - recorded, usize::from(train_a || train_b));
        assert_eq!(y.slot().is_some(), train_a || train_b);
        drop((a, b));
        let before = workspace.allocated_bytes();
        let lent = [workspace.scratch(256).unwrap(), workspace.scratch(1024).unwrap()];
        let kept = 4 * (256 * usize::from(train_b) + 1024 * usize::from(train_a));
        assert_eq!(workspace.allocated_bytes() - before, kept, "a trains {train_a}, b {train_b}");
        drop(lent);
    }
}

#[test]
fn inner_dimensions_that_differ_are_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let a = tape.constant(Tensor::new(workspace.scratch(12).unwrap(), 3, 4).unwrap());
    let message = tape.matmul(&a, &a).unwrap_err().to_string();
    assert!(message.contains("matmul: b") && message.contains("[3, 4]") && message.contains("[4, 4]"), "{message}");
}
