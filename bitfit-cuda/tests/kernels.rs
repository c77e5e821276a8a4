//! NVRTC takes every kernel of every op, for every architecture from Turing to Blackwell. It needs no driver and no GPU.

use bitfit_cuda::{Error, compile_all, source_names};

mod common;

#[test]
fn every_kernel_compiles_for_every_architecture() {
    for capability in [75, 80, 90, 100] {
        match compile_all(capability) {
            Ok(compiled) => {
                let names: Vec<_> = compiled.iter().map(|(name, _)| *name).collect();
                assert_eq!(names, source_names());
                for (name, bytes) in compiled {
                    assert!(bytes > 0, "no code came of {name} for sm_{capability}");
                }
            }
            Err(error @ Error::NoCompiler) => return common::skip("NVRTC", &error.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
}
