//! What trains: a method turns an architecture into masks over its tensors. The checkpoint and the configuration do not
//! depend on it.

mod bias;

pub use bias::{BiasKind, BiasSelection};

use std::fmt;

use bitfit_core::Mask;

use crate::arch::Role;

/// What a run trains in addition to the head, which always trains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Biases of the encoder (BitFit, arXiv 2106.10199).
    BitFit(BiasSelection),
    /// Only the head: the encoder is frozen.
    Frozen,
}

impl Method {
    /// The method's name, as a user writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BitFit(_) => "bitfit",
            Self::Frozen => "frozen",
        }
    }

    /// Which elements of the encoder's tensor of this role train.
    pub fn mask(&self, role: Role) -> Mask {
        let trains = match self {
            Self::BitFit(biases) => BiasKind::of(role).is_some_and(|kind| biases.contains(kind, role.layer)),
            Self::Frozen => false,
        };
        if trains { Mask::All } else { Mask::None }
    }

    /// The biases that train.
    pub fn biases(&self) -> BiasSelection {
        match self {
            Self::BitFit(biases) => biases.clone(),
            Self::Frozen => BiasSelection::none(),
        }
    }

    /// The method that trains these biases.
    pub fn of_biases(biases: BiasSelection) -> Self {
        if biases.is_empty() { Self::Frozen } else { Self::BitFit(biases) }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
