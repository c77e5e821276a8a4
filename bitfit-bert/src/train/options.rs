//! How to train: what the paper calls hyper-parameters.

use bitfit_core::optim::Schedule;

use crate::{Error, Result};

/// How much goes into a batch. Nothing is padded, so either way a batch costs what its tokens cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// So many sequences, as in the paper; the last batch of an epoch may have fewer.
    Sequences(usize),
    /// As many sequences as fit into so many tokens; a longer sequence is a batch of its own.
    Tokens(usize),
}

/// How to train. The default is the official code's: constant rate, no warm-up, no decay, the gradient clipped to norm 1;
/// with the paper's batch size, 16.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// The learning rate at its highest.
    pub learning_rate: f32,
    /// How often each row is seen.
    pub epochs: usize,
    /// What goes into a batch.
    pub batch_size: BatchSize,
    /// Whether the sequences of a batch are of like lengths: each epoch's rows are sorted by length, cut into batches, and
    /// the batches shuffled. Others do it to save padding; there is none here, but it changes which rows meet in a batch.
    pub group_by_length: bool,
    /// How the learning rate goes over the run.
    pub schedule: Schedule,
    /// The share of all steps in which the learning rate rises from 0.
    pub warmup: f32,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The norm to which the whole gradient is clipped; `None` leaves it.
    pub max_grad_norm: Option<f32>,
    /// Of the order of rows, dropout and fresh weights.
    pub seed: u64,
    /// Whether each epoch has its own order; otherwise the file's.
    pub shuffle: bool,
    /// Whether dropout is also drawn in the layers below the lowest one that trains, as PyTorch does in training mode. They
    /// are then computed in every step; otherwise once a row, since nothing changes there.
    pub frozen_dropout: bool,
    /// Memory for what those layers made of the rows, in bytes; what does not fit is computed anew.
    pub reuse_bytes: usize,
    /// Train on so many rows only: the first of the shuffled order, the same in every epoch; of the file if not shuffled.
    pub limit: Option<usize>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            epochs: 3,
            batch_size: BatchSize::Sequences(16),
            group_by_length: false,
            schedule: Schedule::Constant,
            warmup: 0.0,
            weight_decay: 0.0,
            max_grad_norm: Some(1.0),
            seed: 0,
            shuffle: true,
            frozen_dropout: false,
            reuse_bytes: 1 << 30,
            limit: None,
        }
    }
}

impl TrainOptions {
    /// Refuses what no run can have.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first that cannot be.
    pub fn validate(&self) -> Result<()> {
        let positive = |value: f32| value.is_finite() && value > 0.0;
        check("the learning rate", self.learning_rate, positive(self.learning_rate), "it must be a number above 0")?;
        check("the number of epochs", self.epochs, self.epochs > 0, "it must be at least 1")?;
        let (name, size) = match self.batch_size {
            BatchSize::Sequences(size) => ("the batch size", size),
            BatchSize::Tokens(size) => ("the batch's tokens", size),
        };
        check(name, size, size > 0, "it must be at least 1")?;
        check(
            "the warm-up",
            self.warmup,
            (0.0..=1.0).contains(&self.warmup),
            "it is a share of the steps, from 0 to 1",
        )?;
        let decays = self.weight_decay.is_finite() && self.weight_decay >= 0.0;
        check("the weight decay", self.weight_decay, decays, "it must be a number, and not below 0")?;
        if let Some(norm) = self.max_grad_norm {
            check("the clipping norm", norm, positive(norm), "it must be a number above 0")?;
        }
        match self.limit {
            Some(limit) => check("the limit of rows", limit, limit > 0, "it must be at least 1"),
            None => Ok(()),
        }
    }

    /// Steps in which the learning rate rises, of `total` steps.
    pub fn warmup_steps(&self, total: usize) -> usize {
        (f64::from(self.warmup) * total as f64).ceil() as usize
    }
}

fn check(name: &'static str, value: impl ToString, holds: bool, reason: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Setting { name, value: value.to_string(), reason }) }
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
            (TrainOptions { batch_size: BatchSize::Tokens(0), ..good.clone() }, "batch's tokens is 0"),
            (TrainOptions { warmup: 1.5, ..good.clone() }, "warm-up is 1.5"),
            (TrainOptions { weight_decay: -1.0, ..good.clone() }, "weight decay is -1"),
            (TrainOptions { max_grad_norm: Some(0.0), ..good.clone() }, "clipping norm is 0"),
            (TrainOptions { limit: Some(0), ..good.clone() }, "limit of rows is 0"),
        ] {
            let message = options.validate().unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
