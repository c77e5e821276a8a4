//! What every device's normalization must do.

use super::reference;
use crate::{
    Backend,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["normalize": agrees_with_the_reference, gradients_add_up_and_bits_come_again, a_row_of_zeros_stays_zero]
}

const SHAPES: [[usize; 2]; 6] = [[1, 1], [3, 5], [17, 64], [5, 129], [64, 384], [2, 768]];

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for shape in SHAPES {
        let x = random(1, shape[0] * shape[1]);
        let found = train(device, [(shape, &x)], |tape, [x]| tape.normalize(x));
        assert_close(&format!("y {shape:?}"), &found.y, &reference::forward(&widen(&x), shape[1]), 1e-6);
        // A row of one element is 1 or -1, whose gradient is zero up to rounding.
        if shape[1] > 1 {
            let dx = reference::backward(&widen(&found.dy), &widen(&x), shape[1]);
            assert_close(&format!("dx {shape:?}"), &found.gradients[0], &dx, 2e-6);
        }
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for shape in SHAPES {
        let x = random(1, shape[0] * shape[1]);
        assert_accumulates(device, [(shape, &x)], |tape, [x]| tape.normalize(x));
    }
}

fn a_row_of_zeros_stays_zero<D: Backend>(device: &D) {
    let found = train(device, [([2, 2], &[0.0, 0.0, 3.0, 4.0])], |tape, [x]| tape.normalize(x));
    assert_close("y", &found.y, &[0.0, 0.0, 0.6, 0.8], 1e-6);
    assert!(found.gradients[0].iter().all(|dx| dx.is_finite()));
}
