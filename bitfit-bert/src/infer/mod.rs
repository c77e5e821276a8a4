//! Prediction with a finished task: the base model with the tensors of a task file in place of its own.

mod analysis;
mod answered;
mod cut;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

pub use analysis::{Analysis, MISTAKES, Mistake};
pub use answered::Answered;
use bitfit_core::Backend;
pub use cut::Cut;
use ndarray::{Array2, s};

use crate::calibrate::Fit;
use crate::data::{Dataset, Example, Kind, Labels, check_pairs};
use crate::heads::{Examples, Masking, Prediction};
use crate::metrics::Metric;
use crate::model::{Base, InitialValues, Model, ModelOptions, TensorFile};
use crate::settings::check_max_length;
use crate::task_file::TaskInfo;
use crate::tokenize::Encoding;
use crate::train::{self, Score};
use crate::{Error, Result, TaskFile};

/// Texts that are tokens at one time in an evaluation, so that a large data set does not take its tokens' memory too.
const ENCODED_AT_ONCE: usize = 4096;

/// The scores of a task on labelled texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The scores over all texts, those included that are rejected.
    pub scores: Vec<Score>,
    /// The number of tokens of the texts.
    pub tokens: usize,
    /// The texts that are answered; `None` for a task that rejects nothing.
    pub answered: Option<Answered>,
}

/// A task over a base, ready to predict.
#[derive(Debug)]
pub struct Predictor<D: Backend> {
    info: TaskInfo,
    model: Model<D>,
    max_length: usize,
    /// What was cut so far.
    cut: Mutex<Cut>,
}

impl<D: Backend> Predictor<D> {
    /// Opens a task file over its base.
    ///
    /// # Errors
    /// Those of [`TaskFile::read`] and [`Predictor::new`].
    pub fn open(base: &Base<D>, task_file: &Path) -> Result<Self> {
        Self::new(base, task_file, TaskFile::read(task_file)?)
    }

    /// A task over its base, from a task file that was read from `task_file`.
    ///
    /// # Errors
    /// Those of [`TaskFile::check_base`] and [`Model::new`]; [`Error::TaskFile`] for a maximum length that the base
    /// cannot have.
    pub fn new(base: &Base<D>, task_file: &Path, file: TaskFile) -> Result<Self> {
        file.check_base(task_file, base)?;
        let TaskFile { info, tensors } = file;
        let options = ModelOptions {
            spec: info.spec(),
            method: info.method.clone(),
            initial: InitialValues::Finished(TensorFile { path: task_file.into(), tensors }),
            dropout: None,
        };
        let model = Model::new(base, &options)?;
        let predictor = Self { max_length: info.hyperparameters.max_length, info, model, cut: Mutex::default() };
        let max_length = predictor.max_length;
        // Here it is the file's and not the caller's.
        predictor.with_max_length(max_length).map_err(|error| match error {
            Error::Setting { value, reason, .. } => Error::TaskFile {
                path: task_file.into(),
                reason: format!("the metadata's \"hyperparameters.max_length\" is {value}: {reason}"),
            },
            error => error,
        })
    }

    /// The base that the task is over.
    pub fn base(&self) -> &Base<D> {
        self.model.base()
    }

    /// The header of the task file.
    pub fn info(&self) -> &TaskInfo {
        &self.info
    }

    /// The labels; `None` for a regression.
    pub fn labels(&self) -> Option<&Labels> {
        self.info.labels.as_ref()
    }

    /// The longest sequence in tokens: that of training, unless another one is set.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Sets the longest sequence in tokens.
    ///
    /// # Errors
    /// [`Error::Setting`] for more than the model has positions, or for so few that the special tokens leave no
    /// room for text: less than 3, for pairs less than 4.
    pub fn with_max_length(self, max_length: usize) -> Result<Self> {
        let special = self.model.spec().special_tokens(self.model.base().tokenizer()?);
        check_max_length(max_length, self.model.base().config().max_length(), special)?;
        Ok(Self { max_length, ..self })
    }

    /// The texts that were read so far, and those of them that were cut at the longest sequence.
    pub fn cut(&self) -> Cut {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_cut(&self, encodings: &[Encoding]) {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).add(encodings);
    }

    /// Refuses single texts where the task was trained on pairs, and pairs where it was trained on single texts.
    ///
    /// # Errors
    /// [`Error::WrongTexts`] with `path`, the file of the examples, and the line of the first.
    pub fn check_pairs(&self, path: &Path, examples: &[Example]) -> Result<()> {
        check_pairs(path, examples, self.info.pairs)
    }

    /// As [`Predictor::check_pairs`], and refuses texts without a mask where the task fills masks, and those whose
    /// masks are behind the longest sequence.
    ///
    /// # Errors
    /// As [`Predictor::check_pairs`]; [`Error::DataRow`] with the line of the first text without a mask.
    pub fn check_texts(&self, path: &Path, examples: &[Example]) -> Result<()> {
        self.check_pairs(path, examples)?;
        if self.info.kind != Kind::MaskedLm {
            return Ok(());
        }
        let tokenizer = self.model.base().tokenizer()?;
        self.check_masks(path, examples, &tokenizer.encode_all_masks(examples, self.max_length)?)
    }

    /// Refuses a text without a mask, where the task fills masks.
    fn check_masks(&self, path: &Path, examples: &[Example], encodings: &[Encoding]) -> Result<()> {
        let fills_masks = self.info.kind == Kind::MaskedLm;
        let without = examples.iter().zip(encodings).find(|(_, encoding)| fills_masks && encoding.read.is_empty());
        let Some((example, encoding)) = without else { return Ok(()) };
        let mask = self.model.base().tokenizer()?.mask_token().unwrap_or_default();
        let reason = match encoding.left_out {
            0 => format!("there is no mask to fill: put {mask} in the place of a word"),
            _ => format!(
                "there is no mask to fill among its first {} tokens: put {mask} in the place of a word there",
                encoding.ids.len()
            ),
        };
        Err(Error::DataRow { path: path.into(), line: example.line, reason })
    }

    /// The text of a token of the vocabulary, as the tokenizer's files have it.
    ///
    /// # Errors
    /// As [`Base::tokenizer`].
    pub fn token(&self, id: u32) -> Result<String> {
        Ok(self.model.base().tokenizer()?.token(id))
    }

    /// The masks of an evaluation; `None` for a task that masks nothing.
    fn masking(&self) -> Result<Option<Masking>> {
        let Some(options) = self.info.hyperparameters.masking else { return Ok(None) };
        let vocabulary = self.model.base().tokenizer()?.mask_vocabulary()?;
        Ok(Some(Masking::of_evaluation(options, vocabulary)))
    }

    /// Predicts for texts or pairs, in their order. Use [`Predictor::check_pairs`] to check whether they are pairs,
    /// because here there is no line number for an error.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when a text cannot be encoded; [`Error::DataRow`] for a text without a mask where the task
    /// fills masks; [`Error::NotFinite`] for a model that diverged; [`Error::Core`] when the device fails.
    pub fn predict(&self, texts: &[(&str, Option<&str>)]) -> Result<Vec<Prediction>> {
        let example = |(line, &(text, pair)): (usize, &(&str, Option<&str>))| Example {
            text: text.to_owned(),
            pair: pair.map(Into::into),
            label: None,
            words: Vec::new(),
            question: None,
            line: line + 1,
        };
        self.predict_examples(&texts.iter().enumerate().map(example).collect::<Vec<_>>())
    }

    /// As [`Predictor::predict`], for texts that may come word by word.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn predict_examples(&self, examples: &[Example]) -> Result<Vec<Prediction>> {
        Ok(self.predict_with_outputs(examples)?.into_iter().map(|(prediction, _)| prediction).collect())
    }

    /// As [`Predictor::predict_examples`], each with what the head keeps of its outputs `[rows, C]`, as the model
    /// computes them: before a temperature.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn predict_with_outputs(&self, examples: &[Example]) -> Result<Vec<(Prediction, Array2<f32>)>> {
        let tokenizer = self.model.base().tokenizer()?;
        let encoded = self.model.spec().encode(tokenizer, examples, self.max_length)?;
        self.check_masks(Path::new("<texts>"), examples, &encoded.encodings)?;
        self.count_cut(&encoded.encodings);
        let outputs = train::outputs(&self.model, &encoded.encodings)?;
        self.model.base().checkpoint().check_unchanged()?;
        let calibration = self.info.calibration.as_ref();
        let mut first = 0;
        let predictions = encoded.by_text(examples.len()).map(|sequences| {
            let sequences = &encoded.encodings[sequences];
            let rows = first..first + sequences.iter().map(Encoding::rows).sum::<usize>();
            first = rows.end;
            let outputs = outputs.slice(s![rows, ..]).to_owned();
            let decode = |logits: &Array2<f32>| self.model.head().decode(logits.view(), sequences);
            let prediction = match calibration {
                Some(calibration) => calibration.decide(decode(&calibration.logits(outputs.clone()))),
                None => decode(&outputs),
            };
            (prediction, outputs)
        });
        Ok(predictions.collect())
    }

    /// The scores of the model on a labelled data set. Of a text that is rejected, the most probable class is scored;
    /// what is answered is scored apart.
    ///
    /// # Errors
    /// [`Error::UnknownLabel`] and [`Error::DataField`] for labels that are not the task's; otherwise as
    /// [`Predictor::check_pairs`] and [`Predictor::predict`].
    pub fn evaluate(&self, dataset: &Dataset, metrics: &[Metric]) -> Result<Evaluation> {
        let (outputs, examples, tokens) = self.outputs(dataset)?;
        Ok(self.scored(outputs, &examples, metrics, tokens)?.evaluation)
    }

    /// Scores the outputs for labelled texts by what the task was calibrated to.
    fn scored(&self, outputs: Array2<f32>, examples: &Examples, metrics: &[Metric], tokens: usize) -> Result<Scored> {
        let head = self.model.head();
        let Some(calibration) = &self.info.calibration else {
            let evaluation =
                Evaluation { scores: train::scores(head, metrics, &outputs, examples)?, tokens, answered: None };
            return Ok(Scored { evaluation, decided: outputs.clone(), logits: outputs });
        };
        let (decided, logits) = (calibration.scored(outputs.clone()), calibration.logits(outputs));
        let scores = train::scores(head, metrics, &decided, examples)?;
        let answered = Answered::new(calibration, head, metrics, &logits, examples)?;
        Ok(Scored { evaluation: Evaluation { scores, tokens, answered }, decided, logits })
    }

    /// Fits temperature and thresholds to a labelled data set, which the task was not trained on, whatever it was
    /// calibrated to before; see [`Fit::new`].
    ///
    /// # Errors
    /// As [`Predictor::evaluate`] and [`Fit::new`].
    pub fn calibrate(&self, dataset: &Dataset, min_accuracy: Option<f64>) -> Result<Fit> {
        let (outputs, examples, _) = self.outputs(dataset)?;
        Fit::new(&outputs, &examples.targets, min_accuracy)
    }

    /// What the head keeps of its outputs for a labelled data set, the examples without their tokens, and the number of
    /// tokens.
    fn outputs(&self, dataset: &Dataset) -> Result<(Array2<f32>, Examples, usize)> {
        self.check_pairs(&dataset.path, &dataset.examples)?;
        let head = self.model.head();
        let targets = head.targets(dataset)?;
        let masking = self.masking()?;
        let mut parts = vec![Array2::zeros((0, head.outputs()))];
        let mut tokens = 0;
        let tokenizer = self.model.base().tokenizer()?;
        let mut examples = Examples { encodings: Vec::new(), texts: Vec::new(), targets };
        for (part, texts) in dataset.examples.chunks(ENCODED_AT_ONCE).enumerate() {
            let first = part * ENCODED_AT_ONCE;
            let mut encoded = self.model.spec().encode_labelled(tokenizer, texts, self.max_length)?;
            self.count_cut(&encoded.encodings);
            let outputs = match &masking {
                Some(masking) => {
                    let masked = masking.once(&encoded.encodings, examples.len());
                    let outputs = train::scored_outputs(&self.model, &masked);
                    encoded.encodings = masked.encodings;
                    outputs
                }
                None => train::outputs(&self.model, &encoded.encodings),
            };
            parts.push(outputs.map_err(in_row(first))?);
            examples.texts.extend(encoded.texts.iter().map(|text| first + text));
            // A score does not read the tokens.
            examples.encodings.extend(encoded.encodings.into_iter().map(|encoding| {
                tokens += encoding.ids.len();
                Encoding { read: encoding.read, window: encoding.window, ..Encoding::default() }
            }));
        }
        self.model.base().checkpoint().check_unchanged()?;
        Ok((train::stacked(&parts), examples, tokens))
    }
}

/// The outputs for labelled texts with their scores.
struct Scored {
    evaluation: Evaluation,
    /// `[rows, C]`: what the scores were read from; of several labels, those above 0 are given.
    decided: Array2<f32>,
    /// `[rows, C]`: the logits of probabilities.
    logits: Array2<f32>,
}

/// For `map_err`: counts the rows of an error from `first` on.
fn in_row(first: usize) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::NotFinite { row } => Error::NotFinite { row: first + row },
        error => error,
    }
}
