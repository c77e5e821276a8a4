//! AdamW over the trainable values only, gradient clipping, and learning-rate schedules.
//!
//! [`SparseAdamW`], [`clip_grad_norm`] and [`LearningRate`] work on slices and need nothing else of this crate: a
//! trainer with its own tensors gathers the trainable values and scatters them back after the step (see
//! `examples/optimizer_only.rs`). [`ArenaOptimizer`] (AdamW) and [`ArenaSgd`] step an [`Arena`](crate::Arena) in place,
//! with [`Group`]s of entries that have a rate and a weight decay of their own; a trainer that takes either takes an
//! [`Optimizer`]. A trainer in several processes exchanges gradients through a [`Collective`].
//!
//! ```
//! use bitfit_core::optim::{AdamW, LearningRate, Schedule, SparseAdamW, clip_grad_norm};
//!
//! let mut bias = [3.0, -2.0];
//! let rate = LearningRate::new(0.1, Schedule::Linear, 200).with_warmup(10);
//! let mut optimizer = SparseAdamW::new(bias.len(), AdamW::default())?;
//! for step in 0..200 {
//!     let mut grads = bias.map(|b| b - 1.0); // of the loss Σ (b - 1)² / 2
//!     clip_grad_norm(&mut grads, 1.0);
//!     optimizer.step(rate.at(step), &mut bias, &grads)?;
//! }
//! assert!(bias.iter().all(|b| (b - 1.0).abs() < 0.1), "{bias:?}");
//! # Ok::<(), bitfit_core::Error>(())
//! ```

mod adamw;
#[cfg(feature = "engine")]
mod arena;
mod clip;
mod collective;
#[cfg(feature = "engine")]
mod group;
#[cfg(feature = "engine")]
mod on_arena;
#[cfg(feature = "engine")]
mod optimizer;
mod schedule;
#[cfg(feature = "engine")]
mod sgd;

pub use crate::ops::adamw::AdamW;
pub use adamw::SparseAdamW;
pub use clip::{clip_grad_norm, global_norm};
pub use collective::{Alone, Collective, ThreadRank, check_lengths};
pub use schedule::{LearningRate, Schedule};

#[cfg(feature = "engine")]
pub use {
    crate::ops::sgd::Sgd,
    arena::ArenaOptimizer,
    group::Group,
    optimizer::{Optimizer, OptimizerState},
    sgd::ArenaSgd,
};
