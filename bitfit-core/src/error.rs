//! The one error type of the crate. Every variant names the operation and what was wrong with which argument.

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor does not have the shape an operation needs.
    #[error("{op}: {what} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The operation that refused.
        op: &'static str,
        /// Which argument, in the operation's own words.
        what: String,
        /// The shape it needs.
        expected: Vec<usize>,
        /// The shape it was given.
        found: Vec<usize>,
    },
    /// An argument is out of its range: an index over the table, a probability of 1, a mask that names a row twice.
    #[error("{op}: {reason}")]
    Invalid {
        /// The operation that refused.
        op: &'static str,
        /// The argument and why it cannot be.
        reason: String,
    },
    /// Something that trains received no gradient, or a gradient that is zero everywhere.
    #[error("no gradient reached {}: {reason}", .names.join(", "))]
    NoGradient {
        /// The names of the parameters, as registered in the arena.
        names: Vec<String>,
        /// What was found instead of a gradient.
        reason: &'static str,
    },
    /// The device cannot do what was asked: no memory, no driver, a failed launch.
    #[error("device {device}: {reason}")]
    Device {
        /// The device as its `name` gives it.
        device: String,
        /// The device's own words.
        reason: String,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn shape(op: &'static str, what: impl Into<String>, expected: &[usize], found: &[usize]) -> Self {
        Self::Shape { op, what: what.into(), expected: expected.to_vec(), found: found.to_vec() }
    }

    pub(crate) fn invalid(op: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { op, reason: reason.into() }
    }
}
