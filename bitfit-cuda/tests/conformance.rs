//! The conformance tests of `bitfit_core` on a GPU. They are skipped, with a message, if there is none.
//!
//! `BITFIT_CONFORMANCE` selects the checks whose names start with its value: under compute-sanitizer all of them take
//! minutes.

use bitfit_core::{Precision, backend::conformance};
use bitfit_cuda::Cuda;

mod common;

/// The checks that `BITFIT_CONFORMANCE` selects; all if it is not set.
fn selected() -> Vec<conformance::Check<Cuda>> {
    let part = std::env::var("BITFIT_CONFORMANCE").unwrap_or_default();
    let checks: Vec<_> = conformance::checks().into_iter().filter(|check| check.name.starts_with(&part)).collect();
    assert!(!checks.is_empty(), "no conformance check starts with {part}");
    checks
}

fn passes(precision: Precision) {
    let Some(device) = common::device(precision) else { return };
    conformance::run_checks(&device, selected());
    // The emulated cuBLASLt accepts every product of the tests that is described correctly. On a GPU it may have no
    // algorithm for some, such as products of bfloat16 on Turing.
    if common::is_emulated(&device) {
        assert_eq!(device.products_refused(), 0, "cuBLASLt refused products");
    }
}

#[test]
fn passes_in_f32() {
    passes(Precision::F32);
}

#[test]
fn passes_in_bfloat16() {
    passes(Precision::Bf16);
}

/// Runs the selected checks of the ops that multiply matrices.
fn passes_products(device: &Cuda) {
    let ops = ["linear::", "matmul::", "feed_forward::"];
    let multiplies = |check: &conformance::Check<Cuda>| ops.iter().any(|op| check.name.starts_with(op));
    let all: Vec<_> = conformance::checks::<Cuda>().into_iter().filter(multiplies).collect();
    assert!(ops.iter().all(|op| all.iter().any(|check| check.name.starts_with(op))), "the checks have other names");
    conformance::run_checks(device, selected().into_iter().filter(multiplies));
}

#[test]
fn multiplies_without_cublaslt_in_f32() {
    let Some(device) = common::device(Precision::F32) else { return };
    passes_products(&device.without_cublaslt());
}

#[test]
fn multiplies_without_cublaslt_in_bfloat16() {
    let Some(device) = common::device(Precision::Bf16) else { return };
    passes_products(&device.without_cublaslt());
}

#[test]
fn multiplies_where_cublaslt_has_no_algorithm() {
    const VARIABLE: &str = "BITFIT_EMULATOR_CUBLASLT";
    let Some(device) = common::device(Precision::F32) else { return };
    if !common::is_emulated(&device) {
        // What a real cuBLASLt rejects cannot be configured.
        return;
    }
    if let Ok(refusal) = std::env::var(VARIABLE) {
        passes_products(&device);
        if refusal == "refuses-borrowed" {
            // The heuristic is then called for the product itself, and has an algorithm.
            return assert_eq!(device.products_refused(), 0, "a product with a borrowed algorithm was given up");
        }
        assert!(device.products_refused() > 0, "cuBLASLt refused nothing");
        let before = device.products_refused();
        passes_products(&device);
        assert_eq!(device.products_refused(), before, "a cached decision was made again");
        return;
    }
    // The emulator reads its environment once, so this test runs again, in a process of its own: without the search for
    // races, which the tests without cuBLASLt have for the same kernels and which takes four times as long.
    for refusal in ["refuses", "refuses-late", "refuses-borrowed"] {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "multiplies_where_cublaslt_has_no_algorithm"]);
        again.env(VARIABLE, refusal).env_remove("BITFIT_EMULATOR_CHECK");
        let output = again.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{refusal}: {output:?}");
    }
}
