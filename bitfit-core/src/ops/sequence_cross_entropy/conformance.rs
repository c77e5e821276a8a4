//! What every device's cross-entropy over sequences must do.

use super::reference;
use crate::{
    Backend,
    backend::conformance::{Check, list, support::*},
    ops::attention::Sequences,
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["sequence_cross_entropy":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        far_logits_neither_overflow_nor_lose_the_loss,
        inference_has_the_loss_of_training,
    ]
}

/// The lengths of the sequences, and the columns.
const SHAPES: [(&[usize], usize); 6] =
    [(&[1], 1), (&[1, 1, 1], 2), (&[3, 1, 7], 2), (&[128, 384, 1, 20], 2), (&[33, 32, 31], 1), (&[300, 5], 3)];

/// Rows of each sequence, one for each column, the last of a sequence among them.
pub(super) fn some_targets(lengths: &[usize], columns: usize) -> Vec<u32> {
    let target = |(sequence, &length): (usize, &usize)| {
        (0..columns).map(move |column| ((length - 1).saturating_sub(sequence * 3 + column * 2)) as u32)
    };
    lengths.iter().enumerate().flat_map(target).collect()
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for (lengths, columns) in SHAPES {
        let rows: usize = lengths.iter().sum();
        let z: Vec<f32> = random(1, rows * columns).iter().map(|z| 4.0 * z).collect();
        let targets = some_targets(lengths, columns);
        let sequences = Sequences::new(device, lengths.iter().copied()).unwrap();
        let found =
            train(device, [([rows, columns], &z)], |tape, [z]| tape.sequence_cross_entropy(z, &sequences, &targets));
        let what = format!("{lengths:?} rows of {columns}");
        let z = widen(&z);
        assert_close(&format!("loss {what}"), &found.y, &[reference::forward(&z, lengths, &targets, columns)], 1e-6);
        let dz = reference::backward(&z, lengths, &targets, columns, found.dy[0].into());
        assert_close(&format!("dz {what}"), &found.gradients[0], &dz, 2e-6);
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for (lengths, columns) in SHAPES {
        let rows: usize = lengths.iter().sum();
        let (z, targets) = (random(3, rows * columns), some_targets(lengths, columns));
        let sequences = Sequences::new(device, lengths.iter().copied()).unwrap();
        assert_accumulates(device, [([rows, columns], &z)], |tape, [z]| {
            tape.sequence_cross_entropy(z, &sequences, &targets)
        });
    }
}

fn far_logits_neither_overflow_nor_lose_the_loss<D: Backend>(device: &D) {
    let sequences = Sequences::new(device, [2, 2]).unwrap();
    let z = [1e4, -1e4, 1e30, -1e30];
    let found = train(device, [([4, 1], &z)], |tape, [z]| tape.sequence_cross_entropy(z, &sequences, &[1, 0]));
    // Only the first sequence's choice is wrong, by 2e4.
    assert_close("loss", &found.y, &[1e4], 1e-6);
    let dloss = f64::from(found.dy[0]) / 2.0;
    assert_close("dz", &found.gradients[0], &[dloss, -dloss, 0.0, 0.0], 1e-6);
}

fn inference_has_the_loss_of_training<D: Backend>(device: &D) {
    let (lengths, z) = ([20, 13], random(1, 66));
    let (sequences, targets) = (Sequences::new(device, lengths).unwrap(), some_targets(&lengths, 2));
    let found = train(device, [([33, 2], &z)], |tape, [z]| {
        let constant = tape.constant(z.tensor().clone());
        let unkept = tape.sequence_cross_entropy(&constant, &sequences, &targets)?;
        let kept = tape.sequence_cross_entropy(z, &sequences, &targets)?;
        assert_same_bits("the loss", &elements(&unkept), &elements(&kept));
        Ok(kept)
    });
    assert!(found.y[0].is_finite());
}
