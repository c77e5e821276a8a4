//! The conformance checks of the mean squared error.

use ndarray::ArrayView2;

use super::reference;
use crate::{
    Backend, Workspace,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["mse":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
    ]
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for (rows, cols) in (1..=33).map(|rows| (rows, 1)).chain([(1000, 1), (5, 7), (1, 70_001)]) {
        let (x, t) = (random(1, rows * cols), random(2, rows * cols));
        let targets = Workspace::new(device.clone()).tensor(ArrayView2::from_shape((rows, cols), &t).unwrap()).unwrap();
        let found = train(device, [([rows, cols], &x)], |tape, [x]| tape.mse(x, &targets));
        let (x, t) = (widen(&x), widen(&t));
        let what = format!("[{rows}, {cols}]");
        assert_close(&format!("loss {what}"), &found.y, &[reference::forward(&x, &t)], 1e-6);
        let dx = reference::backward(&x, &t, found.dy[0].into());
        assert_close(&format!("dx {what}"), &found.gradients[0], &dx, 1e-6);
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    let targets = Workspace::new(device.clone()).tensor(ArrayView2::from(&[[1.0], [2.0]])).unwrap();
    assert_accumulates(device, [([2, 1], &[0.5, -1.0])], |tape, [x]| tape.mse(x, &targets));
}
