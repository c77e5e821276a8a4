//! Code that the benches share: models of the usual sizes with random weights, whole training steps, and the ceilings
//! with which rates are compared.

mod aligned;
mod model;
pub mod peak;
mod step;

pub use aligned::Aligned;
pub use model::{BASE, LARGE, MINILM, Size, checkpoint};
pub use step::{Step, two_classes};

/// Whether criterion runs everything once without timing: `cargo test --benches`, or `--test`.
pub fn is_test() -> bool {
    // Cargo passes --bench for benches and nothing for tests; criterion decides in the same way.
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    given("--test") || !given("--bench")
}

/// The time of the fastest of several calls, in seconds.
pub fn least_seconds(calls: usize, mut work: impl FnMut()) -> f64 {
    (0..calls)
        .map(|_| {
            let start = std::time::Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}
