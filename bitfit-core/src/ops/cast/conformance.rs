//! The conformance checks of the conversion to f32.

use crate::{
    Backend,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["cast": a_bfloat16_matrix_is_converted_exactly_and_its_gradient_is_rounded]
}

fn a_bfloat16_matrix_is_converted_exactly_and_its_gradient_is_rounded<D: Backend>(device: &D) {
    for dtype in types(device) {
        for (rows, cols) in [(1, 1), (3, 5), (17, 33), (9, 384)] {
            let x = random(1, rows * cols);
            let found = train(device, [([rows, cols], &x)], |tape, [x]| {
                let narrow = stored(tape, dtype, x)?;
                tape.to_f32(&narrow)
            });
            assert_same_bits("y", &found.y, &rounded(dtype, &x));
            assert_same_bits("dx", &found.gradients[0], &rounded(dtype, &found.dy));
        }
    }
}
