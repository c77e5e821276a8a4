//! `step MODEL SEQUENCES TOKENS [STEPS]`: seconds of BitFit training steps on random tokens, dropout on, and the peak of
//! memory: the counterpart of a PyTorch script, for the side-by-side.

use std::path::Path;
use std::time::Instant;

use benches::{BASE, LARGE, MINILM, Step};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| arguments.get(i).and_then(|text| text.parse().ok()).unwrap_or(default);
    let size = match arguments.first().map(String::as_str) {
        Some("minilm") => MINILM,
        Some("large") => LARGE,
        _ => BASE,
    };
    let (sequences, tokens, steps) = (number(1, 16), number(2, 128), number(3, 5));
    let mut step = Step::new(size, Path::new("target"), &vec![tokens; sequences]);
    let mut seconds: Vec<f64> = (0..=steps)
        .map(|_| {
            let start = Instant::now();
            step.run();
            start.elapsed().as_secs_f64()
        })
        .skip(1)
        .collect();
    seconds.sort_by(f64::total_cmp);
    println!(
        "{} {sequences} x {tokens}: median {:.3} s, least {:.3} s",
        size.name,
        seconds[seconds.len() / 2],
        seconds[0]
    );
}
