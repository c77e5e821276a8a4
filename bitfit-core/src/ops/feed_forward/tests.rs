//! The reference against finite differences, the conformance tests on the CPU, and what is saved.

use super::{conformance::inputs, reference, *};
use crate::{ArenaBuilder, Cpu, DType, FrozenMatrix, HostTensor, Seed, Workspace, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let inputs = inputs(DType::F32, [3, 4, 5]);
    let dy = widen(&random(5, 12));
    let (dx, db, [up, down]) = reference::backward(&inputs, &dy);
    let loss = |inputs: reference::Inputs<f64>| dot(&reference::forward(&inputs), &dy);
    assert_gradient("dx", &inputs.x, &dx, |x| loss(reference::Inputs { x: x.to_vec(), ..inputs.clone() }));
    assert_gradient("db", &inputs.bias, &db, |bias| loss(reference::Inputs { bias: bias.to_vec(), ..inputs.clone() }));
    assert_gradient("d up", &inputs.up, &up, |up| loss(reference::Inputs { up: up.to_vec(), ..inputs.clone() }));
    let of_down = |down: &[f64]| loss(reference::Inputs { down: down.to_vec(), ..inputs.clone() });
    assert_gradient("d down", &inputs.down, &down, of_down);
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn nothing_is_recorded_where_nothing_below_trains() {
    let workspace = Workspace::new(Cpu::default());
    let builder = ArenaBuilder::new(Cpu::default());
    let bias = Param::Frozen(builder.freeze(&HostTensor::new([6], random(3, 6)).unwrap()).unwrap());
    let matrix = |out, inner| {
        let tensor = HostTensor::new([out, inner], random(2, out * inner)).unwrap();
        Weight::from(FrozenMatrix::new(&Cpu::default(), &[tensor]).unwrap())
    };
    let (up, down) = (matrix(6, 4), matrix(4, 6));
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let x = tape.constant(workspace.tensor(ndarray::Array2::ones((3, 4)).view()).unwrap());
    assert!(tape.feed_forward(&x, &up, &bias, &down).unwrap().slot().is_none());
    assert_eq!(tape.recorded(), 0);
    let message = tape.feed_forward(&x, &down, &bias, &up).unwrap_err().to_string();
    assert!(message.contains("the input") && message.contains("[3, 6]"), "{message}");
}
