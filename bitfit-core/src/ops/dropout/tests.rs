//! The reference against finite differences, the fast path against the reference, and that identity costs nothing.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, Error, HostTensor, Mask, Seed, Workspace, ops::testing::*};

const SEED: Seed = Seed { run: 9, step: 1 };

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let dropout = Dropout::new(SEED, 3, 0.4).unwrap();
    let (x, dy) = (widen(&random(1, 40)), widen(&random(2, 40)));
    assert_gradient("dx", &x, &reference::forward(dropout, &dy), |x| dot(&reference::forward(dropout, x), &dy));
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    for device in cpus() {
        for (rows, cols) in [(1, 1), (3, 5), (1, 33), (17, 31), (33, 768), (3, 8192)] {
            let x = random(1, rows * cols);
            // The helper's seed; the first site of the tape is number 0.
            let dropout = Dropout::new(SEED, 0, 0.3).unwrap();
            let found = train(&device, [([rows, cols], &x)], |tape, [x]| tape.dropout(x, 0.3));
            let what = format!("{} [{rows}, {cols}]", device.level());
            assert_close(&format!("y {what}"), &found.y, &reference::forward(dropout, &widen(&x)), 1e-6);
            let dx = reference::forward(dropout, &widen(&found.dy));
            assert_close(&format!("dx {what}"), &found.gradients[0], &dx, 1e-6);
        }
    }
}

#[test]
fn two_sites_draw_two_masks_and_their_gradients_add_up() {
    let x = vec![1.0; 512];
    let found = train(&Cpu::default(), [([64, 8], &x)], |tape, [x]| {
        let (first, second) = (tape.dropout(x, 0.5)?, tape.dropout(x, 0.5)?);
        tape.add(&first, &second)
    });
    let mask = |site| reference::forward(Dropout::new(SEED, site, 0.5).unwrap(), &[1.0; 512]);
    let sum: Vec<f64> = mask(0).iter().zip(mask(1)).map(|(first, second)| first + second).collect();
    assert!(sum.contains(&0.0) && sum.contains(&2.0) && sum.contains(&4.0), "the masks are independent");
    assert_close("y", &found.y, &sum, 1e-6);
    let dx: Vec<f64> = sum.iter().zip(&found.dy).map(|(&mask, &dy)| mask * f64::from(dy)).collect();
    assert_close("dx", &found.gradients[0], &dx, 1e-6);
}

#[test]
fn inference_and_a_probability_of_zero_return_x_itself() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("x", HostTensor::new([64, 8], random(1, 512)).unwrap(), Mask::Whole).unwrap();
    let arena = builder.build().unwrap();
    for (mut tape, p) in [(Tape::infer(&workspace, &arena), 0.5), (Tape::train(&workspace, &arena, SEED), 0.0)] {
        let x = tape.parameter(&param).unwrap();
        let (bytes, recorded) = (workspace.allocated_bytes(), tape.recorded());
        let y = tape.dropout(&x, p).unwrap();
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
    let x = tape.constant(Tensor::new(ones, 64, 8));
    let before = workspace.allocated_bytes();
    let y = tape.dropout(&x, 0.5).unwrap();
    assert_eq!(workspace.allocated_bytes() - before, 512 * 4);
    assert!(y.slot().is_none() && tape.recorded() == 0);
    assert!(y.tensor().to_array().unwrap().iter().any(|&y| y == 0.0));
}

#[test]
fn a_probability_outside_its_range_is_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let x = tape.constant(Tensor::new(workspace.scratch(1).unwrap(), 1, 1));
    for p in [-0.1, 1.0, f32::NAN] {
        assert!(matches!(tape.dropout(&x, p), Err(Error::Invalid { .. })), "{p}");
    }
}
