//! One suite of tests that every backend runs, behind the feature `conformance`: what [`Backend`] asks of a device beyond its types.
//!
//! The checks compare a device's functions with the scalar loops of each op's `reference` module, on odd shapes and real
//! ones, forward and backward, through the tape and so with everything that core does around a device. They also hold
//! what a reference cannot say: that a gradient is added where an op comes second, that dropout draws the masks of
//! [`Dropout::factor`](crate::Dropout::factor), that buffers come dirty, that windows have offsets, that nothing in gives
//! nothing out, that a second run has the bits of the first. Where [`Device::compute_dtype`](crate::Device::compute_dtype) says
//! bfloat16, ops that take narrow matrices are checked with both types.
//!
//! A new backend makes a device and runs the suite on it, once a precision that it offers:
//!
//! ```
//! use bitfit_core::{Cpu, Precision, backend::conformance};
//!
//! # let only_some = |check: &conformance::Check<Cpu>| check.name.starts_with("softmax");
//! for precision in Precision::ALL {
//!     let device = Cpu::default().with_precision(precision);
//!     # conformance::run_checks(&device, conformance::checks().into_iter().filter(only_some));
//!     # continue;
//!     conformance::run(&device);
//! }
//! ```
//!
//! or gives each of [`checks`] to its test runner by name. It must do so from a thread that may use the device, and needs
//! nothing else: no file, no network.
//!
//! # Tolerances
//!
//! A backend may add in any order, but it adds in f32 and does not round products of f32 to less: in this suite TF32 is a
//! failure. Each tolerance is relative to the largest expected element and some three times what the worst of the CPU's
//! instruction sets needs. Moves, gathers and dropout are exact. For bfloat16 the inputs are rounded before the reference
//! sees them, and results may be off by 2⁻⁷ of the largest, four times the rounding of one.

mod device;
pub(crate) mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Backend, ops};

/// One thing that a backend must do.
#[derive(Debug)]
pub struct Check<D> {
    /// Whose it is and what it holds, such as `softmax::agrees_with_the_reference`.
    pub name: &'static str,
    /// Panics unless the device does it.
    pub run: fn(&D),
}

/// The checks of a suite by the names of their functions, for `D`.
macro_rules! list {
    ($whose:literal: $($check:ident),+ $(,)?) => {
        vec![$(crate::backend::conformance::Check { name: concat!($whose, "::", stringify!($check)), run: $check::<D> }),+]
    };
}
pub(crate) use list;

/// Every check, a device's own functions first.
pub fn checks<D: Backend>() -> Vec<Check<D>> {
    [
        device::checks(),
        ops::activation::conformance::checks(),
        ops::adamw::conformance::checks(),
        ops::add_norm::conformance::checks(),
        ops::arithmetic::conformance::checks(),
        ops::attention::conformance::checks(),
        ops::cross_entropy::conformance::checks(),
        ops::dropout::conformance::checks(),
        ops::embedding::conformance::checks(),
        ops::feed_forward::conformance::checks(),
        ops::gather::conformance::checks(),
        ops::linear::conformance::checks(),
        ops::matmul::conformance::checks(),
        ops::mse::conformance::checks(),
        ops::parameter::conformance::checks(),
        ops::softmax::conformance::checks(),
        ops::cast::conformance::checks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Runs every check on `device`, and goes on after one that fails.
///
/// # Panics
/// With the names of those that failed; what each found goes to stderr as it fails.
#[track_caller]
pub fn run<D: Backend>(device: &D) {
    run_checks(device, checks());
}

/// As [`run`], with some of the checks.
///
/// # Panics
/// As [`run`].
#[track_caller]
pub fn run_checks<D: Backend>(device: &D, checks: impl IntoIterator<Item = Check<D>>) {
    let mut failed = Vec::new();
    for check in checks {
        println!("{} on {}", check.name, device.name());
        // A check makes its own buffers and drops them; of the device, only what a later check would find broken too is left.
        if catch_unwind(AssertUnwindSafe(|| (check.run)(device))).is_err() {
            eprintln!("failed: {} on {}", check.name, device.name());
            failed.push(check.name);
        }
    }
    assert!(failed.is_empty(), "on {}, failed conformance checks: {}", device.name(), failed.join(", "));
}

#[cfg(test)]
mod tests;
