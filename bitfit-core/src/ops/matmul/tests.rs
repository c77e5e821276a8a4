//! The reference against finite differences, every instruction set against the reference, and what is kept.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, ops::testing::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let shape = [3, 4, 2];
    let (a, b, dy) = (widen(&random(1, 12)), widen(&random(2, 8)), widen(&random(3, 6)));
    let (da, db) = reference::backward(shape, &a, &b, &dy);
    assert_gradient("da", &a, &da, |a| dot(&reference::forward(shape, a, &b), &dy));
    assert_gradient("db", &b, &db, |b| dot(&reference::forward(shape, &a, b), &dy));
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    for device in cpus() {
        for shape in [[1, 1, 1], [2, 3, 1], [1, 17, 5], [33, 15, 7], [64, 31, 33], [130, 65, 48], [70, 384, 16]] {
            let [m, k, n] = shape;
            let (a, b) = (random(1, m * k), random(2, k * n));
            let found = train(&device, [([m, k], &a), ([k, n], &b)], |tape, [a, b]| tape.matmul(a, b));
            let (a, b) = (widen(&a), widen(&b));
            let (da, db) = reference::backward(shape, &a, &b, &widen(&found.dy));
            let what = format!("{} {shape:?}", device.level());
            assert_close(&format!("y {what}"), &found.y, &reference::forward(shape, &a, &b), 2e-6);
            assert_close(&format!("da {what}"), &found.gradients[0], &da, 2e-6);
            assert_close(&format!("db {what}"), &found.gradients[1], &db, 2e-6);
        }
        let (a, b) = (random(1, 15), random(2, 10));
        assert_accumulates(&device, [([3, 5], &a), ([5, 2], &b)], |tape, [a, b]| tape.matmul(a, b));
    }
}

#[test]
fn a_square_has_the_gradient_of_both_sides() {
    let x = random(1, 25);
    let found = train(&Cpu::default(), [([5, 5], &x)], |tape, [x]| tape.matmul(x, x));
    let x = widen(&x);
    let (left, right) = reference::backward([5, 5, 5], &x, &x, &widen(&found.dy));
    let sum: Vec<f64> = left.iter().zip(right).map(|(left, right)| left + right).collect();
    assert_close("dx", &found.gradients[0], &sum, 1e-6);
}

#[test]
fn an_empty_inner_dimension_gives_zeros_whatever_the_buffer_held() {
    let workspace = Workspace::new(Cpu::default());
    let mut used = [(); 3].map(|()| workspace.scratch(6).unwrap());
    used.iter_mut().for_each(|used| workspace.device().fill(f32::NAN, used.as_mut()).unwrap());
    drop(used);
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let a = tape.constant(Tensor::new(workspace.scratch(0).unwrap(), 2, 0));
    let b = tape.constant(Tensor::new(workspace.scratch(0).unwrap(), 0, 3));
    let y = tape.matmul(&a, &b).unwrap();
    assert_eq!(y.tensor().to_array().unwrap().into_raw_vec_and_offset().0, [0.0; 6]);
}

#[test]
fn a_side_is_kept_only_for_the_other_sides_gradient() {
    // Three sizes, so that the buffers of one cannot stand in for another's.
    for (train_a, train_b) in [(true, true), (true, false), (false, true), (false, false)] {
        let workspace = Workspace::new(Cpu::default());
        let mut builder = ArenaBuilder::new(Cpu::default());
        let mask = |trains| if trains { Mask::Whole } else { Mask::Elements(vec![0]) };
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
    let a = tape.constant(Tensor::new(workspace.scratch(12).unwrap(), 3, 4));
    let message = tape.matmul(&a, &a).unwrap_err().to_string();
    assert!(message.contains("matmul: b") && message.contains("[3, 4]") && message.contains("[4, 4]"), "{message}");
}
