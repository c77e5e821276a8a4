//! The conformance checks of the activations.

use super::{Activation, reference};
use crate::{
    Backend,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["activation":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        nan_passes_and_large_values_saturate,
    ]
}

pub(super) const ALL: [Activation; 5] =
    [Activation::Relu, Activation::Gelu, Activation::Tanh, Activation::Sigmoid, Activation::Exp];

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for f in ALL {
        let shapes =
            (1..=33).map(|cols| (1, cols)).chain([(3, 7), (17, 33), (5, 3072), (40, 384), (3, 768), (2, 1536)]);
        for (rows, cols) in shapes {
            let x: Vec<f32> = random(1, rows * cols).iter().map(|x| 4.0 * x).collect();
            let found = train(device, [([rows, cols], &x)], |tape, [x]| tape.activate(f, x));
            let what = format!("{} [{rows}, {cols}]", f.name());
            assert_close(&format!("y {what}"), &found.y, &reference::forward(f, &widen(&x)), 1e-6);
            let dx = reference::backward(f, &widen(&x), &widen(&found.dy));
            assert_close(&format!("dx {what}"), &found.gradients[0], &dx, 1e-6);
        }
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for f in ALL {
        assert_accumulates(device, [([9, 13], &random(3, 117))], |tape, [x]| tape.activate(f, x));
    }
}

fn nan_passes_and_large_values_saturate<D: Backend>(device: &D) {
    for (f, top, bottom, at_zero) in [
        (Activation::Relu, 1e30, 0.0, 0.0),
        (Activation::Gelu, 1e30, 0.0, 0.0),
        (Activation::Tanh, 1.0, -1.0, 0.0),
        (Activation::Sigmoid, 1.0, 0.0, 0.5),
        (Activation::Exp, f32::INFINITY, 0.0, 1.0),
    ] {
        let y = train(device, [([1, 4], &[f32::NAN, 1e30, -1e30, 0.0])], |tape, [x]| tape.activate(f, x)).y;
        assert!(y[0].is_nan(), "{f:?}");
        assert_eq!(y[1..], [top, bottom, at_zero], "{f:?}");
    }
}
