//! What strangers' files do to the readers, tried out with files that are nearly valid.
//!
//! ```text
//! seeds --mutate--> files in a directory --a target's check--> accepted, refused, or a finding
//! ```
//!
//! A case must not panic, hang or take more memory than its target's bound; an error must be one line without control
//! characters and name a file; what is accepted must hold what the target says. A case follows from the seed and its
//! number alone:
//!
//! | variable | meaning |
//! |---|---|
//! | `BITFIT_FUZZ_SECONDS` | seconds for each target; 2 where it is not set |
//! | `BITFIT_FUZZ_SEED` | the seed; where neither is set 0, so that a plain `cargo test` repeats itself, else the clock |
//! | `BITFIT_FUZZ_CASE` | the number of the one case to run |
//!
//! A new target is a file like `config.rs` (seeds, a bound and a check, in a test) and its line below. How files are
//! mutated follows from their extension: see `mutate.rs`.

mod json;
mod memory;
mod mutate;
mod runner;
mod safetensors_file;
mod text;

mod config;
mod data;
mod exports;
mod head_file;
mod index;
mod parquet;
mod pytorch;
mod questions;
mod tagged;
mod task_file;
mod tokenizer;
mod tokenizer_seeds;
mod weights;
