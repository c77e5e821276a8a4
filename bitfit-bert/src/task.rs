//! A finished task in use: the base model with a task file's tensors in place of its own.

use std::path::Path;

use bitfit_core::{Arena, Backend, Workspace};

use crate::bias::Selection;
use crate::data::{Dataset, Example, Kind, Labels, check_pairs};
use crate::metrics::Metric;
use crate::model::{Bert, Head, HeadWeights, ModelOptions};
use crate::tokenize::Encoding;
use crate::train::{self, Examples, Score, Targets};
use crate::{Checkpoint, Error, Result, TaskFile, Tokenizer};

/// A model that answers.
#[derive(Debug)]
pub struct Task<D: Backend> {
    file: TaskFile,
    model: Bert<D>,
    arena: Arena<D>,
    workspace: Workspace<D>,
    tokenizer: Tokenizer,
    max_length: usize,
    /// How many the model has.
    positions: usize,
}

/// What the model says of one text.
#[derive(Clone, Debug, PartialEq)]
pub enum Prediction {
    /// A class.
    Class {
        /// Its number among the labels.
        class: usize,
        /// The softmax over all classes, in the order of the labels.
        probabilities: Vec<f32>,
    },
    /// A score.
    Score(f32),
}

impl<D: Backend> Task<D> {
    /// Loads a task file onto the base model in `model_dir`.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`], [`TaskFile::read`] and [`Tokenizer::open`]; [`crate::Error::TaskFile`] when the task
    /// belongs to another base model, and [`crate::Error::MissingTensor`] when it lacks its head.
    pub fn load(device: &D, model_dir: &Path, task_file: &Path) -> Result<Self> {
        let file = TaskFile::read(task_file)?;
        let checkpoint = Checkpoint::open(model_dir)?;
        file.check_base(task_file, &checkpoint)?;
        let tokenizer = Tokenizer::open(model_dir, checkpoint.config())?;
        let head = match &file.labels {
            Some(labels) => Head::Classify { classes: labels.len() },
            None => Head::Regress,
        };
        let options = ModelOptions {
            head,
            head_weights: HeadWeights::Task { path: task_file.into(), tensors: file.tensors.clone() },
            selection: Selection::none(),
            dropout: None,
        };
        let (model, arena) = Bert::build(device, &checkpoint, &options)?;
        let positions = checkpoint.config().max_position_embeddings;
        let trained = file.hyperparameters.get("max_length").and_then(serde_json::Value::as_u64);
        let max_length = trained.map_or(positions, |length| positions.min(length as usize));
        Ok(Self { file, model, arena, workspace: Workspace::new(device.clone()), tokenizer, max_length, positions })
    }

    /// What the task file says.
    pub fn file(&self) -> &TaskFile {
        &self.file
    }

    /// The labels; `None` for a regression.
    pub fn labels(&self) -> Option<&Labels> {
        self.file.labels.as_ref()
    }

    /// The longest sequence in tokens: what the task was trained with, unless set otherwise.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Sets the longest sequence in tokens.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for more than the model has positions, or for so few that the special tokens leave no room for
    /// text: less than 3, for pairs less than 4.
    pub fn with_max_length(self, max_length: usize) -> Result<Self> {
        let special = self.tokenizer.special_tokens(self.file.pairs == Some(true));
        check_max_length(max_length, self.positions, special)?;
        Ok(Self { max_length, ..self })
    }

    /// Refuses texts where the task was trained on pairs, and the other way round, as far as the task file says which.
    ///
    /// # Errors
    /// [`crate::Error::DataRow`] with `path`, which the examples are from, and the line of the first.
    pub fn check_pairs(&self, path: &Path, examples: &[Example]) -> Result<()> {
        self.file.pairs.map_or(Ok(()), |pairs| check_pairs(path, examples, pairs))
    }

    /// Predicts for texts or pairs, in their order. What has no line to be refused by goes unchecked: see
    /// [`Task::check_pairs`].
    ///
    /// # Errors
    /// [`crate::Error::Tokenizer`] when a text cannot be encoded; [`crate::Error::Core`] when the device fails.
    pub fn predict(&self, texts: &[(&str, Option<&str>)]) -> Result<Vec<Prediction>> {
        let encodings = self.tokenizer.encode_all(texts, self.max_length)?;
        let outputs = train::outputs(&self.model, &self.arena, &self.workspace, &encodings)?;
        let predict = |row: ndarray::ArrayView1<'_, f32>| match self.file.kind {
            Kind::Classify => {
                let probabilities = softmax(&row.to_vec());
                Prediction::Class { class: train::argmax(&probabilities), probabilities }
            }
            Kind::Regress => Prediction::Score(row[0]),
        };
        Ok(outputs.rows().into_iter().map(predict).collect())
    }

    /// Scores the model on a labelled data set.
    ///
    /// # Errors
    /// [`crate::Error::UnknownLabel`] and [`crate::Error::DataField`] for labels that are not the task's; otherwise as
    /// [`Task::check_pairs`] and [`Task::predict`].
    pub fn evaluate(&self, dataset: &Dataset, metrics: &[Metric]) -> Result<(Vec<Score>, usize)> {
        self.check_pairs(&dataset.path, &dataset.examples)?;
        let targets = targets(dataset, self.labels())?;
        let encodings = encode(&self.tokenizer, dataset, self.max_length)?;
        let tokens = encodings.iter().map(|encoding| encoding.ids.len()).sum();
        let examples = Examples { encodings, targets };
        Ok((train::evaluate(&self.model, &self.arena, &self.workspace, &examples, metrics)?, tokens))
    }
}

/// Refuses a longest sequence that holds no text beside so many special tokens, or for which the model has not enough positions.
pub(crate) fn check_max_length(max_length: usize, positions: usize, special: usize) -> Result<()> {
    let reason = match special {
        2 if max_length < 3 => "two places go to [CLS] and [SEP], so it must be at least 3",
        3 if max_length < 4 => "of a pair, three places go to [CLS] and two [SEP], so it must be at least 4",
        _ if max_length <= special => "the tokenizer's special tokens leave no room for text",
        _ if max_length > positions => "the model has fewer positions; see max_position_embeddings in its config.json",
        _ => return Ok(()),
    };
    Err(Error::Setting { name: "the maximum length", value: max_length.to_string(), reason })
}

/// The texts of a data set as tokens.
pub(crate) fn encode(tokenizer: &Tokenizer, dataset: &Dataset, max_length: usize) -> Result<Vec<Encoding>> {
    let rows: Vec<_> =
        dataset.examples.iter().map(|example| (example.text.as_str(), example.pair.as_deref())).collect();
    tokenizer.encode_all(&rows, max_length)
}

/// The labels of a data set as classes, or as scores where there are no classes.
pub(crate) fn targets(dataset: &Dataset, labels: Option<&Labels>) -> Result<Targets> {
    Ok(match labels {
        Some(labels) => Targets::Classes(labels.encode(dataset)?),
        None => Targets::Scores(dataset.scores()?),
    })
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - max).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| (e / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_room_for_text_and_not_more_than_the_model() {
        for (max_length, special, word) in [
            (0, 2, "at least 3"),
            (2, 2, "at least 3"),
            (3, 3, "at least 4"),
            (4, 4, "no room for text"),
            (0, 0, "no room for text"),
            (9, 2, "fewer positions"),
        ] {
            let message = check_max_length(max_length, 8, special).unwrap_err().to_string();
            assert!(message.starts_with(&format!("the maximum length is {max_length}: ")), "{message}");
            assert!(message.contains(word), "{message}");
        }
        assert!(
            [(1, 0), (3, 2), (4, 3), (8, 2)]
                .into_iter()
                .all(|(length, special)| check_max_length(length, 8, special).is_ok())
        );
    }
}
