//! The task of a checkpoint that another program fine-tuned: what its `config.json` says of it, and what it does not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitfit_core::Backend;
use serde_json::Value;

use super::layout::{ANSWERS, MASKS, TAGS, TEXTS, problem_type};
use crate::arch::{Architecture, Part};
use crate::config::{FILE_NAME as CONFIG, read_json};
use crate::data::{Kind, Labels};
use crate::heads::{DEFAULT_STRIDE, MaskingOptions, PairEncoding, Pooling, SpanSettings, default_metrics};
use crate::methods::Method;
use crate::model::Base;
use crate::task_file::{Hyperparameters, TaskInfo};
use crate::{Checkpoint, Error, Result};

/// The longest sequence where the caller does not say: as for a new task.
const USUAL_LENGTH: usize = 128;
const USUAL_WINDOW: usize = 384;

/// What a text field of the header holds where a checkpoint does not say how it was trained.
const UNKNOWN: &str = "unknown";

/// What a checkpoint of another program does not say about its task.
#[derive(Clone, Debug, Default)]
pub struct TunedTask {
    /// The base model as the user named it.
    pub model: String,
    /// Whether the task is one of pairs of texts. A task of answers always is.
    pub pairs: bool,
    /// Whether a context may have no answer.
    pub unanswerable: bool,
    /// The longest sequence in tokens; by default that of a new task.
    pub max_length: Option<usize>,
}

/// The header of a task of a checkpoint in `dir`; its method is not known yet.
pub(super) fn info<D: Backend>(
    base: &Base<D>,
    tuned: &Checkpoint,
    dir: &Path,
    options: &TunedTask,
) -> Result<TaskInfo> {
    let path = dir.join(CONFIG);
    let config = read_json(&path)?;
    let architecture = base.architecture();
    let kind = kind(&path, &config, architecture)?;
    let pooling = Pooling::of_kind(kind).unwrap_or(Pooling::Pooler);
    let labels = match kind {
        Kind::Classify | Kind::MultiLabel | Kind::Tag => {
            let weight = architecture.classifier_name(pooling, Part::Weight);
            let missing = || Error::MissingTensor { path: tuned.path().into(), name: weight.clone() };
            let tensor = tuned.other(&weight)?.ok_or_else(missing)?;
            let &[rows, _] = tensor.shape() else {
                let reason =
                    format!("the tensor {weight} has shape {:?}, expected a matrix with a row a label", tensor.shape());
                return Err(Error::Weights { path: tuned.path().into(), reason });
            };
            Some(labels(&path, &config, rows)?)
        }
        Kind::Regress | Kind::Span | Kind::MaskedLm => None,
    };
    let usual = if kind == Kind::Span { USUAL_WINDOW } else { USUAL_LENGTH };
    let max_length = options.max_length.unwrap_or(usual.min(base.config().max_length()));
    let base_path = PathBuf::from(&options.model);
    let is_directory = base_path.is_dir();
    Ok(TaskInfo {
        base: options.model.clone(),
        base_path: is_directory.then(|| std::path::absolute(&base_path).map_err(Error::io(&base_path))).transpose()?,
        base_fingerprint: base.fingerprint_for(kind)?.to_owned(),
        tokenizer_fingerprint: base.tokenizer()?.fingerprint(),
        config: base.config().inference(),
        kind,
        pairs: kind == Kind::Span || options.pairs,
        pair: PairEncoding::Joint,
        span: (kind == Kind::Span)
            .then(|| SpanSettings { stride: DEFAULT_STRIDE.min(max_length / 3), unanswerable: options.unanswerable }),
        calibration: None,
        pooling,
        method: Method::Frozen,
        seed: 0,
        hyperparameters: Hyperparameters {
            task: None,
            learning_rate: 0.0,
            learning_rates: BTreeMap::new(),
            layer_decay: None,
            schedule: UNKNOWN.into(),
            warmup: 0.0,
            epochs: 0,
            steps: 0,
            batch_size: None,
            batch_tokens: None,
            micro_batch: None,
            shards: None,
            class_weights: None,
            label_smoothing: None,
            focal_gamma: None,
            eval_every: None,
            patience: None,
            group_by_length: false,
            max_length,
            weight_decay: 0.0,
            max_grad_norm: None,
            dropout: None,
            frozen_dropout: false,
            shuffle: false,
            limit: None,
            masking: (kind == Kind::MaskedLm).then(MaskingOptions::default),
            device: UNKNOWN.into(),
            precision: UNKNOWN.into(),
            metrics: default_metrics(kind, labels.as_ref()),
        },
        labels,
        best: None,
    })
}

/// The kind of task of the class that a configuration names.
fn kind(path: &Path, config: &Value, architecture: &Architecture) -> Result<Kind> {
    let class = config["architectures"][0].as_str().unwrap_or_default();
    let classes = [TEXTS, TAGS, ANSWERS, MASKS].map(|ending| format!("{}{ending}", architecture.class));
    match classes.iter().position(|known| known == class) {
        Some(0) => {}
        Some(1) => return Ok(Kind::Tag),
        Some(2) => return Ok(Kind::Span),
        Some(3) if architecture.masked_lm.is_some() => return Ok(Kind::MaskedLm),
        _ => {
            let feature = format!("\"architectures\": {}", config["architectures"]);
            return Err(Error::Unsupported {
                path: path.into(),
                feature: feature.chars().take(120).collect(),
                advice: format!("expected one of {}", classes.join(", ")),
            });
        }
    }
    let problem = &config["problem_type"];
    // As the class itself decides in training, except between one label and several, which the labels' type tells it.
    let is_score = outputs(config) == Some(1);
    if problem.is_null() {
        return Ok(if is_score { Kind::Regress } else { Kind::Classify });
    }
    let kinds = [Kind::Classify, Kind::MultiLabel, Kind::Regress];
    let kind = kinds.into_iter().find(|kind| problem_type(*kind) == problem.as_str());
    match kind.filter(|kind| (*kind == Kind::Regress) == is_score) {
        Some(kind) => Ok(kind),
        None => Err(Error::Unsupported {
            path: path.into(),
            feature: format!("\"problem_type\": {problem} with {} outputs", outputs(config).unwrap_or(2)),
            advice: "a regression has one output, and a classification two or more".into(),
        }),
    }
}

/// The number of a head's outputs as far as the configuration says; 2 where it does not.
fn outputs(config: &Value) -> Option<usize> {
    let count = config["num_labels"].as_u64().and_then(|count| usize::try_from(count).ok());
    config["id2label"].as_object().map(serde_json::Map::len).or(count)
}

/// The names of the labels in the order of the head's rows; those that transformers gives where there are none.
fn labels(path: &Path, config: &Value, rows: usize) -> Result<Labels> {
    let wrong = |reason: String| Error::Config { path: path.into(), reason };
    let names: Vec<String> = match config["id2label"].as_object() {
        Some(names) if names.len() != rows => {
            return Err(wrong(format!("\"id2label\" names {} labels, but the head has {rows}", names.len())));
        }
        Some(names) => {
            let name = |number: usize| names.get(&number.to_string()).and_then(Value::as_str).map(str::to_owned);
            let names: Option<Vec<String>> = (0..rows).map(name).collect();
            names.ok_or_else(|| wrong(format!("\"id2label\" does not name the labels 0 to {}", rows - 1)))?
        }
        None => (0..rows).map(|number| format!("LABEL_{number}")).collect(),
    };
    let is_sound = names.len() >= 2 && names.iter().all(|name| !name.trim().is_empty());
    let labels = Labels::from_names(names).filter(|_| is_sound);
    labels.ok_or_else(|| wrong("\"id2label\": expected two different names or more, none of them empty".into()))
}
