//! Weights of several tensors: the gradient of each, and their layout after an update.

use crate::{
    ArenaBuilder, Backend, DType, FrozenMatrix, HostTensor, Mask, Precision, Tape, Weight, WeightPart, Workspace,
    backend::conformance::support::*, ops::linear::reference,
};

/// The rows of the parts of a weight of three tensors, and a mask for each that leaves nothing to chance: odd rows, and
/// every kind of mask beside every other.
fn masks_of_parts(inner: u32) -> Vec<[Mask; 3]> {
    let elements = |rows: u32, step: usize| Mask::Elements((0..rows * inner).rev().step_by(step).collect());
    vec![
        [Mask::All, Mask::None, Mask::All],
        [Mask::Columns(vec![2, 0]), Mask::Columns(vec![2, 0]), Mask::Columns(vec![1])],
        [Mask::Rows(vec![4, 0]), Mask::All, Mask::Columns((0..inner).step_by(2).collect())],
        [elements(5, 3), Mask::Rows((0..17).collect()), elements(8, 97)],
    ]
}

const PART_ROWS: [usize; 3] = [5, 17, 8];

/// A weight of three tensors with the given masks, and its tensors.
fn weight_of_parts<D: Backend>(
    builder: &mut ArenaBuilder<D>,
    inner: usize,
    masks: &[Mask; 3],
    precision: Precision,
) -> (Weight<D>, Vec<Vec<f32>>) {
    let tensors: Vec<Vec<f32>> =
        PART_ROWS.iter().enumerate().map(|(i, rows)| random(20 + i as u64, rows * inner)).collect();
    let part = |i: usize| {
        let tensor = HostTensor::new([PART_ROWS[i], inner], tensors[i].clone()).unwrap();
        WeightPart::New(format!("part {i}"), tensor, masks[i].clone())
    };
    (builder.weight_of((0..3).map(part).collect(), precision).unwrap(), tensors)
}

pub(super) fn parts_of_a_weight_get_their_entries_in_every_precision<D: Backend>(device: &D) {
    let (out, rows) = (PART_ROWS.iter().sum::<usize>(), 70);
    for precision in precisions(device) {
        let dtype = precision.product_dtype();
        for (inner, masks) in [33, 16]
            .into_iter()
            .flat_map(|inner| masks_of_parts(inner).into_iter().map(move |masks| (inner as usize, masks)))
        {
            let mut builder = ArenaBuilder::new(device.clone());
            let (weight, tensors) = weight_of_parts(&mut builder, inner, &masks, precision);
            let x = rounded(dtype, &random(1, rows * inner));
            let x = builder.train("x", HostTensor::new([rows, inner], x).unwrap(), Mask::All).unwrap();
            let (arena, workspace) = (builder.build().unwrap(), Workspace::new(device.clone()));
            let dy = rounded(dtype, &random(4, rows * out));
            let run = || {
                let mut tape = Tape::train(&workspace, &arena, SEED);
                let x = tape.parameter(&x).unwrap();
                let y = tape.linear(&x, &weight, &[]).unwrap();
                (elements(&y), backward_from(tape, &y, &dy, &arena, &workspace))
            };
            let ((y, gradient), what) = (run(), format!("{precision} {inner} {masks:?}"));
            let x = widen(&rounded(dtype, &random(1, rows * inner)));
            let w = widen(&rounded(dtype, &tensors.concat()));
            let expected = reference::forward(&x, &w, &vec![0.0; out], inner);
            assert_close(&format!("y {what}"), &y, &expected, tolerance(dtype, 5e-6));
            let (dx, dw, _) = reference::backward(&widen(&dy), &x, &w, inner);
            let mut first = 0;
            for (index, (rows, mask)) in PART_ROWS.iter().zip(&masks).enumerate() {
                let chosen = mask.indices(&[*rows, inner]);
                let expected: Vec<f64> = chosen.iter().map(|&at| dw[first * inner + at as usize]).collect();
                first += rows;
                if let Some(entry) = arena.entries().iter().find(|entry| entry.name == format!("part {index}")) {
                    // Products of bfloat16 are exact, and sums are f32.
                    assert_close(&format!("dw {index} {what}"), &gradient[entry.range()], &expected, 1e-5);
                }
            }
            let entry = arena.entries().iter().find(|entry| entry.name == "x").unwrap();
            assert_close(&format!("dx {what}"), &gradient[entry.range()], &dx, tolerance(DType::F32, 1e-5));
            assert_same_bits(&format!("a second run {what}"), &run().1, &gradient);
        }
    }
}

pub(super) fn an_updated_weight_is_that_of_a_new_layout<D: Backend>(device: &D) {
    let out = PART_ROWS.iter().sum::<usize>();
    for precision in precisions(device) {
        for (inner, masks) in [33_usize, 16, 130]
            .into_iter()
            .flat_map(|inner| masks_of_parts(inner as u32).into_iter().map(move |masks| (inner, masks)))
        {
            let mut builder = ArenaBuilder::new(device.clone());
            let (weight, mut tensors) = weight_of_parts(&mut builder, inner, &masks, precision);
            let x = random(1, 9 * inner);
            let x = builder.train("x", HostTensor::new([9, inner], x).unwrap(), Mask::All).unwrap();
            let (mut arena, workspace) = (builder.build().unwrap(), Workspace::new(device.clone()));
            let mut values = arena.read().unwrap();
            for entry in arena.entries().iter().filter(|entry| entry.name != "x") {
                let new = random(90, entry.len);
                values[entry.range()].copy_from_slice(&new);
                let part: usize = entry.name["part ".len()..].parse().unwrap();
                for (&at, &new) in entry.mask.indices(&entry.shape).iter().zip(&new) {
                    tensors[part][at as usize] = new;
                }
            }
            arena.write(&values).unwrap();
            let whole = HostTensor::new([out, inner], tensors.concat()).unwrap();
            let anew = Weight::from(FrozenMatrix::with_precision(device, &[whole], precision).unwrap());
            let run = |weight: &Weight<D>| {
                let mut tape = Tape::train(&workspace, &arena, SEED);
                let x = tape.parameter(&x).unwrap();
                let y = tape.linear(&x, weight, &[]).unwrap();
                let gradient = backward_from(tape, &y, &random(4, 9 * out), &arena, &workspace);
                let entry = arena.entries().iter().find(|entry| entry.name == "x").unwrap();
                (elements(&y), gradient[entry.range()].to_vec())
            };
            let ((y, dx), (expected_y, expected_dx)) = (run(&weight), run(&anew));
            assert_same_bits(&format!("y {precision} {inner} {masks:?}"), &y, &expected_y);
            assert_same_bits(&format!("dx {precision} {inner} {masks:?}"), &dx, &expected_dx);
        }
    }
}
