//! The task file of a run, which is written after every epoch that is to be kept.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use bitfit_core::Backend;

use crate::data::Kind;
use crate::files::AtomicFile;
use crate::model::{Base, Model, ParameterNames};
use crate::task_file::{Best, Hyperparameters, TaskInfo};
use crate::train::{BatchSize, EpochReport, Events, Place, ProbeReport, SavedState, State, StepReport};
use crate::{Error, Result, TaskFile};

use super::FinetuneOptions;
use super::class_weights::ClassWeights;
use super::log::MetricsLog;
use super::scaling::{LastLayer, Scaling};
use super::state_saver::StateSaver;
use super::sweep::Claim;

/// The name of the task file in the output directory.
pub const TASK_FILE: &str = "task.safetensors";

/// The bytes that are copied at a time.
const BLOCK: usize = 1 << 20;

/// A written task file.
#[derive(Clone, Debug)]
pub struct WrittenTask {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

impl WrittenTask {
    /// Replaces `path` by a copy of the file.
    pub(super) fn copy_to(&self, path: &Path) -> Result<Self> {
        let mut file = File::open(&self.path).map_err(Error::io(&self.path))?;
        let mut copy = AtomicFile::create(path)?;
        let mut block = vec![0; BLOCK];
        loop {
            match file.read(&mut block).map_err(Error::io(&self.path))? {
                0 => break,
                read => copy.write(&block[..read])?,
            }
        }
        copy.finish()?;
        Ok(Self { path: path.into(), bytes: self.bytes })
    }
}

/// Writes the task files of a run; it holds the data that all of them share.
pub(super) struct TaskWriter<D: Backend> {
    path: PathBuf,
    info: TaskInfo,
    base: Base<D>,
    names: ParameterNames,
    /// How the scores of a regression are standardised, and the layer that takes it up.
    scaling: Option<(Scaling, LastLayer)>,
}

impl<D: Backend> TaskWriter<D> {
    /// A writer for a run of `model` with these options.
    pub(super) fn new(options: &FinetuneOptions, model: &Model<D>, scaling: Option<Scaling>) -> Result<Self> {
        let base = model.base();
        let (spec, training) = (model.spec(), &options.training);
        let dir = base.checkpoint().dir();
        // A name that is not a path is a hub id, which does not depend on the directory.
        let is_directory =
            fs::canonicalize(&options.model).ok().is_some_and(|path| fs::canonicalize(dir).ok() == Some(path));
        let info = TaskInfo {
            base: options.model.clone(),
            base_path: is_directory.then(|| std::path::absolute(dir).map_err(Error::io(dir))).transpose()?,
            base_fingerprint: base.fingerprint_for(spec.kind)?.to_owned(),
            tokenizer_fingerprint: base.tokenizer()?.fingerprint(),
            config: base.config().inference(),
            kind: spec.kind,
            labels: spec.labels.clone(),
            pairs: spec.pairs,
            pair: spec.pair,
            span: spec.span,
            calibration: None,
            pooling: spec.pooling,
            method: options.method.clone(),
            seed: training.seed,
            hyperparameters: Hyperparameters {
                task: options.read.task.map(|task| task.to_string()),
                learning_rate: training.learning_rate,
                learning_rates: training.rates.groups.iter().map(|(group, rate)| (group.to_string(), *rate)).collect(),
                layer_decay: Some(training.rates.layer_decay).filter(|decay| *decay != 1.0),
                schedule: training.schedule.to_string(),
                warmup: training.warmup,
                epochs: training.epochs,
                steps: 0,
                batch_size: match training.batch_size {
                    BatchSize::Sequences(size) => Some(size),
                    BatchSize::Tokens(_) => None,
                },
                batch_tokens: match training.batch_size {
                    BatchSize::Sequences(_) => None,
                    BatchSize::Tokens(size) => Some(size),
                },
                micro_batch: training.micro_batch,
                shards: training.shards,
                class_weights: match &options.loss.class_weights {
                    ClassWeights::Equal => None,
                    _ => training.weighting.as_ref().map(|weighting| weighting.weights.clone()),
                },
                label_smoothing: Some(options.loss.label_smoothing).filter(|share| *share > 0.0),
                focal_gamma: Some(options.loss.focal_gamma).filter(|gamma| *gamma > 0.0),
                eval_every: training.eval_every,
                patience: training.patience,
                group_by_length: training.group_by_length,
                max_length: spec.max_length,
                weight_decay: training.weight_decay,
                max_grad_norm: training.max_grad_norm,
                dropout: options.dropout,
                frozen_dropout: training.frozen_dropout,
                shuffle: training.shuffle,
                limit: training.limit,
                masking: (spec.kind == Kind::MaskedLm).then_some(options.masking),
                device: options.device.clone(),
                precision: options.precision.clone(),
                metrics: spec.metrics.clone(),
            },
            best: None,
        };
        let scaling = scaling.map(|scaling| (scaling, LastLayer::of(base, spec)));
        Ok(Self { path: options.out.join(TASK_FILE), info, base: base.clone(), names: model.names(), scaling })
    }

    /// Replaces the task file by one with the arena's `values` and the state of the run.
    ///
    /// # Errors
    /// [`Error::Weights`] when the base's files have changed since they were read; [`Error::Io`].
    pub(super) fn write(&self, state: &State, values: &[f32]) -> Result<WrittenTask> {
        self.base.checkpoint().check_unchanged()?;
        let mut info = self.info.clone();
        info.hyperparameters.steps = state.steps;
        info.best = state.best.as_ref().map(|best| {
            let scores = best.scores.iter().map(|score| (score.metric.name().to_owned(), score.value));
            let step = info.hyperparameters.eval_every.map(|_| best.step);
            Best { epoch: best.epoch, step, scores: scores.collect() }
        });
        let mut tensors = self.names.apply(values)?;
        if let Some((scaling, layer)) = &self.scaling {
            scaling.scale(layer, &mut tensors.whole)?;
        }
        TaskFile { info, tensors }.write(&self.path)?;
        let bytes = fs::metadata(&self.path).map_err(Error::io(&self.path))?.len();
        Ok(WrittenTask { path: self.path.clone(), bytes })
    }
}

/// Writes the task file at every [`Events::keep`] and the state when it is time to, and passes every event on.
pub(super) struct Saving<'a, 'b, D: Backend> {
    pub(super) writer: &'a TaskWriter<D>,
    pub(super) state: StateSaver<'a>,
    /// What must still be held when a task file is written.
    pub(super) claim: Option<&'a Claim>,
    pub(super) inner: &'a mut MetricsLog<'b>,
}

impl<D: Backend> Events for Saving<'_, '_, D> {
    fn probe(&mut self, report: &ProbeReport) {
        self.inner.probe(report);
    }

    fn step(&mut self, report: &StepReport) -> Result<()> {
        self.claim.map_or(Ok(()), Claim::check)?;
        self.state.step();
        self.inner.step(report)
    }

    fn pause(&mut self, is_end: bool, read: &dyn Fn() -> Result<SavedState>) -> Result<()> {
        self.state.pause(is_end, self.inner.place(), read);
        self.inner.pause(is_end, read)
    }

    fn resumed(&mut self, state: &State, place: Place) {
        self.inner.resumed(state, place);
    }

    fn evaluating(&mut self, epoch: usize) {
        self.inner.evaluating(epoch);
    }

    fn keep(&mut self, state: &State, values: &[f32]) -> Result<()> {
        self.claim.map_or(Ok(()), Claim::check)?;
        self.writer.write(state, values)?;
        self.inner.keep(state, values)
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<()> {
        self.inner.epoch(report)
    }

    fn should_stop(&self) -> bool {
        self.state.has_failed() || self.inner.should_stop()
    }
}
