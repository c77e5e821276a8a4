//! What a [`Trainer`](super::Trainer) needs to go on with the same bits: everything else of a run follows from its
//! options, since the order of rows, dropout and masks are functions of the seed, the epoch and the step.

use serde::{Deserialize, Serialize};

use super::State;
use crate::as_text;

/// All that a trainer holds between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedState {
    /// The counters and the best epoch.
    pub counters: State,
    /// Where in the epochs it is.
    pub place: Place,
    /// The trainable values, in the order of the arena.
    pub values: Vec<f32>,
    /// Those that last gave a finite loss, to which a run that diverges returns.
    pub good: Vec<f32>,
    /// The first and the second moment of each value.
    pub moments: [Vec<f32>; 2],
    /// The values of the best epoch.
    pub kept: Option<Vec<f32>>,
}

/// A point between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The epoch under way, from 1.
    pub epoch: usize,
    /// The steps taken in it.
    pub steps: usize,
    /// The sum of their losses.
    #[serde(with = "as_text")]
    pub loss: f64,
}

impl Place {
    /// The point before the first step of an epoch.
    pub(super) fn beginning_of(epoch: usize) -> Self {
        Self { epoch, steps: 0, loss: 0.0 }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::beginning_of(1)
    }
}
