//! Two encoder layers over packed sequences of different lengths, of which the biases and the head train, in f32 and in
//! bfloat16. The task: whether a sequence holds token 0 more often than token 1. Run it with
//! `cargo run --release -p bitfit-core --example encoder`.

mod layer;

use bitfit_core::{
    ArenaBuilder, Cpu, Device, HostTensor, Indices, Mask, Precision, Random, Result, Seed, Sequences, Tape, Workspace,
    optim::{AdamW, ArenaOptimizer, LearningRate, Schedule},
};
use layer::Layer;

const H: usize = 32;
const STEPS: u64 = 250;

fn main() -> Result<()> {
    for precision in Precision::ALL {
        let device = Cpu::default().with_precision(precision);
        let accuracy = device.install(|| train(&device))?;
        println!("{}: accuracy on new sequences {accuracy:.3}", device.name());
        assert!(accuracy > 0.8);
    }
    Ok(())
}

fn train(device: &Cpu) -> Result<f32> {
    let (mut builder, mut random) = (ArenaBuilder::new(device.clone()), Random::new(1, 0));
    let table = builder.add("embeddings", HostTensor::normal([8, H], 1.0, &mut random), Mask::None)?;
    let layers = [0, 1].map(|n| Layer::new(builder.scope(format!("layer.{n}")), H, &mut random));
    let [first, second] = layers;
    let layers = [first?, second?];
    let head = builder.weight("head", HostTensor::normal([2, H], 0.1, &mut random), Mask::All)?;
    let mut arena = builder.build()?;
    println!("{} values train, {} tensors are frozen", arena.len(), arena.frozen().len());

    let workspace = Workspace::new(device.clone());
    let mut optimizer = ArenaOptimizer::new(&arena, AdamW::default())?;
    let mut gradient = arena.gradient()?;
    let rate = LearningRate::new(2e-2, Schedule::Linear, STEPS).with_warmup(20);
    // The last step only predicts.
    for step in 0..=STEPS {
        let (tokens, lengths, labels) = batch(&mut random, if step < STEPS { 32 } else { 500 });
        let sequences = Sequences::new(device, lengths)?;
        let mut tape = match step {
            STEPS => Tape::infer(&workspace, &arena),
            _ => Tape::train(&workspace, &arena, Seed { run: 0, step }),
        };
        let mut x = tape.embedding(&Indices::new(device, &tokens)?, &table)?;
        for layer in &layers {
            x = layer.forward(&mut tape, &x, &sequences)?;
        }
        let pooled = tape.sequence_mean(&x, &sequences)?;
        let logits = tape.linear(&pooled, &head, &[])?;
        if step == STEPS {
            let logits = logits.to_vec()?;
            let right = logits.chunks(2).zip(&labels).filter(|(z, label)| u32::from(z[1] > z[0]) == **label).count();
            return Ok(right as f32 / labels.len() as f32);
        }
        let loss = tape.cross_entropy(&logits, &Indices::new(device, &labels)?)?;
        gradient.clear(device)?;
        tape.backward(&loss, &mut gradient)?;
        optimizer.step(&mut arena, &gradient, rate.at(step), Some(1.0))?;
    }
    unreachable!("the last step returns")
}

/// The tokens of some sequences one after another, the lengths, and the labels.
fn batch(random: &mut Random, count: usize) -> (Vec<u32>, Vec<usize>, Vec<u32>) {
    let sequences: Vec<Vec<u32>> =
        (0..count).map(|_| (0..4 + random.below(9)).map(|_| random.below(8)).collect()).collect();
    let often = |sequence: &Vec<u32>, token| sequence.iter().filter(|&&t| t == token).count();
    let labels = sequences.iter().map(|sequence| u32::from(often(sequence, 0) > often(sequence, 1))).collect();
    (sequences.concat(), sequences.iter().map(Vec::len).collect(), labels)
}
