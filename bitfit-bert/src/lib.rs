//! The BERT family on `bitfit-core`: checkpoints, tokenisation, data, heads, metrics, training and task files.
//!
//! Data flows one way: [`data`] reads texts, [`tokenize`] makes tokens of them, [`model`] packs them into batches and runs
//! the network, [`train`] steps through epochs, [`task_file`] holds what came out. [`finetune`] and [`task`] put the parts
//! together for a program that wants the whole.

pub mod bias;
pub mod checkpoint;
pub mod config;
pub mod data;
mod error;
pub mod files;
pub mod finetune;
pub mod hub;
pub mod metrics;
pub mod model;
pub mod task;
pub mod task_file;
pub mod tokenize;
pub mod train;

pub use bias::{BiasKind, Selection};
pub use checkpoint::Checkpoint;
pub use config::BertConfig;
pub use error::{Error, Result};
pub use task_file::TaskFile;
pub use tokenize::Tokenizer;

/// The examples of the read-me, which need no more than this crate has.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadMe;
