//! The reference against finite differences, the conformance tests on the CPU, and what is saved for each choice of
//! trainable inputs.

use super::{conformance::inputs, reference, *};
use crate::{Arena, ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, backend::conformance::support::*};
use ndarray::Array2;

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let inputs = inputs(DType::F32, 3, 5, Dropout::new(Seed { run: 1, step: 2 }, 0, 0.3));
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
    assert_gradient("db", &inputs.linear_bias, &gradients.linear_bias, with(|i, at| i.linear_bias = at));
    assert_gradient("dr", &inputs.residual, &gradients.residual, with(|i, at| i.residual = at));
    assert_gradient("dgamma", &inputs.gamma, &gradients.gamma, with(|i, at| i.gamma = at));
    assert_gradient("dbeta", &inputs.beta, &gradients.beta, with(|i, at| i.beta = at));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

fn vectors(train: [bool; 3]) -> (Workspace<Cpu>, Arena<Cpu>, [Param<Cpu>; 3]) {
    let mut builder = ArenaBuilder::new(Cpu::default());
    let params = [0, 1, 2].map(|index| {
        let mask = if train[index] { Mask::All } else { Mask::None };
        let name = ["linear_bias", "gamma", "beta"][index];
        builder.add(name, HostTensor::new([8], random(index as u64, 8)).unwrap(), mask).unwrap()
    });
    (Workspace::new(Cpu::default()), builder.build().unwrap(), params)
}

#[test]
fn with_only_beta_training_nothing_is_kept_and_with_nothing_training_nothing_recorded() {
    for (train, recorded) in [([false; 3], 0), ([false, false, true], 1)] {
        let (workspace, arena, [linear_bias, gamma, beta]) = vectors(train);
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
        let x = tape.constant(workspace.tensor(Array2::ones((64, 8)).view()).unwrap());
        let args = AddNormArgs {
            linear_bias: Some(&linear_bias),
            residual: None,
            gamma: &gamma,
            beta: &beta,
            dropout: 0.1,
            rows: RowsOf::Tokens,
            eps: 1e-5,
        };
        let before = workspace.allocated_bytes();
        let y = tape.add_norm(&x, &args).unwrap();
        assert_eq!(tape.recorded(), recorded);
        assert_eq!(y.slot().is_some(), recorded == 1);
        assert_eq!(workspace.allocated_bytes() - before, 64 * 8 * 4, "only y");
    }
}

#[test]
fn a_residual_of_another_shape_is_refused() {
    let (workspace, arena, [_, gamma, beta]) = vectors([false; 3]);
    let mut tape = Tape::infer(&workspace, &arena);
    let x = tape.constant(workspace.tensor(Array2::ones((3, 8)).view()).unwrap());
    let r = tape.constant(workspace.tensor(Array2::ones((2, 8)).view()).unwrap());
    let args = AddNormArgs {
        linear_bias: None,
        residual: Some(&r),
        gamma: &gamma,
        beta: &beta,
        dropout: 0.0,
        rows: RowsOf::Tokens,
        eps: 1e-5,
    };
    let message = tape.add_norm(&x, &args).unwrap_err().to_string();
    assert!(message.contains("the residual") && message.contains("[2, 8]"), "{message}");
}
