//! The conformance checks of the softmax.

use super::reference;
use crate::{
    Backend, Tensor,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["softmax":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        large_elements_do_not_overflow_and_masked_ones_are_zero,
        no_rows_make_none,
    ]
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for (rows, cols) in (1..=33).map(|cols| (3, cols)).chain([(70, 128), (5, 384), (1, 513), (2, 3072)]) {
        let x: Vec<f32> = random(1, rows * cols).iter().map(|x| 5.0 * x).collect();
        let found = train(device, [([rows, cols], &x)], |tape, [x]| tape.softmax(x));
        let y = reference::forward(&widen(&x), cols);
        let dx = reference::backward(&widen(&found.dy), &y, cols);
        let what = format!("[{rows}, {cols}]");
        assert_close(&format!("y {what}"), &found.y, &y, 1e-6);
        // If one element has nearly all of the row's probability, the gradient is a small difference of large numbers.
        assert_close(&format!("dx {what}"), &found.gradients[0], &dx, 2e-5);
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for cols in [13, 384] {
        assert_accumulates(device, [([9, cols], &random(3, 9 * cols))], |tape, [x]| tape.softmax(x));
    }
}

fn large_elements_do_not_overflow_and_masked_ones_are_zero<D: Backend>(device: &D) {
    let softmax = |x: &[f32]| train(device, [([1, x.len()], x)], |tape, [x]| tape.softmax(x)).y;
    for far in [1e4, -1e4, 3e38, -3e38] {
        for cols in [1, 3, 8, 11, 16, 19, 70] {
            assert_close("equal elements", &softmax(&vec![far; cols]), &vec![1.0 / cols as f64; cols], 1e-6);
        }
    }
    assert_eq!(softmax(&[f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY, 2.0]), [0.0, 0.5, 0.0, 0.5]);
    let y = softmax(&[&[f32::NAN; 1][..], &[1.0; 18]].concat());
    assert!(y.iter().all(|y| y.is_nan()), "a NaN must not be lost: {y:?}");
}

fn no_rows_make_none<D: Backend>(device: &D) {
    let y = infer(device, |tape| {
        let none = tape.constant(Tensor::new(tape.scratch(0)?, 0, 8)?);
        tape.softmax(&none)
    });
    assert!(y.is_empty(), "{y:?}");
}
