//! The conformance checks of the linear layer, with frozen and with trainable weights.

mod parts;

use std::ops::Range;

use ndarray::ArrayView2;

use parts::{an_updated_weight_is_that_of_a_new_layout, parts_of_a_weight_get_their_entries_in_every_precision};

use super::reference;
use crate::{
    Arena, ArenaBuilder, Backend, DType, Entry, FrozenMatrix, HostTensor, Mask, Param, Precision, Tape, Trainable, Var,
    Weight, WeightPart, Workspace,
    backend::{
        Slice, SliceMut,
        conformance::{Check, list, support::*},
    },
    tape::ColumnSums,
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["linear":
        agrees_with_the_reference,
        narrow_products_agree_with_the_reference,
        a_weight_in_parts_is_their_concatenation,
        without_a_bias_none_is_added,
        each_mask_gets_its_entries_of_the_gradient,
        parts_of_a_weight_get_their_entries_in_every_precision,
        an_updated_weight_is_that_of_a_new_layout,
        a_bias_in_parts_trains_in_those_that_do,
        a_bias_that_is_named_twice_gets_the_sums_of_both_places,
        parts_of_a_bias_are_added_wherever_they_lie,
        ranges_of_columns_are_summed_to_their_places,
        an_input_read_twice_gets_both_gradients,
    ]
}

/// Rows, input features and output features.
const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [3, 5, 2],
    [2, 17, 33],
    [33, 31, 15],
    [70, 16, 48],
    [5, 384, 130],
    [130, 64, 65],
    [3, 768, 384],
    [2, 1536, 16],
];

/// A linear layer `[out, in]` with masks for its weight and bias, and an x `[rows, in]` that may be trainable.
pub(super) struct Case<D: Backend> {
    pub workspace: Workspace<D>,
    pub arena: Arena<D>,
    x: Option<Trainable>,
    pub weight: Weight<D>,
    pub bias: Vec<Param<D>>,
}

/// Makes a case. The bias has as many parts as masks; all parts but the last have one element.
pub(super) fn case<D: Backend>(
    device: &D,
    [rows, inner, out]: [usize; 3],
    x: bool,
    weight: Mask,
    bias: &[Mask],
) -> Case<D> {
    let mut builder = ArenaBuilder::new(device.clone());
    let host = |seed, shape: &[usize]| HostTensor::new(shape, random(seed, shape.iter().product())).unwrap();
    let x = x.then(|| builder.train("x", host(1, &[rows, inner]), Mask::All).unwrap());
    let weight = WeightPart::New("weight".into(), host(2, &[out, inner]), weight);
    let weight = builder.weight_of(vec![weight], Precision::F32).unwrap();
    let all = random(3, out);
    let part = |(index, mask): (usize, &Mask)| {
        let range = if index + 1 == bias.len() { index..out } else { index..index + 1 };
        let tensor = HostTensor::new([range.len()], all[range].to_vec()).unwrap();
        builder.add(format!("bias {index}"), tensor, mask.clone()).unwrap()
    };
    let bias = bias.iter().enumerate().map(part).collect();
    Case { workspace: Workspace::new(device.clone()), arena: builder.build().unwrap(), x, weight, bias }
}

impl<D: Backend> Case<D> {
    pub(super) fn x(&self, tape: &mut Tape<'_, D>, rows: usize) -> Var<D> {
        let inner = self.weight.shape()[1];
        match &self.x {
            Some(x) => tape.parameter(x).unwrap(),
            None => {
                let data = random(1, rows * inner);
                tape.constant(self.workspace.tensor(ArrayView2::from_shape((rows, inner), &data).unwrap()).unwrap())
            }
        }
    }

    /// Returns y, and the gradient of each trainable parameter by its name.
    fn run(&self, rows: usize, dy: &[f32]) -> (Vec<f32>, Vec<(String, Vec<f32>)>) {
        let mut tape = Tape::train(&self.workspace, &self.arena, SEED);
        let x = self.x(&mut tape, rows);
        let y = tape.linear(&x, &self.weight, &self.bias.iter().collect::<Vec<_>>()).unwrap();
        let gradient = backward_from(tape, &y, dy, &self.arena, &self.workspace);
        let named = |entry: &Entry| (entry.name.clone(), gradient[entry.range()].to_vec());
        (elements(&y), self.arena.entries().iter().map(named).collect())
    }
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for shape @ [rows, inner, out] in SHAPES {
        let (x, w, b) = (random(1, rows * inner), random(2, out * inner), random(3, out));
        let (x, w, b) = (widen(&x), widen(&w), widen(&b));
        let dy = random(4, rows * out);
        let (dx, dw, db) = reference::backward(&widen(&dy), &x, &w, inner);
        let y = reference::forward(&x, &w, &b, inner);
        for mask in [Mask::None, Mask::All] {
            let what = format!("{shape:?} weight {mask:?}");
            let (found, gradients) = case(device, shape, true, mask, &[Mask::All]).run(rows, &dy);
            assert_close(&format!("y {what}"), &found, &y, 5e-6);
            for (name, gradient) in gradients {
                let expected = match name.as_str() {
                    "x" => &dx,
                    "weight" => &dw,
                    _ => &db,
                };
                assert_close(&format!("d {name} {what}"), &gradient, expected, 5e-6);
            }
        }
    }
}

/// With bfloat16 weights: y is bfloat16; x and its gradient have either type.
fn narrow_products_agree_with_the_reference<D: Backend>(device: &D) {
    let narrow = device.compute_dtype();
    if narrow == DType::F32 {
        return;
    }
    for shape @ [rows, inner, out] in SHAPES {
        let (x, w, b) = (random(1, rows * inner), random(2, out * inner), random(3, out));
        let weight = FrozenMatrix::new(device, &[HostTensor::new([out, inner], w.clone()).unwrap()]).unwrap().into();
        let workspace = Workspace::new(device.clone());
        let mut builder = ArenaBuilder::new(device.clone());
        let bias = builder.add("bias", HostTensor::new([out], b.clone()).unwrap(), Mask::All).unwrap();
        let input = builder.train("x", HostTensor::new([rows, inner], x.clone()).unwrap(), Mask::All).unwrap();
        let arena = builder.build().unwrap();
        // The operands of the reference are rounded to bfloat16; b and the sums are f32.
        let (x, w) = (widen(&rounded(narrow, &x)), widen(&rounded(narrow, &w)));
        let dy = rounded(narrow, &random(4, rows * out));
        let (dx, _, db) = reference::backward(&widen(&dy), &x, &w, inner);
        for dtype in types(device) {
            let what = format!("{shape:?} of {dtype:?}");
            for bias in [None, Some(&bias)] {
                let mut tape = Tape::train(&workspace, &arena, SEED);
                let x32 = tape.parameter(&input).unwrap();
                let x32 = stored(&mut tape, dtype, &x32).unwrap();
                let y = tape.linear(&x32, &weight, bias.as_slice()).unwrap();
                assert_eq!(y.dtype(), narrow);
                let added = if bias.is_some() { widen(&b) } else { vec![0.0; out] };
                let expected = reference::forward(&x, &w, &added, inner);
                assert_close(&format!("y {what}"), &elements(&y), &expected, tolerance(narrow, 5e-6));
                let gradient = backward_from(tape, &y, &dy, &arena, &workspace);
                // The only gradient that is rounded is a bfloat16 dx.
                assert_close(&format!("dx {what}"), &gradient[out..], &dx, tolerance(dtype, 1e-5));
                if bias.is_some() {
                    assert_close(&format!("db {what}"), &gradient[..out], &db, 5e-6);
                }
            }
        }
    }
}

fn a_weight_in_parts_is_their_concatenation<D: Backend>(device: &D) {
    let [rows, inner, out] = [33, 40, 48];
    let w = random(2, out * inner);
    for precision in precisions(device) {
        let lay_out = |cuts: &[usize]| {
            let parts: Vec<_> = cuts
                .windows(2)
                .map(|cut| {
                    HostTensor::new([cut[1] - cut[0], inner], w[cut[0] * inner..cut[1] * inner].to_vec()).unwrap()
                })
                .collect();
            FrozenMatrix::with_precision(device, &parts, precision).unwrap()
        };
        let run = |weight: FrozenMatrix<D>| {
            let weight = Weight::from(weight);
            train(device, [([rows, inner], &random(1, rows * inner))], |tape, [x]| tape.linear(x, &weight, &[]))
        };
        let whole = run(lay_out(&[0, out]));
        for cuts in [&[0, 16, 32, out][..], &[0, 1, 6, out], &[0, 47, out]] {
            let parts = run(lay_out(cuts));
            assert_same_bits(&format!("y of parts {cuts:?}"), &parts.y, &whole.y);
            assert_same_bits(&format!("dx of parts {cuts:?}"), &parts.gradients[0], &whole.gradients[0]);
        }
    }
}

fn without_a_bias_none_is_added<D: Backend>(device: &D) {
    for mask in [Mask::None, Mask::All] {
        let (y, _) = case(device, [33, 17, 9], true, mask, &[]).run(33, &random(4, 33 * 9));
        let expected = reference::forward(&widen(&random(1, 33 * 17)), &widen(&random(2, 17 * 9)), &[0.0; 9], 17);
        assert_close("y", &y, &expected, 5e-6);
    }
}

fn each_mask_gets_its_entries_of_the_gradient<D: Backend>(device: &D) {
    let shape @ [rows, inner, out] = [70, 33, 130];
    let dy = random(4, rows * out);
    let (_, dw, db) =
        reference::backward(&widen(&dy), &widen(&random(1, rows * inner)), &widen(&random(2, out * inner)), inner);
    let rows_mask = Mask::Rows((0..out as u32).rev().step_by(2).collect());
    let many_columns = Mask::Columns((0..33).step_by(3).collect());
    let many_elements = Mask::Elements((0..4290).step_by(7).collect());
    for mask in [
        rows_mask,
        Mask::Rows(vec![129]),
        Mask::Columns(vec![32, 0, 7]),
        many_columns,
        Mask::Elements(vec![4289, 0, 34, 33]),
        many_elements,
    ] {
        for x in [true, false] {
            let bias = Mask::Elements(vec![129, 3]);
            let (_, gradients) = case(device, shape, x, mask.clone(), std::slice::from_ref(&bias)).run(rows, &dy);
            for (name, gradient) in gradients.iter().filter(|(name, _)| name != "x") {
                let (mask, whole) = if name == "weight" { (&mask, &dw) } else { (&bias, &db) };
                let shape = if name == "weight" { vec![out, inner] } else { vec![out] };
                let chosen: Vec<f64> = mask.indices(&shape).iter().map(|&at| whole[at as usize]).collect();
                assert_close(&format!("d {name} {mask:?}"), gradient, &chosen, 5e-6);
            }
        }
    }
}

fn a_bias_in_parts_trains_in_those_that_do<D: Backend>(device: &D) {
    let [rows, inner, out] = [40, 8, 24];
    let dy = random(4, rows * out);
    let (_, _, db) =
        reference::backward(&widen(&dy), &widen(&random(1, rows * inner)), &widen(&random(2, out * inner)), inner);
    let masks = [Mask::None, Mask::All, Mask::None, Mask::Elements(vec![20, 2])];
    let (y, gradients) = case(device, [rows, inner, out], false, Mask::None, &masks).run(rows, &dy);
    let expected = reference::forward(
        &widen(&random(1, rows * inner)),
        &widen(&random(2, out * inner)),
        &widen(&random(3, out)),
        inner,
    );
    assert_close("y", &y, &expected, 5e-6);
    let names: Vec<&str> = gradients.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bias 1", "bias 3"]);
    assert_close("bias 1", &gradients[0].1, &db[1..2], 5e-6);
    assert_close("bias 3", &gradients[1].1, &[db[23], db[5]], 5e-6);
}

/// Lengths of parts: empty ones, ones shorter and longer than a vector, those of query, key and value, and more parts
/// than one launch takes.
const PARTS: [&[usize]; 5] = [&[24], &[8, 8, 8], &[264, 264, 264], &[1, 7, 0, 300, 16, 5, 600], &[13, 13, 13]];

/// A buffer with the given elements.
fn there<D: Backend>(device: &D, dtype: DType, values: &[f32]) -> D::Buffer {
    let mut buffer = device.allocate(dtype.words(values.len())).unwrap();
    device.write(values, SliceMut { buffer: &mut buffer, offset: 0, len: values.len(), dtype }).unwrap();
    buffer
}

fn parts_of_a_bias_are_added_wherever_they_lie<D: Backend>(device: &D) {
    let (rows, inner, dtype) = (70, 3, device.compute_dtype());
    for lengths in PARTS {
        let out = lengths.iter().sum();
        let (x, w, b) = (rounded(dtype, &random(1, rows * inner)), random(2, out * inner), random(3, out));
        let weight = FrozenMatrix::new(device, &[HostTensor::new([out, inner], w.clone()).unwrap()]).unwrap();
        let x_there = there(device, dtype, &x);
        // From offsets to which vectors can be aligned, and from those in between.
        for offset in 0..5 {
            let bias = there(device, DType::F32, &[vec![f32::NAN; offset], b.clone()].concat());
            let mut first = offset;
            let parts: Vec<_> = lengths
                .iter()
                .map(|&len| {
                    first += len;
                    Slice::new(&bias, first - len, len)
                })
                .collect();
            let mut y = there(device, dtype, &vec![0.0; rows * out]);
            let len = rows * out;
            let x_there = Slice { buffer: &x_there, offset: 0, len: x.len(), dtype };
            device
                .linear(x_there, weight.matrix(), &parts, SliceMut { buffer: &mut y, offset: 0, len, dtype })
                .unwrap();
            let mut found = vec![0.0; len];
            device.read(Slice { buffer: &y, offset: 0, len, dtype }, &mut found).unwrap();
            let expected = reference::forward(&widen(&x), &widen(&rounded(dtype, &w)), &widen(&b), inner);
            assert_close(&format!("y of {lengths:?} from {offset}"), &found, &expected, tolerance(dtype, 5e-6));
        }
    }
}

fn ranges_of_columns_are_summed_to_their_places<D: Backend>(device: &D) {
    let rows = 70;
    for dtype in types(device) {
        // A thousand columns are whole vectors, and 1001 are not.
        for cols in [1000, 1001] {
            let values = rounded(dtype, &random(1, rows * cols));
            let dy = there(device, dtype, &values);
            let dy = Slice { buffer: &dy, offset: 0, len: values.len(), dtype };
            let check = |columns: [Range<usize>; 6], at: [Option<usize>; 6]| {
                let before = random(2, 2000);
                let mut sums = device.allocate(2001).unwrap();
                device.write(&before, SliceMut::new(&mut sums, 1, 2000)).unwrap();
                let buffer = SliceMut::new(&mut sums, 1, 2000);
                device.column_sums(dy, cols, columns.clone(), ColumnSums { buffer, at }).unwrap();
                let mut found = vec![0.0; 2000];
                device.read(Slice::new(&sums, 1, 2000), &mut found).unwrap();
                let mut expected = widen(&before);
                for (columns, at) in columns.iter().zip(at) {
                    let Some(at) = at else { continue };
                    for (j, column) in columns.clone().enumerate() {
                        expected[at + j] += (0..rows).map(|row| f64::from(values[row * cols + column])).sum::<f64>();
                    }
                }
                assert_close(&format!("{columns:?} of {cols}, {dtype:?}"), &found, &expected, 5e-6);
            };
            // Query and value; then more parts than one launch takes, of any length and from any column on.
            let none = 0..0;
            let thirds = [0..264, 264..528, 528..792, none.clone(), none.clone(), none];
            check(thirds, [Some(0), None, Some(1000), None, None, None]);
            let any = [3..4, 8..608, 999..1000, 500..507, 1..2, 16..32];
            check(any, [Some(1999), Some(1), Some(0), Some(608), Some(601), Some(800)]);
        }
    }
}

fn a_bias_that_is_named_twice_gets_the_sums_of_both_places<D: Backend>(device: &D) {
    let (rows, half) = (70, 40);
    for mask in [Mask::All, Mask::Elements(vec![3, 39])] {
        let Case { workspace, arena, x: _, weight, bias } = case(device, [rows, 9, half], true, Mask::None, &[mask]);
        let mut tape = Tape::train(&workspace, &arena, SEED);
        let wide = HostTensor::new([2 * half, 9], random(2, 2 * half * 9)).unwrap();
        let wide = FrozenMatrix::with_precision(device, &[wide], Precision::F32).unwrap().into();
        assert_eq!(weight.shape(), [half, 9]);
        let data = random(1, rows * 9);
        let x = tape.constant(workspace.tensor(ArrayView2::from_shape((rows, 9), &data).unwrap()).unwrap());
        let y = tape.linear(&x, &wide, &[&bias[0], &bias[0]]).unwrap();
        let dy = random(4, rows * 2 * half);
        let gradient = backward_from(tape, &y, &dy, &arena, &workspace);
        let entry = arena.entries().iter().find(|entry| entry.name == "bias 0").unwrap();
        let sum = |column: usize| (0..rows).map(|row| f64::from(dy[row * 2 * half + column])).sum::<f64>();
        let chosen: Vec<usize> = if entry.range().len() == half { (0..half).collect() } else { vec![3, 39] };
        let expected: Vec<f64> = chosen.iter().map(|&j| sum(j) + sum(half + j)).collect();
        assert_close("the gradient of both", &gradient[entry.range()], &expected, 5e-6);
    }
}

fn an_input_read_twice_gets_both_gradients<D: Backend>(device: &D) {
    for mask in [Mask::None, Mask::All] {
        let case = case(device, [33, 9, 7], true, mask, &[]);
        let once = case.run(33, &random(4, 33 * 7)).1;
        assert_eq!(case.run(33, &random(4, 33 * 7)).1, once, "a second run");
        let mut tape = Tape::train(&case.workspace, &case.arena, SEED);
        let x = case.x(&mut tape, 33);
        let [first, second] = [(); 2].map(|()| tape.linear(&x, &case.weight, &[]).unwrap());
        let y = tape.add(&first, &second).unwrap();
        let twice = backward_from(tape, &y, &random(4, 33 * 7), &case.arena, &case.workspace);
        let expected: Vec<f64> = once.iter().flat_map(|(_, once)| once).map(|&g| 2.0 * f64::from(g)).collect();
        assert_close("everything", &twice, &expected, 1e-6);
    }
}
