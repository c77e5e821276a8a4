//! The reference against finite differences, the fast path against the reference under every mask, sums, and errors.

use super::{reference, *};
use crate::{Arena, ArenaBuilder, Cpu, HostTensor, Seed, Workspace, ops::testing::*};

fn some_rows(count: usize, rows: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7 + i * i * 3) % rows) as u32).collect()
}

fn table(device: &Cpu, rows: usize, cols: usize, mask: Mask) -> (Workspace<Cpu>, Arena<Cpu>, Param<Cpu>) {
    let mut builder = ArenaBuilder::new(device.clone());
    // In front of the table, so that an offset that is not added shows.
    builder.train("other", HostTensor::new([3], vec![9.0; 3]).unwrap(), Mask::Whole).unwrap();
    let tensor = HostTensor::new([rows, cols], random(1, rows * cols)).unwrap();
    let param = builder.add("table", tensor, mask).unwrap();
    (Workspace::new(device.clone()), builder.build().unwrap(), param)
}

#[test]
fn reference_gradients_are_those_of_finite_differences() {
    let at = [2, 0, 2, 4];
    let (table, dy) = (widen(&random(1, 15)), widen(&random(2, 12)));
    let dtable = reference::backward(&dy, &at, 5, 3);
    assert_gradient("dE", &table, &dtable, |table| dot(&reference::forward(&at, table, 3), &dy));
}

#[test]
fn every_instruction_set_and_mask_agrees_with_the_reference() {
    for device in cpus() {
        for (rows, cols, tokens) in [(4, 5, 1), (6, 7, 31), (40, 33, 90), (11, 384, 65)] {
            let masks = [
                Mask::None,
                Mask::Whole,
                Mask::Rows(vec![3, 0, 1]),
                Mask::Columns(vec![4, 2]),
                Mask::Elements(vec![19, 0, 7, 8]),
            ];
            for mask in masks {
                let (workspace, arena, param) = table(&device, rows, cols, mask.clone());
                let at = some_rows(tokens, rows);
                let indices = Indices::new(&device, &at).unwrap();
                let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
                let y = tape.embedding(&indices, &param).unwrap();
                let what = format!("{} {tokens} of [{rows}, {cols}] {mask:?}", device.level());
                let expected = reference::forward(&at, &widen(&random(1, rows * cols)), cols);
                let found = y.tensor().to_array().unwrap();
                assert_close(&format!("y {what}"), found.as_slice().unwrap(), &expected, 0.0);
                if mask == Mask::None {
                    assert!(y.slot().is_none() && tape.recorded() == 0);
                    continue;
                }
                let dy = random(2, tokens * cols);
                let gradient = backward_from(tape, &y, &dy, &arena, &workspace);
                let whole = reference::backward(&widen(&dy), &at, rows, cols);
                let chosen: Vec<f64> = mask.indices(&[rows, cols]).iter().map(|&at| whole[at as usize]).collect();
                assert_eq!(gradient[..3], [0.0; 3], "{what}");
                assert_close(&format!("dE {what}"), &gradient[3..], &chosen, 1e-6);
            }
        }
    }
}

#[test]
fn a_table_read_twice_gets_both_gradients() {
    let (workspace, arena, param) = table(&Cpu::default(), 5, 4, Mask::Whole);
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
    let lists = [[0, 1], [1, 4]].map(|at| Indices::new(workspace.device(), &at).unwrap());
    let [first, second] = lists.each_ref().map(|at| tape.embedding(at, &param).unwrap());
    let y = tape.add(&first, &second).unwrap();
    let gradient = backward_from(tape, &y, &[1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0], &arena, &workspace);
    let rows: Vec<f32> = gradient[3..].chunks(4).map(|row| row[0]).collect();
    assert_eq!(rows, [1.0, 3.0, 0.0, 0.0, 2.0]);
}

#[test]
fn the_same_bits_come_from_any_number_of_threads() {
    let (rows, cols, tokens) = (13, 40, 1000);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (workspace, arena, param) = table(&Cpu::default(), rows, cols, Mask::Whole);
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
fn a_sum_of_tables_is_the_sum_of_their_rows_and_a_constant() {
    for device in cpus() {
        let (workspace, arena, _) = table(&device, 1, 1, Mask::None);
        let (tokens, cols) = (70, 33);
        let parts = [(1, 9), (2, 70), (3, 2)].map(|(seed, rows)| {
            let tensor = HostTensor::new([rows, cols], random(seed, rows * cols)).unwrap();
            let at = some_rows(tokens, rows);
            (Indices::new(&device, &at).unwrap(), at, Frozen::new(&device, &tensor).unwrap(), tensor)
        });
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
        let lookups = parts.each_ref().map(|(indices, _, frozen, _)| (indices, frozen));
        let y = tape.embedding_sum(&lookups).unwrap();
        assert!(y.slot().is_none() && tape.recorded() == 0);
        let mut expected = vec![0.0; tokens * cols];
        for (_, at, _, tensor) in &parts {
            let rows = reference::forward(at, &widen(tensor.data()), cols);
            expected.iter_mut().zip(rows).for_each(|(sum, row)| *sum += row);
        }
        assert_close("the sum", y.tensor().to_array().unwrap().as_slice().unwrap(), &expected, 1e-6);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    let (workspace, arena, param) = table(&Cpu::default(), 5, 4, Mask::None);
    let mut tape = Tape::infer(&workspace, &arena);
    let device = workspace.device();
    let indices = |at: &[u32]| Indices::new(device, at).unwrap();
    let frozen =
        |rows, cols| Frozen::new(device, &HostTensor::new([rows, cols], vec![0.0; rows * cols]).unwrap()).unwrap();
    let refused = |result: Result<Var<Cpu>>, words: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("embedding") && message.contains(words), "{message}");
    };
    refused(tape.embedding(&indices(&[0, 5]), &param), "index 5 into a table of 5 rows");
    refused(tape.embedding_sum(&[]), "no table");
    refused(tape.embedding_sum(&[(&indices(&[2]), &frozen(2, 4))]), "index 2 into a table of 2 rows");
    let (two, three) = (indices(&[0, 1]), indices(&[0, 1, 1]));
    refused(tape.embedding_sum(&[(&two, &frozen(2, 4)), (&three, &frozen(2, 4))]), "expected [2]");
    refused(tape.embedding_sum(&[(&two, &frozen(2, 4)), (&two, &frozen(2, 3))]), "expected [2, 4]");
}
