//! The reference against finite differences, every instruction set against the reference, and what is kept.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, ops::testing::*};

const ALL: [Activation; 3] = [Activation::Relu, Activation::Gelu, Activation::Tanh];

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    for f in ALL {
        // Four times as wide, to reach the flat parts of each.
        let x: Vec<f64> = widen(&random(1, 40)).iter().map(|x| 4.0 * x).collect();
        let dy = widen(&random(2, 40));
        let dx = reference::backward(f, &x, &dy);
        assert_gradient(f.name(), &x, &dx, |x| dot(&reference::forward(f, x), &dy));
    }
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    for device in cpus() {
        for f in ALL {
            for (rows, cols) in [(1, 1), (1, 15), (3, 7), (2, 16), (17, 33), (5, 3072), (40, 384)] {
                let x: Vec<f32> = random(1, rows * cols).iter().map(|x| 4.0 * x).collect();
                let found = train(&device, [([rows, cols], &x)], |tape, [x]| tape.activate(f, x));
                let what = format!("{} {} [{rows}, {cols}]", device.level(), f.name());
                assert_close(&format!("y {what}"), &found.y, &reference::forward(f, &widen(&x)), 1e-6);
                let dx = reference::backward(f, &widen(&x), &widen(&found.dy));
                assert_close(&format!("dx {what}"), &found.gradients[0], &dx, 1e-6);
            }
            assert_accumulates(&device, [([9, 13], &random(3, 117))], |tape, [x]| tape.activate(f, x));
        }
    }
}

#[test]
fn nan_passes_and_large_values_saturate() {
    for device in cpus() {
        for (f, top, bottom) in
            [(Activation::Relu, 1e30, 0.0), (Activation::Gelu, 1e30, 0.0), (Activation::Tanh, 1.0, -1.0)]
        {
            let y = train(&device, [([1, 4], &[f32::NAN, 1e30, -1e30, 0.0])], |tape, [x]| tape.activate(f, x)).y;
            assert!(y[0].is_nan(), "{f:?}");
            assert_eq!(y[1..], [top, bottom, 0.0], "{f:?}");
        }
    }
}

#[test]
fn only_gelu_keeps_more_than_its_output_and_a_constant_keeps_nothing() {
    let bytes = 64 * 8 * 4;
    for (f, kept) in [(Activation::Relu, 0), (Activation::Gelu, bytes), (Activation::Tanh, 0)] {
        let workspace = Workspace::new(Cpu::default());
        let mut builder = ArenaBuilder::new(Cpu::default());
        let tensor = HostTensor::new([64, 8], random(1, 512)).unwrap();
        let param = builder.train("x", tensor, Mask::Whole).unwrap();
        let arena = builder.build().unwrap();
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
        let x = tape.parameter(&param).unwrap();
        let before = workspace.allocated_bytes();
        let y = tape.activate(f, &x).unwrap();
        assert_eq!(workspace.allocated_bytes() - before, bytes + kept, "{f:?}");
        assert_eq!(tape.recorded(), 2);
        drop(y);

        let workspace = Workspace::new(Cpu::default());
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
        let x = tape.constant(x.tensor().clone());
        let y = tape.activate(f, &x).unwrap();
        assert_eq!(workspace.allocated_bytes(), bytes, "{f:?}");
        assert!(y.slot().is_none() && tape.recorded() == 0);
    }
}
