//! The reference against finite differences, every instruction set against the reference with frozen and trained weights,
//! every mask, a bias in parts, and what is kept.

use super::{reference, *};
use crate::{Arena, ArenaBuilder, Cpu, HostTensor, Seed, Workspace, ops::testing::*};
use ndarray::ArrayView2;

const SEED: Seed = Seed { run: 0, step: 0 };
const SHAPES: [[usize; 3]; 7] =
    [[1, 1, 1], [3, 5, 2], [2, 17, 33], [33, 31, 15], [70, 16, 48], [5, 384, 130], [130, 64, 65]];

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (x, w, b, dy) = (widen(&random(1, 12)), widen(&random(2, 8)), widen(&random(3, 2)), widen(&random(4, 6)));
    let (dx, dw, db) = reference::backward(&dy, &x, &w, 4);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::forward(x, &w, &b, 4), &dy));
    assert_gradient("dw", &w, &dw, |w| dot(&reference::forward(&x, w, &b, 4), &dy));
    assert_gradient("db", &b, &db, |b| dot(&reference::forward(&x, &w, b, 4), &dy));
}

/// A linear `[out, in]` under masks of its weight and bias, with an x `[rows, in]` that trains where it is asked to.
struct Case {
    workspace: Workspace<Cpu>,
    arena: Arena<Cpu>,
    x: Option<Trained>,
    weight: Weight<Cpu>,
    bias: Vec<Param<Cpu>>,
}

/// The bias comes in as many parts as it has masks, all but the last of one element.
fn case(device: &Cpu, [rows, inner, out]: [usize; 3], x: bool, weight: Mask, bias: &[Mask]) -> Case {
    let mut builder = ArenaBuilder::new(device.clone());
    let host = |seed, shape: &[usize]| HostTensor::new(shape, random(seed, shape.iter().product())).unwrap();
    let x = x.then(|| builder.train("x", host(1, &[rows, inner]), Mask::Whole).unwrap());
    let weight = match weight {
        Mask::None => FrozenMatrix::new(device, &[host(2, &[out, inner])]).unwrap().into(),
        mask => builder.train("weight", host(2, &[out, inner]), mask).unwrap().into(),
    };
    let all = random(3, out);
    let part = |(index, mask): (usize, &Mask)| {
        let range = if index + 1 == bias.len() { index..out } else { index..index + 1 };
        let tensor = HostTensor::new([range.len()], all[range].to_vec()).unwrap();
        builder.add(format!("bias {index}"), tensor, mask.clone()).unwrap()
    };
    let bias = bias.iter().enumerate().map(part).collect();
    Case { workspace: Workspace::new(device.clone()), arena: builder.build().unwrap(), x, weight, bias }
}

impl Case {
    fn x(&self, tape: &mut Tape<'_, Cpu>, rows: usize) -> Var<Cpu> {
        let inner = self.weight.shape()[1];
        match &self.x {
            Some(x) => tape.parameter(x).unwrap(),
            None => {
                let data = random(1, rows * inner);
                tape.constant(self.workspace.tensor(ArrayView2::from_shape((rows, inner), &data).unwrap()).unwrap())
            }
        }
    }

    /// y, and the gradient of everything that trains by its name.
    fn run(&self, rows: usize, dy: &[f32]) -> (Vec<f32>, Vec<(String, Vec<f32>)>) {
        let mut tape = Tape::train(&self.workspace, &self.arena, SEED);
        let x = self.x(&mut tape, rows);
        let y = tape.linear(&x, &self.weight, &self.bias.iter().collect::<Vec<_>>()).unwrap();
        let gradient = backward_from(tape, &y, dy, &self.arena, &self.workspace);
        let named = |entry: &crate::Entry| (entry.name.clone(), gradient[entry.range()].to_vec());
        (y.tensor().to_array().unwrap().into_raw_vec_and_offset().0, self.arena.entries().iter().map(named).collect())
    }
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    for device in cpus() {
        for shape @ [rows, inner, out] in SHAPES {
            let (x, w, b) = (random(1, rows * inner), random(2, out * inner), random(3, out));
            let (x, w, b) = (widen(&x), widen(&w), widen(&b));
            let dy = random(4, rows * out);
            let (dx, dw, db) = reference::backward(&widen(&dy), &x, &w, inner);
            let y = reference::forward(&x, &w, &b, inner);
            for mask in [Mask::None, Mask::Whole] {
                let what = format!("{} {shape:?} weight {mask:?}", device.level());
                let (found, gradients) = case(&device, shape, true, mask, &[Mask::Whole]).run(rows, &dy);
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
}

#[test]
fn without_a_bias_none_is_added() {
    for mask in [Mask::None, Mask::Whole] {
        let case = case(&Cpu::default(), [33, 17, 9], true, mask, &[]);
        let (y, _) = case.run(33, &random(4, 33 * 9));
        let expected = reference::forward(&widen(&random(1, 33 * 17)), &widen(&random(2, 17 * 9)), &[0.0; 9], 17);
        assert_close("y", &y, &expected, 5e-6);
    }
}

#[test]
fn each_mask_gets_its_entries_of_the_gradient() {
    for device in cpus() {
        let shape @ [rows, inner, out] = [70, 33, 130];
        let dy = random(4, rows * out);
        let (_, dw, db) =
            reference::backward(&widen(&dy), &widen(&random(1, rows * inner)), &widen(&random(2, out * inner)), inner);
        let rows_mask = Mask::Rows((0..out as u32).rev().step_by(2).collect());
        for mask in
            [rows_mask, Mask::Rows(vec![129]), Mask::Columns(vec![32, 0, 7]), Mask::Elements(vec![4289, 0, 34, 33])]
        {
            for x in [true, false] {
                let bias = Mask::Elements(vec![129, 3]);
                let (_, gradients) = case(&device, shape, x, mask.clone(), std::slice::from_ref(&bias)).run(rows, &dy);
                for (name, gradient) in gradients.iter().filter(|(name, _)| name != "x") {
                    let (mask, whole) = if name == "weight" { (&mask, &dw) } else { (&bias, &db) };
                    let shape = if name == "weight" { vec![out, inner] } else { vec![out] };
                    let chosen: Vec<f64> = mask.indices(&shape).iter().map(|&at| whole[at as usize]).collect();
                    assert_close(&format!("d {name} {} {mask:?}", device.level()), gradient, &chosen, 5e-6);
                }
            }
        }
    }
}

#[test]
fn a_bias_in_parts_trains_in_those_that_do() {
    let [rows, inner, out] = [40, 8, 24];
    let dy = random(4, rows * out);
    let (_, _, db) =
        reference::backward(&widen(&dy), &widen(&random(1, rows * inner)), &widen(&random(2, out * inner)), inner);
    let masks = [Mask::None, Mask::Whole, Mask::None, Mask::Elements(vec![20, 2])];
    let case = case(&Cpu::default(), [rows, inner, out], false, Mask::None, &masks);
    let (y, gradients) = case.run(rows, &dy);
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

#[test]
fn an_input_read_twice_gets_both_gradients() {
    for mask in [Mask::None, Mask::Whole] {
        let case = case(&Cpu::default(), [33, 9, 7], true, mask, &[]);
        let once = case.run(33, &random(4, 33 * 7)).1;
        let mut tape = Tape::train(&case.workspace, &case.arena, SEED);
        let x = case.x(&mut tape, 33);
        let [first, second] = [(); 2].map(|()| tape.linear(&x, &case.weight, &[]).unwrap());
        let y = tape.add(&first, &second).unwrap();
        let twice = backward_from(tape, &y, &random(4, 33 * 7), &case.arena, &case.workspace);
        let expected: Vec<f64> = once.iter().flat_map(|(_, once)| once).map(|&g| 2.0 * f64::from(g)).collect();
        assert_close("everything", &twice, &expected, 1e-6);
    }
}

#[test]
fn the_input_is_kept_only_where_the_weight_trains() {
    let [rows, inner, out] = [8, 64, 16];
    for (weight, bias, recorded, kept) in [
        (Mask::None, Mask::None, 0, false),
        (Mask::None, Mask::Whole, 1, false),
        (Mask::Rows(vec![3]), Mask::None, 1, true),
    ] {
        let case = case(&Cpu::default(), [rows, inner, out], false, weight.clone(), std::slice::from_ref(&bias));
        let mut tape = Tape::train(&case.workspace, &case.arena, SEED);
        let x = case.x(&mut tape, rows);
        let y = tape.linear(&x, &case.weight, &[&case.bias[0]]).unwrap();
        assert_eq!((tape.recorded(), y.slot().is_some()), (recorded, recorded == 1), "{weight:?} {bias:?}");
        // y is a buffer of another size; if x is free, its own is lent again.
        drop(x);
        let before = case.workspace.allocated_bytes();
        let lent = case.workspace.scratch(rows * inner).unwrap();
        assert_eq!(case.workspace.allocated_bytes() > before, kept, "{weight:?} {bias:?}");
        drop(lent);

        let mut tape = Tape::infer(&case.workspace, &case.arena);
        let x = case.x(&mut tape, rows);
        assert!(tape.linear(&x, &case.weight, &[&case.bias[0]]).unwrap().slot().is_none());
        assert_eq!(tape.recorded(), 0);
    }
}

#[test]
fn an_input_or_bias_that_does_not_fit_is_refused() {
    let case = case(&Cpu::default(), [3, 5, 4], true, Mask::None, &[Mask::None, Mask::None]);
    let mut tape = Tape::infer(&case.workspace, &case.arena);
    let x = case.x(&mut tape, 3);
    let message = tape.linear(&x, &case.weight, &[&case.bias[1]]).unwrap_err().to_string();
    assert!(message.contains("the bias") && message.contains("expected [4]") && message.contains("[3]"), "{message}");
    let wide = tape.linear(&x, &case.weight, &[&case.bias[0], &case.bias[1]]).unwrap();
    let message = tape.linear(&wide, &case.weight, &[]).unwrap_err().to_string();
    assert!(message.contains("the input") && message.contains("[3, 5]") && message.contains("[3, 4]"), "{message}");
}
