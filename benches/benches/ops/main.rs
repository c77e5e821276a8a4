//! Each fused op forward and backward, at the shapes of MiniLM and BERT-base, in f32, bf16 and int8.
//!
//! The bench first prints a table: the rate of the op, and its share of a ceiling that is measured alternately with it
//! on the same threads. For products, the ceiling is the rate of only multiply-adds; for other ops, a copy of as many
//! bytes. Then it prints criterion's statistics. `BITFIT_ISA` forces an instruction set.

mod cases;

use std::time::Duration;

use benches::{BASE, MINILM, least_seconds, peak};
use bitfit_core::{Cpu, Device, Precision};
use cases::{AdamWOp, AddNormOp, AttentionOp, Case, Cost, Factors, FeedForwardOp, Gelu};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Tokens of a step: 16 sequences of RTE's mean length, and 16 of 128.
const TOKENS: [usize; 2] = [1056, 2048];

/// Makes the cases one after the other, so that the buffers of one are freed before those of the next are allocated.
fn for_each_case(mut work: impl FnMut(Case)) {
    for size in [MINILM, BASE] {
        for tokens in TOKENS {
            Precision::ALL.into_iter().for_each(|precision| work(AddNormOp::case(tokens, size, precision)));
        }
        for shape in [[16, 66], [16, 128], [1, 512]] {
            Precision::ALL.into_iter().for_each(|precision| work(AttentionOp::case(shape, size, precision)));
        }
        for tokens in TOKENS {
            Precision::ALL.into_iter().for_each(|precision| work(FeedForwardOp::case(tokens, size, precision)));
        }
        TOKENS.into_iter().for_each(|tokens| work(Gelu::case(tokens, size)));
        TOKENS.into_iter().for_each(|tokens| work(Factors::case(tokens, size)));
    }
    work(AdamWOp::case());
}

fn shares(_: &mut Criterion) {
    if benches::is_test() {
        return; // criterion runs every op once
    }
    let device = Cpu::default();
    println!("{}: GFLOP/s or GB/s, and the share of the ceiling:", device.name());
    for_each_case(|mut case| {
        let (amounts, unit) = match case.cost {
            Cost::Flops(flops, _) => (flops, "GFLOP/s"),
            Cost::Bytes(bytes) => (bytes.map(|bytes| bytes as f64), "GB/s"),
        };
        let mut copies = match case.cost {
            Cost::Flops(..) => None,
            Cost::Bytes(bytes) => Some(peak::Copy::of_bytes(bytes[0])),
        };
        // Forward, backward, ceiling.
        let mut best = [0.0f64; 3];
        for _ in 0..8 {
            let turn = [
                amounts[0] / least_seconds(2, || case.run.forward()) / 1e9,
                if amounts[1] > 0.0 { amounts[1] / least_seconds(2, || case.run.backward()) / 1e9 } else { 0.0 },
                match (case.cost, &mut copies) {
                    (_, Some(copy)) => copy.gbytes(),
                    (Cost::Flops(_, precision), None) => peak::gflops(device.isa(), precision),
                    (Cost::Bytes(_), None) => unreachable!("made above"),
                },
            ];
            best = std::array::from_fn(|i| best[i].max(turn[i]));
        }
        let [forward, backward, ceiling] = best;
        let half = |rate: f64| match rate {
            0.0 => format!("{:>15}", "-"),
            rate => format!("{rate:7.1} ({:.3})", rate / ceiling),
        };
        println!(
            "{:15} {:20} forward {}   backward {}   ceiling {ceiling:7.1} {unit}",
            case.op,
            case.shape,
            half(forward),
            half(backward)
        );
    });
}

fn statistics(c: &mut Criterion) {
    for_each_case(|mut case| {
        let mut group = c.benchmark_group(case.op);
        group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
        for (half, name) in ["forward", "backward"].into_iter().enumerate() {
            let amount = match case.cost {
                Cost::Flops(flops, _) => Throughput::Elements(flops[half] as u64),
                Cost::Bytes(bytes) => Throughput::Bytes(bytes[half] as u64),
            };
            if matches!(amount, Throughput::Bytes(0)) {
                continue;
            }
            group.throughput(amount);
            group.bench_function(BenchmarkId::new(name, &case.shape), |b| match half {
                0 => b.iter(|| case.run.forward()),
                _ => b.iter(|| case.run.backward()),
            });
        }
    });
}

criterion_group!(benches, shares, statistics);
criterion_main!(benches);
