//! Heads: the output of a task for the rows that it reads of a text, and its meaning. There is one file for each kind
//! of task, which implements [`Head`].
//!
//! [`TaskSpec`] is the one description of a task. Training, evaluation, prediction and the task file read it, and
//! [`TaskSpec::head`] is the one place that chooses a head by the kind of the task.

mod classify;
mod examples;
mod masked_lm;
mod masking;
mod multi_label;
pub(crate) mod pooling;
mod regress;
pub(crate) mod sentence_encoder;
mod span;
mod tag;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use bitfit_core::ops::attention::Sequences;
use bitfit_core::ops::weighted_cross_entropy::ClassWeighting;
use bitfit_core::{Backend, Tape, Var};
use ndarray::{Array2, ArrayView2, Axis};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::data::{Dataset, Example, Kind, Labels, texts};
use crate::metrics::Metric;
use crate::tokenize::{Encoding, Tokenizer};
use crate::{Result, UnknownName};

use classify::Classify;
pub(crate) use classify::{argmax, softmax};
pub use examples::{Encoded, Examples};
pub use masked_lm::CANDIDATES;
use masked_lm::MaskedLm;
pub use masking::{Masking, MaskingOptions};
use multi_label::MultiLabel;
pub use multi_label::THRESHOLD;
pub(crate) use multi_label::{is_given, logistic};
pub use pooling::{Pooling, PoolingSource};
use regress::Regress;
use span::Span;
pub use span::{Answers, DEFAULT_STRIDE, NO_ANSWER, SpanSettings};
use tag::Tag;

/// The description of a task: its head, its labels and its texts.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSpec {
    /// What is predicted for a text.
    pub kind: Kind,
    /// The classes or labels in the order of the head's outputs; `None` for a regression.
    pub labels: Option<Labels>,
    /// Whether the texts are pairs.
    pub pairs: bool,
    /// How the two texts of a pair go through the encoder.
    pub pair: PairEncoding,
    /// How questions are asked and answered; `None` where the answer is no span of a context.
    pub span: Option<SpanSettings>,
    /// What of the last layer the head reads.
    pub pooling: Pooling,
    /// The longest sequence in tokens, special tokens included.
    pub max_length: usize,
    /// The metrics of an evaluation; the first chooses the best epoch.
    pub metrics: Vec<Metric>,
}

/// How the two texts of a pair go through the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case", parse_err_ty = UnknownName, parse_err_fn = unknown_pair)]
pub enum PairEncoding {
    /// As one sequence, each token of one text attending to those of the other.
    #[default]
    Joint,
    /// As a sequence each; the head reads u, v, |u - v| and u ∘ v of the two pooled rows.
    Separate,
}

impl PairEncoding {
    /// The name, as a user writes it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

fn unknown_pair(name: &str) -> UnknownName {
    let known = PairEncoding::VARIANTS.iter().map(|pair| pair.name()).collect();
    UnknownName { what: "encoding of pairs", name: name.into(), known }
}

impl TaskSpec {
    /// Whether a text of the task is two sequences.
    pub fn encodes_apart(&self) -> bool {
        self.pairs && self.pair == PairEncoding::Separate
    }

    /// The tokens of labelled texts, to train on or to score; those of masked language modelling are not masked yet.
    ///
    /// # Errors
    /// As [`TaskSpec::encode`].
    pub fn encode_labelled(&self, tokenizer: &Tokenizer, examples: &[Example], max_length: usize) -> Result<Encoded> {
        match self.kind {
            Kind::MaskedLm => tokenizer.encode_all_chunks(examples, max_length),
            _ => self.encode(tokenizer, examples, max_length),
        }
    }

    /// The tokens of texts as the task's model takes them for a prediction.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_all`].
    pub fn encode(&self, tokenizer: &Tokenizer, examples: &[Example], max_length: usize) -> Result<Encoded> {
        let encodings = match self.kind {
            Kind::Tag => return tokenizer.encode_all_words(examples, max_length),
            Kind::Span => {
                let stride = self.span.map_or(DEFAULT_STRIDE, |span| span.stride);
                return tokenizer.encode_all_windows(examples, max_length, stride);
            }
            Kind::MaskedLm => tokenizer.encode_all_masks(examples, max_length)?,
            Kind::Classify | Kind::Regress | Kind::MultiLabel if self.encodes_apart() => {
                tokenizer.encode_all_apart(&texts(examples), max_length)?
            }
            Kind::Classify | Kind::Regress | Kind::MultiLabel => tokenizer.encode_all(&texts(examples), max_length)?,
        };
        Ok(Encoded { texts: (0..encodings.len()).collect(), encodings })
    }

    /// How many special tokens are around each sequence of the task.
    pub fn special_tokens(&self, tokenizer: &Tokenizer) -> usize {
        tokenizer.special_tokens(self.pairs && !self.encodes_apart())
    }

    /// The width of what the head reads of a text, where the layers are `hidden` wide.
    pub fn width(&self, hidden: usize) -> usize {
        if self.encodes_apart() { 4 * hidden } else { hidden }
    }

    /// The head of the task.
    ///
    /// # Panics
    /// When a task of classes or labels has none, or one of spans no settings, which [`crate::TaskFile`] and
    /// [`crate::run::Finetune`] rule out.
    pub fn head<D: Backend>(&self) -> Box<dyn Head<D>> {
        match self.kind {
            Kind::Classify => Box::new(Classify::new(self.labels.clone().expect("a classification has labels"))),
            Kind::Regress => Box::new(Regress),
            Kind::MaskedLm => Box::new(MaskedLm),
            Kind::Tag => Box::new(Tag::new(self.labels.clone().expect("a tagging has labels"))),
            Kind::Span => Box::new(Span::new(self.span.expect("a task of spans has its settings"))),
            Kind::MultiLabel => {
                Box::new(MultiLabel::new(self.labels.clone().expect("a task of several labels has labels")))
            }
        }
    }
}

/// The metrics of a task that does not name any.
pub fn default_metrics(kind: Kind, labels: Option<&Labels>) -> Vec<Metric> {
    let metrics = match (kind, labels) {
        (Kind::Classify, _) => classify::METRICS,
        (Kind::Regress, _) => regress::METRICS,
        (Kind::MultiLabel, _) => multi_label::METRICS,
        (Kind::Span, _) => span::METRICS,
        (Kind::MaskedLm, _) => masked_lm::METRICS,
        (Kind::Tag, Some(labels)) => tag::metrics(labels),
        (Kind::Tag, None) => &[Metric::Accuracy],
    };
    metrics.to_vec()
}

/// Whether a metric scores the predictions of a kind of task.
pub fn suits(metric: Metric, kind: Kind) -> bool {
    use Metric as M;
    match kind {
        Kind::Classify => matches!(metric, M::Accuracy | M::F1 | M::Matthews),
        Kind::Tag => matches!(metric, M::Accuracy | M::F1 | M::Matthews | M::EntityF1),
        Kind::Regress => matches!(metric, M::Pearson | M::Spearman),
        Kind::MultiLabel => matches!(metric, M::MicroF1 | M::MacroF1 | M::SubsetAccuracy),
        Kind::Span => matches!(metric, M::ExactMatch | M::AnswerF1),
        Kind::MaskedLm => matches!(metric, M::Perplexity | M::Accuracy),
    }
}

/// The targets of a list of texts, one for each; or those of a batch, one for each row that a head reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// The index of a class for each text.
    Classes(Vec<usize>),
    /// A score for each text.
    Scores(Vec<f32>),
    /// The index of a tag for each word of each text; or, for each sequence, the tokens that were masked in it.
    Tags(Vec<Vec<usize>>),
    /// The tokens that are masked in a sequence, which are drawn for each epoch.
    Masked(Arc<Masking>),
    /// `[texts, C]`: 1 where the text has the label, 0 elsewhere.
    Indicators(Array2<f32>),
    /// The right answers of each question.
    Answers(Vec<Answers>),
    /// The first and the last token of the answer in each sequence.
    Spans(Vec<[u32; 2]>),
}

impl Targets {
    /// The number of targets; 0 for those that are still to be drawn.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Scores(scores) => scores.len(),
            Self::Tags(texts) => texts.len(),
            Self::Indicators(indicators) => indicators.nrows(),
            Self::Answers(answers) => answers.len(),
            Self::Spans(spans) => spans.len(),
            Self::Masked(_) => 0,
        }
    }

    /// Whether there is no target.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a mean loss over these targets of a batch is divided by, up to a factor that all batches have: their
    /// number, or the sum of their weights.
    pub fn loss_total(&self, weighting: Option<&ClassWeighting>) -> f64 {
        match (self, weighting) {
            (Self::Classes(classes), Some(weighting)) => {
                // The loss itself refuses a class without a weight.
                let weights = classes.iter().filter_map(|&class| weighting.weights.get(class));
                weights.map(|&weight| f64::from(weight)).sum()
            }
            _ => self.len() as f64,
        }
    }

    /// The targets of some rows, in their order.
    ///
    /// # Panics
    /// When a row is out of range.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(rows.iter().map(|&row| classes[row]).collect()),
            Self::Scores(scores) => Self::Scores(rows.iter().map(|&row| scores[row]).collect()),
            Self::Indicators(indicators) => Self::Indicators(indicators.select(Axis(0), rows)),
            Self::Tags(texts) => Self::Tags(rows.iter().map(|&row| texts[row].clone()).collect()),
            Self::Answers(answers) => Self::Answers(rows.iter().map(|&row| answers[row].clone()).collect()),
            Self::Spans(spans) => Self::Spans(rows.iter().map(|&row| spans[row]).collect()),
            Self::Masked(_) => self.clone(),
        }
    }

    /// The targets of sequences, each of the text of this number: one for each row that the head reads of them, so that
    /// tags of words become classes; or one for each sequence, so that answers become spans of tokens.
    fn of<'a>(&self, sequences: impl Iterator<Item = (usize, &'a Encoding)>) -> Self {
        match self {
            Self::Classes(_) | Self::Scores(_) | Self::Indicators(_) | Self::Spans(_) | Self::Masked(_) => {
                self.select(&sequences.map(|(text, _)| text).collect::<Vec<_>>())
            }
            Self::Tags(texts) => {
                let tags = |(text, encoding): (usize, &'a Encoding)| {
                    encoding.read.iter().map(move |read| texts[text][read.word])
                };
                Self::Classes(sequences.flat_map(tags).collect())
            }
            Self::Answers(answers) => {
                Self::Spans(sequences.map(|(text, encoding)| span::place(encoding, &answers[text])).collect())
            }
        }
    }
}

/// The prediction of a model for one text.
#[derive(Clone, Debug, PartialEq)]
pub enum Prediction {
    /// A class.
    Class {
        /// Its index among the labels.
        class: usize,
        /// The softmax over all classes, in the order of the labels.
        probabilities: Vec<f32>,
        /// Whether its probability is below what the task was calibrated to give an answer from.
        is_rejected: bool,
    },
    /// A score.
    Score(f32),
    /// Any of the labels, or none.
    Labels {
        /// The indices of those of a probability of at least [`THRESHOLD`], or what the task was calibrated for,
        /// ascending.
        labels: Vec<usize>,
        /// The probability of each label, in their order. They do not sum to 1.
        probabilities: Vec<f32>,
    },
    /// The tags of the words that have a token, in their order.
    Tags(Vec<WordTag>),
    /// The answer to a question.
    Answer {
        /// Its bytes in the context; `None` where the context has no answer.
        range: Option<Range<usize>>,
        /// Its share of the softmax over the most probable answers.
        probability: f32,
    },
    /// The most probable tokens for each mask of the text, the most probable first: [`CANDIDATES`], or all of a smaller
    /// vocabulary.
    Masks(Vec<Vec<Candidate>>),
}

/// A token that may stand in the place of a mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its number in the vocabulary.
    pub token: u32,
    /// Its share of the softmax over the vocabulary.
    pub probability: f32,
}

/// The tag of a word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WordTag {
    /// The number of the word in its text.
    pub word: usize,
    /// The index of its tag among the labels.
    pub tag: usize,
    /// The tag's share of the softmax over all.
    pub probability: f32,
}

/// A kind of task on the device `D`: the width of its output, its loss, and the meaning of the output.
pub trait Head<D: Backend>: Debug + Send + Sync {
    /// C: the number of outputs for a row that the head reads, logits or scores, as far as they are kept to be scored
    /// ([`Head::keep`]).
    fn outputs(&self) -> usize;

    /// The targets of a labelled data set.
    ///
    /// # Errors
    /// [`crate::Error::UnknownLabel`] and [`crate::Error::DataField`] for labels that do not belong to the task.
    fn targets(&self, dataset: &Dataset) -> Result<Targets>;

    /// The mean loss `[1, 1]` over the rows of `outputs` `[R, C]`, or over the sequences that they are of.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when there is not one target of the head's kind for each row, or the device fails.
    fn loss(
        &self,
        tape: &mut Tape<'_, D>,
        outputs: &Var<D>,
        targets: &Targets,
        sequences: &Sequences<D>,
    ) -> Result<Var<D>>;

    /// The loss `[1, 1]` over the rows of `outputs` `[R, C]` where classes do not count alike: see
    /// [`bitfit_core::ops::weighted_cross_entropy`]. `total` is the sum of the weights of a batch
    /// ([`Targets::loss_total`]) of which these rows are a part, for their share of its loss.
    ///
    /// # Errors
    /// As [`Head::loss`]; [`crate::Error::Metric`] for a head that does not choose one class for each row.
    fn weighted_loss(
        &self,
        _tape: &mut Tape<'_, D>,
        _outputs: &Var<D>,
        _targets: &Targets,
        _weighting: &ClassWeighting,
        _total: Option<f64>,
    ) -> Result<Var<D>> {
        let reason = "classes are weighted where a head chooses one for each row".into();
        Err(crate::Error::Metric { metric: "loss", reason })
    }

    /// What is kept of a batch's outputs, row by row: to score them, where their targets are given, or to decode them.
    /// All of them, unless there are too many. What is not finite leaves something that is not finite.
    ///
    /// # Errors
    /// [`crate::Error::Metric`] when there is not one target of the head's kind for each row.
    fn keep(&self, outputs: Array2<f32>, _targets: Option<&Targets>) -> Result<Array2<f32>> {
        Ok(outputs)
    }

    /// The prediction for a text, from what is kept of the outputs of its sequences.
    fn decode(&self, outputs: ArrayView2<'_, f32>, sequences: &[Encoding]) -> Prediction;

    /// A metric over what is kept, `[R, C]`, of the outputs of labelled texts. Of the sequences, the tokens are not
    /// read.
    ///
    /// # Errors
    /// [`crate::Error::Metric`] for a metric of another kind of task.
    fn score(&self, metric: Metric, outputs: &Array2<f32>, examples: &Examples) -> Result<f64>;
}

/// The error for targets of another kind of task than the head's.
fn foreign_targets(head: &'static str) -> crate::Error {
    crate::Error::Metric { metric: head, reason: "the targets are of another kind of task".into() }
}
