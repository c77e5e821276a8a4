//! The conformance checks of the embedding.

use super::reference;
use crate::{
    Arena, ArenaBuilder, Backend, Frozen, HostTensor, Indices, Mask, Param, Tape, Workspace,
    backend::conformance::{Check, list, support::*},
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["embedding":
        agrees_with_the_reference_under_every_mask,
        a_table_read_twice_gets_both_gradients,
        a_sum_of_tables_is_the_sum_of_their_rows_and_a_constant,
        every_table_of_a_sum_that_trains_gets_its_gradient,
    ]
}

pub(super) fn some_rows(count: usize, rows: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7 + i * i * 3) % rows) as u32).collect()
}

pub(super) fn table<D: Backend>(
    device: &D,
    rows: usize,
    cols: usize,
    mask: Mask,
) -> (Workspace<D>, Arena<D>, Param<D>) {
    let mut builder = ArenaBuilder::new(device.clone());
    // Before the table in the arena, so that an offset that is not added is detected.
    builder.train("other", HostTensor::new([3], vec![9.0; 3]).unwrap(), Mask::All).unwrap();
    let tensor = HostTensor::new([rows, cols], random(1, rows * cols)).unwrap();
    let param = builder.add("table", tensor, mask).unwrap();
    (Workspace::new(device.clone()), builder.build().unwrap(), param)
}

fn agrees_with_the_reference_under_every_mask<D: Backend>(device: &D) {
    for (rows, cols, tokens) in [(4, 5, 1), (6, 7, 31), (40, 33, 90), (11, 384, 65), (300, 5, 400)] {
        let masks = [
            Mask::None,
            Mask::All,
            Mask::Rows(vec![3, 0, 1]),
            Mask::Columns(vec![4, 2]),
            Mask::Elements(vec![19, 0, 7, 8]),
        ];
        for mask in masks {
            let (workspace, arena, param) = table(device, rows, cols, mask.clone());
            let at = some_rows(tokens, rows);
            let indices = Indices::new(device, &at).unwrap();
            let run = || {
                let mut tape = Tape::train(&workspace, &arena, SEED);
                let y = tape.embedding(&indices, &param).unwrap();
                let found = elements(&y);
                if mask == Mask::None {
                    assert!(y.slot().is_none() && tape.recorded() == 0);
                    return (found, Vec::new());
                }
                (found, backward_from(tape, &y, &random(2, tokens * cols), &arena, &workspace))
            };
            let (found, gradient) = run();
            let what = format!("{tokens} of [{rows}, {cols}] {mask:?}");
            let expected = reference::forward(&at, &widen(&random(1, rows * cols)), cols);
            assert_close(&format!("y {what}"), &found, &expected, 0.0);
            if mask == Mask::None {
                continue;
            }
            let whole = reference::backward(&widen(&random(2, tokens * cols)), &at, rows, cols);
            let chosen: Vec<f64> = mask.indices(&[rows, cols]).iter().map(|&at| whole[at as usize]).collect();
            assert_eq!(gradient[..3], [0.0; 3], "{what}");
            assert_close(&format!("dE {what}"), &gradient[3..], &chosen, 1e-6);
            assert_same_bits(&format!("dE {what}, a second time"), &run().1, &gradient);
        }
    }
}

fn a_table_read_twice_gets_both_gradients<D: Backend>(device: &D) {
    let (workspace, arena, param) = table(device, 5, 4, Mask::All);
    let mut tape = Tape::train(&workspace, &arena, SEED);
    let lists = [[0, 1], [1, 4]].map(|at| Indices::new(device, &at).unwrap());
    let [first, second] = lists.each_ref().map(|at| tape.embedding(at, &param).unwrap());
    let y = tape.add(&first, &second).unwrap();
    let gradient = backward_from(tape, &y, &[1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0], &arena, &workspace);
    let rows: Vec<f32> = gradient[3..].chunks(4).map(|row| row[0]).collect();
    assert_eq!(rows, [1.0, 3.0, 0.0, 0.0, 2.0]);
}

fn a_sum_of_tables_is_the_sum_of_their_rows_and_a_constant<D: Backend>(device: &D) {
    for (tokens, cols) in [(1, 1), (70, 33), (40, 384)] {
        // From one table to more than any network needs.
        for count in 1..=5 {
            let parts: Vec<_> = [(1, 9), (2, 70), (3, 2), (4, 1), (5, 33)][..count]
                .iter()
                .map(|&(seed, rows)| {
                    let tensor = HostTensor::new([rows, cols], random(seed, rows * cols)).unwrap();
                    let at = some_rows(tokens, rows);
                    (Indices::new(device, &at).unwrap(), at, Param::from(Frozen::new(device, &tensor).unwrap()), tensor)
                })
                .collect();
            let found = infer(device, |tape| {
                let lookups: Vec<_> = parts.iter().map(|(indices, _, frozen, _)| (indices, frozen)).collect();
                tape.embedding_sum(&lookups)
            });
            let mut expected = vec![0.0; tokens * cols];
            for (_, at, _, tensor) in &parts {
                let rows = reference::forward(at, &widen(tensor.data()), cols);
                expected.iter_mut().zip(rows).for_each(|(sum, row)| *sum += row);
            }
            assert_close(&format!("the sum of {count} tables [{tokens}, {cols}]"), &found, &expected, 1e-6);
        }
    }
}

fn every_table_of_a_sum_that_trains_gets_its_gradient<D: Backend>(device: &D) {
    let (tokens, cols) = (70, 33);
    let mut builder = ArenaBuilder::new(device.clone());
    let masks = [Mask::Rows(vec![8, 0]), Mask::None, Mask::All];
    let parts: Vec<_> = [9, 70, 2]
        .iter()
        .zip(masks)
        .map(|(&rows, mask)| {
            let tensor = HostTensor::new([rows, cols], random(rows as u64, rows * cols)).unwrap();
            let at = some_rows(tokens, rows);
            (Indices::new(device, &at).unwrap(), at, builder.add(rows.to_string(), tensor, mask).unwrap())
        })
        .collect();
    let (arena, workspace) = (builder.build().unwrap(), Workspace::new(device.clone()));
    let mut tape = Tape::train(&workspace, &arena, SEED);
    let lookups: Vec<_> = parts.iter().map(|(indices, _, param)| (indices, param)).collect();
    let y = tape.embedding_sum(&lookups).unwrap();
    let dy = random(2, tokens * cols);
    let gradient = backward_from(tape, &y, &dy, &arena, &workspace);
    for entry in arena.entries() {
        let (_, at, param) = parts.iter().find(|(_, _, param)| param.shape()[0].to_string() == entry.name).unwrap();
        let whole = reference::backward(&widen(&dy), at, param.shape()[0], cols);
        let expected: Vec<f64> = entry.mask.indices(&entry.shape).iter().map(|&at| whole[at as usize]).collect();
        assert_close(&format!("the table of {} rows", entry.name), &gradient[entry.range()], &expected, 1e-6);
    }
}
