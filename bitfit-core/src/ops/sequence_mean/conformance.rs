//! What every device's mean over sequences must do.

use super::reference;
use crate::{
    Backend,
    backend::conformance::{Check, list, support::*},
    ops::attention::Sequences,
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["sequence_mean":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        a_sequence_has_the_same_bits_alone,
    ]
}

/// The lengths of the sequences, and the columns.
const SHAPES: [(&[usize], usize); 6] =
    [(&[1], 1), (&[1, 1, 1], 5), (&[3, 1, 7], 17), (&[128, 64, 1, 20], 384), (&[300], 33), (&[5, 2], 768)];

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for (lengths, cols) in SHAPES {
        let rows: usize = lengths.iter().sum();
        let x = random(1, rows * cols);
        let sequences = Sequences::new(device, lengths.iter().copied()).unwrap();
        let found = train(device, [([rows, cols], &x)], |tape, [x]| tape.sequence_mean(x, &sequences));
        let what = format!("{lengths:?} rows of {cols}");
        assert_close(&format!("y {what}"), &found.y, &reference::forward(&widen(&x), lengths, cols), 1e-6);
        let dx = reference::backward(&widen(&found.dy), lengths, cols);
        assert_close(&format!("dx {what}"), &found.gradients[0], &dx, 1e-6);
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for (lengths, cols) in SHAPES {
        let rows: usize = lengths.iter().sum();
        let x = random(1, rows * cols);
        let sequences = Sequences::new(device, lengths.iter().copied()).unwrap();
        assert_accumulates(device, [([rows, cols], &x)], |tape, [x]| tape.sequence_mean(x, &sequences));
    }
}

fn a_sequence_has_the_same_bits_alone<D: Backend>(device: &D) {
    let (lengths, cols) = ([9, 40, 3], 24);
    let x = random(1, 52 * cols);
    let mean = |lengths: &[usize], x: &[f32]| {
        let sequences = Sequences::new(device, lengths.iter().copied()).unwrap();
        train(device, [([x.len() / cols, cols], x)], |tape, [x]| tape.sequence_mean(x, &sequences)).y
    };
    assert_eq!(mean(&lengths, &x)[cols..2 * cols], mean(&[40], &x[9 * cols..49 * cols]));
}
