//! Parameters: what is frozen has no gradient slot by its type, what trains lives in one flat arena under a mask.

mod arena;
mod mask;
mod param;

pub use arena::{Arena, ArenaBuilder, Entry, Gradient, Snapshot};
pub use mask::Mask;
pub(crate) use mask::matrix;
pub use param::{Frozen, FrozenMatrix, Param, Trainable};
