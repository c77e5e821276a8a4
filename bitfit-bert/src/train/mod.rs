//! Training: [`Trainer`] defines steps, epochs and the best epoch so far; its [`Events`] decide what is shown, saved
//! and logged, and when a run stops early.
//!
//! ```text
//! Examples -> Batches -> Trainer (State: counters, best) -> Events: step, epoch, keep
//! ```

mod batch_loss;
mod batch_pass;
mod batches;
mod check;
mod evaluate;
mod options;
mod prefix_cache;
mod rates;
mod saved_state;
mod select;
mod shards;
mod trainer;

use std::time::Duration;

pub use batches::Batches;
pub use check::check_gradients;
pub use evaluate::{Score, evaluate, outputs, scored_outputs};
pub(crate) use evaluate::{Sharing, pooled_unless, scores, stacked};
pub use options::{BatchSize, TrainOptions};
pub use prefix_cache::{PrefixCaches, prefix_cache_bytes};
pub use rates::{RateGroup, RateSummary, Rates, rate_summaries};
pub use saved_state::{Place, SavedState};
pub use select::{Ranking, Select, select};
pub use shards::{DEFAULT_SHARDS, MOST_SHARDS};
pub use trainer::Trainer;

use serde::{Deserialize, Serialize};

pub use crate::heads::Examples;
use crate::heads::Pooling;
use crate::metrics::Metric;
use crate::{Result, as_text};

/// Labelled texts to score after each epoch.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// The texts and their targets.
    pub examples: &'a Examples,
    /// The metrics; the first chooses the best epoch.
    pub metrics: &'a [Metric],
}

/// One optimizer step, as it is logged.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// The step's number, from 1, over all epochs.
    pub step: usize,
    /// The epoch's number, from 1.
    pub epoch: usize,
    /// The batch's mean loss.
    pub loss: f32,
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// The gradient's norm before clipping.
    pub grad_norm: f32,
    /// The number of tokens in this batch; none is padding.
    pub tokens: usize,
    /// The time this step took.
    pub seconds: f64,
}

/// What a linear head over the frozen base reached: see [`crate::probe`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeReport {
    /// What of the last layer it read.
    #[serde(with = "as_text")]
    pub pooling: Pooling,
    /// Its scores on the evaluation set; none without one.
    pub scores: Vec<Score>,
    /// The time that it took, the pass over the texts included.
    pub seconds: f64,
}

/// The end of an epoch, or an evaluation within it.
#[derive(Clone, Debug)]
pub struct EpochReport {
    /// The epoch's number, from 1.
    pub epoch: usize,
    /// The step that it follows, from 1, over all epochs.
    pub step: usize,
    /// Whether that was the epoch's last step.
    pub is_end: bool,
    /// The mean loss over the epoch's steps so far.
    pub mean_loss: f64,
    /// The scores, first the one that chooses the best epoch; empty without an evaluation set.
    pub scores: Vec<Score>,
    /// Whether the first score is better than in every evaluation before ([`Metric::is_better`]).
    pub is_best: bool,
}

/// The events of a run, reported on the thread that trains. Every method has a default that does nothing.
pub trait Events: Send {
    /// Called before the first step with what a probe of the frozen base reached, where one was asked for.
    fn probe(&mut self, _report: &ProbeReport) {}

    /// Called after every step.
    ///
    /// # Errors
    /// An error ends the run.
    fn step(&mut self, _report: &StepReport) -> Result<()> {
        Ok(())
    }

    /// Called before every evaluation.
    fn evaluating(&mut self, _epoch: usize) {}

    /// Called after every epoch, and after every evaluation within one.
    ///
    /// # Errors
    /// An error ends the run.
    fn epoch(&mut self, _report: &EpochReport) -> Result<()> {
        Ok(())
    }

    /// Called before [`Events::epoch`] when the values should be kept: after every evaluation that is the best so far,
    /// or, without an evaluation set, after every epoch. `values` is the whole arena; `state` is the state of the run.
    ///
    /// # Errors
    /// An error ends the run.
    fn keep(&mut self, _state: &State, _values: &[f32]) -> Result<()> {
        Ok(())
    }

    /// Called wherever the run can be resumed from: after every step, after every epoch, and once more (`is_end`) where
    /// [`Events::should_stop`] has ended it. `read` copies from the device what [`Trainer::resume`] needs.
    ///
    /// # Errors
    /// An error ends the run.
    fn pause(&mut self, _is_end: bool, _read: &dyn Fn() -> Result<SavedState>) -> Result<()> {
        Ok(())
    }

    /// Called before the first step of a run that goes on from a saved state.
    fn resumed(&mut self, _state: &State, _place: Place) {}

    /// Called before every step; returns whether to end the run and keep its results so far.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Ignores every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEvents;

impl Events for NoEvents {}

/// The counters of a run, and the best epoch so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Optimizer steps taken.
    pub steps: usize,
    /// Epochs finished.
    pub epochs: usize,
    /// Tokens trained on; none is padding.
    pub tokens: usize,
    /// The time spent in steps.
    pub training: Duration,
    /// The epoch that was kept; `None` without an evaluation.
    pub best: Option<BestEpoch>,
    /// The last evaluation's scores, in the order of its metrics.
    pub last: Vec<Score>,
    /// The step that the last evaluation followed.
    pub evaluated: usize,
    /// The number of evaluations since the best.
    pub since_best: usize,
}

/// The epoch that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestEpoch {
    /// The epoch's number, from 1; 0 for a probe.
    pub epoch: usize,
    /// The step that was evaluated; that of the epoch's end, unless there are evaluations within epochs.
    pub step: usize,
    /// Its scores; the first chose it.
    pub scores: Vec<Score>,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StopReason {
    /// The last epoch is finished.
    Finished,
    /// The score has not become better in as many evaluations as the options allow.
    NoImprovement,
    /// [`Events::should_stop`] returned true.
    Stopped,
    /// The loss, the gradient or a trainable value became NaN or infinite.
    Diverged {
        /// The step that showed it, from 1.
        step: usize,
        /// What became NaN or infinite.
        what: String,
    },
}

impl StopReason {
    /// Whether the run came to its end, and was neither stopped nor has diverged.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Finished | Self::NoImprovement)
    }
}

/// The result of a run. The model's arena holds the values of the best epoch, or, without an evaluation, the last
/// finite ones.
#[derive(Clone, Debug)]
pub struct TrainReport {
    /// Why the run ended.
    pub stop: StopReason,
    /// The counters and the best epoch.
    pub state: State,
}

#[cfg(test)]
pub(crate) mod tests;
