//! What matters to a trainer that embeds core: the tape's own time for a node, AdamW on bare slices, and a
//! training step of two encoder layers whose biases train. `peers/torch_embedder.py` measures the same of PyTorch.
//!
//! The time of a node is that of an op on a `[1, 1]` matrix: bookkeeping, a buffer and a call, and no arithmetic to
//! speak of; for training, recording and backward are part of it.

use std::hint::black_box;

use bitfit_core::{
    Arena, ArenaBuilder, Cpu, Device, Error, Gradient, HostTensor, Indices, Mask, Param, Precision, Random, Result,
    Seed, Sequences, Tape, Weight, Workspace,
    ops::{
        add_norm::AddNormArgs,
        attention::{AttentionArgs, Projections},
    },
    optim::{AdamW, ArenaOptimizer, SparseAdamW},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};

/// The length of the chain of ops.
const NODES: u64 = 1000;
// A batch of the shape of MiniLM: sequences, tokens of each, hidden, heads, ffn.
const SEQUENCES: usize = 16;
const TOKENS: usize = 64;
const H: usize = 384;
const HEADS: usize = 12;
const FFN: usize = 1536;

fn tape(c: &mut Criterion) {
    let mut builder = ArenaBuilder::new(Cpu::default());
    let one = builder.train("one", HostTensor::filled([1], 1.0), Mask::All).expect("a parameter");
    let arena = builder.build().expect("an arena");
    let workspace = Workspace::new(Cpu::default());
    let mut gradient = arena.gradient().expect("a gradient");
    let mut group = c.benchmark_group("tape/node");
    group.throughput(Throughput::Elements(NODES));
    let chain = |tape: &mut Tape<'_, Cpu>| {
        let mut x = tape.parameter(&one)?;
        for _ in 0..NODES {
            x = tape.scale(&x, 1.0)?;
        }
        Ok::<_, Error>(x)
    };
    group.bench_function("infer", |b| {
        b.iter(|| chain(&mut Tape::infer(&workspace, &arena)).expect("a pass"));
    });
    group.bench_function("train", |b| {
        b.iter(|| {
            let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step: 0 });
            let x = chain(&mut tape).expect("a pass");
            tape.backward(&x, &mut gradient).expect("backward");
        });
    });
}

fn adamw(c: &mut Criterion) {
    let mut group = c.benchmark_group("adamw/slices");
    group.sample_size(10);
    for len in [100_000, 100_000_000] {
        if benches::is_test() && len > 100_000 {
            continue; // 1.6 GB
        }
        let (mut params, grads) = (vec![0.5; len], benches::values(len));
        let mut optimizer = SparseAdamW::new(len, AdamW::default()).expect("an optimizer");
        group.throughput(Throughput::Elements(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| optimizer.step(1e-4, black_box(&mut params), &grads).expect("a step"));
        });
    }
}

/// The weights, the biases, and the scale of both layer norms.
type Layer = ([Weight<Cpu>; 4], [Param<Cpu>; 6], Param<Cpu>);

struct Encoder {
    layers: [Layer; 2],
    head: Weight<Cpu>,
    sequences: Sequences<Cpu>,
    labels: Indices<Cpu>,
    input: HostTensor,
}

impl Encoder {
    fn new(device: &Cpu) -> Result<(Self, Arena<Cpu>)> {
        let (mut builder, mut random) = (ArenaBuilder::new(device.clone()), Random::new(0, 0));
        let mut layer = |number: usize| {
            let mut scope = builder.scope(format!("layer.{number}"));
            let mut weight = |name: &str, shape: [usize; 2]| {
                scope.weight(name, HostTensor::normal(shape, 0.02, &mut random), Mask::None)
            };
            let weights =
                [weight("qkv", [3 * H, H])?, weight("o", [H, H])?, weight("up", [FFN, H])?, weight("down", [H, FFN])?];
            let mut bias = |name: &str, len: usize| scope.add(name, HostTensor::filled([len], 0.0), Mask::All);
            let biases = [
                bias("qkv.bias", 3 * H)?,
                bias("o.bias", H)?,
                bias("norm1.bias", H)?,
                bias("up.bias", FFN)?,
                bias("down.bias", H)?,
                bias("norm2.bias", H)?,
            ];
            let gamma = scope.add("norm.weight", HostTensor::filled([H], 1.0), Mask::None)?;
            Ok::<_, Error>((weights, biases, gamma))
        };
        let layers = [layer(0)?, layer(1)?];
        let head = builder.weight("head", HostTensor::normal([2, H], 0.02, &mut random), Mask::All)?;
        let input = HostTensor::normal([SEQUENCES * TOKENS, H], 1.0, &mut random);
        let labels: Vec<u32> = (0..SEQUENCES as u32).map(|i| i % 2).collect();
        let sequences = Sequences::new(device, [TOKENS; SEQUENCES])?;
        let labels = Indices::new(device, &labels)?;
        Ok((Self { layers, head, sequences, labels, input }, builder.build()?))
    }

    fn backward(&self, workspace: &Workspace<Cpu>, arena: &Arena<Cpu>, gradient: &mut Gradient<Cpu>) -> Result<()> {
        let mut tape = Tape::train(workspace, arena, Seed { run: 0, step: 0 });
        let mut x = tape.input(SEQUENCES * TOKENS, H, self.input.data())?;
        for ([qkv, o, up, down], [b1, b2, beta1, b3, b4, beta2], gamma) in &self.layers {
            let qkv = tape.linear(&x, qkv, &[b1])?;
            let args = AttentionArgs::new(HEADS, &self.sequences).with_dropout(0.1);
            let attended = tape.attention(Projections::Packed(&qkv), &args)?;
            let y = tape.linear(&attended, o, &[])?;
            let norm = |beta, residual, bias| {
                AddNormArgs::new(gamma, beta).with_residual(residual).with_linear_bias(bias).with_dropout(0.1)
            };
            let h = tape.add_norm(&y, &norm(beta1, &x, b2))?;
            let y = tape.feed_forward(&h, up, b3, down)?;
            x = tape.add_norm(&y, &norm(beta2, &h, b4))?;
        }
        let pooled = tape.sequence_mean(&x, &self.sequences)?;
        let logits = tape.linear(&pooled, &self.head, &[])?;
        let loss = tape.cross_entropy(&logits, &self.labels)?;
        gradient.clear(workspace.device())?;
        tape.backward(&loss, gradient)
    }
}

fn encoder(c: &mut Criterion) {
    let mut group = c.benchmark_group("encoder/two_layers");
    group.sample_size(20);
    for precision in Precision::ALL {
        let device = Cpu::default().with_precision(precision);
        let (encoder, mut arena) = Encoder::new(&device).expect("an encoder");
        let workspace = Workspace::new(device);
        let mut optimizer = ArenaOptimizer::new(&arena, AdamW::default()).expect("an optimizer");
        let mut gradient = arena.gradient().expect("a gradient");
        group.bench_function(BenchmarkId::from_parameter(precision), |b| {
            b.iter(|| {
                encoder.backward(&workspace, &arena, &mut gradient).expect("backward");
                optimizer.step(&mut arena, &gradient, 1e-4, Some(1.0)).expect("a step");
            });
        });
    }
}

criterion_group!(benches, tape, adamw, encoder);

// Runs on the thread on which a training loop runs.
fn main() {
    Cpu::default().install(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    });
}
