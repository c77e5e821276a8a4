//! The conformance checks of sum, difference, product and scaling.

use super::reference;
use crate::{
    Backend,
    backend::{
        Slice, SliceMut,
        conformance::{Check, list, support::*},
    },
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["arithmetic":
        agrees_with_the_reference,
        scaling_agrees_with_the_reference,
        gradients_add_up_also_where_both_sides_are_one_var,
    ]
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    let shapes = (1..=33).map(|cols| (3, cols)).chain([(1, 1), (2, 1), (33, 15), (65, 384), (9, 1024), (70, 3072)]);
    for (rows, cols) in shapes {
        for b_rows in [1, rows] {
            let (a, b) = (random(1, rows * cols), random(2, b_rows * cols));
            let inputs = [([rows, cols], a.as_slice()), ([b_rows, cols], b.as_slice())];
            let what = format!("[{rows}, {cols}] [{b_rows}, {cols}]");
            let (a, b) = (widen(&a), widen(&b));

            let found = train(device, inputs, |tape, [a, b]| tape.add(a, b));
            let (da, db) = reference::add_backward(&widen(&found.dy), &b);
            assert_close(&format!("add {what}"), &found.y, &reference::add(&a, &b), 1e-6);
            assert_close(&format!("add da {what}"), &found.gradients[0], &da, 1e-6);
            assert_close(&format!("add db {what}"), &found.gradients[1], &db, 1e-5);

            let found = train(device, inputs, |tape, [a, b]| tape.sub(a, b));
            let (da, db) = reference::sub_backward(&widen(&found.dy), &b);
            assert_close(&format!("sub {what}"), &found.y, &reference::sub(&a, &b), 1e-6);
            assert_close(&format!("sub da {what}"), &found.gradients[0], &da, 1e-6);
            assert_close(&format!("sub db {what}"), &found.gradients[1], &db, 1e-5);

            let found = train(device, inputs, |tape, [a, b]| tape.mul(a, b));
            let (da, db) = reference::mul_backward(&widen(&found.dy), &a, &b);
            assert_close(&format!("mul {what}"), &found.y, &reference::mul(&a, &b), 1e-6);
            assert_close(&format!("mul da {what}"), &found.gradients[0], &da, 1e-6);
            assert_close(&format!("mul db {what}"), &found.gradients[1], &db, 1e-5);
        }
    }
}

fn scaling_agrees_with_the_reference<D: Backend>(device: &D) {
    for len in (1..=33).chain([70_001]) {
        let x = random(1, len);
        let found = train(device, [([1, len], &x)], |tape, [x]| tape.scale(x, -1.75));
        assert_close("scale", &found.y, &reference::scale(&widen(&x), -1.75), 1e-6);
        let dx = reference::scale(&widen(&found.dy), -1.75);
        assert_close("scale dx", &found.gradients[0], &dx, 1e-6);
        let mut buffer = device.allocate(1 + len).unwrap();
        device.write(&x, SliceMut::new(&mut buffer, 1, len)).unwrap();
        device.scale_in_place(0.3, SliceMut::new(&mut buffer, 1, len)).unwrap();
        let mut scaled = vec![0.0; len];
        device.read(Slice::new(&buffer, 1, len), &mut scaled).unwrap();
        let expected: Vec<f32> = x.iter().map(|x| 0.3 * x).collect();
        assert_same_bits("scaled in place", &scaled, &expected);
    }
}

fn gradients_add_up_also_where_both_sides_are_one_var<D: Backend>(device: &D) {
    let [x, row] = [random(1, 35), random(2, 7)];
    for b in [([5, 7], x.as_slice()), ([1, 7], row.as_slice())] {
        assert_accumulates(device, [([5, 7], &x), b], |tape, [a, b]| tape.add(a, b));
        assert_accumulates(device, [([5, 7], &x), b], |tape, [a, b]| tape.sub(a, b));
        assert_accumulates(device, [([5, 7], &x), b], |tape, [a, b]| tape.mul(a, b));
    }
    assert_accumulates(device, [([5, 7], &x)], |tape, [x]| tape.scale(x, -1.5));
    let found = train(device, [([5, 7], &x)], |tape, [x]| tape.sub(x, x));
    assert_close("x - x", &found.gradients[0], &[0.0; 35], 1e-6);
    let found = train(device, [([5, 7], &x)], |tape, [x]| tape.add(x, x));
    let expected: Vec<f64> = found.dy.iter().map(|&dy| 2.0 * f64::from(dy)).collect();
    assert_close("x + x", &found.gradients[0], &expected, 1e-6);
    let found = train(device, [([5, 7], &x)], |tape, [x]| tape.mul(x, x));
    let expected: Vec<f64> = found.dy.iter().zip(&x).map(|(&dy, &x)| 2.0 * f64::from(dy) * f64::from(x)).collect();
    assert_close("x x", &found.gradients[0], &expected, 1e-6);
}
