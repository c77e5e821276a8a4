//! What `benches/benches/embedder.rs` measures of core, in candle on the CPU: the time of a node of autograd, AdamW on
//! flat tensors, and a training step of two encoder layers of which the biases train.
//!
//!     candle-embedder [--seconds S] [--large]
//!
//! One JSON object on stdout; times in seconds. `--large` includes AdamW on 1e8 values, which takes 5 GB. Threads are
//! those of `RAYON_NUM_THREADS`.
//!
//! The step is written with candle's differentiable operations. Its fused layer norm and softmax have no backward, nor
//! has its attention for the CPU, so these are composed, as candle-nn's own slow versions are. A product's backward
//! computes the gradients of both factors, of a frozen weight too. Products of bfloat16 are not implemented on the CPU.
//! There is no function that clips a gradient's norm, so this is composed too.

use std::{env, hint::black_box, time::Instant};

use candle_core::{D, DType, Device, Result, Tensor, Var, backprop::GradStore};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW, loss, ops};

const NODES: usize = 1000;
const SEQUENCES: usize = 16;
const TOKENS: usize = 64;
const H: usize = 384;
const HEADS: usize = 12;
const FFN: usize = 1536;

/// The median time of repeated calls over the given number of seconds, after a few warm-up calls.
fn median(seconds: f64, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..3 {
        work()?;
    }
    let mut taken: Vec<f64> = Vec::new();
    while taken.len() < 7 || taken.iter().sum::<f64>() < seconds {
        let start = Instant::now();
        work()?;
        taken.push(start.elapsed().as_secs_f64());
    }
    taken.sort_by(f64::total_cmp);
    let middle = taken.len() / 2;
    Ok(if taken.len() % 2 == 1 { taken[middle] } else { (taken[middle - 1] + taken[middle]) / 2.0 })
}

/// The time of a node: of a pass, and of recording and backward.
fn node(seconds: f64) -> Result<[f64; 2]> {
    let chain = |mut x: Tensor| {
        for _ in 0..NODES {
            x = x.affine(1.0, 0.0)?;
        }
        Ok::<_, candle_core::Error>(x)
    };
    let constant = Tensor::ones((1, 1), DType::F32, &Device::Cpu)?;
    let one = Var::from_tensor(&constant)?;
    let infer = median(seconds, || chain(constant.clone()).map(|x| drop(black_box(x))))?;
    let train = median(seconds, || chain(one.as_tensor().clone())?.backward().map(|grads| drop(black_box(grads))))?;
    Ok([infer / NODES as f64, train / NODES as f64])
}

fn hyper() -> ParamsAdamW {
    ParamsAdamW { lr: 1e-4, weight_decay: 0.0, ..ParamsAdamW::default() }
}

fn adamw(seconds: f64, length: usize) -> Result<f64> {
    let values = Var::from_tensor(&Tensor::full(0.5f32, length, &Device::Cpu)?)?;
    let mut grads = {
        let sum = values.as_tensor().sum_all()?;
        sum.backward()?
    };
    grads.insert(&values, Tensor::rand(-1f32, 1f32, length, &Device::Cpu)?);
    let mut optimizer = AdamW::new(vec![values], hyper())?;
    median(seconds, || optimizer.step(&grads))
}

/// A post-LN layer as in embedder.rs: query, key and value as one product, the exact GELU.
struct Layer {
    qkv: Linear,
    o: Linear,
    up: Linear,
    down: Linear,
    gamma: Tensor,
    betas: [Var; 2],
}

impl Layer {
    fn new(trained: &mut Vec<Var>) -> Result<Self> {
        let mut bias = |length: usize| {
            let bias = Var::zeros(length, DType::F32, &Device::Cpu)?;
            trained.push(bias.clone());
            Ok::<_, candle_core::Error>(bias)
        };
        let betas = [bias(H)?, bias(H)?];
        let mut linear = |out: usize, inputs: usize| {
            let weight = Tensor::randn(0f32, 0.02, (out, inputs), &Device::Cpu)?;
            Ok::<_, candle_core::Error>(Linear::new(weight, Some(bias(out)?.as_tensor().clone())))
        };
        let (qkv, o, up, down) = (linear(3 * H, H)?, linear(H, H)?, linear(FFN, H)?, linear(H, FFN)?);
        Ok(Self { qkv, o, up, down, gamma: Tensor::ones(H, DType::F32, &Device::Cpu)?, betas })
    }

    /// `x` is `[B * T, H]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let split = self.qkv.forward(x)?.reshape((SEQUENCES, TOKENS, 3, HEADS, H / HEADS))?;
        let part = |index: usize| split.narrow(2, index, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let scores = (q.matmul(&k.t()?)? * (1.0 / ((H / HEADS) as f64).sqrt()))?;
        let attended = ops::dropout(&ops::softmax(&scores, D::Minus1)?, 0.1)?.matmul(&v)?;
        let attended = attended.transpose(1, 2)?.reshape((SEQUENCES * TOKENS, H))?;
        let y = ops::dropout(&self.o.forward(&attended)?, 0.1)?;
        let h = ops::layer_norm_slow(&(x + y)?, &self.gamma, &self.betas[0], 1e-12)?;
        let y = self.down.forward(&self.up.forward(&h)?.gelu_erf()?)?;
        ops::layer_norm_slow(&(&h + ops::dropout(&y, 0.1)?)?, &self.gamma, &self.betas[1], 1e-12)
    }
}

/// Scales the gradients to a norm of at most 1 over all variables.
fn clip(trained: &[Var], grads: &mut GradStore) -> Result<()> {
    let squares = trained.iter().filter_map(|var| Some(grads.get(var)?.sqr().and_then(|squares| squares.sum_all())));
    let norm = Tensor::stack(&squares.collect::<Result<Vec<_>>>()?, 0)?.sum_all()?.to_scalar::<f32>()?.sqrt();
    if norm > 1.0 {
        for var in trained {
            if let Some(grad) = grads.remove(var) {
                grads.insert(var, (grad / f64::from(norm))?);
            }
        }
    }
    Ok(())
}

fn encoder(seconds: f64) -> Result<f64> {
    let mut trained = Vec::new();
    let layers = [Layer::new(&mut trained)?, Layer::new(&mut trained)?];
    let head = Var::randn(0f32, 0.02, (2, H), &Device::Cpu)?;
    trained.push(head.clone());
    let expected = trained.len();
    let mut optimizer = AdamW::new(trained.clone(), hyper())?;
    let x = Tensor::randn(0f32, 1.0, (SEQUENCES * TOKENS, H), &Device::Cpu)?;
    let labels: Vec<u32> = (0..SEQUENCES as u32).map(|sequence| sequence % 2).collect();
    let labels = Tensor::new(labels, &Device::Cpu)?;
    median(seconds, || {
        let mut x = x.clone();
        for layer in &layers {
            x = layer.forward(&x)?;
        }
        let logits = x.reshape((SEQUENCES, TOKENS, H))?.mean(1)?.matmul(&head.t()?)?;
        let mut grads = loss::cross_entropy(&logits, &labels)?.backward()?;
        let found = trained.iter().filter(|var| grads.get(var).is_some()).count();
        assert_eq!(found, expected, "every variable has a gradient");
        clip(&trained, &mut grads)?;
        optimizer.step(&grads)
    })
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let large = arguments.iter().any(|argument| argument == "--large");
    let seconds = match arguments.iter().position(|argument| argument == "--seconds") {
        Some(flag) => arguments.get(flag + 1).and_then(|value| value.parse().ok()).expect("--seconds takes a number"),
        None => 3.0,
    };
    let [infer, train] = node(seconds)?;
    let small = adamw(seconds, 100_000)?;
    let large = if large { format!(r#", "100000000": {:e}"#, adamw(seconds, 100_000_000)?) } else { String::new() };
    let step = encoder(seconds)?;
    println!(
        r#"{{"node_s": {{"infer": {infer:e}, "train": {train:e}}}, "adamw_s": {{"100000": {small:e}{large}}}, "encoder_step_s": {{"f32": {step:e}}}}}"#
    );
    Ok(())
}
