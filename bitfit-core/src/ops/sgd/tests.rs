//! The reference against PyTorch's values, and the conformance tests on the CPU.

use super::{reference, *};
use crate::backend::conformance::support::*;

#[test]
fn the_reference_is_pytorchs() {
    // p = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    // o = torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    // for g in ([0.5, -1.0], [0.25, 2.0], [-1.0, 0.5]): p.grad = torch.tensor(g, dtype=torch.float64); o.step(); p
    for (nesterov, expected) in [(false, PLAIN), (true, NESTEROV)] {
        let hyper = Sgd { momentum: 0.9, nesterov, weight_decay: 0.01 };
        let (mut p, mut v) = ([1.0, -2.0], [0.0; 2]);
        for (grads, expected) in [[0.5, -1.0], [0.25, 2.0], [-1.0, 0.5]].into_iter().zip(expected) {
            reference::sgd(&mut p, &mut v, &grads, &hyper, 0.1, None);
            for (found, expected) in p.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-14, "{found} {expected}");
            }
        }
    }
}

const PLAIN: [[f64; 2]; 3] = [[0.949, -1.898], [0.8771509999999999, -2.004302], [0.9116097489999999, -2.147969498]];
const NESTEROV: [[f64; 2]; 3] = [[0.9031, -1.8062], [0.81257411, -2.10014822], [0.942869708191, -2.277336916382]];

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}
