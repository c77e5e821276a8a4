//! The references against finite differences, the conformance tests on the CPU, what is saved, and shapes that do not
//! match.

use super::{reference, *};
use crate::{Arena, ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (a, dy) = (widen(&random(1, 12)), widen(&random(2, 12)));
    for b in [widen(&random(3, 12)), widen(&random(3, 4))] {
        let (da, db) = reference::add_backward(&dy, &b);
        assert_gradient("add da", &a, &da, |a| dot(&reference::add(a, &b), &dy));
        assert_gradient("add db", &b, &db, |b| dot(&reference::add(&a, b), &dy));
        let (da, db) = reference::sub_backward(&dy, &b);
        assert_gradient("sub da", &a, &da, |a| dot(&reference::sub(a, &b), &dy));
        assert_gradient("sub db", &b, &db, |b| dot(&reference::sub(&a, b), &dy));
        let (da, db) = reference::mul_backward(&dy, &a, &b);
        assert_gradient("mul da", &a, &da, |a| dot(&reference::mul(a, &b), &dy));
        assert_gradient("mul db", &b, &db, |b| dot(&reference::mul(&a, b), &dy));
    }
    let dx = reference::scale(&dy, -0.5);
    assert_gradient("scale", &a, &dx, |x| dot(&reference::scale(x, -0.5), &dy));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

fn parameter(workspace: &Workspace<Cpu>) -> (Arena<Cpu>, crate::Trainable) {
    let mut builder = ArenaBuilder::new(workspace.device().clone());
    let x = builder.train("x", HostTensor::new([64, 8], random(1, 512)).unwrap(), Mask::All).unwrap();
    (builder.build().unwrap(), x)
}

/// The number of bytes that stay in use when every var is dropped but the tape is not.
fn kept(network: impl Fn(&mut Tape<'_, Cpu>, Var<Cpu>, Var<Cpu>) -> Result<Var<Cpu>>) -> usize {
    let workspace = Workspace::new(Cpu::default());
    let (arena, x) = parameter(&workspace);
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let x = tape.parameter(&x).unwrap();
    let constant = tape.constant(Tensor::new(workspace.scratch(512).unwrap(), 64, 8).unwrap());
    drop(network(&mut tape, x, constant).unwrap());
    // A free buffer is reused without a new allocation.
    let in_all = workspace.allocated_bytes() / 2048;
    let mut lent = Vec::new();
    while workspace.allocated_bytes() / 2048 == in_all {
        lent.push(workspace.scratch(512).unwrap());
    }
    in_all + 1 - lent.len()
}

#[test]
fn a_side_is_kept_only_for_the_other_sides_gradient() {
    assert_eq!(kept(|tape, x, c| tape.add(&x, &c)), 0);
    assert_eq!(kept(|tape, x, _| tape.add(&x, &x)), 0);
    assert_eq!(kept(|tape, x, c| tape.sub(&x, &c)), 0);
    assert_eq!(kept(|tape, x, _| tape.scale(&x, 2.0)), 0);
    assert_eq!(kept(|tape, x, c| tape.mul(&x, &c)), 1, "the constant, not x");
    assert_eq!(kept(|tape, x, c| tape.mul(&c, &x)), 1, "the constant, not x");
    assert_eq!(kept(|tape, x, _| tape.mul(&x, &x)), 1, "x, shared");
    assert_eq!(kept(|tape, _, c| tape.mul(&c, &c)), 0);
}

#[test]
fn constants_are_not_recorded() {
    let workspace = Workspace::new(Cpu::default());
    let (arena, _) = parameter(&workspace);
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let c = tape.constant(Tensor::new(workspace.scratch(512).unwrap(), 64, 8).unwrap());
    for y in [tape.add(&c, &c), tape.sub(&c, &c), tape.mul(&c, &c), tape.scale(&c, 2.0)].map(Result::unwrap) {
        assert!(y.slot().is_none());
    }
    assert_eq!(tape.recorded(), 0);
}

#[test]
fn a_shape_that_does_not_fit_is_refused() {
    let workspace = Workspace::new(Cpu::default());
    let (arena, _) = parameter(&workspace);
    let mut tape = Tape::infer(&workspace, &arena);
    let var = |rows, cols| Tensor::new(workspace.scratch(rows * cols).unwrap(), rows, cols).unwrap();
    let a = tape.constant(var(3, 4));
    for b in [var(3, 5), var(2, 4), var(3, 1), var(1, 5)] {
        let shape = format!("{:?}", b.shape());
        let b = tape.constant(b);
        let message = tape.add(&a, &b).unwrap_err().to_string();
        assert!(message.contains("add") && message.contains("[3, 4]") && message.contains(&shape), "{message}");
        let message = tape.sub(&a, &b).unwrap_err().to_string();
        assert!(message.contains("sub") && message.contains("[3, 4]") && message.contains(&shape), "{message}");
        let message = tape.mul(&a, &b).unwrap_err().to_string();
        assert!(message.contains("mul") && message.contains("[3, 4]") && message.contains(&shape), "{message}");
    }
    let message = tape.scale(&a, f32::INFINITY).unwrap_err().to_string();
    assert_eq!(message, "scale: the factor is inf, expected a finite number");
}
