//! Helpers of the tests against PyTorch: reading safetensors, comparisons, and a GPU and MiniLM's weights if they are
//! available.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod case;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use bitfit_core::cpu::Isa;
use bitfit_core::{Cpu, Device, HostTensor, Precision};
use bitfit_cuda::Cuda;
use safetensors::{Dtype, SafeTensors};

/// A folder of the goldens.
pub fn goldens(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

/// This CPU by each of its instruction sets.
pub fn cpus(precision: Precision) -> impl Iterator<Item = Cpu> {
    Isa::supported().map(move |isa| Cpu::with_isa(isa).with_precision(precision))
}

/// The first GPU; `None`, and a line on the terminal that says so, where there is none, or a library of CUDA is missing
/// or too old.
pub fn gpu(precision: Precision) -> Option<Cuda> {
    match Cuda::new(0) {
        Ok(device) => Some(device.with_precision(precision)),
        Err(error) if error.is_absence() => {
            skip("GPU", &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether a GPU is the emulated one.
pub fn is_emulated(device: &Cuda) -> bool {
    device.name().contains("bitfit emulated GPU")
}

/// The directory of MiniLM's weights. If `BITFIT_MINILM` does not name it, prints a line that says so and returns
/// `None`.
pub fn minilm() -> Option<PathBuf> {
    let dir = std::env::var_os("BITFIT_MINILM").map(PathBuf::from);
    if dir.is_none() {
        skip("MINILM", "BITFIT_MINILM does not name the directory of its weights");
    }
    dir
}

/// Prints, bypassing the capture of the test runner, that a test did not run because `what` is missing. If
/// `BITFIT_REQUIRE`, a comma-separated list, contains it, the test fails instead.
pub fn skip(what: &str, reason: &str) {
    let required = std::env::var("BITFIT_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name == what), "{what} is required: {reason}");
    _ = writeln!(std::io::stderr(), "SKIPPED: {what} is missing: {reason}");
}

/// The F32 tensors and the I64 lists of a safetensors file.
pub struct File {
    pub floats: HashMap<String, HostTensor>,
    pub integers: HashMap<String, Vec<i64>>,
}

impl File {
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut file = Self { floats: HashMap::new(), integers: HashMap::new() };
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
            match view.dtype() {
                Dtype::F32 => {
                    let values =
                        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
                    file.floats.insert(name.to_owned(), HostTensor::new(view.shape(), values).unwrap());
                }
                Dtype::I64 => {
                    let values =
                        view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
                    file.integers.insert(name.to_owned(), values);
                }
                other => panic!("{name} is of type {other}"),
            }
        }
        file
    }

    pub fn float(&self, name: &str) -> &[f32] {
        self.floats.get(name).unwrap_or_else(|| panic!("no tensor {name}")).data()
    }

    pub fn integer(&self, name: &str) -> &[i64] {
        self.integers.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }
}

/// Asserts `|found - expected| <= absolute + relative * max|expected|`, element by element; returns the greatest error.
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], absolute: f32, relative: f32) -> f32 {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let scale = expected.iter().fold(0.0, |max: f32, value| max.max(value.abs()));
    let mut greatest = 0.0f32;
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= absolute + relative * scale, "{what}[{i}]: {found} instead of {expected}, off by {error:e}");
        greatest = greatest.max(error);
    }
    greatest
}
