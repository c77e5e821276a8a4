//! Mistakes of an embedder, from outside of the crate: each is an error that names what is wrong, and after each the
//! objects go on working. And what may be shared between threads.

use bitfit_core::{
    Arena, ArenaBuilder, Cpu, Error, HostTensor, Indices, Mask, Param, Result, RowsOf, Seed, Tape, Tensor, Var, Weight,
    Workspace,
    memory::Scratch,
    ops::add_norm::AddNormArgs,
    optim::{AdamW, ArenaOptimizer, ArenaSgd, Optimizer, Sgd},
    tape::{Backward, Grads},
};

const SEED: Seed = Seed { run: 0, step: 0 };

/// A linear layer of three inputs and two outputs.
fn network() -> Result<(Arena<Cpu>, Weight<Cpu>, Param<Cpu>)> {
    let mut builder = ArenaBuilder::new(Cpu::default());
    let weight = builder.weight("weight", HostTensor::filled([2, 3], 0.5), Mask::All)?;
    let bias = builder.add("bias", HostTensor::filled([2], 0.1), Mask::All)?;
    Ok((builder.build()?, weight, bias))
}

fn loss(tape: &mut Tape<'_, Cpu>, weight: &Weight<Cpu>, bias: &Param<Cpu>) -> Result<Var<Cpu>> {
    let x = tape.input(2, 3, &[1.0, 0.0, -1.0, 0.5, 2.0, 0.0])?;
    let y = tape.linear(&x, weight, &[bias])?;
    tape.cross_entropy(&y, &Indices::new(tape.device(), &[0, 1])?)
}

#[test]
fn objects_of_two_networks_are_not_mixed() {
    let (mut a, weight_a, bias_a) = network().unwrap();
    let (mut b, weight_b, bias_b) = network().unwrap();
    let workspace = Workspace::new(Cpu::default());
    let (mut of_a, of_b, before) = (a.gradient().unwrap(), b.gradient().unwrap(), b.read().unwrap());
    let mut adamw = ArenaOptimizer::new(&a, AdamW::default()).unwrap();
    let mut sgd = ArenaSgd::new(&a, Sgd::default()).unwrap();
    let snapshot = a.snapshot().unwrap();
    let run = |arena: &Arena<Cpu>, weight: &Weight<Cpu>, bias: &Param<Cpu>| {
        loss(&mut Tape::train(&workspace, arena, SEED), weight, bias).map(|_| ())
    };
    let results = [
        ("arena", adamw.step(&mut b, &of_a, 0.1, None)),
        ("arena", adamw.step(&mut a, &of_b, 0.1, None)),
        ("arena", sgd.step(&mut b, &of_b, 0.1, None)),
        ("arena", b.restore(&snapshot)),
        ("arena", b.check_gradients_reach(&of_a)),
        ("arena", of_a.add(b.device(), &of_b)),
        ("arena", run(&a, &weight_b, &bias_a)),
        ("arena", run(&a, &weight_a, &bias_b)),
        ("tape", {
            let foreign = loss(&mut Tape::train(&workspace, &a, SEED), &weight_a, &bias_a).unwrap();
            Tape::train(&workspace, &a, SEED).gelu(&foreign).map(|_| ())
        }),
        (
            "arena",
            ArenaBuilder::new(Cpu::default())
                .weight_of(
                    vec![bitfit_core::WeightPart::Tied(a.trainable("weight").unwrap())],
                    bitfit_core::Precision::F32,
                )
                .map(|_| ()),
        ),
    ];
    for (expected, result) in results {
        match result.unwrap_err() {
            Error::Foreign { owner, .. } if owner == expected => {}
            error => panic!("{error}"),
        }
    }
    assert_eq!(b.read().unwrap(), before);
    assert!(run(&a, &weight_a, &bias_a).is_ok() && run(&b, &weight_b, &bias_b).is_ok());
}

#[test]
fn shapes_ranges_names_and_masks_are_named() {
    let (arena, weight, bias) = network().unwrap();
    let workspace = Workspace::new(Cpu::default());
    let mut tape = Tape::train(&workspace, &arena, SEED);
    let x = tape.input(2, 3, &[0.0; 6]).unwrap();
    let mut builder = ArenaBuilder::new(Cpu::default());
    let tensor = || HostTensor::filled([2, 3], 0.0);
    builder.add("taken", tensor(), Mask::None).unwrap();
    let norm = builder.add("norm", HostTensor::filled([3], 1.0), Mask::None).unwrap();
    let class = Indices::new(tape.device(), &[0, 2]).unwrap();
    for (error, words) in [
        (tape.input(2, 3, &[0.0; 5]).unwrap_err(), "the data has shape [5], expected [2, 3]"),
        (Tensor::new(tape.scratch(5).unwrap(), 2, 3).map(|_| ()).unwrap_err(), "the buffer has shape [5]"),
        (
            tape.linear(&tape.input(1, 2, &[0.0; 2]).unwrap(), &weight, &[]).unwrap_err(),
            "linear: the input of weight has shape [1, 2], expected [1, 3]",
        ),
        (
            tape.linear(&x, &weight, &[&bias, &bias]).unwrap_err(),
            "linear: the bias bias, bias of weight has shape [4], expected [2]",
        ),
        (
            tape.feed_forward(&x, &weight, &bias, &weight).unwrap_err(),
            "feed_forward: the second weight weight has shape [2, 3], expected [2, 2]",
        ),
        (
            tape.add_norm(&x, &AddNormArgs::new(&bias, &bias)).unwrap_err(),
            "add_norm: gamma bias has shape [2], expected [3]",
        ),
        (tape.embedding(&class, &bias).unwrap_err(), "index 2 is out of range for the table bias, which has 1 rows"),
        (
            tape.cross_entropy(&x, &Indices::new(tape.device(), &[0]).unwrap()).unwrap_err(),
            "the list of labels has shape [1], expected [2]",
        ),
        (
            tape.layer_norm(&x, &norm, &norm, -1e-5).unwrap_err(),
            "add_norm: eps is -0.00001, expected a finite value that is not negative",
        ),
        (tape.layer_norm(&x, &norm, &norm, f32::NAN).unwrap_err(), "add_norm: eps is NaN"),
        (tape.dropout(&x, 1.0, RowsOf::Tokens).unwrap_err(), "the probability is 1"),
        (tape.sub(&x, &tape.input(1, 2, &[0.0; 2]).unwrap()).unwrap_err(), "b has shape [1, 2], expected [2, 3]"),
        (x.item().unwrap_err(), "expected [1, 1]"),
        (builder.train("taken", tensor(), Mask::All).unwrap_err(), "taken is registered twice"),
        (builder.weight("w", tensor(), Mask::Rows(vec![2])).unwrap_err(), "row 2 is out of range"),
        (
            builder.weight("w", HostTensor::filled([3], 0.0), Mask::None).unwrap_err(),
            "lay out: the weight w has shape [3], expected [3, 1]",
        ),
        (HostTensor::new([2, 2], vec![0.0; 3]).unwrap_err(), "expected [2, 2]"),
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
    let y = tape.linear(&x, &weight, &[&bias]).unwrap();
    assert!(tape.cross_entropy(&y, &class).is_err(), "a class that there is not");
}

#[test]
fn a_step_beyond_32_bits_is_refused_where_dropout_would_repeat_a_mask() {
    let (arena, weight, bias) = network().unwrap();
    let workspace = Workspace::new(Cpu::default());
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 1 << 32 });
    let loss = loss(&mut tape, &weight, &bias).unwrap();
    assert!(tape.dropout(&loss, 0.0, RowsOf::Tokens).is_ok());
    let message = tape.dropout(&loss, 0.1, RowsOf::Tokens).unwrap_err().to_string();
    assert!(message.starts_with("dropout: the step is 4294967296, expected less than 2^32"), "{message}");
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: (1 << 32) - 1 });
    let x = tape.input(1, 1, &[1.0]).unwrap();
    assert!(tape.dropout(&x, 0.1, RowsOf::Tokens).is_ok());
}

/// An op whose backward fails.
struct Failing;

impl Backward<Cpu> for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn backward(self: Box<Self>, _: Scratch<Cpu>, _: &mut Grads<'_, Cpu>) -> Result<()> {
        Err(Error::Invalid { op: "mine", reason: "of my own".into() })
    }
}

#[test]
fn after_an_error_in_backward_and_on_two_threads_a_workspace_gives_the_same_bits() {
    let (arena, weight, bias) = network().unwrap();
    let workspace = Workspace::new(Cpu::default());
    let gradient = || {
        let mut gradient = arena.gradient().unwrap();
        let mut tape = Tape::train(&workspace, &arena, SEED);
        let loss = loss(&mut tape, &weight, &bias).unwrap();
        tape.backward(&loss, &mut gradient).unwrap();
        gradient.read(arena.device()).unwrap()
    };
    let alone = gradient();
    let mut tape = Tape::train(&workspace, &arena, SEED);
    let x = loss(&mut tape, &weight, &bias).unwrap();
    let y = tape.record(x.tensor().clone(), Failing);
    let error = tape.backward(&y, &mut arena.gradient().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "mine: in the backward of failing: of my own");
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| [(); 20].map(|()| gradient())));
        for thread in threads {
            assert!(thread.join().unwrap().iter().all(|found| *found == alone));
        }
    });
}
