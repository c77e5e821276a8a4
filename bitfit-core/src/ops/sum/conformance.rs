//! The conformance checks of sum and mean.

use super::reference;
use crate::{
    Backend,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["sum":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        a_long_sum_does_not_lose_its_terms,
        no_elements_have_a_sum_of_zero,
    ]
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    let shapes = (1..=33).map(|cols| (1, cols)).chain([(7, 5), (128, 384), (3, 1024), (1, 70_001)]);
    for (rows, cols) in shapes {
        let (x, len) = (random(1, rows * cols), rows * cols);
        let terms: f64 = x.iter().map(|&x| f64::from(x).abs()).sum();
        for (what, divisor) in [("sum", 1), ("mean", len)] {
            let found = train(device, [([rows, cols], &x)], |tape, [x]| match what {
                "sum" => tape.sum(x),
                _ => tape.mean(x),
            });
            let what = format!("{what} of [{rows}, {cols}]");
            let further = [1e-7 * terms / divisor as f64];
            assert_near(&what, &found.y, &[reference::forward(&widen(&x), divisor)], 1e-7, &further);
            let dx = reference::backward(f64::from(found.dy[0]), divisor, len);
            // Of a mean of many the gradient is far below the least scale of `assert_close`.
            let scaled: Vec<f32> = found.gradients[0].iter().map(|dx| dx * divisor as f32).collect();
            let expected: Vec<f64> = dx.iter().map(|dx| dx * divisor as f64).collect();
            assert_close(&format!("dx of the {what}"), &scaled, &expected, 1e-6);
        }
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    let x = random(3, 9 * 13);
    assert_accumulates(device, [([9, 13], &x)], |tape, [x]| tape.sum(x));
    assert_accumulates(device, [([9, 13], &x)], |tape, [x]| tape.mean(x));
}

fn a_long_sum_does_not_lose_its_terms<D: Backend>(device: &D) {
    // In f32, 2²⁴ absorbs every 1 that is added to it.
    let mut x = vec![1.0; 1 << 16];
    x[0] = 16_777_216.0;
    let found = train(device, [([1, 1 << 16], &x)], |tape, [x]| tape.sum(x));
    assert_eq!(found.y, [16_777_216.0 + 65_536.0]);
}

fn no_elements_have_a_sum_of_zero<D: Backend>(device: &D) {
    let y = infer(device, |tape| {
        let none = tape.constant(crate::Tensor::new(tape.scratch(0)?, 0, 8)?);
        tape.sum(&none)
    });
    assert_eq!(y, [0.0]);
}
