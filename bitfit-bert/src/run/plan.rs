//! The plan of a run, as data that a program can show before the run starts.

use std::path::PathBuf;

use bitfit_core::Backend;

use crate::config::ModelConfig;
use crate::data::{Dataset, Kind};
use crate::heads::{MaskingOptions, NO_ANSWER, PairEncoding, Pooling, PoolingSource, Targets};
use crate::methods::Method;
use crate::model::{Model, TrainableKind};
use crate::tokenize::Encoding;
use crate::train::{Batches, Examples, RateSummary, TrainOptions, prefix_cache_bytes};

use super::FinetuneOptions;
use super::notes::{self, PlanNote};

/// The plan of a run: what trains, on which data, for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The base model as the user named it.
    pub model: String,
    /// The base model's architecture and extents.
    pub config: ModelConfig,
    /// What trains in addition to the head. A probe has no steps, and what is said of them does not count.
    pub method: Method,
    /// The trainable tensors by kind, in the order of the network.
    pub parts: Vec<PlanPart>,
    /// The number of scalars that train.
    pub trainable: usize,
    /// The number of parameters of the whole model, head included.
    pub total: usize,
    /// How the two texts of a pair go through the encoder; `None` for single texts.
    pub pair: Option<PairEncoding>,
    /// What of the last layer the head reads.
    pub pooling: Pooling,
    /// Why.
    pub pooling_source: PoolingSource,
    /// Where the head's first values come from.
    pub initial_head: InitialHead,
    /// The number of rows to train on; of tags and of masked tokens, the number of sequences.
    pub rows: usize,
    /// The number of rows in the evaluation set.
    pub eval_rows: Option<usize>,
    /// What is predicted for a text.
    pub kind: Kind,
    /// The classes or labels; `None` for a regression and for masked language modelling.
    pub labels: Option<Vec<String>>,
    /// The number of rows to train on, or of their words, that have each of them; empty for a regression.
    pub label_rows: Vec<usize>,
    /// The number of rows to train on without any label, where a text may have several, or without an answer.
    pub unlabelled_rows: usize,
    /// What separates the labels of a field, where a text may have several.
    pub label_separator: Option<char>,
    /// How tokens are masked; `None` but for masked language modelling.
    pub masking: Option<MaskingOptions>,
    /// What a person should see before the run starts.
    pub notes: Vec<PlanNote>,
    /// The number of tokens in an epoch; none is padding.
    pub tokens: usize,
    /// The number of steps of the whole run.
    pub steps: usize,
    /// The rates of groups of tensors; none where all have that of the settings.
    pub rates: Vec<RateSummary>,
    /// The settings of the run.
    pub training: TrainOptions,
    /// The dropout probability.
    pub dropout: f32,
    /// The longest sequence in tokens.
    pub max_length: usize,
    /// The stages that are computed once for each row; `None` if the lowest layer trains or has dropout.
    pub cached_prefix: Option<CachedPrefix>,
    /// The device.
    pub device: String,
    /// The files of which lines are skipped, and the number of these lines.
    pub skipped: Vec<(String, usize)>,
    /// The files that are not what their names say, and what was found by looking.
    pub found: Vec<(String, Vec<String>)>,
}

/// The trainable tensors of one kind.
#[derive(Clone, Debug)]
pub struct PlanPart {
    /// The kind.
    pub kind: TrainableKind,
    /// The number of tensors.
    pub tensors: usize,
    /// The number of their scalars.
    pub scalars: usize,
}

/// Where the first values of a head come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitialHead {
    /// They are drawn at random, from the seed.
    Drawn,
    /// From a probe, which is fitted to the training set first.
    Probe,
    /// From a file.
    File {
        /// The file.
        path: PathBuf,
        /// Whether the file or the configuration beside it says which class each row is for. Otherwise the rows are
        /// taken for the labels in their order.
        has_labels: bool,
    },
}

/// The frozen stages whose outputs are cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedPrefix {
    /// The number of layers above the embeddings.
    pub layers: usize,
    /// The size of the outputs of all training rows, in bytes.
    pub needed: usize,
    /// The memory that may be used, in bytes.
    pub budget: usize,
}

impl Plan {
    /// The plan of a run over `model`, on the examples of `train` and `eval`, which were read from `datasets`.
    pub(super) fn new<D: Backend>(
        options: &FinetuneOptions,
        model: &Model<D>,
        train: &Examples,
        eval: Option<&Examples>,
        datasets: &[&Dataset],
    ) -> Self {
        let mut parts: Vec<PlanPart> = Vec::new();
        for tensor in model.trainable() {
            let part = match parts.iter_mut().find(|part| part.kind == tensor.kind) {
                Some(part) => part,
                None => parts.push_mut(PlanPart { kind: tensor.kind, tensors: 0, scalars: 0 }),
            };
            part.tensors += 1;
            part.scalars += tensor.scalars;
        }
        parts.sort_by_key(|part| part.kind);
        let config = model.base().config();
        let training = &options.training;
        let batches = Batches::new(train.lengths(), training);
        let rows = batches.row_numbers();
        let targets = train.targets(&rows);
        let label_rows = label_rows(&targets, model.outputs());
        let mut notes = Vec::new();
        if let [training_set, others @ ..] = datasets {
            let encodings = rows.iter().map(|&row| &train.encodings[row]);
            notes.extend(notes::notes(model.spec().kind, training_set, encodings));
            let texts = trained_texts(train, &rows, training_set);
            notes.extend(others.first().and_then(|set| notes::evaluated_on_trained(training_set, texts, set)));
        }
        notes.extend(model.spec().labels.as_ref().and_then(|labels| notes::without_rows(labels, &label_rows)));
        notes.extend(notes::lost_answers(train));
        let skipped = datasets.iter().map(|dataset| (dataset.name.clone(), dataset.skipped.len()));
        let found = datasets.iter().map(|dataset| (dataset.name.clone(), dataset.found.clone()));
        Self {
            model: options.model.clone(),
            config: config.clone(),
            method: options.method.clone(),
            parts,
            trainable: model.trainable_count(),
            total: model.parameter_count(),
            pair: model.spec().pairs.then_some(model.spec().pair),
            pooling: model.spec().pooling,
            pooling_source: PoolingSource::Default,
            initial_head: InitialHead::Drawn,
            rows: batches.rows(),
            eval_rows: eval.map(Examples::len),
            kind: model.spec().kind,
            label_rows,
            unlabelled_rows: match targets {
                Targets::Indicators(indicators) => indicators.rows().into_iter().filter(|row| row.sum() == 0.0).count(),
                Targets::Spans(spans) => spans.iter().filter(|span| **span == NO_ANSWER).count(),
                _ => 0,
            },
            label_separator: datasets.first().and_then(|training_set| training_set.label_separator),
            masking: (model.spec().kind == Kind::MaskedLm).then_some(options.masking),
            notes,
            labels: model.spec().labels.as_ref().map(|labels| labels.names().to_vec()),
            tokens: batches.tokens(),
            steps: if options.method == Method::Probe { 0 } else { batches.steps(training.epochs) },
            dropout: options.dropout.unwrap_or(config.hidden_dropout_prob),
            max_length: model.spec().max_length,
            cached_prefix: match train.are_drawn() || options.method == Method::Probe {
                true => None,
                false => cached_prefix(model, training, batches.of(&train.encodings)),
            },
            rates: Vec::new(),
            training: training.clone(),
            device: model.base().device().name(),
            skipped: skipped.filter(|(_, lines)| *lines > 0).collect(),
            found: found.filter(|(_, found)| !found.is_empty()).collect(),
        }
    }

    /// The number of scalars that train and are biases of the base model.
    pub fn bias_scalars(&self) -> usize {
        let biases = self.parts.iter().filter(|part| matches!(part.kind, TrainableKind::Bias(_)));
        biases.map(|part| part.scalars).sum()
    }
}

/// The texts that are trained on, by their numbers; none where it is not known, because masked sequences were chosen,
/// which do not say what text they are of.
fn trained_texts(train: &Examples, rows: &[usize], training_set: &Dataset) -> Vec<usize> {
    match train.are_drawn() {
        false => rows.iter().map(|&row| train.texts[row]).collect(),
        true if rows.len() == train.len() => (0..training_set.examples.len()).collect(),
        true => Vec::new(),
    }
}

/// The number of rows, or of words, that have each class or label; none for scores.
fn label_rows(targets: &Targets, outputs: usize) -> Vec<usize> {
    match targets {
        Targets::Classes(classes) => {
            let mut rows = vec![0; outputs];
            classes.iter().for_each(|&class| rows[class] += 1);
            rows
        }
        Targets::Indicators(indicators) => {
            indicators.columns().into_iter().map(|column| column.iter().filter(|&&is| is == 1.0).count()).collect()
        }
        _ => Vec::new(),
    }
}

fn cached_prefix<'a, D: Backend>(
    model: &Model<D>,
    training: &TrainOptions,
    texts: impl IntoIterator<Item = &'a Encoding>,
) -> Option<CachedPrefix> {
    let stages = model.frozen_stages();
    (stages > 0 && !training.frozen_dropout).then(|| CachedPrefix {
        layers: (stages - 1).min(model.base().config().num_hidden_layers),
        needed: prefix_cache_bytes(model, texts),
        budget: training.prefix_cache_bytes,
    })
}
