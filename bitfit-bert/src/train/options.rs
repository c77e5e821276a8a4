//! The settings of a training run.

use std::sync::Arc;

use bitfit_core::ops::weighted_cross_entropy::ClassWeighting;
use bitfit_core::optim::Schedule;

use super::{MOST_SHARDS, Rates};
use crate::Result;
use crate::settings::{Setting, check};

/// The size of a batch. Nothing is padded, so time and memory of a batch depend on its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// A number of sequences, as in the paper; the last batch of an epoch may have fewer.
    Sequences(usize),
    /// As many sequences as fit into a number of tokens; a longer sequence is a batch of its own.
    Tokens(usize),
}

/// The settings of a training run. The defaults are those of the paper's official code (constant rate, no warm-up, no
/// decay, the gradient clipped to norm 1) with the paper's batch size, 16.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// The learning rate at its highest.
    pub learning_rate: f32,
    /// Rates of groups of tensors and of layers that differ from it.
    pub rates: Rates,
    /// The number of passes over the training set.
    pub epochs: usize,
    /// The size of a batch.
    pub batch_size: BatchSize,
    /// The most sequences of a batch that are computed at a time, if not all: the gradients of its parts add up to that
    /// of the batch, which a step is taken with. A pair counts as one. It changes the order of sums, and memory.
    pub micro_batch: Option<usize>,
    /// The number of logical shards that each batch is cut into, if any: each is computed by itself, by any of the
    /// ranks of the run, and their gradients are added in an order that their number alone decides. So the number of
    /// ranks changes no bit, and the number of shards the order of sums.
    pub shards: Option<usize>,
    /// Whether the sequences of a batch have similar lengths: each epoch's rows are sorted by length, cut into batches,
    /// and the batches shuffled. Other programs avoid padding in this way; here there is none, but the option changes
    /// which rows share a batch.
    pub group_by_length: bool,
    /// The course of the learning rate over the run.
    pub schedule: Schedule,
    /// The fraction of all steps over which the learning rate rises from 0.
    pub warmup: f32,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The norm to which the whole gradient is clipped; `None` for no clipping.
    pub max_grad_norm: Option<f32>,
    /// The seed of the order of rows, of dropout and of fresh weights.
    pub seed: u64,
    /// Whether each epoch has a random order of its own; otherwise the rows are in the file's order.
    pub shuffle: bool,
    /// Whether dropout is also drawn in the layers below the lowest one that trains, as PyTorch does in training mode.
    /// These layers are then computed in every step; otherwise once for each row, since nothing changes there.
    pub frozen_dropout: bool,
    /// The memory for the outputs of those layers, in bytes; what does not fit is computed again.
    pub prefix_cache_bytes: usize,
    /// How classes count in the loss, where not all count alike; for kinds of task that choose one class.
    pub weighting: Option<Arc<ClassWeighting>>,
    /// The number of steps between two evaluations, in addition to those at the ends of epochs.
    pub eval_every: Option<usize>,
    /// The number of evaluations without a better score after which the run ends, if it may end early.
    pub patience: Option<usize>,
    /// The number of rows to train on, if not all: the first of the shuffled order, the same in every epoch; the first
    /// of the file if not shuffled.
    pub limit: Option<usize>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            rates: Rates::default(),
            epochs: 3,
            batch_size: BatchSize::Sequences(16),
            micro_batch: None,
            shards: None,
            group_by_length: false,
            schedule: Schedule::Constant,
            warmup: 0.0,
            weight_decay: 0.0,
            max_grad_norm: Some(1.0),
            seed: 0,
            shuffle: true,
            frozen_dropout: false,
            prefix_cache_bytes: 1 << 30,
            weighting: None,
            eval_every: None,
            patience: None,
            limit: None,
        }
    }
}

impl TrainOptions {
    /// Refuses invalid values.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] with the first of them.
    pub fn validate(&self) -> Result<()> {
        let positive = |value: f32| value.is_finite() && value > 0.0;
        check(Setting::LearningRate, self.learning_rate, positive(self.learning_rate), "it must be a number above 0")?;
        self.rates.validate()?;
        check(Setting::Epochs, self.epochs, self.epochs > 0, "it must be at least 1")?;
        let (setting, size) = match self.batch_size {
            BatchSize::Sequences(size) => (Setting::BatchSize, size),
            BatchSize::Tokens(size) => (Setting::BatchTokens, size),
        };
        check(setting, size, size > 0, "it must be at least 1")?;
        if let Some(size) = self.micro_batch {
            check(Setting::MicroBatch, size, size > 0, "it must be at least 1")?;
            let reason = "logical shards are computed a few at a time already: leave one out";
            check(Setting::MicroBatch, size, self.shards.is_none(), reason)?;
        }
        if let Some(shards) = self.shards {
            let reason = "it must be at least 1 and at most 1024";
            check(Setting::Shards, shards, (1..=MOST_SHARDS).contains(&shards), reason)?;
        }
        check(
            Setting::Warmup,
            self.warmup,
            (0.0..=1.0).contains(&self.warmup),
            "it must be a fraction of the steps, from 0 to 1",
        )?;
        let decays = self.weight_decay.is_finite() && self.weight_decay >= 0.0;
        check(Setting::WeightDecay, self.weight_decay, decays, "it must be a finite number of at least 0")?;
        if let Some(norm) = self.max_grad_norm {
            check(Setting::MaxGradNorm, norm, positive(norm), "it must be a number above 0")?;
        }
        for (setting, count) in
            [(Setting::Limit, self.limit), (Setting::EvalEvery, self.eval_every), (Setting::Patience, self.patience)]
        {
            if let Some(count) = count {
                check(setting, count, count > 0, "it must be at least 1")?;
            }
        }
        Ok(())
    }

    /// The number of steps, of `total`, over which the learning rate rises.
    pub fn warmup_steps(&self, total: usize) -> usize {
        (f64::from(self.warmup) * total as f64).ceil() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_every_impossible_value_is_named() {
        let good = TrainOptions::default();
        assert!(good.validate().is_ok());
        for (options, word) in [
            (TrainOptions { learning_rate: f32::NAN, ..good.clone() }, "learning rate is NaN"),
            (TrainOptions { learning_rate: 0.0, ..good.clone() }, "learning rate is 0"),
            (TrainOptions { epochs: 0, ..good.clone() }, "epochs is 0"),
            (TrainOptions { batch_size: BatchSize::Sequences(0), ..good.clone() }, "batch size is 0"),
            (TrainOptions { batch_size: BatchSize::Tokens(0), ..good.clone() }, "batch size in tokens is 0"),
            (TrainOptions { micro_batch: Some(0), ..good.clone() }, "computed at a time is 0"),
            (TrainOptions { shards: Some(0), ..good.clone() }, "logical shards is 0"),
            (TrainOptions { shards: Some(1025), ..good.clone() }, "logical shards is 1025"),
            (TrainOptions { shards: Some(4), micro_batch: Some(2), ..good.clone() }, "computed at a time is 2"),
            (TrainOptions { warmup: 1.5, ..good.clone() }, "warm-up is 1.5"),
            (TrainOptions { weight_decay: -1.0, ..good.clone() }, "weight decay is -1"),
            (TrainOptions { max_grad_norm: Some(0.0), ..good.clone() }, "clipping norm is 0"),
            (TrainOptions { limit: Some(0), ..good.clone() }, "limit of rows is 0"),
            (TrainOptions { eval_every: Some(0), ..good.clone() }, "evaluations is 0"),
            (TrainOptions { patience: Some(0), ..good.clone() }, "patience is 0"),
        ] {
            let message = options.validate().unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
