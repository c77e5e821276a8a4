//! The BERT family on `bitfit-core`: checkpoints, tokenisation, data, heads, methods, metrics, training and task files.
//!
//! ```no_run
//! use bitfit_bert::data::{Dataset, Labels, ReadOptions};
//! use bitfit_bert::heads::{PairEncoding, Pooling, TaskSpec};
//! use bitfit_bert::metrics::Metric;
//! use bitfit_bert::model::{Base, InitialValues, Model, ModelOptions};
//! use bitfit_bert::train::{Examples, NoEvents, TrainOptions, Trainer};
//! use bitfit_bert::{BiasSelection, Method, data};
//! use bitfit_core::Cpu;
//!
//! # fn main() -> bitfit_bert::Result<()> {
//! // The base is opened once; any number of tasks share it.
//! let base = Base::open(&Cpu::default(), "models/all-MiniLM-L6-v2".as_ref())?;
//! let set = Dataset::read("train.tsv".as_ref(), &ReadOptions::default())?;
//! let labels = Labels::of_training_set(&set)?;
//! let spec = TaskSpec {
//!     kind: data::Kind::Classify,
//!     labels: Some(labels),
//!     pairs: set.is_paired(),
//!     pair: PairEncoding::Joint,
//!     span: None,
//!     pooling: Pooling::of_directory(base.checkpoint().dir())?.0,
//!     max_length: 128,
//!     metrics: vec![Metric::Accuracy],
//! };
//! let encodings = base.tokenizer()?.encode_all(&data::texts(&set.examples), spec.max_length)?;
//! let examples = Examples::new(encodings, spec.head::<Cpu>().targets(&set)?);
//!
//! let (method, initial) = (Method::BitFit(BiasSelection::all()), InitialValues::Drawn { seed: 0 });
//! let mut model = Model::new(&base, &ModelOptions { spec, method, initial, dropout: None })?;
//! let report = Trainer::new(&mut model, &examples, None, &TrainOptions::default())?.run(&mut NoEvents)?;
//! println!("{} steps, {} scalars trained", report.state.steps, model.trainable_count());
//! # Ok(()) }
//! ```
//!
//! Data goes one way:
//!
//! ```text
//! files -> data -> tokenize -> model::Batch -> Model (Base + parameters + head) -> Trainer -> TaskFile -> Predictor
//! ```
//!
//! | module | what is in it |
//! |---|---|
//! | [`arch`] | one table for each architecture: tensor names, shapes, facts |
//! | [`config`], [`checkpoint`] | `config.json`, and weights by their role |
//! | [`hub`], [`files`] | where models are found; files that are complete or not there |
//! | [`tokenize`], [`data`] | from text to token ids; labelled texts from files |
//! | [`heads`], [`methods`], [`metrics`] | what a task predicts, what trains, how good it is |
//! | [`model`] | the base, and the network of one task over it |
//! | [`train`], [`probe`] | the training loop; the baseline of a linear head over the frozen base |
//! | [`infer`], [`onnx`] | a finished task in use, here and in other programs |
//! | [`task_file`], [`run`] | what training leaves; whole runs, from files to files |
//! | [`artefacts`] | what is made of task files: models for other programs, comparisons, means |
//! | [`text`] | what files hold, made safe for a terminal |

pub mod arch;
pub mod artefacts;
mod as_text;
pub mod calibrate;
pub mod checkpoint;
pub mod config;
pub mod data;
mod error;
pub mod files;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod guard;
pub mod heads;
pub mod hub;
pub mod infer;
pub mod methods;
pub mod metrics;
pub mod model;
pub mod onnx;
pub mod presets;
pub mod probe;
mod proto;
pub mod report;
pub mod run;
pub mod settings;
pub mod task_file;
pub mod text;
pub mod tokenize;
pub mod train;

pub use checkpoint::Checkpoint;
pub use config::ModelConfig;
pub use error::{Error, Result, UnknownName};
pub use infer::Predictor;
pub use methods::{BiasKind, BiasSelection, MaskFile, Method};
pub use settings::Setting;
pub use task_file::TaskFile;
pub use tokenize::Tokenizer;

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadMe;
