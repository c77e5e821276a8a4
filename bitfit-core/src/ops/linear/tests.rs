//! The reference against finite differences, the conformance tests on the CPU, what is saved, and errors.

use super::{conformance::case, reference, *};
use crate::{
    ArenaBuilder, Cpu, Frozen, FrozenMatrix, HostTensor, Workspace, backend::conformance::support::*, cpu::Isa,
};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let (x, w, b, dy) = (widen(&random(1, 12)), widen(&random(2, 8)), widen(&random(3, 2)), widen(&random(4, 6)));
    let (dx, dw, db) = reference::backward(&dy, &x, &w, 4);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::forward(x, &w, &b, 4), &dy));
    assert_gradient("dw", &w, &dw, |w| dot(&reference::forward(&x, w, &b, 4), &dy));
    assert_gradient("db", &b, &db, |b| dot(&reference::forward(&x, &w, b, 4), &dy));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn the_input_is_kept_only_where_rows_or_elements_of_the_weight_train() {
    let [rows, inner, out] = [8, 64, 16];
    for (weight, bias, recorded, kept) in [
        (Mask::None, Mask::None, 0, false),
        (Mask::None, Mask::All, 1, false),
        (Mask::Rows(vec![3]), Mask::None, 1, true),
        (Mask::Columns(vec![3]), Mask::None, 1, false),
    ] {
        let case = case(&Cpu::default(), [rows, inner, out], false, weight.clone(), std::slice::from_ref(&bias));
        let mut tape = Tape::train(&case.workspace, &case.arena, SEED);
        let x = case.x(&mut tape, rows);
        let y = tape.linear(&x, &case.weight, &[&case.bias[0]]).unwrap();
        assert_eq!((tape.recorded(), y.slot().is_some()), (recorded, recorded == 1), "{weight:?} {bias:?}");
        // y has a buffer of another size; if x is free, its buffer is reused.
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

#[test]
fn a_weight_that_was_laid_out_for_another_instruction_set_is_refused() {
    let Some(other) = Isa::supported().find(|&isa| isa != Isa::Portable) else { return };
    let [portable, other] = [Isa::Portable, other].map(Cpu::with_isa);
    let weight = HostTensor::new([2, 2], vec![1.0; 4]).unwrap();
    let weight = Weight::from(FrozenMatrix::new(&other, &[weight]).unwrap());
    let workspace = Workspace::new(portable.clone());
    let arena = ArenaBuilder::new(portable).build().unwrap();
    let mut tape = Tape::infer(&workspace, &arena);
    let x = tape.constant(Tensor::new(workspace.scratch(2).unwrap(), 1, 2).unwrap());
    let bias = Frozen::new(workspace.device(), &HostTensor::new([2], vec![0.0; 2]).unwrap()).unwrap().into();
    for error in
        [tape.linear(&x, &weight, &[]).unwrap_err(), tape.feed_forward(&x, &weight, &bias, &weight).unwrap_err()]
    {
        assert!(matches!(error, Error::Foreign { owner: "device", .. }), "{error}");
    }
}

#[test]
#[should_panic = "added to f32 alone"]
fn a_product_is_not_added_to_bfloat16() {
    let case = case(&Cpu::default(), [3, 5, 4], true, Mask::None, &[]);
    let device = case.workspace.device();
    let [dy, mut dx] = [12, 15].map(|len| case.workspace.scratch_of(DType::Bf16, len).unwrap());
    let weight = case.arena.matrix(&case.weight).unwrap();
    let _ = device.linear_input(dy.as_ref(), weight, dx.as_mut(), true);
}
