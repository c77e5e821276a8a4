//! The task file of a run, written anew whenever there is something better to keep.

use std::fs;

use bitfit_core::{Backend, Entry};
use serde_json::json;

use super::log::{scores_as_json, shortest};
use super::{FinetuneOptions, Written};
use crate::data::Labels;
use crate::metrics::Metric;
use crate::model::Bert;
use crate::train::{BatchSize, EpochReport, Observer, Outcome, StepReport};
use crate::{Error, Result, TaskFile};

/// Writes the task file, and passes everything on to the next observer.
pub(super) struct Saving<'a, D: Backend> {
    pub(super) options: &'a FinetuneOptions,
    /// Of the base model.
    pub(super) fingerprint: String,
    pub(super) max_length: usize,
    pub(super) pairs: bool,
    pub(super) labels: Option<Labels>,
    pub(super) model: &'a Bert<D>,
    /// The arena's table.
    pub(super) entries: Vec<Entry>,
    pub(super) inner: &'a mut dyn Observer,
}

impl<D: Backend> Saving<'_, D> {
    /// Puts a task file of the arena's `values` in the place of the one before.
    pub(super) fn save(&self, outcome: &Outcome, values: &[f32]) -> Result<Written> {
        let options = self.options;
        let best =
            outcome.best.as_ref().map(|best| json!({ "epoch": best.epoch, "scores": scores_as_json(&best.scores) }));
        let path = options.out.join("task.safetensors");
        TaskFile {
            base: options.model.clone(),
            base_fingerprint: self.fingerprint.clone(),
            kind: options.kind,
            labels: self.labels.clone(),
            pairs: Some(self.pairs),
            biases: options.selection.to_string(),
            seed: options.training.seed,
            hyperparameters: hyperparameters(options, self.max_length, outcome),
            best: best.unwrap_or_default(),
            tensors: self.model.named(&self.entries, values)?,
        }
        .write(&path)?;
        let bytes = fs::metadata(&path).map_err(Error::io(&path))?.len();
        Ok(Written { path, bytes })
    }
}

impl<D: Backend> Observer for Saving<'_, D> {
    fn step(&mut self, report: &StepReport) -> Result<()> {
        self.inner.step(report)
    }

    fn evaluating(&mut self, epoch: usize) {
        self.inner.evaluating(epoch);
    }

    fn keep(&mut self, outcome: &Outcome, values: &[f32]) -> Result<()> {
        self.save(outcome, values)?;
        self.inner.keep(outcome, values)
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<()> {
        self.inner.epoch(report)
    }

    fn should_stop(&self) -> bool {
        self.inner.should_stop()
    }
}

/// What a task file says of how it came about.
fn hyperparameters(options: &FinetuneOptions, max_length: usize, outcome: &Outcome) -> serde_json::Value {
    let training = &options.training;
    json!({
        "task": options.read.task.map(|task| task.to_string()),
        "learning_rate": shortest(training.learning_rate),
        "schedule": training.schedule.to_string(),
        "warmup": shortest(training.warmup),
        "epochs": training.epochs,
        "steps": outcome.steps,
        "batch_size": match training.batch_size {
            BatchSize::Sequences(size) => Some(size),
            BatchSize::Tokens(_) => None,
        },
        "batch_tokens": match training.batch_size {
            BatchSize::Sequences(_) => None,
            BatchSize::Tokens(size) => Some(size),
        },
        "group_by_length": training.group_by_length,
        "max_length": max_length,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm.map(shortest),
        "dropout": options.dropout.map(shortest),
        "frozen_dropout": training.frozen_dropout,
        "shuffle": training.shuffle,
        "limit": training.limit,
        "device": options.device,
        "precision": options.precision,
        "metrics": options.metrics.iter().map(Metric::name).collect::<Vec<_>>(),
    })
}
