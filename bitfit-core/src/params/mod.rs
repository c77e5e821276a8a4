//! Parameters: frozen ones, whose types have no gradient, and trainable ones, whose values are in one flat arena.

mod arena;
mod builder;
mod gradient;
mod mask;
mod param;
mod scope;
mod weight;

pub use arena::{Arena, Entry};
pub use builder::ArenaBuilder;
pub use gradient::{Gradient, Snapshot};
pub use mask::Mask;
pub(crate) use mask::matrix;
pub use param::{Frozen, FrozenMatrix, Param, Trainable};
pub use scope::Scope;
pub use weight::{MatrixPart, TrainableMatrix, Weight, WeightPart};
