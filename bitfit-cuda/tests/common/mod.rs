//! Helpers of the tests: the device, and skipping a test if there is none.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Write;

use bitfit_core::{Device, Precision};
use bitfit_cuda::Cuda;

/// The first GPU; prints a message and returns `None` if there is none, or a library is missing or too old.
pub fn device(precision: Precision) -> Option<Cuda> {
    match Cuda::new(0) {
        Ok(device) => Some(device.with_precision(precision)),
        Err(error) if error.is_absence() => {
            skip("GPU", &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether a device is the emulated one, whose cuBLASLt has known algorithms.
pub fn is_emulated(device: &Cuda) -> bool {
    device.name().contains("bitfit emulated GPU")
}

/// Prints, bypassing the capture of the test runner, that a test did not run because `what` is missing. If
/// `BITFIT_REQUIRE` lists it, the test fails instead.
pub fn skip(what: &str, reason: &str) {
    let required = std::env::var("BITFIT_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name == what), "{what} is required: {reason}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} is missing: {reason}");
}
