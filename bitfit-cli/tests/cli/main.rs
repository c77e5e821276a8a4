//! Tests of the binary: its output, its files and its exit code. Each test makes its own tiny model and data.

mod artefacts;
mod calibrate;
mod compare;
mod data_files;
mod eval;
mod export;
#[cfg(unix)]
mod faults;
mod finetune;
mod fixture;
mod folds;
mod heads;
mod help;
#[cfg(unix)]
mod interrupt;
mod loss;
mod masked_lm;
mod methods;
mod multi_label;
mod output;
mod page;
mod plan;
mod predict;
mod rates;
mod refusals;
mod reproduce;
#[cfg(unix)]
mod resume;
mod seeds;
mod shards;
mod span;
#[cfg(unix)]
mod sweep;
mod tag;
mod terminal;
