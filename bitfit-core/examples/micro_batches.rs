//! Micro-batches on two threads; groups of parameters with a rate and a decay of their own under one clipping, with
//! AdamW and with SGD. Run it with `cargo run -p bitfit-core --example micro_batches`.

use bitfit_core::{
    Arena, ArenaBuilder, Cpu, Entry, Gradient, HostTensor, Indices, Mask, Param, Random, Result, Seed, Tape, Weight,
    Workspace,
    optim::{AdamW, ArenaOptimizer, ArenaSgd, Group, Optimizer, Sgd},
};

const FEATURES: usize = 6;

struct Network(Weight<Cpu>, Param<Cpu>, Weight<Cpu>);

impl Network {
    fn new() -> Result<(Self, Arena<Cpu>)> {
        let (mut builder, mut random) = (ArenaBuilder::new(Cpu::default()), Random::new(5, 0));
        let weight = builder.weight("weight", HostTensor::normal([12, FEATURES], 0.4, &mut random), Mask::All)?;
        let bias = builder.add("bias", HostTensor::filled([12], 0.0), Mask::All)?;
        let head = builder.weight("head", HostTensor::normal([3, 12], 0.4, &mut random), Mask::All)?;
        Ok((Self(weight, bias, head), builder.build()?))
    }

    /// Adds the gradient of some rows' share of the loss to `gradient`, and returns this share.
    fn add(
        &self,
        workspace: &Workspace<Cpu>,
        arena: &Arena<Cpu>,
        (inputs, labels): (&[f32], &[u32]),
        gradient: &mut Gradient<Cpu>,
    ) -> Result<f32> {
        let mut tape = Tape::train(workspace, arena, Seed { run: 0, step: 0 });
        let x = tape.input(labels.len(), FEATURES, inputs)?;
        let h = tape.linear(&x, &self.0, &[&self.1])?;
        let h = tape.tanh(&h)?;
        let logits = tape.linear(&h, &self.2, &[])?;
        let loss = tape.cross_entropy(&logits, &Indices::new(arena.device(), labels)?)?;
        tape.backward_scaled(&loss, labels.len() as f32 / 60.0, gradient)?;
        Ok(labels.len() as f32 / 60.0 * loss.item()?)
    }
}

fn train(network: &Network, mut arena: Arena<Cpu>, mut optimizer: impl Optimizer<Cpu>, lr: f32) -> Result<f32> {
    let mut random = Random::new(6, 0);
    let inputs: Vec<f32> = (0..60 * FEATURES).map(|_| random.normal() as f32).collect();
    let label = |x: &[f32]| u32::from(x[0] > 0.3) + u32::from(x[1] * x[2] > 0.0);
    let labels: Vec<u32> = inputs.chunks(FEATURES).map(label).collect();
    let workspace = Workspace::new(Cpu::default());
    let (mut sum, mut other, mut loss) = (arena.gradient()?, arena.gradient()?, 0.0);
    for _ in 0..100 {
        sum.clear(arena.device())?;
        other.clear(arena.device())?;
        let (first, second) = ((&inputs[..120], &labels[..20]), (&inputs[120..], &labels[20..]));
        // The workspace and the arena are shared; each thread has a gradient of its own.
        let (a, b) = std::thread::scope(|scope| {
            let there = scope.spawn(|| network.add(&workspace, &arena, first, &mut other));
            (network.add(&workspace, &arena, second, &mut sum), there.join().expect("no panic"))
        });
        sum.add(arena.device(), &other)?;
        loss = a? + b?;
        optimizer.step(&mut arena, &sum, lr, Some(1.0))?;
    }
    Ok(loss)
}

fn main() -> Result<()> {
    let groups = |entry: &Entry| match entry.name.as_str() {
        "bias" => Group::default().with_weight_decay(0.0),
        "head" => Group::default().with_rate(2.0),
        _ => Group::default(),
    };
    let (network, arena) = Network::new()?;
    let adamw = ArenaOptimizer::new(&arena, AdamW::default().with_weight_decay(0.01))?.with_groups(&arena, groups)?;
    let adamw = train(&network, arena, adamw, 0.02)?;
    let (network, arena) = Network::new()?;
    let sgd = ArenaSgd::new(&arena, Sgd::default().with_momentum(0.9))?.with_groups(&arena, groups)?;
    let sgd = train(&network, arena, sgd, 0.1)?;
    println!("loss after 100 steps: AdamW {adamw:.3}, SGD {sgd:.3}");
    if adamw < 0.3 && sgd < 0.5 { Ok(()) } else { panic!("the losses did not fall") }
}
