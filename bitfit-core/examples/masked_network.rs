//! Trains a small network on three moons under every kind of mask: the mask of the first layer's weight is the only
//! thing that changes. Run it with `cargo run --release -p bitfit-core --example masked_network`.

use bitfit_core::{
    Arena, ArenaBuilder, Backend, Cpu, Device, HostTensor, Indices, Mask, Param, Random, Result, Seed, Tape, Tensor,
    Var, Weight, Workspace,
    optim::{AdamW, ArenaOptimizer},
};

const STEPS: u64 = 400;

struct Network<D: Backend> {
    hidden: (Weight<D>, Param<D>),
    head: (Weight<D>, Param<D>),
}

impl<D: Backend> Network<D> {
    fn new(device: D, mask: Mask) -> Result<(Self, Arena<D>)> {
        let (mut builder, mut random) = (ArenaBuilder::new(device), Random::new(1, 0));
        let mut layer = builder.scope("hidden");
        let weight = layer.weight("weight", HostTensor::normal([32, 2], 1.5, &mut random), mask)?;
        let hidden = (weight, layer.add("bias", HostTensor::normal([32], 1.0, &mut random), Mask::All)?);
        let mut layer = builder.scope("head");
        let weight = layer.weight("weight", HostTensor::normal([3, 32], 0.2, &mut random), Mask::All)?;
        let head = (weight, layer.add("bias", HostTensor::filled([3], 0.0), Mask::All)?);
        Ok((Self { hidden, head }, builder.build()?))
    }

    fn logits(&self, tape: &mut Tape<'_, D>, points: &Tensor<D>) -> Result<Var<D>> {
        let h = tape.linear(&tape.constant(points.clone()), &self.hidden.0, &[&self.hidden.1])?;
        let h = tape.gelu(&h)?;
        tape.linear(&h, &self.head.0, &[&self.head.1])
    }
}

fn main() -> Result<()> {
    let device = Cpu::default();
    device.install(|| {
        let (rows, elements) = ((0..32).step_by(2).collect(), (0..64).step_by(3).collect());
        let masks = [Mask::None, Mask::Rows(rows), Mask::Columns(vec![1]), Mask::Elements(elements), Mask::All];
        masks.into_iter().try_for_each(|mask| train(&device, mask))
    })
}

fn train(device: &Cpu, mask: Mask) -> Result<()> {
    let (network, mut arena) = Network::new(device.clone(), mask)?;
    let workspace = Workspace::new(device.clone());
    let (points, labels) = moons(300, 2);
    let (points, classes) = (workspace.matrix(300, 2, &points)?, Indices::new(device, &labels)?);
    let mut gradient = arena.gradient()?;
    let mut optimizer = ArenaOptimizer::new(&arena, AdamW::default())?;
    for step in 0..STEPS {
        let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step });
        let logits = network.logits(&mut tape, &points)?;
        let loss = tape.cross_entropy(&logits, &classes)?;
        gradient.clear(device)?;
        tape.backward(&loss, &mut gradient)?;
        optimizer.step(&mut arena, &gradient, 1e-2, Some(1.0))?;
    }
    let (points, labels) = moons(600, 3);
    let mut tape = Tape::infer(&workspace, &arena);
    let logits = network.logits(&mut tape, &workspace.matrix(600, 2, &points)?)?.to_vec()?;
    let right = logits.chunks(3).zip(&labels).filter(|(row, label)| row.iter().all(|z| *z <= row[**label as usize]));
    let trained = arena.find("hidden.weight").map_or(0, |entry| entry.len);
    println!("{trained:2} of 64 weights of the first layer train: accuracy {:.3}", right.count() as f32 / 600.0);
    Ok(())
}

/// `count` points on three half circles, with some noise, and the number of the circle of each.
fn moons(count: u32, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut random = Random::new(seed, 0);
    let mut point = |label: u32| {
        let (angle, flip) = (std::f64::consts::PI * random.uniform(), if label == 1 { -1.0 } else { 1.0 });
        let at = [angle.cos() + f64::from(label) - 1.0, flip * (angle.sin() - 0.25)];
        at.map(|x| (x + 0.1 * random.normal()) as f32)
    };
    ((0..count).flat_map(|i| point(i % 3)).collect(), (0..count).map(|i| i % 3).collect())
}
