//! The conformance checks of the binary cross-entropy.

use ndarray::ArrayView2;

use super::reference;
use crate::{
    Backend, Tensor, Workspace,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["binary_cross_entropy":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        far_logits_neither_overflow_nor_lose_the_loss,
    ]
}

/// Zeros and ones, and now and then a share between them.
pub(super) fn some_targets(len: usize) -> Vec<f32> {
    (0..len).map(|i| if i % 11 == 7 { 0.25 } else { ((i * 5 + i * i) % 3 / 2) as f32 }).collect()
}

fn tensor<D: Backend>(device: &D, rows: usize, cols: usize, values: &[f32]) -> Tensor<D> {
    Workspace::new(device.clone()).tensor(ArrayView2::from_shape((rows, cols), values).unwrap()).unwrap()
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    let shapes = (1..=33).map(|cols| (3, cols)).chain([(1, 1), (16, 28), (1000, 1), (1, 70_001)]);
    for (rows, cols) in shapes {
        let z: Vec<f32> = random(1, rows * cols).iter().map(|z| 4.0 * z).collect();
        let t = some_targets(rows * cols);
        let targets = tensor(device, rows, cols, &t);
        let found = train(device, [([rows, cols], &z)], |tape, [z]| tape.binary_cross_entropy(z, &targets));
        let (z, t) = (widen(&z), widen(&t));
        let what = format!("[{rows}, {cols}]");
        assert_close(&format!("loss {what}"), &found.y, &[reference::forward(&z, &t)], 1e-6);
        let dz = reference::backward(&z, &t, found.dy[0].into());
        assert_close(&format!("dz {what}"), &found.gradients[0], &dz, 1e-6);
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for (rows, cols) in [(2, 3), (300, 2)] {
        let (z, targets) = (random(3, rows * cols), tensor(device, rows, cols, &some_targets(rows * cols)));
        assert_accumulates(device, [([rows, cols], &z)], |tape, [z]| tape.binary_cross_entropy(z, &targets));
    }
}

fn far_logits_neither_overflow_nor_lose_the_loss<D: Backend>(device: &D) {
    let targets = tensor(device, 2, 2, &[1.0, 0.0, 0.0, 1.0]);
    let z = [1e4, -1e30, 1e4, 1e30];
    let found = train(device, [([2, 2], &z)], |tape, [z]| tape.binary_cross_entropy(z, &targets));
    // Only the third is wrong, by 1e4; its probability of 0 underflows, but its loss does not.
    assert_close("loss", &found.y, &[1e4 / 4.0], 1e-6);
    assert_close("dz", &found.gradients[0], &[0.0, 0.0, f64::from(found.dy[0]) / 4.0, 0.0], 1e-6);
}
