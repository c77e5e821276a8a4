//! [`Error`]: every variant names the operation, the argument and what was wrong with it.

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor does not have the shape that an operation requires.
    #[error("{op}: {what} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The operation that failed.
        op: &'static str,
        /// The argument.
        what: String,
        /// The shape that is required.
        expected: Vec<usize>,
        /// The shape of the argument.
        found: Vec<usize>,
    },
    /// An argument is invalid: an index out of range, a probability of 1, a mask with a duplicate row.
    #[error("{op}: {reason}")]
    Invalid {
        /// The operation that failed.
        op: &'static str,
        /// The argument, and why it is invalid.
        reason: String,
    },
    /// An object of one arena, tape or device was used with another: a gradient, a snapshot, a parameter, a matrix.
    #[error("{op}: {what} belongs to another {owner}")]
    Foreign {
        /// The operation that failed.
        op: &'static str,
        /// The argument.
        what: String,
        /// What it should share with the other arguments: `arena`, `tape` or `device`.
        owner: &'static str,
    },
    /// Trainable parameters received no gradient, or one that is zero everywhere or not finite.
    #[error("no gradient reached {}: {reason}", listed(.names))]
    NoGradient {
        /// The names of the parameters, as registered in the arena.
        names: Vec<String>,
        /// What is wrong with their gradients.
        reason: &'static str,
    },
    /// A device failed: out of memory, no driver, a failed launch.
    #[error("device {device}: {reason}")]
    Device {
        /// The device.
        device: String,
        /// The message of the device.
        reason: String,
    },
    /// A rank of a group that computes together takes no part any more, or does not belong to it.
    #[error("rank {rank}: {reason}")]
    Rank {
        /// The rank, from 0.
        rank: usize,
        /// What is known of it.
        reason: String,
    },
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn shape(op: &'static str, what: impl Into<String>, expected: &[usize], found: &[usize]) -> Self {
        Self::Shape { op, what: what.into(), expected: expected.to_vec(), found: found.to_vec() }
    }

    /// Adds to the message that the error occurred in the backward of `op`, which calls functions that other ops use
    /// too.
    pub(crate) fn in_backward(mut self, op: &str) -> Self {
        match &mut self {
            Self::Shape { what: words, .. }
            | Self::Invalid { reason: words, .. }
            | Self::Foreign { what: words, .. }
            | Self::Device { reason: words, .. } => {
                words.insert_str(0, &format!("in the backward of {op}: "));
            }
            // They name parameters or a rank rather than an op.
            Self::NoGradient { .. } | Self::Rank { .. } => {}
        }
        self
    }

    pub(crate) fn foreign(op: &'static str, what: impl Into<String>, owner: &'static str) -> Self {
        Self::Foreign { op, what: what.into(), owner }
    }

    pub(crate) fn invalid(op: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { op, reason: reason.into() }
    }
}

/// A list of names for a message: the first three, and the number of others.
fn listed(names: &[String]) -> String {
    match names.get(..3) {
        Some(first) if names.len() > 3 => format!("{} and {} more", first.join(", "), names.len() - 3),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_names_is_cut() {
        let message = |count: usize| {
            let names = (1..=count).map(|n| format!("bias{n}")).collect();
            Error::NoGradient { names, reason: "it is zero" }.to_string()
        };
        assert_eq!(message(1), "no gradient reached bias1: it is zero");
        assert_eq!(message(3), "no gradient reached bias1, bias2, bias3: it is zero");
        assert_eq!(message(45), "no gradient reached bias1, bias2, bias3 and 42 more: it is zero");
    }
}
