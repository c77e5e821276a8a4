//! The header of a task file: typed fields in the metadata of the safetensors file.
//!
//! Each field is one key of the metadata, whose values are strings: text fields are stored unchanged, all others as
//! JSON. A field that is missing, misspelt, unknown or of another type is an error.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::as_text;
use crate::calibrate::Calibration;
use crate::config::InferenceConfig;
use crate::data::{Kind, Labels};
use crate::heads::{MaskingOptions, PairEncoding, Pooling, SpanSettings, TaskSpec};
use crate::methods::Method;
use crate::metrics::Metric;

/// The value of `format`.
pub(super) const FORMAT: &str = "bitfit-task";
/// The version of the format that is written, and the only one that is read.
pub(super) const VERSION: &str = "4";

/// The fields that are stored as text rather than as JSON.
const TEXT_FIELDS: [&str; 7] =
    ["base", "base_fingerprint", "tokenizer_fingerprint", "kind", "pair", "pooling", "method"];

/// The header of a task file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskInfo {
    /// The base model as the user named it: a directory or a hub id.
    pub base: String,
    /// The absolute path of the base model's directory, where it was given as a directory.
    #[serde(deserialize_with = "required")]
    pub base_path: Option<PathBuf>,
    /// [`Base::fingerprint_for`](crate::model::Base::fingerprint_for) of the base model and the kind of task.
    pub base_fingerprint: String,
    /// [`Tokenizer::fingerprint`](crate::Tokenizer::fingerprint) of the base model's tokenizer.
    pub tokenizer_fingerprint: String,
    /// The part of the base model's configuration on which predictions depend.
    pub config: InferenceConfig,
    /// What is predicted for a text.
    #[serde(with = "as_text")]
    pub kind: Kind,
    /// The classes or labels in the order of the head's outputs; `None` for a regression and masked language modelling.
    #[serde(with = "labels")]
    pub labels: Option<Labels>,
    /// Whether the task was trained on pairs of texts.
    pub pairs: bool,
    /// How the two texts of a pair go through the encoder.
    #[serde(with = "as_text")]
    pub pair: PairEncoding,
    /// How questions are asked and answered; `None`, and not in the file, where the answer is no span of a context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanSettings>,
    /// How outputs become probabilities and answers; `None`, and not in the file, where that was not fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What of the last layer the head reads.
    #[serde(with = "as_text")]
    pub pooling: Pooling,
    /// What was trained in addition to the head.
    #[serde(with = "as_text")]
    pub method: Method,
    /// The run's seed.
    pub seed: u64,
    /// How the task was trained. A probe has no steps, and its file none of their settings: read, they are those of
    /// nothing.
    pub hyperparameters: Hyperparameters,
    /// The epoch that the file holds and its scores; `None` without an evaluation set.
    #[serde(deserialize_with = "required")]
    pub best: Option<Best>,
}

/// How a task was trained, except for what other fields of [`TaskInfo`] record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hyperparameters {
    /// The preset, such as `sst2`.
    #[serde(deserialize_with = "required")]
    pub task: Option<String>,
    /// The learning rate at its highest.
    pub learning_rate: f32,
    /// The highest rates of groups that have one of their own; empty, and not in the file, where none has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub learning_rates: BTreeMap<String, f32>,
    /// The factor from the rate of a layer to that of the one below; `None`, and not in the file, without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f32>,
    /// The course of the learning rate.
    pub schedule: String,
    /// The fraction of the steps over which the learning rate rises.
    pub warmup: f32,
    /// The number of epochs that was requested.
    pub epochs: usize,
    /// The number of steps that were made.
    pub steps: usize,
    /// The number of sequences in a batch, if it was set.
    #[serde(deserialize_with = "required")]
    pub batch_size: Option<usize>,
    /// The number of tokens in a batch, if it was set.
    #[serde(deserialize_with = "required")]
    pub batch_tokens: Option<usize>,
    /// The most sequences of a batch that were computed at a time; `None`, and not in the file, where all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// The number of logical shards that a batch was cut into; `None`, and not in the file, where it was computed
    /// whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<usize>,
    /// The weight of each class in the loss; `None`, and not in the file, where all counted alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<Vec<f32>>,
    /// The share of a label that was spread over all classes; `None`, and not in the file, without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_smoothing: Option<f32>,
    /// The exponent of the focal loss; `None`, and not in the file, without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focal_gamma: Option<f32>,
    /// The number of steps between two evaluations; `None`, and not in the file, where only epochs were evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<usize>,
    /// The number of evaluations without a better score that would end the run; `None`, and not in the file, without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Whether the sequences of a batch had similar lengths.
    pub group_by_length: bool,
    /// The longest sequence in tokens.
    pub max_length: usize,
    /// The decoupled weight decay.
    pub weight_decay: f64,
    /// The norm to which the gradient was clipped.
    #[serde(deserialize_with = "required")]
    pub max_grad_norm: Option<f32>,
    /// The dropout probability that replaced the base's.
    #[serde(deserialize_with = "required")]
    pub dropout: Option<f32>,
    /// Whether dropout was drawn in frozen layers too.
    pub frozen_dropout: bool,
    /// Whether each epoch had a random order of its own.
    pub shuffle: bool,
    /// The number of rows that were trained on, if not all.
    #[serde(deserialize_with = "required")]
    pub limit: Option<usize>,
    /// How tokens were masked, and are in an evaluation; `None`, and no field of the file, for other kinds of task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingOptions>,
    /// The device as the user named it.
    pub device: String,
    /// The precision as the user named it.
    pub precision: String,
    /// The metrics of the evaluation; the first chose the best epoch.
    #[serde(with = "metrics")]
    pub metrics: Vec<Metric>,
}

/// The best epoch of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The epoch's number, from 1.
    pub epoch: usize,
    /// The step that was evaluated; `None`, and not in the file, where only epochs were evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// Its scores by the metrics' names.
    pub scores: BTreeMap<String, f64>,
}

impl TaskInfo {
    /// The task that the file was trained for.
    pub fn spec(&self) -> TaskSpec {
        TaskSpec {
            kind: self.kind,
            labels: self.labels.clone(),
            pairs: self.pairs,
            pair: self.pair,
            span: self.span,
            pooling: self.pooling,
            max_length: self.hyperparameters.max_length,
            metrics: self.hyperparameters.metrics.clone(),
        }
    }

    /// The metadata of a safetensors file.
    pub(crate) fn to_metadata(&self) -> serde_json::Result<HashMap<String, String>> {
        let header = [("format", FORMAT), ("version", VERSION)].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let text = |(key, value): (String, Value)| match value {
            Value::String(text) if TEXT_FIELDS.contains(&key.as_str()) => (key, text),
            value => (key, value.to_string()),
        };
        Ok(header.into_iter().chain(self.fields()?.into_iter().map(text)).collect())
    }

    /// The fields of the file.
    pub(crate) fn fields(&self) -> serde_json::Result<Map<String, Value>> {
        // Converted through text, so that an f32 is written with the fewest digits that are read back as the same
        // value.
        let mut fields: Map<String, Value> = serde_json::from_str(&serde_json::to_string(self)?)?;
        if let (Method::Probe, Some(Value::Object(settings))) = (&self.method, fields.get_mut("hyperparameters")) {
            settings.retain(|name, _| !without_steps().contains_key(name));
        }
        Ok(fields)
    }

    /// Whether the metadata of a safetensors file is that of a task file, sound or not.
    pub(crate) fn is_in(metadata: &HashMap<String, String>) -> bool {
        metadata.get("format").is_some_and(|format| format == FORMAT)
    }

    /// Reads the metadata of a safetensors file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn from_metadata(metadata: &HashMap<String, String>) -> Result<Self, String> {
        let header = |key: &str| metadata.get(key).map(String::as_str);
        match header("format") {
            Some(FORMAT) => {}
            Some(other) => return Err(format!("not a task file: expected format {FORMAT:?}, found {other:?}")),
            None => return Err("not a task file: its metadata has no \"format\"".into()),
        }
        match header("version") {
            Some(VERSION) => {}
            Some(other) => {
                let advice = "train the task again, or use the version of bitfit that wrote it";
                return Err(format!("expected version {VERSION} of the task file format, found {other:?}: {advice}"));
            }
            None => return Err("its metadata has no \"version\"".into()),
        }
        let mut fields = Map::new();
        for (key, text) in metadata.iter().filter(|(key, _)| !["format", "version"].contains(&key.as_str())) {
            let value = if TEXT_FIELDS.contains(&key.as_str()) {
                Value::String(text.clone())
            } else {
                serde_json::from_str(text).map_err(|error| format!("the metadata's {key:?} is not JSON: {error}"))?
            };
            fields.insert(key.clone(), value);
        }
        fields.sort_keys();
        let is_probe = fields.get("method").is_some_and(|method| method == Method::Probe.name());
        if let (true, Some(Value::Object(settings))) = (is_probe, fields.get_mut("hyperparameters")) {
            let without_steps = without_steps();
            if let Some(name) = without_steps.keys().find(|name| settings.contains_key(*name)) {
                return Err(format!("the metadata's \"hyperparameters.{name}\" is of steps, and a probe has none"));
            }
            settings.extend(without_steps);
        }
        let info: Self = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
            match error.path().to_string() {
                path if path == "." => format!("the metadata: {}", error.inner()),
                path => format!("the metadata's {path:?}: {}", error.inner()),
            }
        })?;
        info.validate().map(|()| info)
    }

    /// Refuses fields that contradict each other.
    fn validate(&self) -> Result<(), String> {
        let expected = match self.kind {
            Kind::Classify | Kind::Tag if self.labels.is_none() => "a list of labels for a classification",
            Kind::MultiLabel if self.labels.is_none() => "a list of labels for a task of several",
            Kind::Regress if self.labels.is_some() => "null for a regression",
            Kind::Span if self.labels.is_some() => "null for answers",
            Kind::MaskedLm if self.labels.is_some() => "null for masked language modelling",
            _ if self.hyperparameters.metrics.is_empty() => {
                return Err("the metadata's \"hyperparameters.metrics\" is empty".into());
            }
            kind if (kind == Kind::MaskedLm) != self.hyperparameters.masking.is_some() => {
                return Err(format!("the metadata's \"hyperparameters.masking\" does not fit the kind {kind}"));
            }
            _ if self.hyperparameters.masking.is_some_and(|masking| !masking.is_sound()) => {
                return Err("the metadata's \"hyperparameters.masking\": its probability is from 0 to 1".into());
            }
            Kind::MaskedLm if self.pairs => return Err("the metadata's \"pairs\" is true for the kind mlm".into()),
            kind if (kind == Kind::Span) != self.span.is_some() => {
                return Err(format!("the metadata's \"span\" does not fit the kind {kind}"));
            }
            Kind::Span if !self.pairs || self.pair == PairEncoding::Separate => {
                return Err("the metadata's \"pairs\" and \"pair\" are not those of a question with its context".into());
            }
            _ if !self.pooling.suits(self.kind) => {
                return Err(format!(
                    "the metadata's \"pooling\" is {}, which {} does not read",
                    self.pooling, self.kind
                ));
            }
            _ => return self.validate_calibration(),
        };
        Err(format!("the metadata's \"labels\": expected {expected}"))
    }

    /// Refuses a calibration that does not fit the kind of task or its labels.
    fn validate_calibration(&self) -> Result<(), String> {
        let labels = self.labels.as_ref().map_or(0, |labels| labels.names().len());
        match self.calibration.as_ref().and_then(|calibration| calibration.problem(self.kind, labels)) {
            Some(problem) => Err(format!("the metadata's \"calibration\": {problem}")),
            None => Ok(()),
        }
    }
}

/// The settings of steps, as they are read where there are no steps. `shuffle` is none of them: it also decides which
/// rows `limit` leaves.
fn without_steps() -> Map<String, Value> {
    let of_all = [
        ("learning_rate", json!(0)),
        ("schedule", json!("none")),
        ("warmup", json!(0)),
        ("epochs", json!(0)),
        ("steps", json!(0)),
        ("group_by_length", json!(false)),
        ("weight_decay", json!(0)),
        ("frozen_dropout", json!(false)),
        ("learning_rates", json!({})),
    ];
    let of_some = [
        "layer_decay",
        "batch_size",
        "batch_tokens",
        "micro_batch",
        "shards",
        "class_weights",
        "label_smoothing",
        "focal_gamma",
        "eval_every",
        "patience",
        "max_grad_norm",
        "dropout",
    ];
    let of_some = of_some.map(|name| (name, Value::Null));
    of_all.into_iter().chain(of_some).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// An optional field that is required, but may be null.
fn required<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Labels as the list of their names, at least two and all different.
mod labels {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::data::Labels;

    pub fn serialize<S: Serializer>(labels: &Option<Labels>, serializer: S) -> Result<S::Ok, S::Error> {
        labels.as_ref().map(Labels::names).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Labels>, D::Error> {
        let Some(names) = Option::<Vec<String>>::deserialize(deserializer)? else { return Ok(None) };
        let is_sound = names.len() >= 2 && names.iter().all(|name| !name.trim().is_empty());
        let labels = Labels::from_names(names).filter(|_| is_sound);
        labels.map(Some).ok_or_else(|| D::Error::custom("expected two different names or more, none of them empty"))
    }
}

/// Metrics as the list of their names.
mod metrics {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::metrics::Metric;

    pub fn serialize<S: Serializer>(metrics: &[Metric], serializer: S) -> Result<S::Ok, S::Error> {
        metrics.iter().map(Metric::name).collect::<Vec<_>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Metric>, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names.iter().map(|name| name.parse().map_err(D::Error::custom)).collect()
    }
}
