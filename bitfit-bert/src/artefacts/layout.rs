//! Which class of another program computes what a task's head computes, and under which names it looks for the head.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::arch::Architecture;
use crate::data::Kind;
use crate::heads::Pooling;
use crate::task_file::TaskInfo;
use crate::{Error, Result};

/// The form of a model directory that computes what a task computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A class of transformers, by its name.
    Class(String),
    /// The modules of sentence-transformers: the encoder, its pooling, a division by the length if the task has one,
    /// and the head as a dense layer whose outputs are the logits or the score.
    SentenceEncoder,
}

/// The file of the head of a sentence encoder inside its module's directory, and its two tensors.
pub(super) const DENSE_TENSORS: [&str; 2] = ["linear.weight", "linear.bias"];

impl Layout {
    /// The form for a task over an architecture. `path` is the task file, for messages.
    ///
    /// # Errors
    /// [`Error::TaskFile`] for a task that no class of transformers or sentence-transformers computes: one that reads
    /// the two texts of a pair apart.
    pub fn of(path: &Path, info: &TaskInfo, architecture: &Architecture) -> Result<Self> {
        if info.spec().encodes_apart() {
            return Err(Error::TaskFile {
                path: path.into(),
                reason: "it reads the two texts of a pair apart, which no class of transformers or \
                         sentence-transformers does: use the task file itself, or train the task on joint pairs"
                    .into(),
            });
        }
        let class = |ending: &str| Self::Class(format!("{}{ending}", architecture.class));
        Ok(match (info.kind, info.pooling) {
            (Kind::Tag, _) => class(TAGS),
            (Kind::Span, _) => class(ANSWERS),
            (Kind::MaskedLm, _) => class(MASKS),
            (Kind::Classify | Kind::Regress | Kind::MultiLabel, Pooling::Pooler) => class(TEXTS),
            (Kind::Classify | Kind::Regress | Kind::MultiLabel, _) => Self::SentenceEncoder,
        })
    }

    /// The name of the class in `config.json`.
    pub(super) fn class(&self, architecture: &Architecture) -> String {
        match self {
            Self::Class(class) => class.clone(),
            Self::SentenceEncoder => format!("{}Model", architecture.class),
        }
    }

    /// The library that reads the directory, as the hub names it.
    pub fn library(&self) -> &'static str {
        match self {
            Self::Class(_) => "transformers",
            Self::SentenceEncoder => "sentence-transformers",
        }
    }
}

/// The endings of the names of transformers' classes.
pub(super) const TEXTS: &str = "ForSequenceClassification";
pub(super) const TAGS: &str = "ForTokenClassification";
pub(super) const ANSWERS: &str = "ForQuestionAnswering";
pub(super) const MASKS: &str = "ForMaskedLM";

/// What `problem_type` says of a kind of task that reads texts.
pub(super) fn problem_type(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Classify => Some("single_label_classification"),
        Kind::MultiLabel => Some("multi_label_classification"),
        Kind::Regress => Some("regression"),
        Kind::Tag | Kind::Span | Kind::MaskedLm => None,
    }
}

/// The keys of a base's configuration that say something of an earlier head, of files that are not there, or of the
/// type of the weights.
const REPLACED: [&str; 9] = [
    "_name_or_path",
    "architectures",
    "auto_map",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "torch_dtype",
    "dtype",
];

/// The configuration of a base with a task's head.
pub(super) fn configuration(base: Value, info: &TaskInfo, layout: &Layout, architecture: &Architecture) -> Value {
    let mut config = match base {
        Value::Object(config) => config,
        _ => Map::new(),
    };
    config.retain(|key, _| !REPLACED.contains(&key.as_str()));
    config.insert("architectures".into(), json!([layout.class(architecture)]));
    config.insert("model_type".into(), architecture.model_type.into());
    config.insert("dtype".into(), "float32".into());
    let names: Option<Vec<String>> = match info.kind {
        // The one output of a score has the name that transformers gives it.
        Kind::Regress => Some(vec!["LABEL_0".into()]),
        Kind::Classify | Kind::MultiLabel | Kind::Tag => info.labels.as_ref().map(|labels| labels.names().to_vec()),
        Kind::Span | Kind::MaskedLm => None,
    };
    // Under the labels, transformers would give the answers of a head that it draws itself as the task's: of a sentence
    // encoder the head is a module of its own. bitfit.json and the card name its labels.
    if let (Layout::Class(_), Some(names)) = (layout, names) {
        let by_number: Map<_, _> =
            names.iter().enumerate().map(|(number, name)| (number.to_string(), name.as_str().into())).collect();
        let by_name: Map<_, _> = names.iter().enumerate().map(|(number, name)| (name.clone(), number.into())).collect();
        config.insert("id2label".into(), by_number.into());
        config.insert("label2id".into(), by_name.into());
    }
    if let (Layout::Class(_), Some(problem)) = (layout, problem_type(info.kind)) {
        config.insert("problem_type".into(), problem.into());
    }
    if info.kind == Kind::MaskedLm {
        config.insert("tie_word_embeddings".into(), true.into());
    }
    config.into()
}

/// The files beside the weights by which sentence-transformers finds the modules, and the directory of the head.
pub(super) fn sentence_files(info: &TaskInfo, hidden: usize, outputs: usize) -> (Vec<(String, Value)>, String) {
    let mut kinds = vec!["Transformer", "Pooling"];
    if info.pooling.normalizes() {
        kinds.push("Normalize");
    }
    kinds.push("Dense");
    let dir = |place: usize, kind: &str| if place == 0 { String::new() } else { format!("{place}_{kind}") };
    let module = |(place, kind): (usize, &&str)| {
        let name = format!("sentence_transformers.models.{kind}");
        json!({"idx": place, "name": place.to_string(), "path": dir(place, kind), "type": name})
    };
    let modules: Value = kinds.iter().enumerate().map(module).collect();
    let is_mean = info.pooling.reads_every_token();
    let pooling = json!({
        "word_embedding_dimension": hidden, "pooling_mode_cls_token": !is_mean, "pooling_mode_mean_tokens": is_mean,
        "pooling_mode_max_tokens": false, "pooling_mode_mean_sqrt_len_tokens": false,
    });
    let dense = json!({
        "in_features": hidden, "out_features": outputs, "bias": true,
        "activation_function": "torch.nn.modules.linear.Identity",
    });
    let transformer = json!({"max_seq_length": info.hyperparameters.max_length, "do_lower_case": false});
    let head = dir(kinds.len() - 1, "Dense");
    let files = vec![
        (crate::heads::pooling::MODULES.to_owned(), modules),
        ("sentence_bert_config.json".into(), transformer),
        (format!("{}/config.json", dir(1, "Pooling")), pooling),
        (format!("{head}/config.json"), dense),
    ];
    (files, head)
}
