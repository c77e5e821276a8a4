//! `products [SECONDS]`: `x · Wᵀ + b` with few rows, as in serving, where a small batch is multiplied with the weights
//! of one layer after another. The counterpart of `peers/torch_products.py`, with the same output, one JSON object on
//! stdout: for each precision and shape the median seconds of a product with one weight repeatedly, and with twelve
//! weights in turn, which do not fit into a cache.
//!
//! Each median is over at least seven products and at least SECONDS seconds (default 0.5).

use std::iter;
use std::process::ExitCode;
use std::time::Instant;

use benches::Aligned;
use bitfit_core::cpu::Float;
use bitfit_core::cpu::gemm::{self, Bias, MatMut, MatRef, Output, PackedWeight, StoreBf16};
use bitfit_core::{Cpu, Device, cpu::Isa};
use half::bf16;
use serde_json::{Value, json};

/// Input and output features: BERT-base's and MiniLM's.
const WEIGHTS: [[usize; 2]; 5] = [[768, 768], [768, 3072], [3072, 768], [384, 1536], [1536, 384]];
const ROWS: [usize; 4] = [16, 32, 64, 128];
/// The number of layers of BERT-base.
const LAYERS: usize = 12;

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let seconds = match given.as_slice() {
        [] => Some(0.5),
        [seconds] => seconds.parse().ok().filter(|seconds: &f64| *seconds >= 0.0),
        _ => None,
    };
    let Some(seconds) = seconds else {
        eprintln!("usage: products [SECONDS]");
        return ExitCode::from(2);
    };
    let products = Cpu::default().install(|| {
        let f32_products = measure(
            "f32",
            seconds,
            |v| v,
            |x, w, y: &mut [f32], bias| {
                gemm::forward(Isa::selected(), x, w, y, false, &Bias(bias));
            },
        );
        let bf16_products = measure("bf16", seconds, bf16::from_f32, |x, w, y: &mut [bf16], bias| {
            let to = StoreBf16::new(Bias(bias), MatMut::new(y, w.out_features()));
            gemm::forward_view(Isa::selected(), MatRef::new(x, w.in_features()), w, Output::Discard, &to);
        });
        [f32_products, bf16_products].concat()
    });
    println!("{}", json!({ "products": products }));
    ExitCode::SUCCESS
}

/// Medians for all shapes, in one precision.
fn measure<T: Float>(
    precision: &str,
    seconds: f64,
    round: impl Fn(f32) -> T,
    product: impl Fn(&[T], &PackedWeight<T>, &mut [T], &[f32]),
) -> Vec<Value> {
    let values = |n: usize| (0..n).map(|i| (i * 7919 % 1013) as f32 / 506.5 - 1.0);
    let mut products = Vec::new();
    for [inputs, outputs] in WEIGHTS {
        let weight: Vec<f32> = values(inputs * outputs).collect();
        let bias: Vec<f32> = values(outputs).collect();
        let weights: Vec<_> =
            (0..LAYERS).map(|_| PackedWeight::<T>::new(Isa::selected(), &[&weight], outputs, inputs)).collect();
        for rows in ROWS {
            let mut x = Aligned::new(values(rows * inputs).map(&round));
            let mut y = Aligned::new(iter::repeat_n(round(0.0), rows * outputs));
            let [same, turns] = [1, LAYERS].map(|weights_in_turn| {
                let mut next = 0;
                median(seconds, || {
                    product(x.values(), &weights[next % weights_in_turn], y.values(), &bias);
                    next += 1;
                })
            });
            products.push(json!({
                "precision": precision, "rows": rows, "in": inputs, "out": outputs, "same_s": same, "turns_s": turns,
            }));
        }
    }
    products
}

/// The median time of calls repeated for `seconds` seconds, after a few warm-up calls.
fn median(seconds: f64, mut work: impl FnMut()) -> f64 {
    (0..LAYERS).for_each(|_| work());
    let mut taken = Vec::new();
    while taken.len() < 7 || taken.iter().sum::<f64>() < seconds {
        let start = Instant::now();
        work();
        taken.push(start.elapsed().as_secs_f64());
    }
    taken.sort_by(f64::total_cmp);
    taken[taken.len() / 2]
}
