//! The conformance checks of the cross-entropy.

use super::reference;
use crate::{
    Backend, Indices,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["cross_entropy":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        far_logits_neither_overflow_nor_lose_the_loss,
        inference_has_the_loss_of_training,
    ]
}

pub(crate) fn some_labels(rows: usize, classes: usize) -> Vec<u32> {
    (0..rows).map(|i| ((i * 5 + i * i) % classes) as u32).collect()
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    let shapes =
        (1..=33).map(|classes| (5, classes)).chain([(1, 1), (16, 2), (33, 3), (100, 17), (7, 1000), (2000, 2)]);
    for (rows, classes) in shapes {
        let z: Vec<f32> = random(1, rows * classes).iter().map(|z| 4.0 * z).collect();
        let labels = some_labels(rows, classes);
        let indices = Indices::new(device, &labels).unwrap();
        let found = train(device, [([rows, classes], &z)], |tape, [z]| tape.cross_entropy(z, &indices));
        let what = format!("[{rows}, {classes}]");
        let z = widen(&z);
        assert_close(&format!("loss {what}"), &found.y, &[reference::forward(&z, &labels, classes)], 1e-6);
        let dz = reference::backward(&z, &labels, classes, found.dy[0].into());
        assert_close(&format!("dz {what}"), &found.gradients[0], &dz, 2e-6);
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for (rows, classes) in [(9, 3), (300, 2)] {
        let labels = Indices::new(device, &some_labels(rows, classes)).unwrap();
        let z = random(3, rows * classes);
        assert_accumulates(device, [([rows, classes], &z)], |tape, [z]| tape.cross_entropy(z, &labels));
    }
}

fn far_logits_neither_overflow_nor_lose_the_loss<D: Backend>(device: &D) {
    let labels = Indices::new(device, &[0, 1, 1]).unwrap();
    let z = [1e4, -1e4, 1e4, -1e4, -1e30, 1e30];
    let found = train(device, [([3, 2], &z)], |tape, [z]| tape.cross_entropy(z, &labels));
    // Only the second row is classified wrongly, by 2e4; its probability underflows, but its loss does not.
    assert_close("loss", &found.y, &[2e4 / 3.0], 1e-6);
    let dloss = f64::from(found.dy[0]) / 3.0;
    assert_close("dz", &found.gradients[0], &[0.0, 0.0, dloss, -dloss, 0.0, 0.0], 1e-6);
}

fn inference_has_the_loss_of_training<D: Backend>(device: &D) {
    let labels = Indices::new(device, &some_labels(33, 3)).unwrap();
    let z = random(1, 99);
    let found = train(device, [([33, 3], &z)], |tape, [z]| {
        let constant = tape.constant(z.tensor().clone());
        let unkept = tape.cross_entropy(&constant, &labels)?;
        assert_same_bits("the loss", &elements(&unkept), &elements(&tape.cross_entropy(z, &labels)?));
        tape.cross_entropy(z, &labels)
    });
    assert!(found.y[0].is_finite());
}
