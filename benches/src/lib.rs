//! Code that the benches share: models of the usual sizes with random weights, whole training steps, and the ceilings
//! with which rates are compared.

mod matrix;
mod model;
pub mod peak;
mod step;

pub use matrix::{Matrix, values};
pub use model::{BASE, DISTILBERT_BASE, LARGE, MAX_TOKENS, MINILM, MPNET_BASE, ROBERTA_BASE, SIZES, Size, checkpoint};
pub use step::{Step, Task, classes, random_text};

/// Whether criterion runs everything once without timing: `cargo test --benches`, or `--test`.
pub fn is_test() -> bool {
    // Cargo passes --bench for benches and nothing for tests; criterion decides in the same way.
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    given("--test") || !given("--bench")
}

/// The time that a call takes, in seconds.
pub fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = std::time::Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// The time of the fastest of several calls, in seconds.
pub fn least_seconds(calls: usize, mut work: impl FnMut()) -> f64 {
    (0..calls).map(|_| seconds(&mut work)).fold(f64::INFINITY, f64::min)
}

/// The number of rounds on the command line, or else `default`.
pub fn rounds(default: usize) -> usize {
    std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(default)
}

/// The middle one of the values, of an even number the upper.
///
/// # Panics
/// Where there is none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
