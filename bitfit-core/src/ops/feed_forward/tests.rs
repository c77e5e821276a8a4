//! The reference against finite differences, every instruction set against the reference, and what is kept.

use super::{reference, *};
use crate::{ArenaBuilder, Cpu, HostTensor, Mask, Seed, Workspace, ops::testing::*};

fn inputs(rows: usize, width: usize, ffn: usize) -> reference::Inputs<f64> {
    reference::Inputs {
        x: widen(&random(1, rows * width)),
        up: widen(&random(2, ffn * width)),
        bias: widen(&random(3, ffn)),
        down: widen(&random(4, width * ffn)),
    }
}

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let inputs = inputs(3, 4, 5);
    let dy = widen(&random(5, 12));
    let (dx, db) = reference::backward(&inputs, &dy);
    let loss = |inputs: reference::Inputs<f64>| dot(&reference::forward(&inputs), &dy);
    assert_gradient("dx", &inputs.x, &dx, |x| loss(reference::Inputs { x: x.to_vec(), ..inputs.clone() }));
    assert_gradient("db", &inputs.bias, &db, |bias| loss(reference::Inputs { bias: bias.to_vec(), ..inputs.clone() }));
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    for device in cpus() {
        for (rows, width, ffn) in [(1, 1, 1), (2, 3, 7), (5, 17, 33), (33, 24, 40), (65, 48, 130), (70, 384, 512)] {
            let workspace = Workspace::new(device.clone());
            let mut builder = ArenaBuilder::new(device.clone());
            let tensor = |seed, shape: [usize; 2]| HostTensor::new(shape, random(seed, shape[0] * shape[1])).unwrap();
            let bias = builder.add("bias", HostTensor::new([ffn], random(3, ffn)).unwrap(), Mask::Whole).unwrap();
            let x = builder.train("x", tensor(1, [rows, width]), Mask::Whole).unwrap();
            let up = FrozenMatrix::new(&device, &[tensor(2, [ffn, width])]).unwrap();
            let down = FrozenMatrix::new(&device, &[tensor(4, [width, ffn])]).unwrap();
            let arena = builder.build().unwrap();
            let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
            let x = tape.parameter(&x).unwrap();
            let y = tape.feed_forward(&x, &up, &bias, &down).unwrap();
            let expected = inputs(rows, width, ffn);
            let what = format!("{} [{rows}, {width}, {ffn}]", device.level());
            assert_close(
                &format!("y {what}"),
                y.tensor().to_array().unwrap().as_slice().unwrap(),
                &reference::forward(&expected),
                1e-5,
            );
            let dy = random(5, rows * width);
            let gradient = backward_from(tape, &y, &dy, &arena, &workspace);
            let (dx, db) = reference::backward(&expected, &widen(&dy));
            assert_close(&format!("db {what}"), &gradient[..ffn], &db, 2e-5);
            assert_close(&format!("dx {what}"), &gradient[ffn..], &dx, 2e-5);
        }
    }
}

#[test]
fn nothing_is_recorded_where_nothing_below_trains() {
    let workspace = Workspace::new(Cpu::default());
    let builder = ArenaBuilder::new(Cpu::default());
    let bias = Param::Frozen(builder.freeze(&HostTensor::new([6], random(3, 6)).unwrap()).unwrap());
    let matrix = |out, inner| {
        FrozenMatrix::new(&Cpu::default(), &[HostTensor::new([out, inner], random(2, out * inner)).unwrap()])
    };
    let (up, down) = (matrix(6, 4).unwrap(), matrix(4, 6).unwrap());
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let x = tape.constant(workspace.tensor(ndarray::Array2::ones((3, 4)).view()).unwrap());
    assert!(tape.feed_forward(&x, &up, &bias, &down).unwrap().slot().is_none());
    assert_eq!(tape.recorded(), 0);
    let message = tape.feed_forward(&x, &down, &bias, &up).unwrap_err().to_string();
    assert!(message.contains("the input") && message.contains("[3, 6]"), "{message}");
}
