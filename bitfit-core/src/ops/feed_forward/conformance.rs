//! The conformance checks of the feed-forward.

use super::{DERIVATIVE_STEP, reference};
use crate::{
    ArenaBuilder, Backend, DType, HostTensor, Mask, Tape, Workspace,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["feed_forward":
        agrees_with_the_reference,
        adds_to_a_gradient_that_is_there,
        weights_get_the_entries_of_their_masks,
    ]
}

/// Rows, H and F.
const SHAPES: [[usize; 3]; 8] =
    [[1, 1, 1], [2, 3, 7], [5, 17, 33], [33, 24, 40], [65, 48, 130], [70, 384, 512], [3, 384, 1536], [2, 768, 3072]];

pub(super) fn inputs(dtype: DType, [rows, width, ffn]: [usize; 3]) -> reference::Inputs<f64> {
    let stored = |seed, len| widen(&rounded(dtype, &random(seed, len)));
    reference::Inputs {
        x: stored(1, rows * width),
        up: stored(2, ffn * width),
        bias: widen(&random(3, ffn)),
        down: stored(4, width * ffn),
    }
}

/// Returns y, and the gradients of b₁, of x, and of the entries of the weights that train.
fn run<D: Backend>(device: &D, shape: [usize; 3], dy: &[f32], twice: bool, masks: [Mask; 2]) -> [Vec<f32>; 4] {
    let [rows, width, ffn] = shape;
    let dtype = device.compute_dtype();
    let workspace = Workspace::new(device.clone());
    let mut builder = ArenaBuilder::new(device.clone());
    let tensor = |seed, shape: [usize; 2]| HostTensor::new(shape, random(seed, shape[0] * shape[1])).unwrap();
    let bias = builder.add("bias", HostTensor::new([ffn], random(3, ffn)).unwrap(), Mask::All).unwrap();
    let x = rounded(dtype, &random(1, rows * width));
    let x = builder.train("x", HostTensor::new([rows, width], x).unwrap(), Mask::All).unwrap();
    let [up, down] = masks;
    let up = builder.weight("up", tensor(2, [ffn, width]), up).unwrap();
    let down = builder.weight("down", tensor(4, [width, ffn]), down).unwrap();
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, SEED);
    let x = tape.parameter(&x).unwrap();
    let mut y = tape.feed_forward(&x, &up, &bias, &down).unwrap();
    assert_eq!(y.dtype(), dtype);
    if twice {
        let second = tape.feed_forward(&x, &up, &bias, &down).unwrap();
        y = tape.add(&y, &second).unwrap();
    }
    let found = elements(&y);
    let mut gradient = backward_from(tape, &y, dy, &arena, &workspace);
    let mut dx = gradient.split_off(ffn);
    let weights = dx.split_off(rows * width);
    [found, gradient, dx, weights]
}

const FROZEN: [Mask; 2] = [Mask::None, Mask::None];

fn weights_get_the_entries_of_their_masks<D: Backend>(device: &D) {
    let dtype = device.compute_dtype();
    for shape @ [rows, width, ffn] in [[5, 17, 33], [33, 24, 40], [70, 96, 128]] {
        let dy = rounded(dtype, &random(5, rows * width));
        let inputs = inputs(dtype, shape);
        let (_, _, [up, down]) = reference::backward(&inputs, &widen(&dy));
        let [_, _, up_errors] = derivative_errors(dtype, &inputs, &dy);
        let (ffn_columns, columns) = (Mask::Columns((0..ffn as u32).step_by(2).collect()), Mask::Columns(vec![1, 0]));
        for masks in [
            [Mask::All, Mask::All],
            [Mask::None, Mask::All],
            [Mask::Rows(vec![2, 1]), Mask::None],
            [columns.clone(), columns],
            [Mask::Elements(vec![11, 0, 3]), ffn_columns],
        ] {
            let what = format!("{shape:?} {masks:?}");
            let [y, db, dx, weights] = run(device, shape, &dy, false, masks.clone());
            let frozen = run(device, shape, &dy, false, FROZEN);
            for (name, found, expected) in [("y", y, &frozen[0]), ("db", db, &frozen[1]), ("dx", dx, &frozen[2])] {
                assert_same_bits(&format!("{name} {what}"), &found, expected);
            }
            let chosen = |mask: &Mask, shape: [usize; 2], whole: &[f64]| -> Vec<f64> {
                mask.indices(&shape).iter().map(|&at| whole[at as usize]).collect()
            };
            let (up, down) = (chosen(&masks[0], [ffn, width], &up), chosen(&masks[1], [width, ffn], &down));
            let further = chosen(&masks[0], [ffn, width], &up_errors);
            assert_near(&format!("d up {what}"), &weights[..up.len()], &up, tolerance(dtype, 2e-5), &further);
            assert_close(&format!("d down {what}"), &weights[up.len()..], &down, tolerance(dtype, 2e-5));
        }
    }
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    let dtype = device.compute_dtype();
    for shape @ [rows, width, _] in SHAPES {
        let dy = rounded(dtype, &random(5, rows * width));
        let [y, db, dx, _] = run(device, shape, &dy, false, FROZEN);
        let expected = inputs(dtype, shape);
        let what = format!("{shape:?}");
        assert_close(&format!("y {what}"), &y, &reference::forward(&expected), tolerance(dtype, 1e-5));
        let (expected_dx, expected_db, _) = reference::backward(&expected, &widen(&dy));
        let [dx_errors, db_errors, _] = derivative_errors(dtype, &expected, &dy);
        assert_near(&format!("db {what}"), &db, &expected_db, tolerance(dtype, 2e-5), &db_errors);
        assert_near(&format!("dx {what}"), &dx, &expected_dx, tolerance(dtype, 2e-5), &dx_errors);
    }
}

/// The errors that the form in which the derivative is kept may cause in dx, db₁ and the gradient of W₁.
fn derivative_errors(dtype: DType, inputs: &reference::Inputs<f64>, dy: &[f32]) -> [Vec<f64>; 3] {
    let error = match dtype {
        DType::F32 => 0.0,
        DType::Bf16 => f64::from(DERIVATIVE_STEP) / 2.0,
    };
    reference::errors_of_derivative(inputs, &widen(dy), error)
}

fn adds_to_a_gradient_that_is_there<D: Backend>(device: &D) {
    for shape @ [rows, width, _] in [[33, 24, 40], [70, 384, 512]] {
        let dy = rounded(device.compute_dtype(), &random(5, rows * width));
        let once = run(device, shape, &dy, false, FROZEN);
        let again = run(device, shape, &dy, false, FROZEN);
        let twice = run(device, shape, &dy, true, FROZEN);
        for (what, part) in [("db", 1), ("dx", 2)] {
            assert_same_bits(&format!("{what} of a second run"), &again[part], &once[part]);
            let expected: Vec<f64> = once[part].iter().map(|&g| 2.0 * f64::from(g)).collect();
            assert_close(&format!("twice {what}"), &twice[part], &expected, 1e-6);
        }
    }
}
