//! The reference against finite differences, the definition and PyTorch's values, the conformance tests on the CPU,
//! what is saved, and errors.

use super::{conformance::some_targets, reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (z, t) = (widen(&random(1, 20)), widen(&some_targets(20)));
    assert_gradient("dz", &z, &reference::backward(&z, &t, 0.7), |z| 0.7 * reference::forward(z, &t));
}

#[test]
fn the_stable_form_is_the_definition() {
    for z in [-9.0, -1.5, -0.1, 0.0, 0.3, 2.0, 11.0] {
        let p = 1.0 / (1.0 + f64::exp(-z));
        for t in [0.0, 0.25, 1.0] {
            let loss = -(t * p.ln() + (1.0 - t) * (1.0 - p).ln());
            assert!((reference::forward(&[z], &[t]) - loss).abs() < 1e-10, "{z} {t}");
        }
    }
}

#[test]
fn loss_and_gradient_are_pytorchs() {
    // z = torch.tensor([[0.5, -1.25, 3.0], [-40.0, 0.0, 20.0]], dtype=torch.float64, requires_grad=True)
    // t = torch.tensor([[1, 0, 0], [1, 1, 1.]], dtype=torch.float64); torch.nn.BCEWithLogitsLoss()(z, t).backward()
    let (z, t) = ([0.5, -1.25, 3.0, -40.0, 0.0, 20.0], [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    assert!((reference::forward(&z, &t) - LOSS).abs() < 1e-14, "{}", reference::forward(&z, &t));
    for (found, expected) in reference::backward(&z, &t, 1.0).into_iter().zip(GRADIENT) {
        assert!((found - expected).abs() < 1e-15, "{found} {expected}");
    }
}

const LOSS: f64 = 7.411290099953387;
const GRADIENT: [f64; 6] = [
    -0.0629234447996909,
    0.03711668980421814,
    0.15876235447040557,
    -0.16666666666666666,
    -0.08333333333333333,
    -3.435256153612916e-10,
];

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn nothing_is_copied_and_nothing_recorded_for_a_constant() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("z", HostTensor::new([64, 8], random(1, 512)).unwrap(), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let z = tape.parameter(&param).unwrap();
    let constant = tape.constant(z.tensor().clone());
    let before = workspace.allocated_bytes();
    let loss = tape.binary_cross_entropy(&z, constant.tensor()).unwrap();
    assert_eq!(workspace.allocated_bytes() - before, 64 * 4, "only the loss, in the smallest buffer there is");
    assert!(loss.slot().is_some() && tape.recorded() == 2);
    assert!(tape.binary_cross_entropy(&constant, z.tensor()).unwrap().slot().is_none());
    assert_eq!(tape.recorded(), 2);
}

#[test]
fn other_shapes_and_an_empty_batch_are_refused() {
    let workspace = Workspace::new(Cpu::default());
    let arena = ArenaBuilder::new(Cpu::default()).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let tensor = |rows, cols| Tensor::new(workspace.scratch(rows * cols).unwrap(), rows, cols).unwrap();
    for (rows, targets, words) in
        [(3, tensor(2, 3), "[2, 3]"), (2, tensor(3, 2), "[3, 2]"), (0, tensor(0, 2), "no elements")]
    {
        let z = tape.constant(tensor(rows, 2));
        let message = tape.binary_cross_entropy(&z, &targets).unwrap_err().to_string();
        assert!(message.contains("binary_cross_entropy") && message.contains(words), "{message}");
    }
}
