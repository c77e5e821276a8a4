//! The tape as a whole: which ops backward visits, how gradients add up, which entries of a gradient a mask chooses,
//! how buffers are reused, and that a broken op is detected.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    ArenaBuilder, Backend, Cpu, Frozen, FrozenMatrix, HostTensor, Indices, Mask, Sequences, Weight,
    backend::conformance::support::*,
    ops::{
        add_norm::AddNormArgs,
        attention::{AttentionArgs, Projections},
    },
};
use ndarray::{Array2, ArrayView2};

const SEED: Seed = Seed { run: 3, step: 5 };

fn host(seed: u64, shape: &[usize]) -> HostTensor {
    HostTensor::new(shape, random(seed, shape.iter().product())).unwrap()
}

fn tensor(workspace: &Workspace<Cpu>, seed: u64, shape: [usize; 2]) -> Tensor<Cpu> {
    workspace.tensor(ArrayView2::from_shape(shape, &random(seed, shape[0] * shape[1])).unwrap()).unwrap()
}

/// The identity. It counts the runs of backward, and passes the gradient on or drops it.
struct Identity {
    x: Slot,
    visits: Arc<AtomicUsize>,
    loses_gradient: bool,
}

impl<D: Device> Backward<D> for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        self.visits.fetch_add(1, Ordering::Relaxed);
        if self.loses_gradient { Ok(()) } else { grads.add(self.x, dy) }
    }
}

fn identity(tape: &mut Tape<'_, Cpu>, x: &Var<Cpu>, visits: &Arc<AtomicUsize>, loses_gradient: bool) -> Var<Cpu> {
    match x.slot() {
        Some(slot) => tape.record(x.tensor().clone(), Identity { x: slot, visits: Arc::clone(visits), loses_gradient }),
        None => tape.constant(x.tensor().clone()),
    }
}

#[test]
fn backward_visits_only_what_lies_between_something_that_trains_and_the_loss() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let frozen = Weight::from(FrozenMatrix::new(&Cpu::default(), &[host(1, &[4, 4])]).unwrap());
    let bias = builder.add("bias", host(2, &[4]), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, SEED);
    let [below, on_path, beside] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));

    let x = tape.constant(tensor(&workspace, 3, [2, 4]));
    let x = tape.linear(&x, &frozen, &[]).unwrap();
    let x = tape.gelu(&x).unwrap();
    let x = identity(&mut tape, &x, &below, false);
    assert_eq!(tape.recorded(), 0, "below the lowest trainable parameter nothing is recorded");

    let y = tape.linear(&x, &frozen, &[&bias]).unwrap();
    let loss = identity(&mut tape, &y, &on_path, false);
    let unread = identity(&mut tape, &y, &beside, false);
    let unread = tape.relu(&unread).unwrap();
    assert_eq!(tape.recorded(), 4);

    let dy = random(4, 8);
    let gradient = backward_from(tape, &loss, &dy, &arena, &workspace);
    let visits = [&below, &on_path, &beside].map(|visits| visits.load(Ordering::Relaxed));
    assert_eq!(visits, [0, 1, 0]);
    assert!(unread.slot().is_some());
    assert_eq!(gradient, (0..4).map(|j| dy[j] + dy[4 + j]).collect::<Vec<_>>());
}

#[test]
fn a_var_read_twice_gets_the_sum_of_both_gradients() {
    let x = random(1, 35);
    let run = |gelu: bool, tanh: bool| {
        let outcome = train(&Cpu::default(), [([5, 7], &x)], |tape, [x]| match (gelu, tanh) {
            (true, false) => tape.gelu(x),
            (false, _) => tape.tanh(x),
            (true, true) => {
                let (gelu, tanh) = (tape.gelu(x)?, tape.tanh(x)?);
                tape.add(&gelu, &tanh)
            }
        });
        outcome.gradients[0].clone()
    };
    let (gelu, tanh, both) = (run(true, false), run(false, true), run(true, true));
    let sum: Vec<f64> = gelu.iter().zip(tanh).map(|(&gelu, tanh)| f64::from(gelu) + f64::from(tanh)).collect();
    assert_close("dx", &both, &sum, 1e-6);
}

#[test]
fn a_parameter_read_twice_gets_the_sum_of_both_gradients() {
    let workspace = Workspace::new(Cpu::default());
    for mask in [Mask::All, Mask::Rows(vec![2, 0]), Mask::Columns(vec![1]), Mask::Elements(vec![8, 3])] {
        let mut builder = ArenaBuilder::new(Cpu::default());
        let weight = builder.weight("w", host(1, &[3, 3]), mask.clone()).unwrap();
        let arena = builder.build().unwrap();
        let run = |first: bool, second: bool| {
            let mut tape = Tape::train(&workspace, &arena, SEED);
            let x = tape.constant(tensor(&workspace, 2, [4, 3]));
            let y = tape.linear(&x, &weight, &[]).unwrap();
            // The second use reads the value of the first as a constant, so that the two gradients are independent.
            let seen = tape.constant(y.tensor().clone());
            let z = tape.linear(&seen, &weight, &[]).unwrap();
            let out = match (first, second) {
                (true, true) => tape.add(&y, &z).unwrap(),
                (true, false) => y,
                _ => z,
            };
            backward_from(tape, &out, &random(3, 12), &arena, &workspace)
        };
        let (first, second, both) = (run(true, false), run(false, true), run(true, true));
        let sum: Vec<f64> = first.iter().zip(second).map(|(&a, b)| f64::from(a) + f64::from(b)).collect();
        assert_close(&format!("{mask:?}"), &both, &sum, 1e-6);
    }
}

#[test]
fn a_mask_gets_exactly_its_entries_of_the_whole_gradient() {
    let workspace = Workspace::new(Cpu::default());
    let run = |mask: &Mask, through_linear: bool| {
        let mut builder = ArenaBuilder::new(Cpu::default());
        let weight = through_linear.then(|| builder.weight("w", host(1, &[6, 5]), mask.clone()).unwrap());
        let param = (!through_linear).then(|| builder.train("w", host(1, &[6, 5]), mask.clone()).unwrap());
        let arena = builder.build().unwrap();
        let mut tape = Tape::train(&workspace, &arena, SEED);
        let x = tape.constant(tensor(&workspace, 2, [70, if through_linear { 5 } else { 6 }]));
        let y = match (&weight, &param) {
            (Some(weight), _) => tape.linear(&x, weight, &[]).unwrap(),
            (None, param) => {
                let w = tape.parameter(param.as_ref().unwrap()).unwrap();
                tape.matmul(&x, &w).unwrap()
            }
        };
        let y = tape.gelu(&y).unwrap();
        let dy = random(3, y.rows() * y.cols());
        backward_from(tape, &y, &dy, &arena, &workspace)
    };
    for through_linear in [true, false] {
        let whole = run(&Mask::All, through_linear);
        assert_eq!(whole.len(), 30);
        for mask in [Mask::Rows(vec![4, 1]), Mask::Columns(vec![3, 0]), Mask::Elements(vec![29, 2, 14, 0])] {
            let chosen: Vec<f32> = mask.indices(&[6, 5]).iter().map(|&at| whole[at as usize]).collect();
            let found = run(&mask, through_linear);
            if through_linear {
                // The products have different shapes, and so different orders of summation.
                assert_close(&format!("{mask:?}"), &found, &widen(&chosen), 1e-6);
            } else {
                assert_eq!(found, chosen, "{mask:?}");
            }
        }
    }
}

/// A network of an embedding, products, a norm and a classifier, over 100 rows. Two biases, a norm, rows of a weight
/// and one row of a table train.
struct Network<D: Device> {
    table: Param<D>,
    frozen: Weight<D>,
    bias: Param<D>,
    norm: [Param<D>; 2],
    partial: Weight<D>,
    head: Weight<D>,
    head_bias: Param<D>,
}

impl Network<Cpu> {
    const ROWS: usize = 100;
    const NAMES: [&str; 7] = ["table", "bias", "norm.weight", "norm.bias", "partial", "head", "head.bias"];

    fn new() -> (Arena<Cpu>, Self) {
        let mut builder = ArenaBuilder::new(Cpu::default());
        let network = Self {
            table: builder.add("table", host(1, &[9, 16]), Mask::Rows(vec![3, 5])).unwrap(),
            frozen: FrozenMatrix::new(&Cpu::default(), &[host(2, &[16, 16])]).unwrap().into(),
            bias: builder.add("bias", host(3, &[16]), Mask::All).unwrap(),
            norm: [("norm.weight", 4), ("norm.bias", 5)]
                .map(|(name, seed)| builder.add(name, host(seed, &[16]), Mask::All).unwrap()),
            partial: builder.weight("partial", host(6, &[24, 16]), Mask::Rows(vec![0, 7, 8])).unwrap(),
            head: builder.weight("head", host(7, &[3, 24]), Mask::All).unwrap(),
            head_bias: builder.add("head.bias", host(8, &[3]), Mask::Elements(vec![0, 2])).unwrap(),
        };
        (builder.build().unwrap(), network)
    }
}

impl<D: Backend> Network<D> {
    /// The loss of the network; `between` is applied after the norm and before `partial`.
    fn loss(&self, tape: &mut Tape<'_, D>, between: impl Fn(&mut Tape<'_, D>, Var<D>) -> Var<D>) -> Result<Var<D>> {
        let rows: Vec<u32> = (0..Network::ROWS as u32).collect();
        let indices = |modulus| Indices::new(tape.device(), &rows.iter().map(|row| row % modulus).collect::<Vec<_>>());
        let (tokens, labels) = (indices(9)?, indices(3)?);
        let x = tape.embedding(&tokens, &self.table)?;
        let y = tape.linear(&x, &self.frozen, &[&self.bias])?;
        let [weight, beta] = &self.norm;
        let (rows, residual) = (RowsOf::Tokens, Some(&x));
        let norm = AddNormArgs { linear_bias: None, residual, gamma: weight, beta, dropout: 0.1, rows, eps: 1e-5 };
        let y = tape.add_norm(&y, &norm)?;
        let y = between(tape, y);
        let y = tape.linear(&y, &self.partial, &[])?;
        let y = tape.gelu(&y)?;
        let y = tape.dropout(&y, 0.2, RowsOf::Tokens)?;
        let logits = tape.linear(&y, &self.head, &[&self.head_bias])?;
        tape.cross_entropy(&logits, &labels)
    }
}

fn gradient_of_network() -> Vec<f32> {
    let (arena, network) = Network::new();
    let workspace = Workspace::new(Cpu::default());
    let mut gradient = arena.gradient().unwrap();
    let mut tape = Tape::train(&workspace, &arena, SEED);
    let loss = network.loss(&mut tape, |_, y| y).unwrap();
    tape.backward(&loss, &mut gradient).unwrap();
    arena.check_gradients_reach(&gradient).unwrap();
    gradient.read(arena.device()).unwrap()
}

#[test]
fn shares_of_a_loss_have_gradients_that_add_up_to_that_of_the_whole() {
    let (arena, network) = Network::new();
    let workspace = Workspace::new(Cpu::default());
    let backward = |factor, gradient: &mut Gradient<Cpu>| {
        let mut tape = Tape::train(&workspace, &arena, SEED);
        let loss = network.loss(&mut tape, |_, y| y).unwrap();
        tape.backward_scaled(&loss, factor, gradient)
    };
    let (mut sum, mut other) = (arena.gradient().unwrap(), arena.gradient().unwrap());
    backward(0.25, &mut sum).unwrap();
    backward(0.5, &mut other).unwrap();
    other.scale(arena.device(), 1.5).unwrap();
    sum.add(arena.device(), &other).unwrap();
    let expected: Vec<f64> = widen(&gradient_of_network());
    assert_close("the sum", &sum.read(arena.device()).unwrap(), &expected, 1e-6);
    let message = backward(f32::NAN, &mut sum).unwrap_err().to_string();
    assert_eq!(message, "backward: the factor is NaN, expected a finite number");
    let message = sum.scale(arena.device(), f32::INFINITY).unwrap_err().to_string();
    assert_eq!(message, "gradient: the factor is inf, expected a finite number");
}

#[test]
fn a_gradient_of_another_arena_and_a_loss_of_another_tape_are_refused() {
    let (arena, network) = Network::new();
    let (other, _) = Network::new();
    let workspace = Workspace::new(Cpu::default());
    let loss = |tape: &mut Tape<'_, Cpu>| network.loss(tape, |_, y| y).unwrap();

    let mut tape = Tape::train(&workspace, &arena, SEED);
    let of_the_first = loss(&mut tape);
    let error = tape.backward(&of_the_first, &mut other.gradient().unwrap()).unwrap_err();
    assert!(error.to_string().contains("another arena"), "{error}");

    let mut tape = Tape::train(&workspace, &arena, SEED);
    loss(&mut tape);
    let error = tape.backward(&of_the_first, &mut arena.gradient().unwrap()).unwrap_err();
    assert!(error.to_string().contains("another tape"), "{error}");
}

#[test]
fn a_parameter_of_another_arena_is_not_taken_for_one_of_this() {
    let (_, network) = Network::new();
    let (other, _) = Network::new();
    let workspace = Workspace::new(Cpu::default());
    let error = network.loss(&mut Tape::train(&workspace, &other, SEED), |_, y| y).unwrap_err();
    assert!(matches!(error, Error::Foreign { owner: "arena", .. }), "{error}");
}

#[test]
fn every_op_refuses_a_matrix_of_another_tape() {
    let (arena, network) = Network::new();
    let workspace = Workspace::new(Cpu::default());
    let mut first = Tape::train(&workspace, &arena, SEED);
    let foreign = network.loss(&mut first, |_, y| y).unwrap();
    let mut tape = Tape::train(&workspace, &arena, SEED);
    let one = Weight::from(FrozenMatrix::new(&Cpu::default(), &[host(1, &[1, 1])]).unwrap());
    let row: Param<Cpu> = Frozen::new(&Cpu::default(), &host(1, &[1])).unwrap().into();
    let sequences = Sequences::new(&Cpu::default(), [1]).unwrap();
    let constant = tape.constant(foreign.tensor().clone());
    let class = Indices::new(&Cpu::default(), &[0]).unwrap();
    let mut norm = AddNormArgs::new(&row, &row);
    let plain = tape.add_norm(&foreign, &norm).map(|_| ());
    norm.residual = Some(&foreign);
    let residual = tape.add_norm(&constant, &norm).map(|_| ());
    let split = Projections::Split { query: &constant, key_value: &foreign };
    let args = AttentionArgs { heads: 1, queries: &sequences, keys: &sequences, position_bias: None, dropout: 0.0 };
    for (op, result) in [
        ("add_norm", plain),
        ("add_norm", residual),
        ("attention", tape.attention(split, &args).map(|_| ())),
        ("linear", tape.linear(&foreign, &one, &[]).map(|_| ())),
        ("to_f32", tape.feed_forward(&foreign, &one, &row, &one).map(|_| ())),
        ("to_f32", tape.add(&constant, &foreign).map(|_| ())),
        ("to_f32", tape.mul(&foreign, &constant).map(|_| ())),
        ("to_f32", tape.matmul(&constant, &foreign).map(|_| ())),
        ("to_f32", tape.gelu(&foreign).map(|_| ())),
        ("to_f32", tape.dropout(&foreign, 0.1, RowsOf::Tokens).map(|_| ())),
        ("to_f32", tape.softmax(&foreign).map(|_| ())),
        ("to_f32", tape.mse(&foreign, constant.tensor()).map(|_| ())),
        ("to_f32", tape.binary_cross_entropy(&foreign, constant.tensor()).map(|_| ())),
        ("to_f32", tape.cross_entropy(&foreign, &class).map(|_| ())),
        ("to_f32", tape.gather_rows(&foreign, &class).map(|_| ())),
        ("to_f32", tape.sequence_mean(&foreign, &sequences).map(|_| ())),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Foreign { owner: "tape", op: found, .. } if found == op), "{op}: {error}");
    }
    assert_eq!(tape.recorded(), 0);
}

/// An op that keeps the slot of a matrix of another tape, or does not give back what it took.
struct Stray(Slot);

impl Backward<Cpu> for Stray {
    fn name(&self) -> &'static str {
        "stray"
    }

    fn backward(self: Box<Self>, dy: Scratch<Cpu>, grads: &mut Grads<'_, Cpu>) -> Result<()> {
        grads.add(self.0, dy)
    }
}

#[test]
fn an_op_of_another_crate_learns_in_backward_of_a_matrix_that_is_not_of_its_tape() {
    let (arena, network) = Network::new();
    let workspace = Workspace::new(Cpu::default());
    let mut first = Tape::train(&workspace, &arena, SEED);
    let foreign = network.loss(&mut first, |_, y| y).unwrap();
    let mut tape = Tape::train(&workspace, &arena, SEED);
    let loss = tape.record(foreign.tensor().clone(), Stray(foreign.slot().unwrap()));
    let error = tape.backward(&loss, &mut arena.gradient().unwrap()).unwrap_err();
    let expected = "backward: in the backward of stray: a matrix of 1 elements belongs to another tape";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_same_bits_come_from_any_number_of_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(gradient_of_network).into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = run(1);
    for threads in [2, 4, 4] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

#[test]
fn the_gradient_of_a_whole_network_is_that_of_finite_differences() {
    let (mut arena, network) = Network::new();
    let workspace = Workspace::new(Cpu::default());
    let gradient = gradient_of_network();
    let values = arena.read().unwrap();
    let mut loss_at = |values: &[f32]| {
        arena.write(values).unwrap();
        let mut tape = Tape::train(&workspace, &arena, SEED);
        f64::from(network.loss(&mut tape, |_, y| y).unwrap().tensor().to_array().unwrap()[(0, 0)])
    };
    // The directional derivative along the gradient is its squared norm. It depends on every entry, and f32 is accurate
    // enough for it.
    let square: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
    let step = 1e-2 / square.sqrt();
    let mut moved = |sign: f64| {
        let at = |(&value, &g): (&f32, &f32)| (f64::from(value) + sign * step * f64::from(g)) as f32;
        loss_at(&values.iter().zip(&gradient).map(at).collect::<Vec<_>>())
    };
    let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
    assert!((slope / square - 1.0).abs() < 2e-3, "{slope} instead of {square}");
}

#[test]
fn an_op_that_loses_its_gradient_is_found_by_what_lies_below_it() {
    let (arena, network) = Network::new();
    let workspace = Workspace::new(Cpu::default());
    let visits = Arc::new(AtomicUsize::new(0));
    for (loses_gradient, expected) in [(false, &[][..]), (true, &["table", "bias", "norm.weight", "norm.bias"])] {
        let mut gradient = arena.gradient().unwrap();
        let mut tape = Tape::train(&workspace, &arena, SEED);
        let loss = network.loss(&mut tape, |tape, y| identity(tape, &y, &visits, loses_gradient)).unwrap();
        tape.backward(&loss, &mut gradient).unwrap();
        match arena.check_gradients_reach(&gradient) {
            Ok(()) => assert!(expected.is_empty()),
            Err(Error::NoGradient { names, .. }) => assert_eq!(names, expected),
            Err(other) => panic!("{other}"),
        }
    }
    let names: Vec<&str> = arena.entries().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, Network::NAMES);
    assert_eq!(visits.load(Ordering::Relaxed), 2);
}

#[test]
fn from_the_second_step_on_no_buffer_is_allocated() {
    let (arena, network) = Network::new();
    let workspace = Workspace::new(Cpu::default());
    let mut gradient = arena.gradient().unwrap();
    let mut bytes = Vec::new();
    for step in 0..5 {
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 3, step });
        let loss = network.loss(&mut tape, |_, y| y).unwrap();
        tape.backward(&loss, &mut gradient).unwrap();
        bytes.push(workspace.allocated_bytes());
    }
    assert!(bytes[0] > 0);
    assert_eq!(bytes, vec![bytes[0]; 5]);
}

#[test]
fn steps_of_any_length_hold_little_more_than_the_longest_alone() {
    let mut builder = ArenaBuilder::new(Cpu::default());
    let frozen = Weight::from(FrozenMatrix::new(&Cpu::default(), &[host(1, &[64, 16])]).unwrap());
    let bias = builder.add("bias", host(2, &[64]), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let mut gradient = arena.gradient().unwrap();
    // Matrices of 16 and 64 columns, some of which live until backward and some that do not.
    let mut step = |workspace: &Workspace<Cpu>, rows: usize| {
        let mut tape = Tape::train(workspace, &arena, SEED);
        let x = tape.constant(tensor(workspace, 3, [rows, 16]));
        let x = tape.tanh(&x).unwrap();
        let mut y = tape.linear(&x, &frozen, &[&bias]).unwrap();
        for _ in 0..4 {
            let gelu = tape.gelu(&y).unwrap();
            y = tape.add(&y, &gelu).unwrap();
        }
        let mut dy = workspace.scratch(rows * 64).unwrap();
        workspace.device().fill(1.0, dy.as_mut()).unwrap();
        tape.backward_from(&y, dy, &mut gradient).unwrap();
        workspace.allocated_bytes()
    };
    let alone = step(&Workspace::new(Cpu::default()), 1000);
    let workspace = Workspace::new(Cpu::default());
    let mut random = crate::Random::new(5, 0);
    let ascending: Vec<usize> = (1..=40).map(|i| 25 * i).collect();
    let any = (0..60).map(|_| 1 + random.below(1000) as usize).collect::<Vec<_>>();
    for (i, &rows) in ascending.iter().chain(&any).enumerate() {
        let first = step(&workspace, rows);
        assert!(2 * first <= 3 * alone, "{first} bytes in step {i} of {rows} rows, {alone} for 1000 alone");
        assert_eq!(step(&workspace, rows), first);
    }
}

#[test]
fn memory_grows_with_depth_in_training_and_not_in_inference() {
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("x", host(1, &[64, 8]), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let matrices = |trains: bool, depth: usize| {
        let workspace = Workspace::new(Cpu::default());
        let mut tape = match trains {
            true => Tape::train(&workspace, &arena, SEED),
            false => Tape::infer(&workspace, &arena),
        };
        let mut x = tape.parameter(&param).unwrap();
        for _ in 0..depth {
            x = tape.tanh(&x).unwrap();
        }
        assert_eq!(tape.recorded(), if trains { depth + 1 } else { 0 });
        workspace.allocated_bytes() / (64 * 8 * 4)
    };
    assert_eq!([1, 2, 20].map(|depth| matrices(false, depth)), [2, 2, 2]);
    // Each tanh saves its output. No node holds the copy of the parameter, so the second tanh reuses its buffer.
    assert_eq!([1, 2, 20].map(|depth| matrices(true, depth)), [2, 2, 20]);
}

#[test]
fn a_loss_without_a_gradient_is_refused() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let param = builder.train("w", host(1, &[2, 2]), Mask::All).unwrap();
    let arena = builder.build().unwrap();
    let mut gradient = arena.gradient().unwrap();

    let mut tape = Tape::train(&workspace, &arena, SEED);
    let matrix = tape.parameter(&param).unwrap();
    assert!(matches!(tape.backward(&matrix, &mut gradient), Err(Error::Shape { .. })), "no scalar");

    let tape = Tape::train(&workspace, &arena, SEED);
    let constant = tape.constant(workspace.tensor(Array2::ones((1, 1)).view()).unwrap());
    let message = tape.backward(&constant, &mut gradient).unwrap_err().to_string();
    assert!(message.contains("no parameter that trains"), "{message}");

    let mut tape = Tape::train(&workspace, &arena, SEED);
    let matrix = tape.parameter(&param).unwrap();
    let short = workspace.scratch(3).unwrap();
    assert!(matches!(tape.backward_from(&matrix, short, &mut gradient), Err(Error::Shape { .. })));
    assert_eq!(gradient.read(arena.device()).unwrap(), [0.0; 4]);
}

/// An op whose backward fails with the given error.
struct Failing(fn() -> Error);

impl<D: Device> Backward<D> for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn backward(self: Box<Self>, _: Scratch<D>, _: &mut Grads<'_, D>) -> Result<()> {
        Err((self.0)())
    }
}

#[test]
fn an_error_in_backward_says_in_which_op() {
    let (arena, network) = Network::new();
    let workspace = Workspace::new(Cpu::default());
    let device: fn() -> Error = || Error::Device { device: "cpu".into(), reason: "no memory".into() };
    let fails: [(_, &str); 3] = [
        (device, "device cpu: in the backward of failing: no memory"),
        (|| Error::invalid("gather", "index 9"), "gather: in the backward of failing: index 9"),
        (|| Error::shape("add", "b", &[1], &[2]), "add: in the backward of failing: b has shape [2], expected [1]"),
    ];
    for (error, expected) in fails {
        let mut gradient = arena.gradient().unwrap();
        let mut tape = Tape::train(&workspace, &arena, SEED);
        let loss = network.loss(&mut tape, |tape, y| tape.record(y.tensor().clone(), Failing(error))).unwrap();
        assert_eq!(tape.backward(&loss, &mut gradient).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_repeated_parameter_has_two_ranges_for_its_sums() {
    let workspace = Workspace::new(Cpu::default());
    let mut builder = ArenaBuilder::new(Cpu::default());
    let [first, twice] = ["first", "twice"].map(|name| builder.train(name, host(1, &[3]), Mask::All).unwrap());
    let arena = builder.build().unwrap();
    let mut gradient = arena.gradient().unwrap();
    let mut grads = Grads::new(&workspace, &arena, (None, std::slice::from_mut(&mut gradient)), 0, 0);
    let params = [Some(&twice), None, Some(&twice), Some(&first)];
    let add = |device: &Cpu, mut sums: ColumnSums<'_, Cpu, 4>| {
        let at: Vec<usize> = sums.at.into_iter().flatten().collect();
        assert!((1..at.len()).all(|index| !at[..index].contains(&at[index])), "a place of two: {at:?}");
        for (index, value) in [(0, 1.0), (2, 2.0), (3, 4.0)] {
            device.fill(value, sums.part(index, 3).unwrap())?;
        }
        Ok(())
    };
    grads.column_sums(params, add).unwrap();
    assert_eq!(gradient.read(workspace.device()).unwrap(), [4.0, 4.0, 4.0, 3.0, 3.0, 3.0]);
}
