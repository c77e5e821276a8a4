//! Out-of-fold answers: JSON lines with an answer to each row of a training set, each by a model that was trained on
//! other rows. They are held-out outputs of the whole set, to which a task that was trained on all of it is calibrated.
//!
//! ```text
//! {"row":1,"rows":64,"task":"5d41402abc4b2a76","expected":"praise","logits":{"blame":-1.25,"praise":0.5}, …}
//! ```
//!
//! Logits are those before a temperature, each with as many digits as its f32 needs. Further fields are for readers of
//! the file, and are not read here.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use ndarray::{Array2, ArrayView2};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::Calibration;
use crate::data::{Example, Kind, Label, Labels, LineReader};
use crate::files::parse_json;
use crate::heads::Targets;
use crate::task_file::TaskInfo;
use crate::{Error, Result};

/// The hexadecimal digits of a task's fingerprint in a line.
const DIGITS: usize = 16;

/// What a line holds of a row for a calibration.
#[derive(Debug, Serialize)]
pub struct OutOfFoldRow<'a> {
    /// The place of the row in the training set, from 1.
    row: usize,
    /// The number of rows of the training set, and of lines of the file.
    rows: usize,
    /// The fingerprint of the task, which is the same for each fold and for a run over all rows.
    task: &'a str,
    expected: Expected<'a>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_object")]
    logits: Option<Vec<(&'a str, f32)>>,
}

/// What is right for a row.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Expected<'a> {
    /// A label or a score; null where a text has neither.
    Text(Option<&'a str>),
    /// Any number of labels.
    Labels(Vec<&'a str>),
}

/// Makes the lines of a training set.
#[derive(Debug)]
pub struct OutOfFoldWriter<'a> {
    info: &'a TaskInfo,
    task: String,
    targets: &'a Targets,
    rows: usize,
}

impl<'a> OutOfFoldWriter<'a> {
    /// For a training set of `rows` texts with their targets; `info` is the header of a fold's task file.
    pub fn new(info: &'a TaskInfo, targets: &'a Targets, rows: usize) -> Self {
        Self { info, task: fingerprint(info), targets, rows }
    }

    /// The line of a text, which is at `place` in the training set, from 0, with its outputs `[1, C]`. Of kinds of task
    /// that are not calibrated it has no logits.
    pub fn row<'b>(&'b self, place: usize, example: &'b Example, outputs: ArrayView2<'_, f32>) -> OutOfFoldRow<'b> {
        let names = self.info.labels.as_ref().map(Labels::names).unwrap_or_default();
        let expected = match self.targets {
            Targets::Indicators(indicators) => {
                let has = names.iter().zip(indicators.row(place)).filter(|(_, indicator)| **indicator == 1.0);
                Expected::Labels(has.map(|(name, _)| name.as_str()).collect())
            }
            _ => Expected::Text(example.label.as_ref().map(Label::as_str)),
        };
        let logits = || names.iter().map(String::as_str).zip(outputs.row(0).iter().copied()).collect();
        let logits = Calibration::suits(self.info.kind).then(logits);
        OutOfFoldRow { row: place + 1, rows: self.rows, task: &self.task, expected, logits }
    }
}

/// The outputs and the targets of a training set, read from a file of out-of-fold answers.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfFold {
    /// The logits `[rows, C]` before a temperature, in the order of the task's labels.
    pub outputs: Array2<f32>,
    /// The class or the labels of each row.
    pub targets: Targets,
}

impl OutOfFold {
    /// Reads the answers to the training set of a task, whose header is `info`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::DataRow`] with the line for what is not such a file, a kind of task other than the
    /// task's, another task, a row that is missing or out of place, and an output that is not a finite number;
    /// [`Error::UnknownLabel`] for a label that is not the task's; [`Error::Metric`] for a task that is not calibrated.
    pub fn read(path: &Path, info: &TaskInfo) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        Self::from_reader(BufReader::new(file), path, info)
    }

    /// As [`OutOfFold::read`], from a stream that `path` names in errors.
    ///
    /// # Errors
    /// As [`OutOfFold::read`].
    pub fn from_reader(reader: impl BufRead, path: &Path, info: &TaskInfo) -> Result<Self> {
        let labels = info.labels.as_ref().filter(|_| Calibration::suits(info.kind)).ok_or_else(|| {
            let reason = format!("a task of kind {} has no probabilities that can be calibrated", info.kind);
            Error::Metric { metric: "calibration", reason }
        })?;
        let task = fingerprint(info);
        let mut lines = LineReader::new(reader, path);
        let (mut outputs, mut classes, mut indicators) = (Vec::new(), Vec::new(), Vec::new());
        let (mut read, mut rows) = (0, None);
        while let Some(line) = lines.next()? {
            read += 1;
            let place = Place { path, line: line.number, labels };
            let fields = place.fields(line.text)?;
            let logits = place.logits(&fields, info.kind)?;
            match (info.kind, place.expected(&fields, info.kind)?) {
                (Kind::MultiLabel, has) => {
                    indicators.extend((0..labels.len()).map(|label| f32::from(u8::from(has.contains(&label)))));
                }
                (_, has) => classes.extend(has),
            }
            outputs.extend(logits);
            let of = place.count(&fields, "rows")?;
            let (row, rows) = (place.count(&fields, "row")?, *rows.get_or_insert(of));
            if row != read || of != rows {
                let reason = format!(
                    "expected row {read} of {rows}, found row {row} of {of}: rows are missing, twice or out of place; \
                     make the folds again"
                );
                return Err(place.error(reason));
            }
            if fields.get("task").and_then(Value::as_str) != Some(&task) {
                let reason = "the answers are not those of the task file's task: the base model, the tokenizer, the \
                              labels, the read-out, the method, the maximum length or the loss is another one";
                return Err(place.error(reason.into()));
            }
        }
        let end = Place { path, line: read + 1, labels };
        match rows {
            None => return Err(end.error("there is no answer in the file".into())),
            Some(rows) if rows != read => {
                let reason = format!("the file ends after {read} of {rows} rows; make the folds again");
                return Err(end.error(reason));
            }
            Some(_) => {}
        }
        let matrix = |values| Array2::from_shape_vec((read, labels.len()), values).expect("a value a row and label");
        let targets = match info.kind {
            Kind::MultiLabel => Targets::Indicators(matrix(indicators)),
            _ => Targets::Classes(classes),
        };
        Ok(Self { outputs: matrix(outputs), targets })
    }
}

/// A line of a file, and the labels that it is to have.
struct Place<'a> {
    path: &'a Path,
    line: usize,
    labels: &'a Labels,
}

impl Place<'_> {
    fn error(&self, reason: String) -> Error {
        Error::DataRow { path: self.path.into(), line: self.line, reason }
    }

    fn fields(&self, text: &str) -> Result<Map<String, Value>> {
        parse_json(text.as_bytes()).map_err(|_| {
            self.error("not a JSON object: expected a file that finetune --folds wrote (out_of_fold.jsonl)".into())
        })
    }

    /// A number of rows, from 1.
    fn count(&self, fields: &Map<String, Value>, name: &str) -> Result<usize> {
        let count = fields.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| self.error(format!("it has no number {name:?}: expected out-of-fold answers")))
    }

    /// The logits in the order of the labels.
    fn logits(&self, fields: &Map<String, Value>, kind: Kind) -> Result<Vec<f32>> {
        let Some(logits) = fields.get("logits").and_then(Value::as_object) else {
            return Err(self.error(format!(
                "it has no \"logits\": expected out-of-fold answers of kind {kind}, by this version of bitfit"
            )));
        };
        if let Some(unknown) = logits.keys().find(|name| self.labels.index(name).is_none()) {
            return Err(self.unknown(unknown));
        }
        let logit = |name: &String| {
            let value = logits.get(name).ok_or_else(|| {
                self.error(format!("it has no logit of the label {name:?}, which the task of the task file has"))
            })?;
            let logit = value.as_f64().map(|logit| logit as f32).filter(|logit| logit.is_finite());
            logit.ok_or_else(|| self.error(format!("the logit of {name:?} is {value}, which is not a finite number")))
        };
        self.labels.names().iter().map(logit).collect()
    }

    /// The class of the row, or its labels.
    fn expected(&self, fields: &Map<String, Value>, kind: Kind) -> Result<Vec<usize>> {
        let index = |name: &str| self.labels.index(name).ok_or_else(|| self.unknown(name));
        match (fields.get("expected"), kind) {
            (Some(Value::String(name)), Kind::Classify) => Ok(vec![index(name)?]),
            (Some(Value::Array(names)), Kind::MultiLabel) => names
                .iter()
                .map(|name| index(name.as_str().ok_or_else(|| self.error(format!("the label {name} is not a text")))?))
                .collect(),
            _ => {
                let what = if kind == Kind::MultiLabel { "a list of labels" } else { "one label" };
                Err(self
                    .error(format!("\"expected\" is not {what}: the answers are not those of a task of kind {kind}")))
            }
        }
    }

    fn unknown(&self, label: &str) -> Error {
        let known = self.labels.names().to_vec();
        Error::UnknownLabel { path: self.path.into(), line: self.line, label: label.into(), known }
    }
}

/// A fingerprint of what the runs over folds and the one over all rows have in common, as far as it is part of a task
/// file and decides what is computed and by which loss it was trained.
fn fingerprint(info: &TaskInfo) -> String {
    let training = &info.hyperparameters;
    let parts = json!([
        info.base_fingerprint,
        info.tokenizer_fingerprint,
        info.kind.name(),
        info.labels.as_ref().map(Labels::names),
        info.pairs,
        info.pair.name(),
        info.pooling.to_string(),
        info.method.to_string(),
        training.max_length,
        training.class_weights.is_some(),
        training.label_smoothing,
        training.focal_gamma,
    ]);
    let mut digits = blake3::hash(parts.to_string().as_bytes()).to_hex().to_string();
    digits.truncate(DIGITS);
    digits
}

/// Serialises pairs as an object, in their order.
fn as_object<S: Serializer>(pairs: &Option<Vec<(&str, f32)>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().flatten().copied())
}
