//! Parameters: frozen ones, whose types have no gradient, and trainable ones, whose values are in one flat arena.

mod arena;
mod gradient;
mod mask;
mod param;

pub use arena::{Arena, ArenaBuilder, Entry};
pub use gradient::{Gradient, Snapshot};
pub use mask::Mask;
pub(crate) use mask::matrix;
pub use param::{Frozen, FrozenMatrix, Param, Trainable};
