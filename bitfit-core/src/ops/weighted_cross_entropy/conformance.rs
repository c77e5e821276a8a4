//! The conformance checks of the weighted cross-entropy.

use super::{ClassWeighting, reference};
use crate::{
    Backend, BatchOffset, Indices,
    backend::conformance::{Check, list, support::*},
    ops::cross_entropy::conformance::some_labels,
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["weighted_cross_entropy":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        far_logits_neither_overflow_nor_lose_the_loss,
        without_weighting_it_is_the_cross_entropy,
        the_losses_of_parts_add_up_to_that_of_the_batch,
    ]
}

/// Each way to weigh `classes` classes.
pub(super) fn weightings(classes: usize) -> Vec<ClassWeighting> {
    let weights: Vec<f32> = (0..classes).map(|class| 0.25 + (class * 7 % 5) as f32).collect();
    [(0.0, 0.0), (0.1, 0.0), (0.0, 2.0), (0.0, 0.5)]
        .map(|(label_smoothing, focal_gamma)| ClassWeighting { weights: weights.clone(), label_smoothing, focal_gamma })
        .into()
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    let shapes = (2..=33).map(|classes| (5, classes)).chain([(1, 2), (16, 2), (33, 3), (100, 17), (7, 1000), (700, 2)]);
    for (rows, classes) in shapes {
        let z: Vec<f32> = random(1, rows * classes).iter().map(|z| 4.0 * z).collect();
        let labels = some_labels(rows, classes);
        for weighting in weightings(classes) {
            let found =
                train(device, [([rows, classes], &z)], |tape, [z]| tape.weighted_cross_entropy(z, &labels, &weighting));
            let what = format!("[{rows}, {classes}], {} {}", weighting.label_smoothing, weighting.focal_gamma);
            let z = widen(&z);
            assert_close(&format!("loss {what}"), &found.y, &[reference::forward(&z, &labels, &weighting)], 2e-6);
            let dz = reference::backward(&z, &labels, &weighting, found.dy[0].into());
            assert_close(&format!("dz {what}"), &found.gradients[0], &dz, 4e-6);
        }
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for (rows, classes) in [(9, 3), (300, 2)] {
        let (labels, z) = (some_labels(rows, classes), random(3, rows * classes));
        for weighting in weightings(classes) {
            assert_accumulates(device, [([rows, classes], &z)], |tape, [z]| {
                tape.weighted_cross_entropy(z, &labels, &weighting)
            });
        }
    }
}

fn far_logits_neither_overflow_nor_lose_the_loss<D: Backend>(device: &D) {
    let z = [1e4, -1e4, 1e4, -1e4, -1e30, 1e30];
    for focal_gamma in [0.0, 2.0] {
        let weighting = ClassWeighting { weights: vec![1.0, 1.0], label_smoothing: 0.0, focal_gamma };
        let found = train(device, [([3, 2], &z)], |tape, [z]| tape.weighted_cross_entropy(z, &[0, 1, 1], &weighting));
        // Only the second row is classified wrongly, by 2e4; its probability underflows, but its loss does not.
        assert_close("loss", &found.y, &[2e4 / 3.0], 1e-6);
        let dloss = f64::from(found.dy[0]) / 3.0;
        assert_close("dz", &found.gradients[0], &[0.0, 0.0, dloss, -dloss, 0.0, 0.0], 1e-6);
    }
}

fn without_weighting_it_is_the_cross_entropy<D: Backend>(device: &D) {
    let (z, labels) = (random(5, 99), some_labels(33, 3));
    let indices = Indices::new(device, &labels).unwrap();
    let plain = ClassWeighting { weights: vec![1.0; 3], label_smoothing: 0.0, focal_gamma: 0.0 };
    let found = train(device, [([33, 3], &z)], |tape, [z]| tape.weighted_cross_entropy(z, &labels, &plain));
    let expected = train(device, [([33, 3], &z)], |tape, [z]| tape.cross_entropy(z, &indices));
    assert_close("loss", &found.y, &widen(&expected.y), 1e-6);
    assert_close("dz", &found.gradients[0], &widen(&expected.gradients[0]), 2e-6);
}

/// Also where all rows of a part have the weight 0: with smoothed labels they count.
fn the_losses_of_parts_add_up_to_that_of_the_batch<D: Backend>(device: &D) {
    let (rows, classes) = (7, 3);
    let (z, labels) = (random(6, rows * classes), [1, 0, 2, 2, 0, 1, 0]);
    for weighting in weightings(classes) {
        let weighting = ClassWeighting { weights: vec![0.5, 3.0, 0.0], ..weighting };
        let total = weighting.total(&labels);
        let whole =
            train(device, [([rows, classes], &z)], |tape, [z]| tape.weighted_cross_entropy(z, &labels, &weighting));
        let mut loss = 0.0;
        for rows in [0..2, 2..4, 4..7] {
            let of = rows.start * classes..rows.end * classes;
            let (z, labels) = (&z[of.clone()], &labels[rows.clone()]);
            let part =
                train_at(device, BatchOffset::default(), Some(&whole.dy), [([rows.len(), classes], z)], |tape, [z]| {
                    tape.weighted_cross_entropy_of_part(z, labels, &weighting, total)
                });
            loss += f64::from(part.y[0]);
            assert_close("dz", &part.gradients[0], &widen(&whole.gradients[0][of]), 4e-6);
        }
        assert_close("loss", &[loss as f32], &[whole.y[0].into()], 2e-6);
    }
}
