//! Trains parts of a small network on two spirals. A mask states once which entries of a tensor train, when the
//! parameter is registered. The example uses only the tape, without a model crate.
//!
//! ```text
//! x [B, 2] -> linear 2 -> 64    weight frozen          bias trains
//!          -> gelu
//!          -> linear 64 -> 48   24 of 48 rows train    bias trains
//!          -> gelu
//!          -> linear 48 -> 2    64 of 96 entries train bias of the second class trains
//!          -> cross-entropy
//! ```
//!
//! Run it with `cargo run --release -p bitfit-core --example masked_network`.

use bitfit_core::{
    ArenaBuilder, Backend, Cpu, Device, FrozenMatrix, HostTensor, Indices, Mask, Param, Result, Seed, Tape, Tensor,
    Var, Weight, Workspace,
    optim::{AdamW, ArenaOptimizer},
};
use ndarray::{Array2, Axis};

const STEPS: u32 = 400;

/// A network of linear layers, each a weight and a bias that are frozen or trainable.
struct Network<D: Backend> {
    layers: [(Weight<D>, Param<D>); 3],
}

impl<D: Backend> Network<D> {
    /// Registers what trains with `arena`, and lays out what does not.
    fn new(arena: &mut ArenaBuilder<D>, device: &D, random: &mut Random) -> Result<Self> {
        // A frozen weight is packed for its kernel. It has no entry in the arena, and its type has no gradient.
        let first = FrozenMatrix::new(device, &[random.tensor(&[64, 2], 1.5)?])?;
        let first_bias = arena.add("first.bias", random.tensor(&[64], 1.5)?, Mask::All)?;

        let rows = Mask::Rows((0..48).step_by(2).collect());
        let second = arena.weight("second.weight", random.tensor(&[48, 64], 0.2)?, rows)?;
        let second_bias = arena.add("second.bias", random.tensor(&[48], 0.1)?, Mask::All)?;

        let entries = Mask::Elements((0..96).filter(|entry| entry % 3 != 0).collect());
        let third = arena.weight("third.weight", random.tensor(&[2, 48], 0.2)?, entries)?;
        let third_bias = arena.add("third.bias", random.tensor(&[2], 0.1)?, Mask::Elements(vec![1]))?;

        Ok(Self { layers: [(first.into(), first_bias), (second, second_bias), (third, third_bias)] })
    }

    /// The logits `[B, 2]` of points `[B, 2]`. The tape saves for each op what its backward will read, which is less if
    /// fewer parameters train; in inference it saves nothing.
    fn logits(&self, tape: &mut Tape<'_, D>, points: &Tensor<D>) -> Result<Var<D>> {
        let [(first, first_bias), (second, second_bias), (third, third_bias)] = &self.layers;
        let x = tape.constant(points.clone());
        let x = tape.linear(&x, first, &[first_bias])?;
        let x = tape.gelu(&x)?;
        let x = tape.linear(&x, second, &[second_bias])?;
        let x = tape.gelu(&x)?;
        tape.linear(&x, third, &[third_bias])
    }
}

fn main() -> Result<()> {
    let device = Cpu::default();
    let mut random = Random(1);
    let mut builder = ArenaBuilder::new(device.clone());
    let network = Network::new(&mut builder, &device, &mut random)?;
    let mut arena = builder.build()?;

    println!("{:<14} {:>8} {:>12} {:>8}", "trains", "shape", "mask", "scalars");
    for entry in arena.entries() {
        let mask = match &*entry.mask {
            Mask::None => "none".to_owned(),
            Mask::All => "whole".to_owned(),
            Mask::Rows(rows) => format!("rows: {}", rows.len()),
            Mask::Columns(columns) => format!("columns: {}", columns.len()),
            Mask::Elements(elements) => format!("entries: {}", elements.len()),
        };
        println!("{:<14} {:>8} {mask:>12} {:>8}", entry.name, format!("{:?}", entry.shape), entry.len);
    }
    let all: usize = network.layers.iter().map(|(w, b)| w.shape().iter().product::<usize>() + b.len()).sum();
    println!("{} of {all} scalars train, on {}\n", arena.len(), device.name());

    let workspace = Workspace::new(device.clone());
    let (points, labels) = spirals(400, &mut random);
    let classes = Indices::new(&device, &labels)?;
    let points = workspace.tensor(points.view())?;
    let mut gradient = arena.gradient()?;
    let mut optimizer = ArenaOptimizer::new(&arena, AdamW::default())?;
    for step in 0..STEPS {
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step });
        let logits = network.logits(&mut tape, &points)?;
        let loss = tape.cross_entropy(&logits, &classes)?;
        tape.backward(&loss, &mut gradient)?;
        if step == 0 {
            // Fails with the names of the parameters that received no gradient.
            arena.check_gradients_reach(&gradient)?;
        }
        if step % 50 == 0 || step + 1 == STEPS {
            let loss = loss.tensor().to_array()?[(0, 0)];
            let accuracy = accuracy(&logits.tensor().to_array()?, &labels);
            println!("step {step:>3}  loss {loss:.4}  accuracy {accuracy:.3}");
        }
        optimizer.step(&mut arena, &gradient, 1e-2, Some(1.0))?;
        gradient.clear(&device)?;
    }

    let (points, labels) = spirals(1000, &mut random);
    let mut tape = Tape::infer(&workspace, &arena);
    let logits = network.logits(&mut tape, &workspace.tensor(points.view())?)?;
    println!("accuracy on new points {:.3}", accuracy(&logits.tensor().to_array()?, &labels));
    Ok(())
}

/// The share of rows whose greatest logit is the label's.
fn accuracy(logits: &Array2<f32>, labels: &[u32]) -> f32 {
    let right =
        logits.axis_iter(Axis(0)).zip(labels).filter(|(row, label)| (row[1] > row[0]) == (**label == 1)).count();
    right as f32 / labels.len() as f32
}

/// `count` points on two spirals of one and a half turns, with some noise, and the spiral of each.
fn spirals(count: usize, random: &mut Random) -> (Array2<f32>, Vec<u32>) {
    let labels: Vec<u32> = (0..count as u32).map(|i| i % 2).collect();
    let mut points = Array2::zeros((count, 2));
    for (mut point, &label) in points.axis_iter_mut(Axis(0)).zip(&labels) {
        let along = random.uniform().abs().sqrt();
        let angle = along * 3.0 * std::f32::consts::PI + label as f32 * std::f32::consts::PI;
        point[0] = 2.0 * along * angle.cos() + 0.05 * random.uniform();
        point[1] = 2.0 * along * angle.sin() + 0.05 * random.uniform();
    }
    (points, labels)
}

/// Random numbers of sufficient quality for an example: the upper bits of a 64-bit linear congruential generator
/// (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    /// Uniform in -1..1.
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A tensor of values in `-scale..scale`.
    fn tensor(&mut self, shape: &[usize], scale: f32) -> Result<HostTensor> {
        let len = shape.iter().product();
        HostTensor::new(shape, (0..len).map(|_| scale * self.uniform()).collect())
    }
}
