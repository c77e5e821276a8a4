//! What the benches share: models of the usual sizes with random weights, whole training steps of them, and the
//! ceilings that rates are compared with.

mod aligned;
mod model;
pub mod peak;
mod step;

pub use aligned::Aligned;
pub use model::{BASE, LARGE, MINILM, Size, checkpoint};
pub use step::{Step, two_classes};

/// Whether criterion was asked to run everything once and time nothing: `cargo test --benches`, or `--test`.
pub fn is_test() -> bool {
    // Cargo passes --bench where it benches, and nothing of its own where it tests; criterion decides by the same.
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    given("--test") || !given("--bench")
}

/// Seconds of the fastest of several calls.
pub fn least_seconds(calls: usize, mut work: impl FnMut()) -> f64 {
    (0..calls)
        .map(|_| {
            let start = std::time::Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}
