//! The reference against finite differences, every instruction set against the reference, and what is kept for what trains.

use super::{reference, *};
use crate::{Arena, ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, ops::testing::*};
use ndarray::Array2;

fn inputs(rows: usize, cols: usize, dropout: Option<Dropout>) -> reference::Inputs<f64> {
    let mut factors = vec![1.0; rows * cols];
    if let Some(dropout) = dropout {
        dropout.factors(crate::simd::level(), 0, &mut factors);
    }
    reference::Inputs {
        x: widen(&random(1, rows * cols)),
        bias: widen(&random(2, cols)),
        residual: widen(&random(3, rows * cols)),
        weight: widen(&random(4, cols)),
        beta: widen(&random(5, cols)),
        factors: widen(&factors),
        eps: 1e-12,
    }
}

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let inputs = inputs(3, 5, Dropout::new(Seed { run: 1, step: 2 }, 0, 0.3));
    let dy = widen(&random(6, 15));
    let gradients = reference::backward(&inputs, &dy);
    let loss = |inputs: &reference::Inputs<f64>| dot(&reference::forward(inputs), &dy);
    let with = |set: fn(&mut reference::Inputs<f64>, Vec<f64>)| {
        let inputs = inputs.clone();
        move |at: &[f64]| {
            let mut inputs = inputs.clone();
            set(&mut inputs, at.to_vec());
            loss(&inputs)
        }
    };
    assert_gradient("dx", &inputs.x, &gradients.x, with(|i, at| i.x = at));
    assert_gradient("db", &inputs.bias, &gradients.bias, with(|i, at| i.bias = at));
    assert_gradient("dr", &inputs.residual, &gradients.residual, with(|i, at| i.residual = at));
    assert_gradient("dgamma", &inputs.weight, &gradients.weight, with(|i, at| i.weight = at));
    assert_gradient("dbeta", &inputs.beta, &gradients.beta, with(|i, at| i.beta = at));
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    for device in cpus() {
        for (rows, cols) in [(1, 1), (1, 2), (2, 15), (3, 16), (5, 17), (31, 33), (70, 48), (33, 384), (40, 768)] {
            for p in [0.0, 0.1] {
                agrees(&device, rows, cols, p);
            }
        }
    }
}

fn agrees(device: &Cpu, rows: usize, cols: usize, p: f32) {
    let workspace = Workspace::new(device.clone());
    let mut builder = ArenaBuilder::new(device.clone());
    let mut vector = |name: &str, seed| {
        builder.add(name, HostTensor::new([cols], random(seed, cols)).unwrap(), Mask::Whole).unwrap()
    };
    let (bias, weight, beta) = (vector("bias", 2), vector("weight", 4), vector("beta", 5));
    let whole = |builder: &mut ArenaBuilder<Cpu>, name, seed| {
        let tensor = HostTensor::new([rows, cols], random(seed, rows * cols)).unwrap();
        builder.train(name, tensor, Mask::Whole).unwrap()
    };
    let (x, residual) = (whole(&mut builder, "x", 1), whole(&mut builder, "residual", 3));
    let arena = builder.build().unwrap();
    let seed = Seed { run: 9, step: 1 };
    let mut tape = Tape::train(&workspace, &arena, seed);
    let (xv, rv) = (tape.parameter(&x).unwrap(), tape.parameter(&residual).unwrap());
    let args =
        AddNormArgs { bias: Some(&bias), residual: Some(&rv), weight: &weight, beta: &beta, dropout: p, eps: 1e-12 };
    let y = tape.add_norm(&xv, &args).unwrap();

    let expected = inputs(rows, cols, Dropout::new(seed, 0, p));
    // One column normalises to zero whatever goes in; its gradient is rounding.
    let tolerance = if cols < 3 { 2e-2 } else { 2e-5 };
    assert_close("y", y.tensor().to_array().unwrap().as_slice().unwrap(), &reference::forward(&expected), 1e-5);
    let dy = random(6, rows * cols);
    let gradient = backward_from(tape, &y, &dy, &arena, &workspace);
    let reference = reference::backward(&expected, &widen(&dy));
    let expected = [&reference.bias, &reference.weight, &reference.beta, &reference.x, &reference.residual];
    let what = format!("{} [{rows}, {cols}] p {p}", device.level());
    if cols > 1 {
        for (entry, expected) in arena.entries().iter().zip(expected) {
            assert_close(&format!("{} {what}", entry.name), &gradient[entry.range()], expected, tolerance);
        }
    }
}

fn vectors(train: [bool; 3]) -> (Workspace<Cpu>, Arena<Cpu>, [Param<Cpu>; 3]) {
    let mut builder = ArenaBuilder::new(Cpu::default());
    let params = [0, 1, 2].map(|index| {
        let mask = if train[index] { Mask::Whole } else { Mask::None };
        let name = ["bias", "weight", "beta"][index];
        builder.add(name, HostTensor::new([8], random(index as u64, 8)).unwrap(), mask).unwrap()
    });
    (Workspace::new(Cpu::default()), builder.build().unwrap(), params)
}

#[test]
fn with_only_beta_training_nothing_is_kept_and_with_nothing_training_nothing_recorded() {
    for (train, recorded) in [([false; 3], 0), ([false, false, true], 1)] {
        let (workspace, arena, [bias, weight, beta]) = vectors(train);
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
        let x = tape.constant(workspace.tensor(Array2::ones((64, 8)).view()).unwrap());
        let args =
            AddNormArgs { bias: Some(&bias), residual: None, weight: &weight, beta: &beta, dropout: 0.1, eps: 1e-5 };
        let before = workspace.allocated_bytes();
        let y = tape.add_norm(&x, &args).unwrap();
        assert_eq!(tape.recorded(), recorded);
        assert_eq!(y.slot().is_some(), recorded == 1);
        assert_eq!(workspace.allocated_bytes() - before, 64 * 8 * 4, "only y");
    }
}

#[test]
fn a_residual_of_another_shape_is_refused() {
    let (workspace, arena, [_, weight, beta]) = vectors([false; 3]);
    let mut tape = Tape::infer(&workspace, &arena);
    let x = tape.constant(workspace.tensor(Array2::ones((3, 8)).view()).unwrap());
    let r = tape.constant(workspace.tensor(Array2::ones((2, 8)).view()).unwrap());
    let args = AddNormArgs { bias: None, residual: Some(&r), weight: &weight, beta: &beta, dropout: 0.0, eps: 1e-5 };
    let message = tape.add_norm(&x, &args).unwrap_err().to_string();
    assert!(message.contains("the residual") && message.contains("[2, 8]"), "{message}");
}
