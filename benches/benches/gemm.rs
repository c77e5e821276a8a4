//! The rates of products of frozen weights, compared with the peak rate of the CPU.
//!
//! The bench first prints a table: for each shape the rate of both products, and their share of the rate of only
//! multiply-adds in registers with the same number of threads, measured alternately (absolute rates of a shared machine
//! say little). Then it prints criterion's statistics for a few of the shapes. `BITFIT_ISA` forces an instruction set.

use std::time::Instant;

use benches::{Aligned, peak};
use bitfit_core::{
    Cpu, Device,
    cpu::{
        Float,
        gemm::{self, NoEpilogue, PackedWeight},
        simd::Isa,
    },
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use half::bf16;

/// Rows of the activations, input and output features: MiniLM, BERT-base and BERT-large, and a few small batches.
const SHAPES: [[usize; 3]; 22] = [
    [2048, 384, 384],
    [2048, 384, 1152],
    [2048, 384, 1536],
    [2048, 1536, 384],
    [2048, 768, 768],
    [2048, 768, 2304],
    [2048, 768, 3072],
    [2048, 3072, 768],
    [2048, 1024, 1024],
    [2048, 1024, 4096],
    [2048, 4096, 1024],
    [512, 768, 768],
    [512, 3072, 768],
    [512, 384, 1536],
    [128, 768, 768],
    [128, 768, 3072],
    [64, 768, 3072],
    [64, 3072, 768],
    [32, 768, 3072],
    [16, 768, 3072],
    [16, 3072, 768],
    [16, 384, 1536],
];

/// One weight with activations, and buffers for both products.
struct Case<T> {
    isa: Isa,
    flops: f64,
    weight: PackedWeight<T>,
    x: Aligned<T>,
    dy: Aligned<T>,
    y: Aligned<f32>,
    dx: Aligned<f32>,
}

impl<T: Float> Case<T> {
    fn new(isa: Isa, [rows, inputs, outputs]: [usize; 3], round: impl Fn(f32) -> T) -> Self {
        let values = |n: usize| (0..n).map(|i| (i * 7919 % 1013) as f32 / 506.5 - 1.0);
        let zeros = |n| Aligned::new(std::iter::repeat_n(0.0, n));
        let weight: Vec<f32> = values(inputs * outputs).collect();
        Self {
            isa,
            flops: 2.0 * rows as f64 * inputs as f64 * outputs as f64,
            weight: PackedWeight::new(isa, &[&weight], outputs, inputs),
            x: Aligned::new(values(rows * inputs).map(&round)),
            dy: Aligned::new(values(rows * outputs).map(&round)),
            y: zeros(rows * outputs),
            dx: zeros(rows * inputs),
        }
    }

    fn forward(&mut self) {
        let (x, y) = (self.x.values(), self.y.values());
        gemm::forward(self.isa, x, &self.weight, y, false, &NoEpilogue);
    }

    fn input_gradient(&mut self) {
        let (dy, dx) = (self.dy.values(), self.dx.values());
        gemm::input_gradient(self.isa, dy, &self.weight, dx, false, &NoEpilogue);
    }

    /// The best GFLOP/s of a few turns.
    fn rate(&mut self, work: fn(&mut Self)) -> f64 {
        let repeats = (2e9 / self.flops).ceil() as usize;
        let start = Instant::now();
        (0..repeats).for_each(|_| work(self));
        repeats as f64 * self.flops / start.elapsed().as_secs_f64() / 1e9
    }
}

/// One line of the table, from the best of several turns of each measurement.
fn line<T: Float>(shape: [usize; 3], kind: &str, pairs: bool, round: impl Fn(f32) -> T) {
    let isa = Isa::selected();
    let mut case = Case::new(isa, shape, round);
    let mut best = [0.0f64; 3];
    for _ in 0..if benches::is_test() { 1 } else { 8 } {
        let turn = [peak::gflops(isa, pairs), case.rate(Case::forward), case.rate(Case::input_gradient)];
        best = std::array::from_fn(|i| best[i].max(turn[i]));
    }
    let [peak, forward, gradient] = best;
    let [rows, inputs, outputs] = shape;
    println!(
        "{kind:4} {rows:5} x {inputs:4} -> {outputs:4}   forward {forward:7.1} ({:.3})   input gradient {gradient:7.1} ({:.3})   peak {peak:7.1}",
        forward / peak,
        gradient / peak
    );
}

fn shares(_: &mut Criterion) {
    println!(
        "GFLOP/s at {} with {} threads, and the share of the peak:",
        Isa::selected(),
        rayon::current_num_threads()
    );
    for shape in SHAPES {
        line(shape, "f32", false, |v| v);
    }
    for shape in SHAPES {
        line(shape, "bf16", true, bf16::from_f32);
    }
}

fn products(c: &mut Criterion) {
    let isa = Isa::selected();
    for [rows, inputs, outputs] in [[2048, 768, 768], [2048, 768, 3072], [128, 768, 768], [16, 768, 3072]] {
        let mut group = c.benchmark_group(format!("gemm/{rows}x{inputs}x{outputs}"));
        let mut f32_case = Case::new(isa, [rows, inputs, outputs], |v| v);
        let mut bf16_case = Case::new(isa, [rows, inputs, outputs], bf16::from_f32);
        group.throughput(Throughput::Elements(f32_case.flops as u64)).sample_size(20);
        group.bench_function(BenchmarkId::new("forward", "f32"), |b| b.iter(|| f32_case.forward()));
        group.bench_function(BenchmarkId::new("input_gradient", "f32"), |b| b.iter(|| f32_case.input_gradient()));
        group.bench_function(BenchmarkId::new("forward", "bf16"), |b| b.iter(|| bf16_case.forward()));
        group.bench_function(BenchmarkId::new("input_gradient", "bf16"), |b| b.iter(|| bf16_case.input_gradient()));
    }
}

criterion_group!(benches, shares, products);

// Runs on the thread on which a training loop runs.
fn main() {
    Cpu::default().install(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    });
}
