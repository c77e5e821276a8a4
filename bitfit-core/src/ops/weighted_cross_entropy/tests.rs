//! The reference against finite differences and PyTorch's values, the conformance tests on the CPU, what is saved, and
//! errors.

use super::{conformance::weightings, reference, *};
use crate::{
    ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*,
    ops::cross_entropy::conformance::some_labels,
};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (z, labels) = (widen(&random(1, 20)), [3, 0, 3, 4]);
    for weighting in weightings(5) {
        let dz = reference::backward(&z, &labels, &weighting, 0.7);
        assert_gradient("dz", &z, &dz, |z| 0.7 * reference::forward(z, &labels, &weighting));
    }
}

/// `torch.nn.CrossEntropyLoss(weight=w, label_smoothing=e)(z, y).backward()` of PyTorch 2.15 in float64 with
/// z = [[0.5, -1.25, 3], [2, 0, -0.5]], y = [1, 0], w = [0.5, 2, 1.25]; and the focal loss written with its ops,
/// `(-w[y] * (1 - p) ** g * p.log()).sum() / w[y].sum()`.
#[test]
fn losses_and_gradients_are_pytorchs() {
    let (z, labels) = ([0.5, -1.25, 3.0, 2.0, 0.0, -0.5], [1, 0]);
    let weights = vec![0.5, 2.0, 1.25];
    let cases: [(f32, f32, f64, [f64; 6]); 3] = [
        (
            0.0,
            0.0,
            3.5129354438574985,
            [
                0.05989697164963223,
                -0.7895914670357039,
                0.7296944953860717,
                -0.03571819610697482,
                0.022233124460484227,
                0.013485071646490588,
            ],
        ),
        (
            0.1,
            0.0,
            3.401077893347328,
            [
                0.05098416854610435,
                -0.7366484536885316,
                0.6856642851424273,
                0.002257407810312295,
                -0.0010985735371098057,
                -0.0011588342732024922,
            ],
        ),
        (
            0.0,
            2.0,
            3.3850441768992576,
            [
                0.06502787800917254,
                -0.857229609133279,
                0.7922017311241064,
                -0.003200887708311684,
                0.0019924224221679276,
                0.0012084652861437562,
            ],
        ),
    ];
    for (label_smoothing, focal_gamma, loss, gradient) in cases {
        let weighting = ClassWeighting { weights: weights.clone(), label_smoothing, focal_gamma };
        // The smoothing is a tenth in f32 here.
        let bound = if label_smoothing > 0.0 { 1e-8 } else { 1e-14 };
        let found = reference::forward(&z, &labels, &weighting);
        assert!((found - loss).abs() < bound, "{found} {loss}");
        for (found, expected) in reference::backward(&z, &labels, &weighting, 1.0).into_iter().zip(gradient) {
            assert!((found - expected).abs() < bound, "{found} {expected}");
        }
    }
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn a_row_that_is_nearly_right_keeps_its_digits() {
    // p is 1 - 1e-9, which f32 has not: the focal factor is its square.
    let (z, weighting) = ([0.0, -(1e9f32.ln())], ClassWeighting { weights: vec![1.0; 2], ..focal(2.0) });
    let found = train(&Cpu::default(), [([1, 2], &z)], |tape, [z]| tape.weighted_cross_entropy(z, &[0], &weighting));
    // With q = 1 - p: the loss is q³, and the gradient of z[y] -3 q³.
    assert_close("loss", &found.y, &[1e-27], 1e-5);
    assert_close("dz", &found.gradients[0], &[-3e-27 * f64::from(found.dy[0]), 3e-27 * f64::from(found.dy[0])], 1e-5);
}

fn focal(focal_gamma: f32) -> ClassWeighting {
    ClassWeighting { weights: Vec::new(), label_smoothing: 0.0, focal_gamma }
}

#[test]
fn only_the_logits_are_kept_and_nothing_is_recorded_for_a_constant() {
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("z", HostTensor::new([64, 8], random(1, 512)).unwrap(), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let workspace = Workspace::new(Cpu::default());
    let (labels, weighting) = (some_labels(64, 8), &weightings(8)[0]);
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let z = tape.parameter(&param).unwrap();
    let constant = tape.constant(z.tensor().clone());
    let before = workspace.allocated_bytes();
    let loss = tape.weighted_cross_entropy(&z, &labels, weighting).unwrap();
    // The loss and the weights take a buffer of the smallest size each.
    assert_eq!(workspace.allocated_bytes() - before, 2 * 64 * 4);
    assert!(loss.slot().is_some() && tape.recorded() == 2);
    assert!(tape.weighted_cross_entropy(&constant, &labels, weighting).unwrap().slot().is_none());
    assert_eq!(tape.recorded(), 2);
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let of = |weights: &[f32], label_smoothing, focal_gamma| ClassWeighting {
        weights: weights.to_vec(),
        label_smoothing,
        focal_gamma,
    };
    let ones = [1.0; 3];
    for (rows, labels, weighting, words) in [
        (2, &[0, 3][..], of(&ones, 0.0, 0.0), "label 3 is out of range for 3 classes"),
        (2, &[0], of(&ones, 0.0, 0.0), "expected [2]"),
        (0, &[], of(&ones, 0.0, 0.0), "no rows"),
        (1, &[0], of(&ones[..2], 0.0, 0.0), "the list of weights has shape [2], expected [3]"),
        (1, &[0], of(&[0.0, 1.0, 1.0], 0.0, 0.0), "the weight 0"),
        (1, &[0], of(&[-1.0, 1.0, 1.0], 0.0, 0.0), "the weight -1"),
        (1, &[0], of(&[f32::NAN, 1.0, 1.0], 0.0, 0.0), "the weight NaN"),
        (1, &[0], of(&ones, 1.0, 0.0), "a label smoothing of 1"),
        (1, &[0], of(&ones, 0.0, -1.0), "a focal exponent of -1"),
        (1, &[0], of(&ones, 0.1, 1.0), "together"),
    ] {
        let z = tape.constant(Tensor::new(workspace.scratch(rows * 3).unwrap(), rows, 3).unwrap());
        let message = tape.weighted_cross_entropy(&z, labels, &weighting).unwrap_err().to_string();
        assert!(message.contains("weighted_cross_entropy") && message.contains(words), "{message}");
    }
}
