//! The options of a fine-tuning run, and which of them contradict each other whatever the model.

use std::path::PathBuf;

use bitfit_core::Backend;

use super::class_weights::LossOptions;
use super::probe::ProbeUse;
use super::state_file::RunCommand;
use super::state_saver::SaveEvery;
use crate::Result;
use crate::data::{Kind, ReadOptions};
use crate::heads::sentence_encoder::SentenceConfig;
use crate::heads::{MaskingOptions, PairEncoding, Pooling, PoolingSource, suits};
use crate::methods::Method;
use crate::metrics::Metric;
use crate::model::Base;
use crate::settings::{Setting, check, check_max_length};
use crate::train::{Select, TrainOptions};

/// The number of special tokens around a text that nearly every tokenizer adds.
const USUAL_SPECIAL_TOKENS: usize = 2;

/// The options of a fine-tuning run.
#[derive(Clone, Debug)]
pub struct FinetuneOptions {
    /// The base model as the user named it; it is recorded in the task file.
    pub model: String,
    /// The training set.
    pub train: PathBuf,
    /// The set that chooses the best epoch.
    pub eval: Option<PathBuf>,
    /// How to read both sets.
    pub read: ReadOptions,
    /// What is predicted for a text.
    pub kind: Kind,
    /// The metrics of the evaluation, the first of which chooses the best epoch; those of
    /// [`default_metrics`](crate::heads::default_metrics) if there are none.
    pub metrics: Vec<Metric>,
    /// What trains in addition to the head.
    pub method: Method,
    /// What of the method trains, chosen by a short run; all of it if not given.
    pub select: Option<Select>,
    /// How the two texts of a pair go through the encoder.
    pub pair: PairEncoding,
    /// The number of tokens that two neighbouring sequences of a context have in common, where the answer is a span of
    /// it; by default [`DEFAULT_STRIDE`](crate::heads::DEFAULT_STRIDE), or a third of the maximum length if that is
    /// less.
    pub stride: Option<usize>,
    /// What of the last layer the head reads; by default what the model directory says ([`Pooling::of_directory`]).
    pub pooling: Option<Pooling>,
    /// How tokens are masked, for masked language modelling.
    pub masking: MaskingOptions,
    /// The directory for a base model with the trained biases in the place of its own
    /// ([`write_base`](super::write_base)), for masked language modelling. It must not exist yet.
    pub save_base: Option<PathBuf>,
    /// How classes count in the loss, where the task chooses one class.
    pub loss: LossOptions,
    /// The settings of the training run.
    pub training: TrainOptions,
    /// The device as the user named it; it is recorded in the task file, since the last bits depend on it.
    pub device: String,
    /// The precision as the user named it; it is recorded in the task file, since the last bits depend on it.
    pub precision: String,
    /// The longest sequence in tokens; by default 128, of a question with its context 384, or as long as the model has
    /// positions.
    pub max_length: Option<usize>,
    /// Replaces every dropout probability of the base's configuration.
    pub dropout: Option<f32>,
    /// What is done with a probe, where it is not the method.
    pub probe: ProbeUse,
    /// Where the head's first values come from.
    pub head: HeadStart,
    /// Whether the scores of a regression are standardised for the training; see [`super::Scaling`].
    pub standardize_scores: bool,
    /// The number of steps between two lines of the log.
    pub log_every: usize,
    /// Whether the log is also written as an event file of TensorBoard, in [`super::TENSORBOARD_DIR`].
    pub tensorboard: bool,
    /// The directory of the task file and the log.
    pub out: PathBuf,
    /// What is done with files of an earlier run in that directory.
    pub earlier: EarlierRun,
    /// When the state of the run is saved there, from which it can be resumed.
    pub save_every: SaveEvery,
    /// The command of the run, which is saved with the state.
    pub command: Option<RunCommand>,
}

/// What is done with files of an earlier run in the output directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierRun {
    /// They are left alone, and the new run is refused.
    Refuse,
    /// They are replaced.
    Replace,
    /// The run goes on from the state that it saved there.
    Resume,
}

/// Where the first values of a run's head are to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadStart {
    /// As [`HeadStart::Probe`] where the head is one linear layer over the encoder's own rows ([`Pooling::Cls`],
    /// [`Pooling::Mean`] and their normalized forms), biases train below it and the run fits a probe; drawn elsewhere.
    ///
    /// Over MiniLM's mean and three seeds each, BitFit from a probe reached at least what it reached from a drawn head
    /// on STS-B, SST-2, RTE and CoLA (docs/results.md). Over tokens it made no difference, and over a pooler, where the
    /// paper draws, nothing was measured.
    Auto,
    /// From a probe, which is fitted to the training set first.
    Probe,
    /// Drawn at random.
    Drawn,
    /// From a safetensors file.
    File(PathBuf),
}

impl FinetuneOptions {
    /// Whether the run's head begins with a probe's values.
    pub(super) fn begins_with_probe(&self, pooling: Pooling) -> bool {
        let trains_below = !matches!(self.method, Method::Frozen | Method::Probe);
        match self.head {
            HeadStart::Auto => {
                let is_measured = !matches!(pooling, Pooling::Pooler | Pooling::Tokens | Pooling::EveryToken);
                self.probe == ProbeUse::Baseline && trains_below && is_measured
            }
            HeadStart::Probe => true,
            HeadStart::Drawn | HeadStart::File(_) => false,
        }
    }

    /// Refuses settings that are invalid for every model, before a model is opened.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] with the first of them.
    pub fn validate(&self) -> Result<()> {
        self.read.validate()?;
        self.training.validate()?;
        self.loss.validate(self.kind)?;
        self.validate_evaluation()?;
        if let Some(pooling) = self.pooling {
            let reason = match self.kind {
                Kind::Tag => "the tagging of words reads the first token of each word",
                Kind::Span => "the answer in a context is read at every token",
                Kind::MaskedLm => "masked language modelling reads the masked tokens",
                Kind::Classify | Kind::Regress | Kind::MultiLabel => "this kind of task reads one row a text",
            };
            check(Setting::Pooling, pooling, pooling.suits(self.kind), reason)?;
        }
        if self.kind == Kind::Span {
            let reason = "a question is read together with its context";
            check(Setting::Pair, self.pair, self.pair == PairEncoding::Joint, reason)?;
            let uses_probe = self.method == Method::Probe || self.head == HeadStart::Probe;
            let reason =
                "no probe is fitted to the answers in a context; a head over the frozen base trains step by step";
            check(Setting::Kind, self.kind, !uses_probe, reason)?;
        }
        if let (Kind::Span, Some(stride), Some(max_length)) = (self.kind, self.stride, self.max_length) {
            check_stride(stride, max_length)?;
        }
        self.validate_masked_lm()?;
        if let Some(dropout) = self.dropout {
            let is_probability = (0.0..1.0).contains(&dropout);
            check(Setting::Dropout, dropout, is_probability, "it is a probability, at least 0 and below 1")?;
        }
        self.save_every.validate()?;
        check(Setting::LogEvery, self.log_every, self.log_every > 0, "it counts steps, so it must be at least 1")?;
        self.max_length.map_or(Ok(()), |max_length| check_max_length(max_length, usize::MAX, USUAL_SPECIAL_TOKENS))
    }
}

impl FinetuneOptions {
    /// Refuses metrics of another kind of task, and settings of evaluations where there is no evaluation set.
    fn validate_evaluation(&self) -> Result<()> {
        if let Some(metric) = self.metrics.iter().find(|metric| !suits(**metric, self.kind)) {
            let suitable: Vec<&str> =
                Metric::ALL.iter().filter(|of| suits(**of, self.kind)).map(Metric::name).collect();
            let reason = format!("it is a metric of another kind of task; of {}: {}", self.kind, suitable.join(", "));
            check(Setting::Metrics, metric, false, reason)?;
        }
        let is_twice = |(place, metric): (usize, &Metric)| self.metrics[..place].contains(metric);
        if let Some((_, metric)) = self.metrics.iter().enumerate().find(|each| is_twice(*each)) {
            check(Setting::Metrics, metric, false, "it is listed twice")?;
        }
        let (evaluates, reason) = (self.eval.is_some(), "there is no evaluation set");
        let TrainOptions { eval_every, patience, .. } = self.training;
        eval_every.map_or(Ok(()), |steps| check(Setting::EvalEvery, steps, evaluates, reason))?;
        patience.map_or(Ok(()), |count| check(Setting::Patience, count, evaluates, reason))
    }

    /// Refuses settings that contradict masked language modelling, or that are for it alone.
    fn validate_masked_lm(&self) -> Result<()> {
        let is_masked_lm = self.kind == Kind::MaskedLm;
        if let Some(dir) = &self.save_base {
            let reason = "only masked language modelling (kind mlm) has a base model for its result";
            check(Setting::SaveBase, dir.display(), is_masked_lm, reason)?;
        }
        if !is_masked_lm {
            return Ok(());
        }
        let reason = "the head of masked language modelling is the checkpoint's own, with its values";
        check(Setting::InitialHead, self.head.name(), self.head == HeadStart::Auto, reason)?;
        let reason = "no probe is made for masked language modelling: choose bitfit or frozen";
        check(Setting::Method, &self.method, self.method != Method::Probe, reason)?;
        let probability = self.masking.probability;
        let reason = "it is a probability, above 0 and at most 1";
        check(Setting::MaskProbability, probability, self.masking.is_sound(), reason)
    }

    /// The read-out that the kind of task has, or else the chosen one or the model directory's.
    pub(super) fn pooling<D: Backend>(&self, base: &Base<D>) -> Result<(Pooling, PoolingSource)> {
        match (Pooling::of_kind(self.kind), self.pooling) {
            (Some(only), _) => Ok((only, PoolingSource::Default)),
            (None, Some(pooling)) => Ok((pooling, PoolingSource::Chosen)),
            (None, None) => {
                let (pooling, source) = Pooling::of_directory(base.checkpoint().dir())?;
                if let Some(encoder) = sentence_encoder(base, &source)? {
                    encoder.check_case(base.tokenizer()?)?;
                }
                Ok((pooling, source))
            }
        }
    }
}

/// Refuses a stride after which sequences of the maximum length would not go on.
pub(super) fn check_stride(stride: usize, max_length: usize) -> Result<()> {
    let reason = "it must be less than the maximum length, so that a sequence goes on where the one before ends";
    check(Setting::Stride, stride, stride < max_length, reason)
}

/// What the base does with texts as a sentence encoder; `None` where it is not read as one.
pub(super) fn sentence_encoder<D: Backend>(base: &Base<D>, read_out: &PoolingSource) -> Result<Option<SentenceConfig>> {
    match read_out {
        PoolingSource::File(_) => SentenceConfig::of_directory(base.checkpoint().dir()),
        PoolingSource::Chosen | PoolingSource::Default => Ok(None),
    }
}

impl HeadStart {
    /// The name, as a user writes it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Auto => "auto".into(),
            Self::Probe => "probe".into(),
            Self::Drawn => "random".into(),
            Self::File(path) => path.display().to_string(),
        }
    }
}
