//! Conformance tests of backends, behind the feature `conformance`: what [`Backend`] requires of a device beyond its
//! types.
//!
//! The checks compare a device with the scalar loops of each op's `reference` module, forward and backward, for odd
//! shapes and typical ones, through the tape and thus with everything that this crate does around a device. They also
//! check what a reference cannot express: that gradients are added if an op comes second, that dropout masks are those
//! of [`Dropout::factor`](crate::rng::Dropout::factor), that buffers with old contents, slices with offsets and empty
//! inputs are handled, and that a second run is bit-identical. If [`Device::precision`](crate::Device::precision) is
//! bfloat16, ops that accept matrices of bfloat16 are checked with both types.
//!
//! A backend runs the tests once for each precision that it offers:
//!
//! ```
//! use bitfit_core::{Cpu, Precision, backend::conformance};
//!
//! # let only_some = |check: &conformance::Check<Cpu>| check.name.starts_with("softmax");
//! for precision in [Precision::F32, Precision::Bf16] {
//!     let device = Cpu::default().with_precision(precision);
//!     # conformance::run_checks(&device, conformance::checks().into_iter().filter(only_some));
//!     # continue;
//!     conformance::run(&device);
//! }
//! ```
//!
//! or passes each of [`checks`] to its test runner by name, on a thread that can use the device. No files and no
//! network are needed.
//!
//! # Tolerances
//!
//! A backend may add in any order, but has to add in f32, and must not round the factors of f32 products: TF32 fails
//! the tests. Each tolerance is relative to the largest expected element, and about three times the error of the least
//! accurate instruction set of the CPU. Copies, gathers and dropout are exact. For bfloat16 the inputs of the reference
//! are rounded, and results may differ by 2⁻⁷ of the largest element, four times the rounding error of one value.

mod device;
pub(crate) mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Backend, ops};

/// One check of a backend.
#[derive(Debug)]
pub struct Check<D> {
    /// The name, made of an op and a property, such as `softmax::agrees_with_the_reference`.
    pub name: &'static str,
    /// The check, which panics if the device fails it.
    pub run: fn(&D),
}

/// Lists the checks of an op by the names of their functions, for `D`.
macro_rules! list {
    ($op:literal: $($check:ident),+ $(,)?) => {
        vec![$(crate::backend::conformance::Check { name: concat!($op, "::", stringify!($check)), run: $check::<D> }),+]
    };
}
pub(crate) use list;

/// All checks, those of the device's own functions first.
pub fn checks<D: Backend>() -> Vec<Check<D>> {
    [
        device::checks(),
        ops::activation::conformance::checks(),
        ops::adamw::conformance::checks(),
        ops::add_norm::conformance::checks(),
        ops::arithmetic::conformance::checks(),
        ops::attention::conformance::checks(),
        ops::binary_cross_entropy::conformance::checks(),
        ops::cross_entropy::conformance::checks(),
        ops::dropout::conformance::checks(),
        ops::embedding::conformance::checks(),
        ops::feed_forward::conformance::checks(),
        ops::gather::conformance::checks(),
        ops::linear::conformance::checks(),
        ops::matmul::conformance::checks(),
        ops::mse::conformance::checks(),
        ops::normalize::conformance::checks(),
        ops::pair_features::conformance::checks(),
        ops::parameter::conformance::checks(),
        ops::sequence_cross_entropy::conformance::checks(),
        ops::sequence_mean::conformance::checks(),
        ops::sgd::conformance::checks(),
        ops::softmax::conformance::checks(),
        ops::sum::conformance::checks(),
        ops::weighted_cross_entropy::conformance::checks(),
        ops::cast::conformance::checks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Runs all checks on `device`, continuing after failures.
///
/// # Panics
/// If a check fails, with the names of all that failed; the details are printed to stderr as they occur.
#[track_caller]
pub fn run<D: Backend>(device: &D) {
    run_checks(device, checks());
}

/// Runs the given checks on `device`, continuing after failures.
///
/// # Panics
/// As for [`run`].
#[track_caller]
pub fn run_checks<D: Backend>(device: &D, checks: impl IntoIterator<Item = Check<D>>) {
    let mut failed = Vec::new();
    for check in checks {
        println!("{} on {}", check.name, device.name());
        // A check uses its own buffers, so that a failure does not affect the checks after it.
        if catch_unwind(AssertUnwindSafe(|| (check.run)(device))).is_err() {
            eprintln!("failed: {} on {}", check.name, device.name());
            failed.push(check.name);
        }
    }
    assert!(failed.is_empty(), "on {}, failed conformance checks: {}", device.name(), failed.join(", "));
}

#[cfg(test)]
mod tests;
