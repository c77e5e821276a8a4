//! What widening must do on every device that keeps anything narrow.

use crate::{
    Backend,
    ops::testing::*,
    suite::{Check, list},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["widen": a_narrow_matrix_is_read_as_it_is_and_its_gradient_rounded]
}

fn a_narrow_matrix_is_read_as_it_is_and_its_gradient_rounded<D: Backend>(device: &D) {
    for dtype in types(device) {
        for (rows, cols) in [(1, 1), (3, 5), (17, 33), (9, 384)] {
            let x = random(1, rows * cols);
            let found = train(device, [([rows, cols], &x)], |tape, [x]| {
                let narrow = stored(tape, dtype, x)?;
                tape.widen(&narrow)
            });
            assert_same_bits("y", &found.y, &rounded(dtype, &x));
            assert_same_bits("dx", &found.gradients[0], &rounded(dtype, &found.dy));
        }
    }
}
