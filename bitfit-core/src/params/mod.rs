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

/// An argument for an error, with its name if it has one: `the bias`, `the bias layer.0.bias`.
pub(crate) fn named(what: &str, name: Option<&str>) -> String {
    name.map_or(what.into(), |name| format!("{what} {name}"))
}

/// An argument that has no name for an error, with the name of the parameter that it meets: `the input of
/// layer.0.weight`.
pub(crate) fn of(what: &str, name: Option<&str>) -> String {
    name.map_or(what.into(), |name| format!("{what} of {name}"))
}
