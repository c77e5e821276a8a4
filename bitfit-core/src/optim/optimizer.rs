//! [`Optimizer`]: what a training loop needs of an optimizer, and the state that a checkpoint saves of it.

use crate::{Arena, Device, Error, Gradient, Result};

/// An optimizer of an [`Arena`]. Both of this crate are [`ArenaOptimizer`](super::ArenaOptimizer) and
/// [`ArenaSgd`](super::ArenaSgd); one of another crate changes the values with [`Arena::update`].
pub trait Optimizer<D: Device> {
    /// Updates `arena` by one step with `gradient` at learning rate `lr`; the gradient is clipped to the norm
    /// `max_norm` if it is given, and is not modified.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the optimizer or the gradient belongs to another arena; [`Error::Invalid`] for arguments
    /// that are out of range; [`Error::Device`] if the device fails.
    fn step(&mut self, arena: &mut Arena<D>, gradient: &Gradient<D>, lr: f32, max_norm: Option<f32>) -> Result<()>;

    /// The norm of the gradient of the last step before clipping. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed.
    fn norm(&self) -> Result<f32>;

    /// Copies the state to the host.
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed.
    fn save(&self) -> Result<OptimizerState>;

    /// Goes on from a state that was saved.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the state is of another kind of optimizer or cannot result from a step; [`Error::Shape`]
    /// if it is of another number of values. On an error nothing is changed.
    fn load(&mut self, state: &OptimizerState) -> Result<()>;
}

/// The state of an optimizer on the host: what a checkpoint saves beside the arena's values. The hyper-parameters and
/// groups are not part of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OptimizerState {
    /// The kind of optimizer: `adamw` or `sgd`, or the name of another crate's.
    pub kind: String,
    /// The number of steps so far.
    pub steps: u64,
    /// The vectors of the state by name, each with the length and order of the arena.
    pub moments: Vec<(String, Vec<f32>)>,
}

impl OptimizerState {
    /// The state of an optimizer of this kind.
    pub fn new(kind: impl Into<String>, steps: u64, moments: Vec<(String, Vec<f32>)>) -> Self {
        Self { kind: kind.into(), steps, moments }
    }

    /// The vectors of these names, of a state of this kind.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the state is of another kind, or does not have exactly these vectors in this order.
    pub fn moments<const N: usize>(&self, kind: &'static str, names: [&str; N]) -> Result<[&[f32]; N]> {
        if self.kind != kind {
            return Err(Error::invalid(kind, format!("the state is of an optimizer of kind {}", self.kind)));
        }
        let found: Vec<&str> = self.moments.iter().map(|(name, _)| name.as_str()).collect();
        if found != names {
            return Err(Error::invalid(kind, format!("the state has the vectors {found:?}, expected {names:?}")));
        }
        Ok(std::array::from_fn(|i| self.moments[i].1.as_slice()))
    }
}
