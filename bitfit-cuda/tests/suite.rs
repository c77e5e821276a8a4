//! Core's suite of what every backend must do, on a GPU. Skipped, with one line that says so, where there is none.

use bitfit_core::suite;
use bitfit_cuda::Precision;

mod common;

#[test]
fn does_in_f32_what_every_backend_does() {
    if let Some(device) = common::device(Precision::F32) {
        suite::run(&device);
    }
}

#[test]
fn does_in_bfloat16_what_every_backend_does() {
    if let Some(device) = common::device(Precision::Bf16) {
        suite::run(&device);
    }
}
