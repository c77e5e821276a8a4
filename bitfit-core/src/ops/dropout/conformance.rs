//! The conformance checks of dropout: the factors are those of [`Dropout::factor`], to the bit.

use super::{Dropout, RowsOf};
use crate::{
    Backend, BatchOffset, Seed,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["dropout":
        draws_the_specified_factors_in_both_directions,
        seeds_steps_sites_and_probabilities_are_the_specified_ones,
        two_sites_draw_two_masks_and_their_gradients_add_up,
        gradients_add_up_and_bits_come_again,
        a_part_of_a_batch_draws_the_masks_of_its_rows,
    ]
}

/// `m ∘ x`, each product rounded once as on any device.
fn dropped(dropout: Dropout, x: &[f32]) -> Vec<f32> {
    x.iter().enumerate().map(|(i, x)| dropout.factor(i as u64) * x).collect()
}

fn draws_the_specified_factors_in_both_directions<D: Backend>(device: &D) {
    let shapes = (1..=33).map(|cols| (1, cols)).chain([(3, 5), (17, 31), (1, 127), (1, 129), (33, 768), (3, 8192)]);
    for (rows, cols) in shapes {
        let x = random(1, rows * cols);
        // `infer` and `train` use this seed, and the first site of a tape is number 0.
        let dropout = Dropout::new(SEED, 0, 0.3).unwrap();
        let found = train(device, [([rows, cols], &x)], |tape, [x]| tape.dropout(x, 0.3, RowsOf::Tokens));
        let what = format!("[{rows}, {cols}]");
        assert_eq!(found.y, dropped(dropout, &x), "y {what}");
        assert_eq!(found.gradients[0], dropped(dropout, &found.dy), "dx {what}");
    }
}

fn seeds_steps_sites_and_probabilities_are_the_specified_ones<D: Backend>(device: &D) {
    let x = random(1, 300);
    let workspace = crate::Workspace::new(device.clone());
    for seed in [Seed { run: 0, step: 0 }, Seed { run: 0x1234_5678_9abc_def0, step: u32::MAX.into() }] {
        for site in [0, 7, u32::MAX] {
            // The smallest probability, one half, and the largest.
            for p in [1.0 / 65536.0, 0.1, 0.5, 0.99999] {
                let dropout = Dropout::new(seed, site, p).unwrap();
                let [mut from, mut to] = [(); 2].map(|()| workspace.scratch(x.len()).unwrap());
                device.write(&x, from.as_mut()).unwrap();
                device.write(&x, to.as_mut()).unwrap();
                let mut found = vec![0.0; x.len()];
                device.dropout(dropout, from.as_ref(), to.as_mut(), false).unwrap();
                device.read(to.as_ref(), &mut found).unwrap();
                assert_eq!(found, dropped(dropout, &x), "{dropout:?}");
            }
        }
    }
}

fn two_sites_draw_two_masks_and_their_gradients_add_up<D: Backend>(device: &D) {
    let x = vec![1.0; 512];
    let found = train(device, [([64, 8], &x)], |tape, [x]| {
        let (first, second) = (tape.dropout(x, 0.5, RowsOf::Tokens)?, tape.dropout(x, 0.5, RowsOf::Tokens)?);
        tape.add(&first, &second)
    });
    let mask = |site| dropped(Dropout::new(SEED, site, 0.5).unwrap(), &[1.0; 512]);
    let sum: Vec<f32> = mask(0).iter().zip(mask(1)).map(|(first, second)| first + second).collect();
    assert!(sum.contains(&0.0) && sum.contains(&2.0) && sum.contains(&4.0), "the masks are independent");
    assert_eq!(found.y, sum);
    let dx: Vec<f64> = sum.iter().zip(&found.dy).map(|(&mask, &dy)| f64::from(mask) * f64::from(dy)).collect();
    assert_close("dx", &found.gradients[0], &dx, 1e-6);
}

/// A matrix that is read once by dropout and once by a sum. Two dropout sites would not do, because they have different
/// masks.
fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    let x = random(1, 117);
    let run = || {
        train(device, [([9, 13], &x)], |tape, [x]| {
            let y = tape.dropout(x, 0.5, RowsOf::Tokens)?;
            tape.add(&y, x)
        })
    };
    let (once, again) = (run(), run());
    assert_same_bits("y", &again.y, &once.y);
    assert_same_bits("dx", &again.gradients[0], &once.gradients[0]);
    // The sum writes x's slot first, so the backward of dropout has to add.
    let dropout = Dropout::new(SEED, 0, 0.5).unwrap();
    let expected: Vec<f64> = dropped(dropout, &once.dy).iter().zip(&once.dy).map(|(m, dy)| f64::from(m + dy)).collect();
    assert_close("dx", &once.gradients[0], &expected, 1e-6);
}

/// In parts of some rows each, and at places that no batch of this size has.
fn a_part_of_a_batch_draws_the_masks_of_its_rows<D: Backend>(device: &D) {
    for (rows, cols) in [(7, 1), (9, 13), (10, 128), (5, 300), (6, 384)] {
        let x = random(1, rows * cols);
        let whole = train(device, [([rows, cols], &x)], |tape, [x]| tape.dropout(x, 0.3, RowsOf::Sequences));
        for size in [1, 3, 4] {
            for first in (0..rows).step_by(size) {
                let of = first * cols..rows.min(first + size) * cols;
                let offset = BatchOffset { tokens: 1000, sequences: first as u64, outputs: 1001 };
                let (dy, x) = (Some(&whole.dy[of.clone()]), &x[of.clone()]);
                let input = ([x.len() / cols, cols], x);
                let part = train_at(device, offset, dy, [input], |tape, [x]| tape.dropout(x, 0.3, RowsOf::Sequences));
                let what = format!("rows {first} and on of [{rows}, {cols}]");
                assert_same_bits(&format!("y, {what}"), &part.y, &whole.y[of.clone()]);
                assert_same_bits(&format!("dx, {what}"), &part.gradients[0], &whole.gradients[0][of]);
            }
        }
    }
    let x = random(2, 300);
    for (outputs, cols) in [(1 << 31, 100), ((1 << 32) + 5, 300), (1 << 40, 150), ((1 << 45) + 1, 60)] {
        let offset = BatchOffset { tokens: 3, sequences: 5, outputs };
        let shape = [x.len() / cols, cols];
        let part = train_at(device, offset, None, [(shape, &x)], |tape, [x]| tape.dropout(x, 0.3, RowsOf::Outputs)).y;
        let dropout = Dropout::new(SEED, 0, 0.3).unwrap();
        let first = outputs * cols as u64;
        let expected: Vec<f32> = x.iter().zip(first..).map(|(x, i)| dropout.factor(i) * x).collect();
        assert_eq!(part, expected, "row {outputs} of {cols} columns");
    }
}
