//! A whole fine-tuning run: files in, task file out. [`Finetune::prepare`] reads and checks everything, so that what can be
//! refused is refused before the first step; [`Finetune::plan`] says what will happen; [`Finetune::run`] does it.

mod log;
mod plan;
mod save;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use bitfit_core::{Arena, Backend, HostTensor, Workspace};
pub use log::scores_as_json;
pub use plan::{Plan, grouped};

use crate::bias::Selection;
use crate::checkpoint::Checkpoint;
use crate::data::{Dataset, Kind, Labels, ReadOptions, check_pairs};
use crate::metrics::Metric;
use crate::model::{Bert, Head, HeadWeights, ModelOptions};
use crate::task::{check_max_length, encode, targets};
use crate::train::{self, Examples, Observer, Outcome, TrainOptions, Trainee};
use crate::{Error, Result, Tokenizer};
use log::MetricsLog;
use save::Saving;

/// The longest sequence in tokens where nothing else is said.
const DEFAULT_LENGTH: usize = 128;
/// The special tokens around a text, as nearly every BERT has them.
const FRAME: usize = 2;

/// What to fine-tune, on what, and how.
#[derive(Clone, Debug)]
pub struct FinetuneOptions {
    /// The base model as the user named it; it goes into the task file.
    pub model: String,
    /// The directory that holds it.
    pub model_dir: PathBuf,
    /// The training set.
    pub train: PathBuf,
    /// The set that chooses the best epoch.
    pub eval: Option<PathBuf>,
    /// How to read both.
    pub read: ReadOptions,
    /// Classes or scores.
    pub kind: Kind,
    /// What is reported; the first chooses the best epoch.
    pub metrics: Vec<Metric>,
    /// Which biases train beside the head; none for a frozen base.
    pub selection: Selection,
    /// How to train.
    pub training: TrainOptions,
    /// The device as the user named it, and the precision; they go into the task file, since the last bits depend on them.
    pub device: String,
    /// See `device`.
    pub precision: String,
    /// The longest sequence, in tokens; by default 128, or as long as the model has positions.
    pub max_length: Option<usize>,
    /// Takes the place of every dropout probability of the checkpoint.
    pub dropout: Option<f32>,
    /// A safetensors file with the head's first weights.
    pub init_head: Option<PathBuf>,
    /// Write every so many steps to the log.
    pub log_every: usize,
    /// Where the task file and the log go.
    pub out: PathBuf,
}

impl FinetuneOptions {
    /// Refuses settings that no model could satisfy, before there is one.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first.
    pub fn validate(&self) -> Result<()> {
        self.training.validate()?;
        let refuse = |name, value: String, reason| Err(Error::Setting { name, value, reason });
        if let Some(dropout) = self.dropout.filter(|dropout| !(0.0..1.0).contains(dropout)) {
            return refuse("the dropout", dropout.to_string(), "it is a probability, at least 0 and below 1");
        }
        if self.log_every == 0 {
            return refuse("the logging interval", "0".into(), "it counts steps, so it must be at least 1");
        }
        self.max_length.map_or(Ok(()), |max_length| check_max_length(max_length, usize::MAX, FRAME))
    }
}

/// A run that is ready to start: everything is read, and nothing is written yet.
#[derive(Debug)]
pub struct Finetune<D: Backend> {
    options: FinetuneOptions,
    /// Of the base model.
    fingerprint: String,
    max_length: usize,
    /// Whether the texts are pairs.
    pairs: bool,
    model: Bert<D>,
    arena: Arena<D>,
    workspace: Workspace<D>,
    labels: Option<Labels>,
    train: Examples,
    eval: Option<Examples>,
    plan: Plan,
}

/// What a run left.
#[derive(Debug)]
pub struct Finished {
    /// What was reached.
    pub outcome: Outcome,
    /// The task file; none where the run ended before its first step.
    pub task: Option<Written>,
}

/// A task file that was written.
#[derive(Debug)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

impl<D: Backend> Finetune<D> {
    /// Reads the model and the data, and builds what will train.
    ///
    /// # Errors
    /// Every error of reading a checkpoint, a tokenizer and data; [`Error::Setting`] for options that cannot be.
    pub fn prepare(device: &D, options: FinetuneOptions) -> Result<Self> {
        options.validate()?;
        let checkpoint = Checkpoint::open(&options.model_dir)?;
        let positions = checkpoint.config().max_position_embeddings;
        let max_length = options.max_length.unwrap_or(positions.min(DEFAULT_LENGTH));
        if let Some(layers) =
            options.selection.layers().filter(|layers| *layers.end() >= checkpoint.config().num_hidden_layers)
        {
            let value = format!("{}-{}", layers.start(), layers.end());
            return Err(Error::Setting {
                name: "the range of layers",
                value,
                reason: "the model has fewer; they count from 0",
            });
        }
        let tokenizer = Tokenizer::open(&options.model_dir, checkpoint.config())?;
        let training_set = Dataset::read(&options.train, &options.read)?;
        check_max_length(max_length, positions, tokenizer.special_tokens(training_set.is_paired()))?;
        let labels = match options.kind {
            Kind::Classify => Some(Labels::of_training_set(&training_set)?),
            Kind::Regress => None,
        };
        let examples = |dataset: &Dataset| -> Result<Examples> {
            let targets = targets(dataset, labels.as_ref())?;
            Ok(Examples { encodings: encode(&tokenizer, dataset, max_length)?, targets })
        };
        let eval_set = options.eval.as_ref().map(|path| Dataset::read(path, &options.read)).transpose()?;
        let pairs = training_set.is_paired();
        if let Some(eval_set) = &eval_set {
            check_pairs(&eval_set.path, &eval_set.examples, pairs)?;
        }
        let (train, eval) = (examples(&training_set)?, eval_set.as_ref().map(examples).transpose()?);

        let head = match &labels {
            Some(labels) => Head::Classify { classes: labels.len() },
            None => Head::Regress,
        };
        let seed = options.training.seed;
        let head_weights = match &options.init_head {
            Some(path) => {
                HeadWeights::Given { path: path.clone(), tensors: read_head(path, checkpoint.has_pooler())?, seed }
            }
            None => HeadWeights::Fresh { seed },
        };
        let model_options =
            ModelOptions { head, head_weights, selection: options.selection.clone(), dropout: options.dropout };
        let fingerprint = checkpoint.fingerprint();
        let (model, arena) = Bert::build(device, &checkpoint, &model_options)?;
        let skipped = [Some(&training_set), eval_set.as_ref()]
            .into_iter()
            .flatten()
            .map(|dataset| (dataset.name.clone(), dataset.skipped.len()))
            .filter(|(_, lines)| *lines > 0)
            .collect();
        let plan = Plan::new(
            &options,
            max_length,
            &checkpoint,
            &model,
            labels.as_ref(),
            &train,
            eval.as_ref(),
            device.name(),
            skipped,
        );
        let workspace = Workspace::new(device.clone());
        Ok(Self { options, fingerprint, max_length, pairs, model, arena, workspace, labels, train, eval, plan })
    }

    /// What will happen.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Trains, and writes `task.safetensors` and `metrics.jsonl` into the output directory.
    ///
    /// The task file is written anew after every epoch that is the best so far, or after every epoch where there is no
    /// evaluation set, so that it is there however the run ends, by a power cut too. A run that ends by itself, by the observer
    /// or by a loss that is no number, leaves the best that was reached; see [`Outcome::end`]. A run that ends before its first
    /// step writes nothing.
    ///
    /// # Errors
    /// [`Error::Io`] when the output directory cannot be written, and everything [`train::train`] refuses.
    pub fn run(self, observer: &mut dyn Observer) -> Result<Finished> {
        let Self { options, fingerprint, max_length, pairs, model, mut arena, workspace, labels, train, eval, .. } =
            self;
        fs::create_dir_all(&options.out).map_err(Error::io(&options.out))?;
        let mut log = MetricsLog::new(&options.out.join("metrics.jsonl"), options.log_every, observer);
        let entries = arena.entries().to_vec();
        let mut saving = Saving {
            options: &options,
            fingerprint,
            max_length,
            pairs,
            labels,
            model: &model,
            entries,
            inner: &mut log,
        };
        let trainee = Trainee { model: &model, arena: &mut arena, workspace: &workspace };
        let evaluation = eval.as_ref().map(|examples| (examples, options.metrics.as_slice()));
        let outcome = train::train(trainee, &train, evaluation, &options.training, &mut saving)?;
        let task = if outcome.steps > 0 { Some(saving.save(&outcome, &arena.read()?)?) } else { None };
        log.finish().map(|()| Finished { outcome, task })
    }
}

/// The head's first weights: `classifier.weight` and `classifier.bias`, and a pooler where the checkpoint has none and the
/// file has one. Nothing else is looked at: the file may be a whole model.
fn read_head(path: &Path, has_pooler: bool) -> Result<HashMap<String, HostTensor>> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let refuse = |reason: String| Error::Weights { path: path.into(), reason };
    let file = safetensors::SafeTensors::deserialize(&bytes)
        .map_err(|error| refuse(format!("no whole safetensors file: {error}")))?;
    let mut tensors = HashMap::new();
    for (name, view) in file.iter() {
        let is_head = name.starts_with("classifier.") || (!has_pooler && name.starts_with("bert.pooler."));
        if !is_head {
            continue;
        }
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(Error::Dtype { path: path.into(), tensor: name.into(), dtype: view.dtype().to_string() });
        }
        tensors.insert(
            name.to_owned(),
            HostTensor::new(view.shape(), bytemuck::allocation::pod_collect_to_vec(view.data()))?,
        );
    }
    for name in ["classifier.weight", "classifier.bias"] {
        if !tensors.contains_key(name) {
            return Err(Error::MissingTensor { path: path.into(), name: name.into() });
        }
    }
    Ok(tensors)
}
