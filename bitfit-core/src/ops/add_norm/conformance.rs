//! The conformance checks of `LN(r + drop(x + b))`.

use super::{AddNormArgs, RowsOf, reference};
use crate::{
    ArenaBuilder, Backend, BatchOffset, DType, Frozen, HostTensor, Mask, Param, Tape, Var, Workspace,
    backend::conformance::{Check, list, support::*},
    rng::Dropout,
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["add_norm":
        agrees_with_the_reference,
        each_part_may_be_left_out_or_frozen,
        gradients_add_up_and_bits_come_again,
        inference_is_training_that_keeps_nothing,
        a_part_of_a_batch_draws_the_masks_of_its_rows,
    ]
}

const SHAPES: [(usize, usize); 15] = [
    (1, 1),
    (1, 2),
    (2, 15),
    (3, 16),
    (5, 17),
    (31, 33),
    (70, 48),
    (33, 384),
    (40, 768),
    (3, 1023),
    (2, 1536),
    (3, 3072),
    (1, 4096),
    // Enough rows for a GPU to use larger blocks.
    (3075, 128),
    (3074, 17),
];

const EPS: f32 = 1e-12;

/// Which inputs there are, and which of them train.
#[derive(Clone, Copy, Debug)]
struct Parts {
    /// The type of x.
    dtype: DType,
    p: f32,
    linear_bias: Option<bool>,
    residual: Option<bool>,
    x: bool,
    gamma: bool,
    beta: bool,
    /// The rows of the batch before these.
    before: u64,
}

impl Parts {
    fn all(dtype: DType, p: f32) -> Self {
        Self { dtype, p, linear_bias: Some(true), residual: Some(true), x: true, gamma: true, beta: true, before: 0 }
    }
}

pub(super) fn inputs(dtype: DType, rows: usize, cols: usize, dropout: Option<Dropout>) -> reference::Inputs<f64> {
    let factors = (0..rows * cols).map(|i| dropout.map_or(1.0, |dropout| dropout.factor(i as u64).into())).collect();
    reference::Inputs {
        x: widen(&rounded(dtype, &random(1, rows * cols))),
        linear_bias: widen(&random(2, cols)),
        residual: widen(&random(3, rows * cols)),
        gamma: widen(&random(4, cols)),
        beta: widen(&random(5, cols)),
        factors,
        eps: EPS.into(),
    }
}

/// Returns y, and the gradient of each trainable input by its name.
fn run<D: Backend>(
    device: &D,
    rows: usize,
    cols: usize,
    parts: Parts,
    dy: &[f32],
) -> (Vec<f32>, Vec<(String, Vec<f32>)>) {
    let workspace = Workspace::new(device.clone());
    let mut builder = ArenaBuilder::new(device.clone());
    let mut vector = |name: &str, seed, trains: bool| {
        let mask = if trains { Mask::All } else { Mask::None };
        builder.add(name, HostTensor::new([cols], random(seed, cols)).unwrap(), mask).unwrap()
    };
    let linear_bias = parts.linear_bias.map(|trains| vector("linear_bias", 2, trains));
    let (gamma, beta) = (vector("gamma", 4, parts.gamma), vector("beta", 5, parts.beta));
    let mut whole = |name: &str, seed, trains: bool| {
        let tensor = HostTensor::new([rows, cols], random(seed, rows * cols)).unwrap();
        match trains {
            true => Param::from(builder.train(name, tensor, Mask::All).unwrap()),
            false => Param::from(Frozen::new(device, &tensor).unwrap()),
        }
    };
    let x = whole("x", 1, parts.x);
    let residual = parts.residual.map(|trains| whole("residual", 3, trains));
    let arena = builder.build().unwrap();
    let offset = BatchOffset { tokens: parts.before, sequences: 1001, outputs: 1000 };
    let mut tape = Tape::train(&workspace, &arena, SEED).at(offset);
    let var = |tape: &mut Tape<'_, D>, param: &Param<D>| -> Var<D> {
        match param {
            Param::Trainable(trainable) => tape.parameter(trainable).unwrap(),
            Param::Frozen(frozen) => {
                let mut copy = workspace.scratch(rows * cols).unwrap();
                device.copy(frozen.slice(), copy.as_mut()).unwrap();
                tape.constant(crate::Tensor::new(copy, rows, cols).unwrap())
            }
        }
    };
    let x = var(&mut tape, &x);
    let x = stored(&mut tape, parts.dtype, &x).unwrap();
    let residual = residual.as_ref().map(|residual| var(&mut tape, residual));
    // Fills the free buffers with NaN, so that an op that does not write all of its output is detected.
    let mut dirty = [(); 4].map(|()| workspace.scratch(rows * cols).unwrap());
    dirty.iter_mut().for_each(|dirty| device.fill(f32::NAN, dirty.as_mut()).unwrap());
    drop(dirty);
    let args = AddNormArgs {
        linear_bias: linear_bias.as_ref(),
        residual: residual.as_ref(),
        gamma: &gamma,
        beta: &beta,
        dropout: parts.p,
        rows: RowsOf::Tokens,
        eps: EPS,
    };
    let y = tape.add_norm(&x, &args).unwrap();
    let found = elements(&y);
    if device.compute_dtype() == DType::Bf16 {
        let mut narrow = vec![0.0; rows * cols];
        device.read(y.slice_in(DType::Bf16), &mut narrow).unwrap();
        assert_same_bits("y for the product that follows", &narrow, &rounded(DType::Bf16, &found));
    }
    if y.slot().is_none() {
        return (found, Vec::new());
    }
    let gradient = backward_from(tape, &y, dy, &arena, &workspace);
    (found, arena.entries().iter().map(|entry| (entry.name.clone(), gradient[entry.range()].to_vec())).collect())
}

fn agrees<D: Backend>(device: &D, rows: usize, cols: usize, parts: Parts) {
    let dy = random(6, rows * cols);
    let (y, gradients) = run(device, rows, cols, parts, &dy);
    let offset = BatchOffset { tokens: parts.before, ..BatchOffset::default() };
    let dropout = Dropout::new(SEED, 0, parts.p).map(|mask| mask.in_batch(offset, RowsOf::Tokens, cols as u64));
    let mut expected = inputs(parts.dtype, rows, cols, dropout);
    if parts.linear_bias.is_none() {
        expected.linear_bias.fill(0.0);
    }
    if parts.residual.is_none() {
        expected.residual.fill(0.0);
    }
    let what = format!("[{rows}, {cols}] {parts:?}");
    assert_close(&format!("y {what}"), &y, &reference::forward(&expected), 1e-5);
    if cols == 1 {
        // One column is always normalised to zero, and its gradient is rounding noise.
        return;
    }
    let expected = reference::backward(&expected, &widen(&dy));
    for (name, gradient) in gradients {
        let (expected, dtype) = match name.as_str() {
            "linear_bias" => (&expected.linear_bias, device.compute_dtype()),
            "gamma" => (&expected.gamma, device.compute_dtype()),
            "beta" => (&expected.beta, DType::F32),
            // x̂ was saved in the compute type; dx has the type of x.
            "x" => (&expected.x, device.compute_dtype()),
            _ => (&expected.residual, device.compute_dtype()),
        };
        let tolerance = match cols {
            // Two columns are normalised to one and minus one: all gradients but that of β are rounding noise.
            2 => 2e-2,
            // With few columns, subtracting the mean and the part along x̂ leaves small differences, and x̂ was
            // rounded.
            3..8 if dtype == DType::Bf16 => 5e-2,
            _ => tolerance(dtype, 2e-5),
        };
        assert_close(&format!("{name} {what}"), &gradient, expected, tolerance);
    }
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for dtype in types(device) {
        for (rows, cols) in SHAPES.into_iter().chain((3..=33).map(|cols| (2, cols))) {
            for p in [0.0, 0.1] {
                agrees(device, rows, cols, Parts::all(dtype, p));
            }
        }
    }
}

fn each_part_may_be_left_out_or_frozen<D: Backend>(device: &D) {
    let choices = [None, Some(false), Some(true)];
    for dtype in types(device) {
        for (rows, cols) in [(37, 33), (5, 384)] {
            for p in [0.0, 0.3] {
                for linear_bias in choices {
                    for residual in choices {
                        for trains in 0..8 {
                            let [x, gamma, beta] = [1, 2, 4].map(|bit| trains & bit != 0);
                            let parts = Parts { linear_bias, residual, x, gamma, beta, ..Parts::all(dtype, p) };
                            agrees(device, rows, cols, parts);
                        }
                    }
                }
            }
        }
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for dtype in types(device) {
        for (rows, cols) in [(70, 48), (33, 384)] {
            let dy = random(6, rows * cols);
            let once = run(device, rows, cols, Parts::all(dtype, 0.1), &dy);
            assert_eq!(run(device, rows, cols, Parts::all(dtype, 0.1), &dy), once, "a second run");
        }
    }
    // The parameters of the norm are used twice: column sums must be added to the gradient.
    let (rows, cols) = (70, 48);
    let workspace = Workspace::new(device.clone());
    let mut builder = ArenaBuilder::new(device.clone());
    let [gamma, beta] = [("gamma", 4), ("beta", 5)].map(|(name, seed)| {
        builder.add(name, HostTensor::new([cols], random(seed, cols)).unwrap(), Mask::All).unwrap()
    });
    let x = HostTensor::new([rows, cols], random(1, rows * cols)).unwrap();
    let x = builder.train("x", x, Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let gradient = |times: usize| {
        let mut tape = Tape::train(&workspace, &arena, SEED);
        let x = tape.parameter(&x).unwrap();
        let mut y = tape.layer_norm(&x, &gamma, &beta, 1e-5).unwrap();
        for _ in 1..times {
            let next = tape.layer_norm(&x, &gamma, &beta, 1e-5).unwrap();
            y = tape.add(&y, &next).unwrap();
        }
        backward_from(tape, &y, &random(6, rows * cols), &arena, &workspace)
    };
    let expected: Vec<f64> = gradient(1).iter().map(|&g| 2.0 * f64::from(g)).collect();
    assert_close("twice the gradient", &gradient(2), &expected, 1e-6);
}

fn inference_is_training_that_keeps_nothing<D: Backend>(device: &D) {
    for dtype in types(device) {
        for (rows, cols) in SHAPES {
            let all = Parts::all(dtype, 0.0);
            let none =
                Parts { linear_bias: Some(false), residual: Some(false), x: false, gamma: false, beta: false, ..all };
            let dy = random(6, rows * cols);
            let (saved, unkept) = (run(device, rows, cols, all, &dy).0, run(device, rows, cols, none, &dy).0);
            assert_same_bits(&format!("y [{rows}, {cols}]"), &unkept, &saved);
        }
    }
}

fn a_part_of_a_batch_draws_the_masks_of_its_rows<D: Backend>(device: &D) {
    for dtype in types(device) {
        for (rows, cols) in [(5, 17), (9, 33), (3, 128), (7, 384), (2, 1536), (2049, 40)] {
            for before in [1, 7, 16, (1 << 32) + 3, 1 << 40] {
                agrees(device, rows, cols, Parts { before, ..Parts::all(dtype, 0.3) });
            }
        }
    }
    let [gamma, beta] = [4, 5].map(|seed| {
        let vector = |cols: usize| Frozen::new(device, &HostTensor::new([cols], random(seed, cols)).unwrap()).unwrap();
        [48, 384].map(|cols| Param::from(vector(cols)))
    });
    for (which, (rows, cols)) in [(13, 48), (11, 384)].into_iter().enumerate() {
        let network = |tape: &mut Tape<'_, D>, [x, residual]: [&Var<D>; 2]| {
            let (gamma, beta) = (&gamma[which], &beta[which]);
            let (residual, rows) = (Some(residual), RowsOf::Sequences);
            let args = AddNormArgs { linear_bias: None, residual, gamma, beta, dropout: 0.3, rows, eps: EPS };
            tape.add_norm(x, &args)
        };
        let [x, residual] = [1, 3].map(|seed| random(seed, rows * cols));
        let whole = train(device, [([rows, cols], &x), ([rows, cols], &residual)], network);
        for first in (0..rows).step_by(5) {
            let of = first * cols..rows.min(first + 5) * cols;
            let offset = BatchOffset { tokens: 1000, sequences: first as u64, outputs: 1001 };
            let input = |data| ([of.len() / cols, cols], data);
            let inputs = [input(&x[of.clone()]), input(&residual[of.clone()])];
            let part = train_at(device, offset, Some(&whole.dy[of.clone()]), inputs, network);
            let what = format!("rows {first} and on of [{rows}, {cols}]");
            assert_same_bits(&format!("y, {what}"), &part.y, &whole.y[of.clone()]);
            for index in 0..2 {
                let gradients = (&part.gradients[index], &whole.gradients[index][of.clone()]);
                assert_same_bits(&format!("gradient {index}, {what}"), gradients.0, gradients.1);
            }
        }
    }
}
