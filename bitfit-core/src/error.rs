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
    #[error("no gradient reached {}: {reason}", listed(.names))]
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

    /// The same error, saying that it came from the backward of `op`: an op's backward calls what others share.
    pub(crate) fn in_backward(mut self, op: &str) -> Self {
        match &mut self {
            Self::Shape { what: words, .. }
            | Self::Invalid { reason: words, .. }
            | Self::Device { reason: words, .. } => {
                words.insert_str(0, &format!("in the backward of {op}: "));
            }
            // Names parameters, not an op.
            Self::NoGradient { .. } => {}
        }
        self
    }

    pub(crate) fn invalid(op: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { op, reason: reason.into() }
    }
}

/// The names for a message: the first three, then how many more.
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
