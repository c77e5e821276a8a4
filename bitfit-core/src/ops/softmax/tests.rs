//! The reference against finite differences, every instruction set against the reference, hard rows, and what is kept.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, ops::testing::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (x, dy) = (widen(&random(1, 15)), widen(&random(2, 15)));
    let dx = reference::backward(&dy, &reference::forward(&x, 5), 5);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::forward(x, 5), &dy));
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    for device in cpus() {
        for (rows, cols) in (1..=33).map(|cols| (3, cols)).chain([(70, 128), (5, 384), (1, 513)]) {
            let x: Vec<f32> = random(1, rows * cols).iter().map(|x| 5.0 * x).collect();
            let found = train(&device, [([rows, cols], &x)], |tape, [x]| tape.softmax(x));
            let y = reference::forward(&widen(&x), cols);
            let dx = reference::backward(&widen(&found.dy), &y, cols);
            let what = format!("{} [{rows}, {cols}]", device.level());
            assert_close(&format!("y {what}"), &found.y, &y, 1e-6);
            // Where one element has nearly all of the row, the gradient is a small difference of large numbers.
            assert_close(&format!("dx {what}"), &found.gradients[0], &dx, 2e-5);
        }
        assert_accumulates(&device, [([9, 13], &random(3, 117))], |tape, [x]| tape.softmax(x));
    }
}

#[test]
fn large_elements_do_not_overflow_and_masked_ones_are_zero() {
    for device in cpus() {
        for far in [1e4, -1e4, 3e38, -3e38] {
            for cols in [1, 3, 8, 11, 16, 19] {
                let y = train(&device, [([1, cols], &vec![far; cols])], |tape, [x]| tape.softmax(x)).y;
                assert_close("equal elements", &y, &vec![1.0 / cols as f64; cols], 1e-6);
            }
        }
        let y =
            train(&device, [([1, 4], &[f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY, 2.0])], |tape, [x]| tape.softmax(x))
                .y;
        assert_eq!(y, [0.0, 0.5, 0.0, 0.5]);
        let y = train(&device, [([1, 19], &[&[f32::NAN; 1][..], &[1.0; 18]].concat())], |tape, [x]| tape.softmax(x)).y;
        assert!(y.iter().all(|y| y.is_nan()), "a NaN must not be lost: {y:?}");
    }
}

#[test]
fn nothing_is_kept_but_the_output_and_nothing_recorded_for_a_constant() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("x", HostTensor::new([64, 8], random(1, 512)).unwrap(), Mask::Whole).unwrap();
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let x = tape.parameter(&param).unwrap();
    let constant = tape.constant(x.tensor().clone());
    let before = workspace.allocated_bytes();
    let y = tape.softmax(&x).unwrap();
    assert_eq!((workspace.allocated_bytes() - before, tape.recorded()), (512 * 4, 2));
    assert!(y.slot().is_some());
    assert!(tape.softmax(&constant).unwrap().slot().is_none());
    assert_eq!(tape.recorded(), 2);
    let empty = tape.constant(Tensor::new(workspace.scratch(0).unwrap(), 0, 8));
    assert_eq!(tape.softmax(&empty).unwrap().tensor().shape(), [0, 8]);
}
