//! The reference against finite differences and a case done by hand, the fast path against the reference, hard logits, errors.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, ops::testing::*};

fn some_labels(rows: usize, classes: usize) -> Vec<u32> {
    (0..rows).map(|i| ((i * 5 + i * i) % classes) as u32).collect()
}

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (z, labels) = (widen(&random(1, 20)), [3, 0, 3, 4]);
    let dz = reference::backward(&z, &labels, 5, 0.7);
    assert_gradient("dz", &z, &dz, |z| 0.7 * reference::forward(z, &labels, 5));
}

#[test]
fn equal_logits_cost_the_logarithm_of_the_classes() {
    for classes in 1..20 {
        let loss = reference::forward(&vec![0.3; 2 * classes], &some_labels(2, classes), classes);
        assert!((loss - (classes as f64).ln()).abs() < 1e-12);
    }
    // p = (1/4, 3/4): -ln(3/4).
    let loss = reference::forward(&[0.0, 3f64.ln()], &[1], 2);
    assert!((loss - (4.0f64 / 3.0).ln()).abs() < 1e-12, "{loss}");
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    for device in cpus() {
        for (rows, classes) in [(1, 1), (1, 2), (16, 2), (33, 3), (100, 17), (65, 31), (7, 1000)] {
            let z: Vec<f32> = random(1, rows * classes).iter().map(|z| 4.0 * z).collect();
            let labels = some_labels(rows, classes);
            let indices = Indices::new(&device, &labels).unwrap();
            let found = train(&device, [([rows, classes], &z)], |tape, [z]| tape.cross_entropy(z, &indices));
            let what = format!("{} [{rows}, {classes}]", device.level());
            let z = widen(&z);
            assert_close(&format!("loss {what}"), &found.y, &[reference::forward(&z, &labels, classes)], 1e-6);
            let dz = reference::backward(&z, &labels, classes, found.dy[0].into());
            assert_close(&format!("dz {what}"), &found.gradients[0], &dz, 2e-6);
        }
        let labels = Indices::new(&device, &some_labels(9, 3)).unwrap();
        assert_accumulates(&device, [([9, 3], &random(3, 27))], |tape, [z]| tape.cross_entropy(z, &labels));
    }
}

#[test]
fn far_logits_neither_overflow_nor_lose_the_loss() {
    for device in cpus() {
        let labels = Indices::new(&device, &[0, 1, 1]).unwrap();
        let z = [1e4, -1e4, 1e4, -1e4, -1e30, 1e30];
        let found = train(&device, [([3, 2], &z)], |tape, [z]| tape.cross_entropy(z, &labels));
        // Only the second row is wrong, by 2e4; its probability underflows, its loss does not.
        assert_close("loss", &found.y, &[2e4 / 3.0], 1e-6);
        let dloss = f64::from(found.dy[0]) / 3.0;
        assert_close("dz", &found.gradients[0], &[0.0, 0.0, dloss, -dloss, 0.0, 0.0], 1e-6);
    }
}

#[test]
fn probabilities_are_kept_only_for_a_gradient() {
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("z", HostTensor::new([64, 8], random(1, 512)).unwrap(), Mask::Whole).unwrap();
    let arena = builder.build().unwrap();
    for (trains, kept) in [(true, 512), (false, 0)] {
        let workspace = Workspace::new(Cpu::default());
        let labels = Indices::new(workspace.device(), &some_labels(64, 8)).unwrap();
        let mut tape = match trains {
            true => Tape::train(&workspace, &arena, Seed { run: 0, step: 0 }),
            false => Tape::infer(&workspace, &arena),
        };
        let z = tape.parameter(&param).unwrap();
        let before = workspace.allocated_bytes();
        let loss = tape.cross_entropy(&z, &labels).unwrap();
        // The loss itself takes the smallest buffer there is.
        assert_eq!(workspace.allocated_bytes() - before, (64 + kept) * 4);
        assert_eq!(tape.recorded(), if trains { 2 } else { 0 });
        let expected = reference::forward(&widen(&random(1, 512)), &some_labels(64, 8), 8);
        assert_close("loss", loss.tensor().to_array().unwrap().as_slice().unwrap(), &[expected], 1e-6);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    for (rows, labels, words) in
        [(2, &[0, 3][..], "label 3 of 3 classes"), (2, &[0], "expected [2]"), (0, &[], "no row")]
    {
        let z = tape.constant(Tensor::new(workspace.scratch(rows * 3).unwrap(), rows, 3));
        let labels = Indices::new(workspace.device(), labels).unwrap();
        let message = tape.cross_entropy(&z, &labels).unwrap_err().to_string();
        assert!(message.contains("cross_entropy") && message.contains(words), "{message}");
    }
}
