//! A finished task as one ONNX file: the encoder with what the task trained in its place, and the head, for ONNX
//! Runtime and everything else that reads the format.
//!
//! ```no_run
//! # fn main() -> bitfit_bert::Result<()> {
//! use bitfit_bert::{TaskFile, model::Base, onnx};
//!
//! let base = Base::open(&bitfit_core::Cpu::default(), "models/all-MiniLM-L6-v2".as_ref())?;
//! let path = "intents/task.safetensors".as_ref();
//! let exported = onnx::export(&base, path, &TaskFile::read(path)?, "intents.onnx".as_ref())?;
//! assert_eq!(exported.outputs[0].name, "logits");
//! # Ok(()) }
//! ```
//!
//! The network here is made from the same tables as that of [`crate::model`], which computes on packed batches. An ONNX
//! graph takes padded batches, of any number and length, with a mask; a text has the same answer whatever its padding
//! is, in front or behind.
//!
//! | inputs (int64) | |
//! |---|---|
//! | `input_ids` `[batch, sequence]` | ids of tokens, special tokens included |
//! | `attention_mask` `[batch, sequence]` | 1 for a token, 0 for padding |
//! | `token_type_ids` `[batch, sequence]` | where the architecture has more than one type |
//! | `…_pair` `[batch, sequence_pair]` | the same of the second text, where the texts of a pair are encoded apart |
//!
//! | outputs (float) | of the kinds |
//! |---|---|
//! | `logits` `[batch, C]` | classify, regress (C is 1, the score), multi-label |
//! | `logits` `[batch, sequence, C]` | tag; mlm, with C the vocabulary |
//! | `start_logits`, `end_logits` `[batch, sequence]` | span |
//!
//! The facts of the task that a caller needs are in the model's metadata, each under `bitfit.` and its name in a task
//! file, and the labels once more as `id2label`, a JSON object.
//!
//! Sources: the operators' definitions (<https://onnx.ai/onnx/operators>, operator set 17) and `onnx/onnx.proto` of
//! <https://github.com/onnx/onnx>. `tests/goldens/compare_onnx.py` compares with ONNX Runtime.

mod encoder;
mod graph;
mod heads;
mod model;
mod network;
#[cfg(test)]
mod tests;
mod weights;

use std::path::{Path, PathBuf};

use bitfit_core::Backend;
use serde_json::{Map, Value, json};

use crate::files::AtomicFile;
use crate::model::Base;
use crate::task_file::TaskInfo;
use crate::{Error, Predictor, Result, TaskFile};
pub use graph::OPSET;
use graph::{Dim, Graph, Port};
use network::Network;
use weights::Weights;

/// The longest message that readers of protobuf accept.
const MAX_MESSAGE: u64 = i32::MAX as u64;

/// What was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The inputs, in their order.
    pub inputs: Vec<Tensor>,
    /// The outputs, in their order.
    pub outputs: Vec<Tensor>,
    /// The number of nodes of the graph.
    pub nodes: usize,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// The file of the weights and its length in bytes, for a model that is longer than a file of the format may be.
    pub weights: Option<(PathBuf, u64)>,
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its extents: numbers, or the names of those that each call chooses.
    pub shape: Vec<String>,
}

/// Writes the model of a task file over its base as an ONNX file. The task file was read from `path`.
///
/// A model of 2 GiB or more, which protobuf cannot hold, gets its weights into a second file of the format's own kind:
/// `FILE.data` beside it.
///
/// # Errors
/// Those of [`Predictor::new`], which checks the task file and its base; [`Error::TaskFile`] for a task that was
/// calibrated; [`Error::Io`] when the file cannot be written;
/// [`Error::Weights`] when the base's files have changed meanwhile.
pub fn export<D: Backend>(base: &Base<D>, path: &Path, file: &TaskFile, out: &Path) -> Result<Exported> {
    file.check_uncalibrated(path)?;
    Predictor::new(base, path, file.clone())?;
    write(base, file, out, MAX_MESSAGE)
}

/// The file of the weights of a model that is too long for one.
pub fn weights_file(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".data");
    name.into()
}

/// Writes the model of a task that has been checked, in one file of at most `longest` bytes or in two.
fn write<D: Backend>(base: &Base<D>, file: &TaskFile, out: &Path, longest: u64) -> Result<Exported> {
    let weights = Weights { checkpoint: base.checkpoint(), trained: &file.tensors };
    let graph = graph(&file.info, &weights);
    let metadata = metadata(&file.info);
    let mut encoded = model::encode(&graph, &metadata, None);
    let mut beside = None;
    if encoded.model.len() > longest {
        let path = weights_file(out);
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned).ok_or_else(|| {
            let reason = "the model is longer than one file of the format may be, and the name of a second one must be \
                          UTF-8: choose another name";
            Error::Output { path: out.into(), reason: reason.into(), settings: &[] }
        })?;
        encoded = model::encode(&graph, &metadata, Some(&name));
        let mut file = AtomicFile::create(&path)?;
        model::write_beside(&encoded.beside, &weights, &mut file)?;
        beside = Some((file, path, encoded.bytes_beside()));
    }
    let bytes = encoded.model.len();
    let mut file = AtomicFile::create(out)?;
    model::write(encoded.model, &weights, &mut file)?;
    base.checkpoint().check_unchanged()?;
    let weights = beside.map(|(file, path, bytes)| file.finish().map(|()| (path, bytes))).transpose()?;
    file.finish()?;
    let tensors = |ports: &[Port]| ports.iter().map(Tensor::of).collect();
    Ok(Exported {
        inputs: tensors(&graph.inputs),
        outputs: tensors(&graph.outputs),
        nodes: graph.nodes.len(),
        bytes,
        weights,
    })
}

/// The graph of a task.
fn graph(info: &TaskInfo, weights: &Weights<'_>) -> Graph {
    let mut network = Network { graph: Graph::default(), weights };
    network.task(&info.spec());
    network.graph
}

/// The facts of a task that a caller of its model needs.
fn metadata(info: &TaskInfo) -> Vec<(String, String)> {
    let mut facts = vec![
        ("kind", info.kind.to_string()),
        ("pairs", info.pairs.to_string()),
        ("pair", info.pair.to_string()),
        ("pooling", info.pooling.to_string()),
        ("max_length", info.hyperparameters.max_length.to_string()),
        ("method", info.method.to_string()),
        ("base", info.base.clone()),
        ("base_fingerprint", info.base_fingerprint.clone()),
        ("tokenizer_fingerprint", info.tokenizer_fingerprint.clone()),
    ];
    facts.extend(info.span.map(|span| ("span", json!(span).to_string())));
    let mut metadata: Vec<_> = facts.into_iter().map(|(key, value)| (format!("bitfit.{key}"), value)).collect();
    if let Some(labels) = &info.labels {
        let by_number = |(number, name): (usize, &String)| (number.to_string(), Value::from(name.as_str()));
        let labels: Map<String, Value> = labels.names().iter().enumerate().map(by_number).collect();
        metadata.push(("id2label".into(), Value::from(labels).to_string()));
    }
    metadata
}

impl Tensor {
    fn of(port: &Port) -> Self {
        let extent = |dim: &Dim| match dim {
            Dim::Fixed(extent) => extent.to_string(),
            Dim::Named(name) => (*name).to_owned(),
        };
        Self { name: port.name.clone(), shape: port.dims.iter().map(extent).collect() }
    }
}
