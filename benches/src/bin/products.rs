//! `products [SECONDS]`: `x · Wᵀ + b` with few rows, as in serving, where a small batch is multiplied with the weights
//! of one layer after another. The counterpart of `peers/torch_products.py`, with the same output, one JSON object on
//! stdout: for each precision and shape the median seconds of a product with one weight repeatedly, and with twelve
//! weights in turn, which do not fit into a cache.
//!
//! Each median is over at least seven products and at least SECONDS seconds (default 0.5).

use std::process::ExitCode;
use std::time::Instant;

use benches::Matrix;
use bitfit_core::{Cpu, DType, Device, HostTensor, Precision, ops::linear::Linear};
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
    let products = Cpu::default().install(|| Precision::ALL.map(|precision| measure(precision, seconds)).concat());
    println!("{}", json!({ "products": products }));
    ExitCode::SUCCESS
}

/// Medians for all shapes, in one precision.
fn measure(precision: Precision, seconds: f64) -> Vec<Value> {
    let device = Cpu::default().with_precision(precision);
    let dtype = precision.activation_dtype();
    let mut products = Vec::new();
    for [inputs, outputs] in WEIGHTS {
        let weight = HostTensor::new([outputs, inputs], benches::values(inputs * outputs)).expect("a weight");
        let bias = Matrix::new(&device, DType::F32, outputs);
        let weights: Vec<_> =
            (0..LAYERS).map(|_| device.lay_out(std::slice::from_ref(&weight), precision).expect("a weight")).collect();
        for rows in ROWS {
            let x = Matrix::new(&device, dtype, rows * inputs);
            let mut y = Matrix::new(&device, dtype, rows * outputs);
            let [same, turns] = [1, LAYERS].map(|weights_in_turn| {
                let mut next = 0;
                median(seconds, || {
                    let weight = &weights[next % weights_in_turn];
                    device.linear(x.slice(), weight, &[bias.slice()], y.slice_mut()).expect("a product");
                    next += 1;
                })
            });
            products.push(json!({
                "precision": precision.name(), "rows": rows, "in": inputs, "out": outputs, "same_s": same,
                "turns_s": turns,
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
