//! The conformance tests on the CPU, and properties of the CPU's implementation: agreement with PyTorch to the bit,
//! sums, threads.

use super::{
    conformance::{self, Buffers, FIVE_STEPS, five_steps, gradient},
    cpu::norm,
    *,
};
use crate::{Cpu, backend::conformance::support::*, cpu::simd::Isa};

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

/// The conformance tests allow a difference in the last bit; with fused multiply-add, the moments are bit-identical to
/// PyTorch's.
#[test]
fn the_moments_of_five_steps_have_pytorchs_bits() {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for device in cpus().filter(|device| device.isa() != Isa::Portable) {
        let found = five_steps(&device);
        for (found, expected) in found[1..].iter().zip(&FIVE_STEPS[1..]) {
            assert_eq!(bits(found), bits(expected), "{device:?}");
        }
    }
}

#[test]
fn squares_neither_overflow_nor_vanish() {
    for device in cpus() {
        let huge = norm(device.isa(), &[3e30, -4e30]);
        let tiny = norm(device.isa(), &[3e-30, -4e-30]);
        assert!((huge / 5e30 - 1.0).abs() < 1e-7 && (tiny / 5e-30 - 1.0).abs() < 1e-7, "{huge} {tiny}");
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let len = 5 * (1 << 14) + 321;
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut buffers = Buffers::new(&Cpu::default(), &random(1, len));
            let norms: Vec<_> = (1..=3)
                .map(|t| buffers.step(&gradient(t + 1, len), 1e-3, t, Some(1.0), AdamW::default()).unwrap().to_bits())
                .collect();
            (norms, buffers.read().map(|values| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()))
        })
    };
    let one = run(1);
    assert!(run(2) == one && run(3) == one && run(7) == one);
}

#[test]
fn the_norm_has_the_same_bits_under_every_instruction_set() {
    let grads = gradient(9, 70_001);
    let norms: Vec<_> = cpus().map(|device| norm(device.isa(), &grads).to_bits()).collect();
    assert!(norms.windows(2).all(|pair| pair[0] == pair[1]), "{norms:?}");
}

#[test]
fn runs_of_one_rate_have_the_bits_of_one_step() {
    let len = (1 << 16) + 4321;
    for device in cpus() {
        let (mut whole, mut in_runs) = (Buffers::new(&device, &random(1, len)), Buffers::new(&device, &random(1, len)));
        let runs = [7, 1 << 15, 0, len - 7 - (1 << 15)].map(|len| RateRun { len, lr: 1e-3, weight_decay: None });
        for t in 1..=3 {
            let grads = gradient(t + 1, len);
            let norm = whole.step(&grads, 1e-3, t, Some(0.5), AdamW::default()).unwrap();
            assert_eq!(in_runs.step_in_runs(&grads, &runs, t, Some(0.5), AdamW::default()).unwrap(), norm);
        }
        assert_eq!(in_runs.read(), whole.read(), "{device:?}");
    }
}
