//! The reference against finite differences, the conformance tests on the CPU, threads, and errors.

use super::{
    conformance::{some_rows, table},
    reference, *,
};
use crate::{Cpu, Frozen, HostTensor, Seed, backend::conformance::support::*};

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let at = [2, 0, 2, 4];
    let (table, dy) = (widen(&random(1, 15)), widen(&random(2, 12)));
    let dtable = reference::backward(&dy, &at, 5, 3);
    assert_gradient("dE", &table, &dtable, |table| dot(&reference::forward(&at, table, 3), &dy));
}

#[test]
fn every_instruction_set_passes_the_conformance_tests() {
    pass_on_every_cpu(conformance::checks);
}

#[test]
fn the_same_bits_come_from_any_number_of_threads() {
    let (rows, cols, tokens) = (13, 40, 1000);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (workspace, arena, param) = table(&Cpu::default(), rows, cols, Mask::All);
            let indices = Indices::new(workspace.device(), &some_rows(tokens, rows)).unwrap();
            let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
            let y = tape.embedding(&indices, &param).unwrap();
            backward_from(tape, &y, &random(2, tokens * cols), &arena, &workspace)
        })
    };
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let one = bits(run(1));
    for threads in [2, 3, 8] {
        assert_eq!(bits(run(threads)), one, "{threads} threads");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let (workspace, arena, param) = table(&Cpu::default(), 5, 4, Mask::None);
    let mut tape = Tape::infer(&workspace, &arena);
    let device = workspace.device();
    let indices = |at: &[u32]| Indices::new(device, at).unwrap();
    let frozen = |rows, cols| {
        let tensor = HostTensor::new([rows, cols], vec![0.0; rows * cols]).unwrap();
        Param::from(Frozen::new(device, &tensor).unwrap())
    };
    let refused = |result: Result<Var<Cpu>>, words: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("embedding") && message.contains(words), "{message}");
    };
    refused(tape.embedding(&indices(&[0, 5]), &param), "index 5 is out of range for the table table, which has 5 rows");
    refused(tape.embedding_sum(&[]), "no table");
    refused(
        tape.embedding_sum(&[(&indices(&[2]), &frozen(2, 4))]),
        "index 2 is out of range for the table, which has 2 rows",
    );
    let (two, three) = (indices(&[0, 1]), indices(&[0, 1, 1]));
    refused(tape.embedding_sum(&[(&two, &frozen(2, 4)), (&three, &frozen(2, 4))]), "expected [2]");
    refused(tape.embedding_sum(&[(&two, &frozen(2, 4)), (&two, &frozen(2, 3))]), "expected [2, 4]");
}
