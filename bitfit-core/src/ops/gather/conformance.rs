//! The conformance checks of the row gather.

use super::reference;
use crate::{
    Backend, Indices, Tensor,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["gather_rows":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        a_row_named_twice_gets_both_gradients_and_one_never_named_none,
        rows_without_columns_are_gathered_and_scattered,
    ]
}

/// Returns `count` indices below `rows`, some of them repeated.
pub(super) fn some_rows(count: usize, rows: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7 + i * i * 3) % rows) as u32).collect()
}

/// The shape `[rows, cols]`, and the number of rows to gather.
const SHAPES: [(usize, usize, usize); 8] =
    [(1, 1, 1), (3, 5, 7), (33, 17, 2), (100, 31, 65), (70, 384, 40), (9, 768, 16), (300, 2, 3), (5, 3, 0)];

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for (rows, cols, count) in SHAPES {
        let (x, at) = (random(1, rows * cols), some_rows(count, rows));
        let indices = Indices::new(device, &at).unwrap();
        let found = train(device, [([rows, cols], &x)], |tape, [x]| tape.gather_rows(x, &indices));
        let what = format!("{count} of [{rows}, {cols}]");
        assert_close(&format!("y {what}"), &found.y, &reference::forward(&widen(&x), &at, cols), 0.0);
        let dx = reference::backward(&widen(&found.dy), &at, rows, cols);
        assert_close(&format!("dx {what}"), &found.gradients[0], &dx, 1e-6);
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for (rows, cols, count) in SHAPES {
        let (x, at) = (random(1, rows * cols), some_rows(count, rows));
        let indices = Indices::new(device, &at).unwrap();
        assert_accumulates(device, [([rows, cols], &x)], |tape, [x]| tape.gather_rows(x, &indices));
    }
}

fn a_row_named_twice_gets_both_gradients_and_one_never_named_none<D: Backend>(device: &D) {
    let indices = Indices::new(device, &[1, 1, 2]).unwrap();
    let found = train(device, [([3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], |tape, [x]| tape.gather_rows(x, &indices));
    assert_eq!(found.y, [3.0, 4.0, 3.0, 4.0, 5.0, 6.0]);
    let dy = &found.dy;
    assert_eq!(found.gradients[0], [0.0, 0.0, dy[0] + dy[2], dy[1] + dy[3], dy[4], dy[5]]);
}

fn rows_without_columns_are_gathered_and_scattered<D: Backend>(device: &D) {
    let indices = Indices::new(device, &[1, 1]).unwrap();
    let found = train(device, [([3, 2], &[1.0; 6])], |tape, [x]| {
        let none = tape.constant(Tensor::new(tape.scratch(0)?, 2, 0)?);
        let x = tape.matmul(x, &none)?;
        tape.gather_rows(&x, &indices)
    });
    assert_eq!((found.y.len(), &found.gradients[0][..]), (0, &[0.0; 6][..]));
}
