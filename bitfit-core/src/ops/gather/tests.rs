//! The reference against finite differences, the fast path against the reference, rows named twice or never, what is kept.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, ops::testing::*};

/// `count` indices below `rows`, some of them more than once.
fn some_rows(count: usize, rows: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7 + i * i * 3) % rows) as u32).collect()
}

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let at = [2, 0, 2, 4];
    let (x, dy) = (widen(&random(1, 15)), widen(&random(2, 12)));
    let dx = reference::backward(&dy, &at, 5, 3);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::forward(x, &at, 3), &dy));
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    for device in cpus() {
        for (rows, cols, count) in [(1, 1, 1), (3, 5, 7), (33, 17, 2), (100, 31, 65), (70, 384, 40), (5, 3, 0)] {
            let (x, at) = (random(1, rows * cols), some_rows(count, rows));
            let indices = Indices::new(&device, &at).unwrap();
            let found = train(&device, [([rows, cols], &x)], |tape, [x]| tape.gather_rows(x, &indices));
            let what = format!("{} {count} of [{rows}, {cols}]", device.level());
            assert_close(&format!("y {what}"), &found.y, &reference::forward(&widen(&x), &at, cols), 0.0);
            let dx = reference::backward(&widen(&found.dy), &at, rows, cols);
            assert_close(&format!("dx {what}"), &found.gradients[0], &dx, 1e-6);
            assert_accumulates(&device, [([rows, cols], &x)], |tape, [x]| tape.gather_rows(x, &indices));
        }
    }
}

#[test]
fn a_row_named_twice_gets_both_gradients_and_one_never_named_none() {
    let device = Cpu::default();
    let indices = Indices::new(&device, &[1, 1, 2]).unwrap();
    let found = train(&device, [([3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], |tape, [x]| tape.gather_rows(x, &indices));
    assert_eq!(found.y, [3.0, 4.0, 3.0, 4.0, 5.0, 6.0]);
    let dy = &found.dy;
    assert_eq!(found.gradients[0], [0.0, 0.0, dy[0] + dy[2], dy[1] + dy[3], dy[4], dy[5]]);
}

#[test]
fn rows_without_columns_are_gathered_and_scattered() {
    let device = Cpu::default();
    let (indices, empty) = (Indices::new(&device, &[1, 1]).unwrap(), Workspace::new(device.clone()));
    let found = train(&device, [([3, 2], &[1.0; 6])], |tape, [x]| {
        let none = tape.constant(Tensor::new(empty.scratch(0)?, 2, 0));
        let x = tape.matmul(x, &none)?;
        tape.gather_rows(&x, &indices)
    });
    assert_eq!((found.y.len(), &found.gradients[0][..]), (0, &[0.0; 6][..]));
}

#[test]
fn nothing_but_the_list_is_kept_and_a_constant_is_not_recorded() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("x", HostTensor::new([64, 16], random(1, 1024)).unwrap(), Mask::Whole).unwrap();
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let at = Indices::new(workspace.device(), &some_rows(32, 64)).unwrap();
    let x = tape.parameter(&param).unwrap();
    let constant = tape.constant(x.tensor().clone());
    assert!(tape.gather_rows(&constant, &at).unwrap().slot().is_none());
    assert_eq!(tape.recorded(), 1);
    drop(constant);
    let y = tape.gather_rows(&x, &at).unwrap();
    assert!(y.slot().is_some() && tape.recorded() == 2);
    drop((x, y));
    let before = workspace.allocated_bytes();
    let _lent = [workspace.scratch(1024).unwrap(), workspace.scratch(512).unwrap()];
    assert_eq!(workspace.allocated_bytes(), before, "both buffers are free");
}

#[test]
fn a_row_that_is_not_there_is_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let x = tape.constant(Tensor::new(workspace.scratch(12).unwrap(), 3, 4));
    let at = Indices::new(workspace.device(), &[0, 3]).unwrap();
    let message = tape.gather_rows(&x, &at).unwrap_err().to_string();
    assert!(message.contains("gather_rows: row 3 of a matrix of 3 rows"), "{message}");
}
