//! Parts of a pass are those of their rows, and have the gradients that passes of their own have.

use ndarray::ArrayView2;

use super::*;
use crate::{
    Arena, ArenaBuilder, Cpu, Device, Gradient, HostTensor, Indices, Mask, Param, Precision, Seed, Sequences, Tape,
    Var, Weight, Workspace,
    backend::conformance::support::{assert_close, assert_same_bits, cpus, random, widen},
    ops::{
        add_norm::AddNormArgs,
        attention::{AttentionArgs, Projections},
    },
};

const KINDS: [RowsOf; 3] = [RowsOf::Tokens, RowsOf::Sequences, RowsOf::Outputs];

#[test]
fn a_matrix_is_recognised_by_its_number_of_rows() {
    let first = BatchOffset { tokens: 100, sequences: 7, outputs: 3 };
    let second = first.after(5, 2, 1);
    let parts = Parts::new(&[first, second, second, second.after(4, 2, 1)], &KINDS);
    assert_eq!(parts.count(), 3);
    assert_eq!(parts.of(9).unwrap(), [0..5, 5..5, 5..9]);
    assert_eq!(parts.of(4).unwrap(), [0..2, 2..2, 2..4]);
    assert_eq!(parts.of(2).unwrap(), [0..1, 1..1, 1..2]);
    let message = parts.of(3).unwrap_err().to_string();
    let expected = "backward: a matrix has 3 rows, expected those of one kind of the parts: 9 of Tokens, 4 of Sequences, 2 \
                    of Outputs";
    assert_eq!(message, expected);
}

#[test]
fn what_could_be_either_of_two_kinds_is_refused_unless_their_parts_are_alike() {
    let first = BatchOffset::default();
    let alike = Parts::new(&[first, first.after(2, 2, 2), first.after(3, 3, 3)], &KINDS);
    assert_eq!(alike.of(3).unwrap(), [0..2, 2..3]);
    let differ = Parts::new(&[first, first.after(2, 2, 1), first.after(9, 3, 3)], &KINDS);
    assert!(differ.of(9).is_ok());
    let message = differ.of(3).unwrap_err().to_string();
    let expected = "backward: a matrix of 3 rows may be one of Sequences or of Outputs, of which the parts have different \
                    ones: give the kinds alone that the network has";
    assert_eq!(message, expected);
    // The kind that the network has none of is not given.
    assert_eq!(
        Parts::new(&[first, first.after(2, 2, 1), first.after(9, 3, 3)], &[KINDS[0], KINDS[2]]).of(3).unwrap(),
        [0..1, 1..3]
    );
}

#[test]
#[should_panic(expected = "Sequences of parts")]
fn places_that_descend_are_refused() {
    let place = |sequences| BatchOffset { tokens: 9, sequences, outputs: 0 };
    Parts::new(&[place(5), place(7), place(3)], &KINDS);
}

#[test]
fn a_single_part_has_all_rows_of_every_matrix() {
    let parts = Parts::new(&[BatchOffset::default(), BatchOffset::default().after(4, 1, 1)], &KINDS);
    assert_eq!(parts.of(77).unwrap(), vec![0..77; 1]);
}

const SEED: Seed = Seed { run: 3, step: 5 };
/// The width of the rows.
const H: usize = 16;
/// The width of the hidden matrix of the feed-forward.
const F: usize = 40;
/// The lengths of the sequences of each part.
const LENGTHS: [&[usize]; 4] = [&[3, 37], &[70], &[1, 1, 5], &[33, 2]];

/// An encoder layer over a linear one, and a head over each sequence's first token.
struct Layer {
    weights: [Weight<Cpu>; 5],
    biases: [Param<Cpu>; 5],
    norm: [Param<Cpu>; 2],
}

impl Layer {
    /// The layer with `mask` over its matrices, and biases that train.
    fn new(device: &Cpu, mask: &Mask) -> (Arena<Cpu>, Self) {
        let mut builder = ArenaBuilder::new(device.clone());
        let mut seed = 0;
        let mut host = |shape: &[usize]| {
            seed += 1;
            HostTensor::new(shape, random(seed, shape.iter().product())).unwrap()
        };
        let outs = [3 * H, F, H, H, 2];
        let weights = [[3 * H, H], [F, H], [H, F], [H, H], [2, H]]
            .map(|shape| builder.weight(format!("weight {shape:?}"), host(&shape), mask.clone()).unwrap());
        let mut vector = |name: String, len, mask| builder.add(name, host(&[len]), mask).unwrap();
        let biases = std::array::from_fn(|index| {
            let mask = if index == 3 { Mask::Elements(vec![7, 2]) } else { Mask::All };
            vector(format!("bias {index}"), outs[index], mask)
        });
        let norm = ["gamma", "beta"].map(|name| vector(name.to_owned(), H, Mask::All));
        (builder.build().unwrap(), Self { weights, biases, norm })
    }

    /// The outputs of these parts, a row for each sequence.
    fn forward(&self, tape: &mut Tape<'_, Cpu>, parts: Range<usize>) -> Result<Var<Cpu>> {
        let device = tape.device();
        let tokens = |parts: Range<usize>| LENGTHS[parts].iter().copied().flatten().sum::<usize>();
        let (first, rows) = (tokens(0..parts.start), tokens(parts.clone()));
        let input = random(77, tokens(0..LENGTHS.len()) * H);
        let input = ArrayView2::from_shape((rows, H), &input[first * H..][..rows * H]).unwrap();
        let x = tape.constant(tape.workspace().tensor(input)?);
        let sequences = Sequences::new(device, LENGTHS[parts].iter().copied().flatten().copied())?;
        let attention =
            AttentionArgs { heads: 2, queries: &sequences, keys: &sequences, position_bias: None, dropout: 0.1 };
        let [qkv, up, down, dense, top] = &self.weights;
        let [qkv_bias, up_bias, down_bias, dense_bias, top_bias] = &self.biases;
        let projections = tape.linear(&x, qkv, &[qkv_bias])?;
        let context = tape.attention(Projections::Packed(&projections), &attention)?;
        let y = tape.linear(&context, dense, &[dense_bias])?;
        let [gamma, beta] = &self.norm;
        let mut norm = AddNormArgs::new(gamma, beta);
        (norm.residual, norm.dropout) = (Some(&x), 0.2);
        let y = tape.add_norm(&y, &norm)?;
        let z = tape.feed_forward(&y, up, up_bias, down)?;
        (norm.residual, norm.linear_bias) = (Some(&y), Some(down_bias));
        let z = tape.add_norm(&z, &norm)?;
        let z = tape.gather_rows(&z, &Indices::new(device, sequences.starts())?)?;
        let z = tape.dropout(&z, 0.3, RowsOf::Sequences)?;
        tape.linear(&z, top, &[top_bias])
    }
}

/// Where the parts of the batch are.
fn places() -> Vec<BatchOffset> {
    let mut places = vec![BatchOffset::default()];
    for lengths in LENGTHS {
        let count = lengths.len();
        places.push(places[places.len() - 1].after(lengths.iter().sum(), count, count));
    }
    places
}

/// The classes of the outputs between two places.
fn classes(from: BatchOffset, to: BatchOffset) -> Vec<u32> {
    (from.outputs..to.outputs).map(|row| (row % 2) as u32).collect()
}

/// The gradient of each of these parts, from one pass over them.
fn gradients(arena: &Arena<Cpu>, layer: &Layer, parts: Range<usize>) -> Result<Vec<Vec<f32>>> {
    let (device, workspace) = (arena.device(), Workspace::new(arena.device().clone()));
    let places = &places()[parts.start..=parts.end];
    let mut tape = Tape::train(&workspace, arena, SEED).at(places[0]);
    let outputs = layer.forward(&mut tape, parts.clone())?;
    let mut losses = Vec::new();
    for pair in places.windows(2) {
        let [from, to] = [pair[0], pair[1]].map(|place| (place.outputs - places[0].outputs) as u32);
        let own = tape.gather_rows(&outputs, &Indices::new(device, &(from..to).collect::<Vec<_>>())?)?;
        let classes = classes(pair[0], pair[1]);
        // Of the third part nothing is read.
        let is_read = pair[0] != self::places()[2];
        losses.push(is_read.then(|| tape.cross_entropy(&own, &Indices::new(device, &classes)?)).transpose()?);
    }
    let mut gradients = parts.map(|_| arena.gradient()).collect::<Result<Vec<Gradient<Cpu>>>>()?;
    tape.backward_in_parts(&Parts::new(places, &KINDS), &losses, &mut gradients)?;
    gradients.iter().map(|gradient| gradient.read(device)).collect()
}

#[test]
fn a_part_has_the_gradient_of_a_pass_of_its_own_whatever_is_computed_beside_it() {
    let masks = [Mask::None, Mask::All, Mask::Columns(vec![1, 4]), Mask::Rows(vec![0]), Mask::Elements(vec![3, 20])];
    for device in cpus() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            for mask in &masks {
                let device = device.clone().with_precision(precision);
                let what = format!("{}, {mask:?}", device.name());
                let (arena, layer) = Layer::new(&device, mask);
                let together = gradients(&arena, &layer, 0..4).unwrap();
                let pair = gradients(&arena, &layer, 2..4).unwrap();
                assert!(together[2].iter().all(|&value| value == 0.0), "{what}: the third has no loss");
                assert_same_bits(&what, &together[3], &pair[1]);
                for part in [0, 1, 3] {
                    let alone = gradients(&arena, &layer, part..part + 1).unwrap();
                    assert_same_bits(&format!("{what}, part {part}"), &together[part], &alone[0]);
                }
            }
        }
    }
}

/// The sums are those of a pass without parts, in another order.
#[test]
fn a_part_has_the_gradient_of_a_pass_without_parts() {
    let (arena, layer) = Layer::new(&Cpu::default(), &Mask::Columns(vec![1, 4]));
    let workspace = Workspace::new(Cpu::default());
    for part in [0, 1, 3] {
        let mut tape = Tape::train(&workspace, &arena, SEED).at(places()[part]);
        let outputs = layer.forward(&mut tape, part..part + 1).unwrap();
        let classes = classes(places()[part], places()[part + 1]);
        let loss = tape.cross_entropy(&outputs, &Indices::new(arena.device(), &classes).unwrap()).unwrap();
        let mut gradient = arena.gradient().unwrap();
        tape.backward(&loss, &mut gradient).unwrap();
        let found = &gradients(&arena, &layer, part..part + 1).unwrap()[0];
        assert_close(&format!("part {part}"), found, &widen(&gradient.read(arena.device()).unwrap()), 1e-5);
    }
}

#[test]
fn what_has_no_gradient_for_each_part_is_refused() {
    let device = Cpu::default();
    let workspace = Workspace::new(device.clone());
    let mut builder = ArenaBuilder::new(device.clone());
    let table = builder.add("table", HostTensor::new([5, 2], random(1, 10)).unwrap(), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let run = |lengths: &[usize], losses: &[bool], gradients: usize| {
        let mut tape = Tape::train(&workspace, &arena, SEED);
        let rows: Vec<u32> = (0..lengths.iter().sum::<usize>() as u32).collect();
        let x = tape.embedding(&Indices::new(&device, &rows).unwrap(), &table).unwrap();
        let loss = tape.sum(&x).unwrap();
        let mut places = vec![BatchOffset::default()];
        lengths.iter().for_each(|&rows| places.push(places[places.len() - 1].after(rows, 0, 0)));
        let losses: Vec<_> = losses.iter().map(|there| there.then(|| loss.clone())).collect();
        let mut gradients: Vec<_> = (0..gradients).map(|_| arena.gradient().unwrap()).collect();
        tape.backward_in_parts(&Parts::new(&places, &KINDS), &losses, &mut gradients).map_err(|error| error.to_string())
    };
    assert_eq!(run(&[5], &[true], 1), Ok(()));
    let refused = "backward: in the backward of embedding: a parameter of the op trains, and the op does not compute its \
                   gradient part by part";
    assert_eq!(run(&[2, 3], &[true, true], 2), Err(refused.to_owned()));
    assert_eq!(run(&[2, 3], &[false, false], 2), Err("backward: no part has a loss".to_owned()));
    for (losses, gradients, what) in [(&[true][..], 2, "losses"), (&[true; 2], 1, "gradients")] {
        let message = format!("backward: the list of {what} has shape [1], expected [2]");
        assert_eq!(run(&[2, 3], losses, gradients), Err(message));
    }
}
