//! The error type of the crate. Every message is one line that says what is wrong and where and, if possible, what to
//! do.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use crate::settings::Setting;
use crate::text::OneLine;

/// An error in reading a user's files, training, or writing and using a task.
///
/// The message of every variant is complete, its cause included: print it with `{}`. What it quotes of a file has its
/// control characters written as escapes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be opened, read or written.
    #[error("{}: {source}", OneLine(.path.display()))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A `config.json` that is not JSON, lacks something, or says what cannot be.
    #[error("{}: {}", OneLine(.path.display()), OneLine(.reason))]
    Config {
        /// The file.
        path: PathBuf,
        /// The key, and why its value is invalid.
        reason: String,
    },
    /// A well-formed `config.json` of a model that is not supported.
    #[error("{}: {} is not supported: {advice}", OneLine(.path.display()), OneLine(.feature))]
    Unsupported {
        /// The `config.json`.
        path: PathBuf,
        /// The unsupported feature, as the file names it.
        feature: String,
        /// What is supported, or what to do instead.
        advice: String,
    },
    /// A weight file that cannot be read as one, or does not belong to its `config.json`.
    #[error("{}: {}", OneLine(.path.display()), OneLine(.reason))]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The weight file, or a head's or a task's, lacks a tensor that the model needs.
    #[error("{}: the tensor {} is missing", OneLine(.path.display()), OneLine(.name))]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The canonical name, without the `bert.` prefix; with it in the file of a head or a task.
        name: String,
    },
    /// A method asks for what the model does not have.
    #[error("the method {}: {reason}", OneLine(.method))]
    Method {
        /// The method as text.
        method: String,
        /// Why it is impossible.
        reason: String,
    },
    /// A mask file is not one, or belongs to another model.
    #[error("{}: {}", OneLine(.path.display()), OneLine(.reason))]
    MaskFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor does not have the shape that `config.json` implies.
    #[error("{}: the tensor {} has shape {found:?}, but config.json implies {expected:?}", OneLine(.path.display()), OneLine(.tensor))]
    ShapeMismatch {
        /// The weight file.
        path: PathBuf,
        /// The name the tensor has in the file.
        tensor: String,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor of a type that cannot be read as f32.
    #[error("{}: the tensor {} is of type {dtype}; F32, F16 and BF16 are supported", OneLine(.path.display()), OneLine(.tensor))]
    Dtype {
        /// The weight file.
        path: PathBuf,
        /// The name the tensor has in the file.
        tensor: String,
        /// The type, as safetensors names it.
        dtype: String,
    },
    /// The model has no bias terms, so there is nothing that BitFit could train.
    #[error("{}: {}, so BitFit has nothing to train; {advice}", OneLine(.path.display()), OneLine(.what))]
    NoBiases {
        /// The `config.json` or weight file that shows that there are none.
        path: PathBuf,
        /// What has no biases.
        what: String,
        /// What to do instead.
        advice: String,
    },
    /// A tokenizer that cannot be read, or a text that it cannot encode.
    #[error("{}: {}", OneLine(.path.display()), OneLine(.reason))]
    Tokenizer {
        /// The tokenizer's file or directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The record of an earlier run, where a run is to be made that it is not of.
    #[error("{}: {}; choose another directory, or remove this one", OneLine(.path.display()), OneLine(.reason))]
    RunRecord {
        /// The record.
        path: PathBuf,
        /// What is wrong with it, or which setting differs.
        reason: String,
    },
    /// A run of a sweep that this process had claimed and that another one has taken over.
    #[error(
        "{}: another process has taken this run over, because its heartbeat here stood still for too long",
        OneLine(.path.display())
    )]
    TakenOver {
        /// The directory of the run.
        path: PathBuf,
    },
    /// The saved state of a run, which cannot be written, read or used.
    #[error("{}: {}", OneLine(.path.display()), OneLine(.reason))]
    StateFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// The name given for a model is neither a directory nor a model that can be fetched.
    #[error("model {model:?}: {}", OneLine(.reason))]
    ModelNotFound {
        /// The name as it was given.
        model: String,
        /// Why it was not found, and what to do.
        reason: String,
    },
    /// A data file that cannot be used as a whole.
    #[error("{}: {}", OneLine(.path.display()), OneLine(.reason))]
    DataFile {
        /// The file, or `<stdin>`.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A data file whose name does not tell its format.
    #[error("{}: {}; give the format: tsv, csv, jsonl, lines or parquet", OneLine(.path.display()), OneLine(.reason))]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What the name has instead of a known extension.
        reason: String,
    },
    /// A data file lacks a column that was asked for, or none of its columns is recognised.
    #[error("{}: {}; {found}; {advice}", OneLine(.path.display()), OneLine(.reason))]
    DataColumn {
        /// The file.
        path: PathBuf,
        /// Which column is missing.
        reason: String,
        /// The columns of the file.
        found: String,
        /// What to do.
        advice: String,
        /// The settings that resolve it.
        settings: &'static [Setting],
    },
    /// A first row that cannot be used as an example and may be a header.
    #[error("{}, line {line}, column {}: {reason}; say whether this row names the columns", OneLine(.path.display()), OneLine(.column))]
    UnsureHeader {
        /// The file.
        path: PathBuf,
        /// The line the row begins on, from 1.
        line: usize,
        /// The column's number from 0.
        column: String,
        /// Why the row cannot be used as an example.
        reason: String,
    },
    /// A single text where pairs are expected, or a pair where single texts are.
    #[error("{}, line {line}: {}", OneLine(.path.display()), if *.paired { WANTS_PAIRS } else { WANTS_SINGLE })]
    WrongTexts {
        /// The file.
        path: PathBuf,
        /// The line the row begins on, from 1.
        line: usize,
        /// Whether pairs are expected.
        paired: bool,
    },
    /// A row of a data file is broken.
    #[error("{}, line {line}: {}", OneLine(.path.display()), OneLine(.reason))]
    DataRow {
        /// The file.
        path: PathBuf,
        /// The line it begins on, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Separators or quotes of a table that can be read in several ways, or in none.
    #[error("{}, line {line}: {}", OneLine(.path.display()), OneLine(.reason))]
    Dialect {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is unclear or wrong.
        reason: String,
        /// The settings that resolve it.
        settings: &'static [Setting],
    },
    /// A directory that a run must not write into.
    #[error("{}: {reason}", OneLine(.path.display()))]
    Output {
        /// The directory.
        path: PathBuf,
        /// Why, and the way out.
        reason: String,
        /// The settings that resolve it.
        settings: &'static [Setting],
    },
    /// One field of a row cannot be used.
    #[error("{}, line {line}, column {}: {}", OneLine(.path.display()), OneLine(.column), OneLine(.reason))]
    DataField {
        /// The file.
        path: PathBuf,
        /// The line its row begins on, from 1.
        line: usize,
        /// The column's name, or its number from 0 where there is no header.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Several labels for a text, of which the kind of the task has one.
    #[error(
        "{}, line {line}, column {}: {}; expected one label, or the kind multi-label",
        OneLine(.path.display()), OneLine(.column), OneLine(.reason)
    )]
    SeveralLabels {
        /// The file.
        path: PathBuf,
        /// The line its row begins on, from 1.
        line: usize,
        /// The column's name, or its number from 0 where there is no header.
        column: String,
        /// What was found.
        reason: String,
    },
    /// A label that the training set does not have.
    #[error("{}, line {line}: the label {label:?} is not among those of the training set: {}", OneLine(.path.display()), listed(.known))]
    UnknownLabel {
        /// The file.
        path: PathBuf,
        /// The line its row begins on, from 1.
        line: usize,
        /// The label.
        label: String,
        /// The training set's labels.
        known: Vec<String>,
    },
    /// An unknown name, such as that of a format or a metric.
    #[error(transparent)]
    UnknownName(#[from] UnknownName),
    /// Predictions that a metric cannot score.
    #[error("the metric {metric}: {reason}")]
    Metric {
        /// The metric's name.
        metric: &'static str,
        /// Why the predictions cannot be scored.
        reason: String,
    },
    /// A setting with an invalid value.
    #[error("{setting} is {value}: {reason}")]
    Setting {
        /// The setting.
        setting: Setting,
        /// The value that was given.
        value: String,
        /// What is required of it.
        reason: Cow<'static, str>,
    },
    /// The model's output for a text is NaN or infinite, because training diverged.
    #[error(
        "the model's output for text {row} is not finite: training diverged, so train again with a lower learning rate"
    )]
    NotFinite {
        /// The position of the text among those given, from 1.
        row: usize,
    },
    /// A task file that is not sound, or does not belong to the base model.
    #[error("{}: {}", OneLine(.path.display()), OneLine(.reason))]
    TaskFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An error of the engine; see [`bitfit_core::Error`].
    #[error(transparent)]
    Core(#[from] bitfit_core::Error),
}

/// An unknown name, such as that of a format or a metric.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {name:?}; expected {}", one_of(.known))]
pub struct UnknownName {
    /// The kind of thing that it should name.
    pub what: &'static str,
    /// The name as it was given.
    pub name: String,
    /// The known names.
    pub known: Vec<&'static str>,
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The message for a single text.
const WANTS_PAIRS: &str = "a single text, but the task is one of pairs; name the two columns, or put a tab between the two \
                           texts of a line";
/// The message for a pair.
const WANTS_SINGLE: &str = "a pair of texts, but the task is one of single texts; name the one column, and for a table that \
                            is piped in its format";

impl Error {
    /// The settings that are invalid, or that can avoid this error, so that a program can name the corresponding flags.
    pub fn settings(&self) -> Vec<Setting> {
        match self {
            Self::Setting { setting, .. } => vec![*setting],
            Self::DataColumn { settings, .. } | Self::Dialect { settings, .. } | Self::Output { settings, .. } => {
                settings.to_vec()
            }
            Self::UnknownFormat { .. } => vec![Setting::Format],
            Self::UnsureHeader { .. } => vec![Setting::Header],
            Self::SeveralLabels { .. } => vec![Setting::Kind],
            Self::WrongTexts { paired: true, .. } => vec![Setting::TextColumn],
            Self::WrongTexts { paired: false, .. } => vec![Setting::TextColumn, Setting::Format],
            Self::ModelNotFound { .. } => vec![Setting::Model],
            _ => Vec::new(),
        }
    }

    /// For `map_err`: an error of the system with the file that it concerns.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// The names for a message: "a", "a or b", "a, b or c".
fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".into(),
        [name] => (*name).into(),
        [names @ .., last] => format!("{} or {last}", names.join(", ")),
    }
}

/// The labels for a message: the first twenty, then how many more.
fn listed(labels: &[String]) -> String {
    let mut text = labels.iter().take(20).map(|label| format!("{label:?}")).collect::<Vec<_>>().join(", ");
    if labels.len() > 20 {
        text += &format!(" and {} more", labels.len() - 20);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_quotes_of_a_file_stays_on_its_line() {
        let (path, hostile) = (PathBuf::from("a\nb"), "x\u{1b}[2J\u{202e}\r\n".to_owned());
        for error in [
            Error::Io { path: path.clone(), source: io::ErrorKind::NotFound.into() },
            Error::Config { path: path.clone(), reason: hostile.clone() },
            Error::Unsupported { path: path.clone(), feature: hostile.clone(), advice: "none".into() },
            Error::Weights { path: path.clone(), reason: hostile.clone() },
            Error::MissingTensor { path: path.clone(), name: hostile.clone() },
            Error::ShapeMismatch { path: path.clone(), tensor: hostile.clone(), expected: vec![1], found: vec![2] },
            Error::Dtype { path: path.clone(), tensor: hostile.clone(), dtype: "I8".into() },
            Error::NoBiases { path: path.clone(), what: hostile.clone(), advice: "none".into() },
            Error::Tokenizer { path: path.clone(), reason: hostile.clone() },
            Error::DataFile { path: path.clone(), reason: hostile.clone() },
            Error::UnknownFormat { path: path.clone(), reason: hostile.clone() },
            Error::DataRow { path: path.clone(), line: 1, reason: hostile.clone() },
            Error::Dialect { path: path.clone(), line: 1, reason: hostile.clone(), settings: &[] },
            Error::DataField { path: path.clone(), line: 1, column: hostile.clone(), reason: hostile.clone() },
            Error::SeveralLabels { path: path.clone(), line: 1, column: hostile.clone(), reason: hostile.clone() },
            Error::UnknownLabel { path: path.clone(), line: 1, label: hostile.clone(), known: vec![hostile.clone()] },
            Error::TaskFile { path, reason: hostile },
        ] {
            let message = error.to_string();
            assert!(message.starts_with(r"a\nb"), "{message:?}");
            assert!(!message.contains(|c: char| c.is_control() || c == '\u{202e}'), "{message:?}");
        }
    }
}
