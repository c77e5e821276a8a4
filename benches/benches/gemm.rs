//! The rates of products of frozen weights, compared with the peak rate of the CPU.
//!
//! The bench first prints a table: for each shape the rate of both products, and their share of the rate of only
//! multiply-adds in registers with the same number of threads, measured alternately (absolute rates of a shared machine
//! say little). Then it prints criterion's statistics for a few of the shapes. `BITFIT_ISA` forces an instruction set.

use std::time::Instant;

use benches::{Matrix, peak};
use bitfit_core::{Cpu, Device, HostTensor, Precision, cpu::Isa, ops::linear::Linear};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};

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
struct Case {
    device: Cpu,
    flops: f64,
    weight: <Cpu as Device>::Matrix,
    x: Matrix,
    dy: Matrix,
    y: Matrix,
    dx: Matrix,
}

impl Case {
    fn new(precision: Precision, [rows, inputs, outputs]: [usize; 3]) -> Self {
        let device = Cpu::default().with_precision(precision);
        let weight = HostTensor::new([outputs, inputs], benches::values(inputs * outputs)).expect("a weight");
        let dtype = precision.activation_dtype();
        Self {
            flops: 2.0 * rows as f64 * inputs as f64 * outputs as f64,
            weight: device.lay_out(&[weight], precision).expect("a weight"),
            x: Matrix::new(&device, dtype, rows * inputs),
            dy: Matrix::new(&device, dtype, rows * outputs),
            y: Matrix::new(&device, dtype, rows * outputs),
            dx: Matrix::new(&device, dtype, rows * inputs),
            device,
        }
    }

    fn forward(&mut self) {
        self.device.linear(self.x.slice(), &self.weight, &[], self.y.slice_mut()).expect("a product");
    }

    fn input_gradient(&mut self) {
        let (dy, dx) = (self.dy.slice(), self.dx.slice_mut());
        self.device.linear_input(dy, &self.weight, dx, false).expect("a product");
    }

    /// The best GFLOP/s of a few turns.
    fn rate(&mut self, work: fn(&mut Self)) -> f64 {
        let repeats = (2e9 / self.flops).ceil() as usize;
        let start = Instant::now();
        (0..repeats).for_each(|_| work(self));
        repeats as f64 * self.flops / start.elapsed().as_secs_f64() / 1e9
    }
}

/// A shape's lines of the table, from the best of several turns. A turn measures every precision, so that they can be
/// compared with each other too.
fn lines(shape: [usize; 3]) {
    let isa = Isa::selected();
    let mut cases = Precision::ALL.map(|precision| (precision, Case::new(precision, shape), [0.0f64; 3]));
    for _ in 0..if benches::is_test() { 1 } else { 8 } {
        for (precision, case, best) in &mut cases {
            let turn = [peak::gflops(isa, *precision), case.rate(Case::forward), case.rate(Case::input_gradient)];
            *best = std::array::from_fn(|i| best[i].max(turn[i]));
        }
    }
    let [rows, inputs, outputs] = shape;
    for (precision, _, [peak, forward, gradient]) in cases {
        println!(
            "{:4} {rows:5} x {inputs:4} -> {outputs:4}   forward {forward:7.1} ({:.3})   input gradient {gradient:7.1} ({:.3})   peak {peak:7.1}",
            precision.name(),
            forward / peak,
            gradient / peak
        );
    }
}

fn shares(_: &mut Criterion) {
    println!(
        "GFLOP/s at {} with {} threads, and the share of the peak:",
        Isa::selected(),
        rayon::current_num_threads()
    );
    SHAPES.into_iter().for_each(lines);
}

fn products(c: &mut Criterion) {
    for [rows, inputs, outputs] in [[2048, 768, 768], [2048, 768, 3072], [128, 768, 768], [16, 768, 3072]] {
        let mut group = c.benchmark_group(format!("gemm/{rows}x{inputs}x{outputs}"));
        group.sample_size(20);
        for precision in Precision::ALL {
            let (mut case, name) = (Case::new(precision, [rows, inputs, outputs]), precision.name());
            group.throughput(Throughput::Elements(case.flops as u64));
            group.bench_function(BenchmarkId::new("forward", name), |b| b.iter(|| case.forward()));
            group.bench_function(BenchmarkId::new("input_gradient", name), |b| b.iter(|| case.input_gradient()));
        }
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
