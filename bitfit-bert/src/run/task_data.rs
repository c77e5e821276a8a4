//! The data of a task: read, checked and tokenised once, for one run or for several over one base.

use std::path::Path;

use bitfit_core::Backend;

use crate::data::{Contents, Dataset, Example, Kind, Labels, Question, ReadOptions, check_pairs};
use crate::heads::{
    self, DEFAULT_STRIDE, Encoded, Examples, Masking, MaskingOptions, PairEncoding, PoolingSource, SpanSettings,
    TaskSpec,
};
use crate::model::{Base, TensorFile};
use crate::settings::{Setting, check, check_max_length};
use crate::tokenize::Tokenizer;
use crate::{Error, Result};

use super::head_file;
use super::notes::{self, PlanNote};
use super::options::{FinetuneOptions, HeadStart, check_stride, sentence_encoder};
use super::plan::InitialHead;
use super::probe;
use super::scaling::{LastLayer, Scaling};

/// The default maximum length in tokens, if the model has as many positions.
const DEFAULT_MAX_LENGTH: usize = 128;
/// The same for a question with its context, as in the paper of BERT and in the examples of transformers.
const DEFAULT_WINDOW: usize = 384;

/// What runs over the same files have in common, whatever trains and from whatever seed.
#[derive(Debug)]
pub(super) struct TaskData {
    pub(super) spec: TaskSpec,
    pub(super) pooling_source: PoolingSource,
    pub(super) training_set: Dataset,
    pub(super) eval_set: Option<Dataset>,
    /// The training set; masks, where it is masked, are drawn from the seed of the options that it was read with.
    pub(super) train: Examples,
    pub(super) seed: u64,
    pub(super) eval: Option<Examples>,
    /// How the scores of both sets are standardised; `None` where they are as they are.
    pub(super) scaling: Option<Scaling>,
    /// The file with the head's first values, if they come from one.
    pub(super) head: Option<(TensorFile, InitialHead)>,
    pub(super) notes: Vec<PlanNote>,
}

impl TaskData {
    /// Reads the data of the options. They must be valid.
    ///
    /// # Errors
    /// Every error of reading the base's tokenizer, the data and a head's file; [`Error::Setting`] for settings that do
    /// not suit them.
    pub(super) fn read<D: Backend>(base: &Base<D>, options: &FinetuneOptions) -> Result<Self> {
        let max_length = max_length(base, options)?;
        let (pooling, pooling_source) = options.pooling(base)?;
        let tokenizer = base.tokenizer()?;
        let read = read_options(base, options)?;
        let mut training_set = Dataset::read(&options.train, &read)?;
        options.read.task.map_or(Ok(()), |task| task.check_labels(&training_set))?;
        let pairs = options.kind != Kind::MaskedLm && training_set.is_paired();
        check_pairs(&training_set.path, &training_set.examples, pairs)?;
        let labels = labels(options.kind, &mut training_set)?;
        let metrics = match options.metrics.is_empty() {
            true => heads::default_metrics(options.kind, labels.as_ref()),
            false => options.metrics.clone(),
        };
        let span = (options.kind == Kind::Span).then(|| span(options, &training_set, max_length));
        let spec =
            TaskSpec { kind: options.kind, labels, pairs, pair: options.pair, span, pooling, max_length, metrics };
        check_max_length(max_length, base.config().max_length(), spec.special_tokens(tokenizer))?;
        check_pair(base, &spec)?;
        let eval_set = options.eval.as_ref().map(|path| Dataset::read(path, &read)).transpose()?;
        if let Some(eval_set) = &eval_set {
            check_pairs(&eval_set.path, &eval_set.examples, pairs)?;
        }
        let seed = options.training.seed;
        let (mut train, mut eval, mut notes) = match spec.kind {
            Kind::MaskedLm => masked(&spec, tokenizer, &training_set, eval_set.as_ref(), (options.masking, seed))?,
            _ => {
                let examples = |dataset: &Dataset| labelled::<D>(&spec, tokenizer, dataset);
                (examples(&training_set)?, eval_set.as_ref().map(examples).transpose()?, Vec::new())
            }
        };
        let scaling = Scaling::of(&train.targets).filter(|_| options.standardize_scores);
        if let Some(scaling) = scaling {
            let sets = [Some(&mut train), eval.as_mut()].into_iter().flatten();
            sets.for_each(|set| scaling.standardize(&mut set.targets));
            notes.push(PlanNote::Standardized(scaling));
        }
        notes.extend(notes::other_tokenizer(tokenizer.tokens(), base.config().vocab_size));
        if let Some(encoder) = sentence_encoder(base, &pooling_source)? {
            notes.extend(notes::beyond_encoder(&encoder, &train.encodings));
        }
        let head = match &options.head {
            HeadStart::File(path) => Some(head_of_file(path, base, &spec, scaling)?),
            HeadStart::Auto | HeadStart::Probe | HeadStart::Drawn => None,
        };
        Ok(Self { spec, pooling_source, training_set, eval_set, train, seed, eval, scaling, head, notes })
    }

    /// The data of a run that trains on some texts of the training set and is evaluated on others, by their places.
    pub(super) fn part(&self, train: &[usize], eval: &[usize]) -> Self {
        let dataset = |texts: &[usize]| Dataset {
            examples: texts.iter().map(|&text| self.training_set.examples[text].clone()).collect(),
            ..self.training_set.clone()
        };
        Self {
            spec: self.spec.clone(),
            pooling_source: self.pooling_source.clone(),
            training_set: dataset(train),
            eval_set: Some(dataset(eval)),
            train: self.train.of_texts(train),
            seed: self.seed,
            eval: Some(self.train.of_texts(eval)),
            scaling: self.scaling,
            head: self.head.clone(),
            notes: self.notes.clone(),
        }
    }

    /// The data of a run that trains on some texts of the training set, by their places, and is evaluated as before.
    pub(super) fn with_training_texts(&self, texts: &[usize]) -> Self {
        Self { eval_set: self.eval_set.clone(), eval: self.eval.clone(), ..self.part(texts, &[]) }
    }

    /// The data sets, first the training set.
    pub(super) fn datasets(&self) -> Vec<&Dataset> {
        [Some(&self.training_set), self.eval_set.as_ref()].into_iter().flatten().collect()
    }

    /// The training set of a run of this seed, where it is another than what was read.
    pub(super) fn masked_anew(&self, seed: u64) -> Option<Examples> {
        if seed == self.seed { None } else { self.train.with_seed(seed) }
    }
}

/// The longest sequence in tokens, which a stride must be less than.
fn max_length<D: Backend>(base: &Base<D>, options: &FinetuneOptions) -> Result<usize> {
    let usual = if options.kind == Kind::Span { DEFAULT_WINDOW } else { DEFAULT_MAX_LENGTH };
    let max_length = options.max_length.unwrap_or(base.config().max_length().min(usual));
    if let (Kind::Span, Some(stride)) = (options.kind, options.stride) {
        check_stride(stride, max_length)?;
    }
    Ok(max_length)
}

/// How files are read for this kind of task, which the base must be able to do.
fn read_options<D: Backend>(base: &Base<D>, options: &FinetuneOptions) -> Result<ReadOptions> {
    let mut read = options.read.clone();
    read.contents = Contents::of(options.kind);
    if options.kind == Kind::MaskedLm {
        base.checkpoint().check_masked_lm()?;
        read.require_labels = false;
    }
    Ok(read)
}

/// How questions are asked and answered.
fn span(options: &FinetuneOptions, training_set: &Dataset, max_length: usize) -> SpanSettings {
    let has_answer = |example: &Example| example.question.as_ref().is_some_and(Question::has_answer);
    let stride = options.stride.unwrap_or(DEFAULT_STRIDE.min(max_length / 3));
    SpanSettings { stride, unanswerable: !training_set.examples.iter().all(has_answer) }
}

/// The texts of a data set with their targets.
fn labelled<D: Backend>(spec: &TaskSpec, tokenizer: &Tokenizer, dataset: &Dataset) -> Result<Examples> {
    let targets = spec.head::<D>().targets(dataset)?;
    let Encoded { encodings, texts } = spec.encode_labelled(tokenizer, &dataset.examples, spec.max_length)?;
    Ok(Examples { encodings, texts, targets })
}

/// The texts of both sets for masked language modelling: those that are trained on masked anew in each epoch, by the
/// seed, the others once; and the notes on them.
fn masked(
    spec: &TaskSpec,
    tokenizer: &Tokenizer,
    training_set: &Dataset,
    eval_set: Option<&Dataset>,
    (options, seed): (MaskingOptions, u64),
) -> Result<(Examples, Option<Examples>, Vec<PlanNote>)> {
    let vocabulary = tokenizer.mask_vocabulary()?;
    let encode = |dataset: &Dataset| {
        let encoded = spec.encode_labelled(tokenizer, &dataset.examples, spec.max_length)?;
        if encoded.encodings.is_empty() {
            let reason = "none of its texts has a token that can be masked: to the tokenizer they are empty or unknown";
            return Err(Error::DataFile { path: dataset.path.clone(), reason: reason.into() });
        }
        Ok(encoded)
    };
    let Encoded { encodings, texts } = encode(training_set)?;
    let once = Masking::of_evaluation(options, vocabulary.clone());
    let eval = eval_set.map(encode).transpose()?.map(|eval| once.once(&eval.encodings, 0));
    let notes = notes::masked(training_set.examples.len(), &texts);
    Ok((Masking::of_training(options, vocabulary, seed).anew(encodings), eval, notes))
}

/// The first values of a head from a file, and what the plan says of them. Scores that are standardised take the
/// scaling out of the last layer.
fn head_of_file<D: Backend>(
    path: &Path,
    base: &Base<D>,
    spec: &TaskSpec,
    scaling: Option<Scaling>,
) -> Result<(TensorFile, InitialHead)> {
    let (mut file, initial) = head_file::read(path, base.checkpoint(), spec)?;
    if let Some(scaling) = scaling {
        scaling.unscale(&LastLayer::of(base, spec), &mut file.tensors.whole)?;
    }
    Ok((file, initial))
}

/// The classes or labels of a training set; `None` for kinds that have none. Finds what separates several labels.
fn labels(kind: Kind, training_set: &mut Dataset) -> Result<Option<Labels>> {
    Ok(match kind {
        Kind::Classify => Some(Labels::of_training_set(training_set)?),
        Kind::Tag => Some(Labels::of_words(training_set)?),
        Kind::Regress | Kind::Span | Kind::MaskedLm => None,
        Kind::MultiLabel => {
            let (labels, separator) = Labels::of_several(training_set)?;
            training_set.label_separator = separator;
            Some(labels)
        }
    })
}

/// Refuses to encode apart what is no pair, and pairs below a head whose first layer reads a single text.
fn check_pair<D: Backend>(base: &Base<D>, spec: &TaskSpec) -> Result<()> {
    if spec.pair == PairEncoding::Joint {
        return Ok(());
    }
    let reason = "the training set has single texts, which there is no second one for";
    check(Setting::Pair, spec.pair, spec.pairs, reason)?;
    let reason = "this head has another layer of its own, which reads single texts: choose cls or mean";
    check(Setting::Pooling, spec.pooling, probe::is_linear(base, spec.pooling), reason)
}
