//! The conformance checks of matrix multiplication.

use super::reference;
use crate::{
    Backend, Tensor,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["matmul":
        agrees_with_the_reference,
        gradients_add_up_and_bits_come_again,
        a_square_has_the_gradient_of_both_sides,
        an_empty_inner_dimension_gives_zeros_whatever_the_buffer_held,
    ]
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for shape in [[1, 1, 1], [2, 3, 1], [1, 17, 5], [33, 15, 7], [64, 31, 33], [130, 65, 48], [70, 384, 16]] {
        let [m, k, n] = shape;
        let (a, b) = (random(1, m * k), random(2, k * n));
        let found = train(device, [([m, k], &a), ([k, n], &b)], |tape, [a, b]| tape.matmul(a, b));
        let (a, b) = (widen(&a), widen(&b));
        let (da, db) = reference::backward(shape, &a, &b, &widen(&found.dy));
        let what = format!("{shape:?}");
        assert_close(&format!("y {what}"), &found.y, &reference::forward(shape, &a, &b), 2e-6);
        assert_close(&format!("da {what}"), &found.gradients[0], &da, 2e-6);
        assert_close(&format!("db {what}"), &found.gradients[1], &db, 2e-6);
    }
}

fn gradients_add_up_and_bits_come_again<D: Backend>(device: &D) {
    for [m, k, n] in [[3, 5, 2], [33, 130, 17]] {
        let (a, b) = (random(1, m * k), random(2, k * n));
        assert_accumulates(device, [([m, k], &a), ([k, n], &b)], |tape, [a, b]| tape.matmul(a, b));
    }
}

fn a_square_has_the_gradient_of_both_sides<D: Backend>(device: &D) {
    let x = random(1, 25);
    let found = train(device, [([5, 5], &x)], |tape, [x]| tape.matmul(x, x));
    let x = widen(&x);
    let (left, right) = reference::backward([5, 5, 5], &x, &x, &widen(&found.dy));
    let sum: Vec<f64> = left.iter().zip(right).map(|(left, right)| left + right).collect();
    assert_close("dx", &found.gradients[0], &sum, 1e-6);
}

fn an_empty_inner_dimension_gives_zeros_whatever_the_buffer_held<D: Backend>(device: &D) {
    let y = infer(device, |tape| {
        let mut used = [(); 3].map(|()| tape.scratch(6).unwrap());
        used.iter_mut().for_each(|used| tape.device().fill(f32::NAN, used.as_mut()).unwrap());
        drop(used);
        let a = tape.constant(Tensor::new(tape.scratch(0)?, 2, 0)?);
        let b = tape.constant(Tensor::new(tape.scratch(0)?, 0, 3)?);
        tape.matmul(&a, &b)
    });
    assert_eq!(y, [0.0; 6]);
}
