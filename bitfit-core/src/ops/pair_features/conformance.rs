//! What every device's pair features must be.

use super::reference;
use crate::{
    Backend,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["pair_features":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        where_both_are_equal_the_difference_has_no_gradient,
    ]
}

const SHAPES: [[usize; 2]; 5] = [[2, 1], [6, 5], [34, 64], [10, 129], [4, 768]];

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for shape in SHAPES {
        let x = random(1, shape[0] * shape[1]);
        let found = train(device, [(shape, &x)], |tape, [x]| tape.pair_features(x));
        assert_close(&format!("y {shape:?}"), &found.y, &reference::forward(&widen(&x), shape[1]), 1e-6);
        let dx = reference::backward(&widen(&found.dy), &widen(&x), shape[1]);
        assert_close(&format!("dx {shape:?}"), &found.gradients[0], &dx, 1e-6);
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for shape in SHAPES {
        let x = random(1, shape[0] * shape[1]);
        assert_accumulates(device, [(shape, &x)], |tape, [x]| tape.pair_features(x));
    }
}

fn where_both_are_equal_the_difference_has_no_gradient<D: Backend>(device: &D) {
    let found = train(device, [([2, 1], &[0.5, 0.5])], |tape, [x]| tape.pair_features(x));
    let dy = &found.dy;
    assert_close("y", &found.y, &[0.5, 0.5, 0.0, 0.25], 0.0);
    let expected = [dy[0] + 0.5 * dy[3], dy[1] + 0.5 * dy[3]];
    assert_close("dx", &found.gradients[0], &widen(&expected), 1e-6);
}
