//! What trains: a method turns the tensors of an encoder into masks over them ([`Masks`]). The checkpoint and the
//! configuration do not depend on it.
//!
//! | method | what trains besides the head | source |
//! |---|---|---|
//! | `bitfit` | biases, all or of some kinds and layers | BitFit (arXiv 2106.10199) |
//! | `frozen` | nothing | its section 4 |
//! | `probe` | nothing, and the head is fitted to its optimum ([`crate::probe`]) | |
//! | `full` | everything, embeddings included | its section 4 |
//! | `layernorm` | the scale and the shift of every LayerNorm | |
//! | `random-uniform` | as many scalars as there are biases, anywhere in the matrices | its section 4 |
//! | `random-row-col` | a row or a column of each matrix, and the scale of every LayerNorm | its section 4 |
//! | `columns:K`, `rows:K` | the first K columns or rows of each matrix | RoCoFT (arXiv 2410.10075) |
//! | `mask` | what a file of index lists says ([`MaskFile`]) | |
//!
//! The matrices are those of the layers, and the pooler where the head reads it. Methods joined by `+` train the union.

mod bias;
pub(crate) mod index_list;
mod mask_file;
mod masks;
mod text;

pub use bias::{BiasKind, BiasSelection};
pub use mask_file::MaskFile;
pub use masks::{EncoderTensors, Masks};

use std::sync::Arc;

/// What a run trains in addition to the head, which always trains.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// Biases of the encoder (BitFit, arXiv 2106.10199).
    BitFit(BiasSelection),
    /// Only the head: the encoder is frozen.
    Frozen,
    /// Only the head, which is not trained by steps but fitted to its optimum: see [`crate::probe`].
    Probe,
    /// Every parameter of the encoder.
    Full,
    /// The scale and the shift of every LayerNorm.
    LayerNorm,
    /// As many scalars of the matrices as BitFit trains, chosen at random without replacement; from the run's seed if
    /// none is given.
    RandomUniform(Option<u64>),
    /// A row or a column of each matrix, chosen at random, and the scale of every LayerNorm; from the run's seed if
    /// none is given.
    RandomRowCol(Option<u64>),
    /// The first columns of each matrix.
    Columns(usize),
    /// The first rows of each matrix.
    Rows(usize),
    /// The entries of a mask file; `None` in a finished task, whose tensors say themselves which entries they hold.
    Mask(Option<Arc<MaskFile>>),
    /// What any of several methods trains.
    Union(Vec<Method>),
}

impl Method {
    /// The method's name, without what it is applied to.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BitFit(_) => "bitfit",
            Self::Frozen => "frozen",
            Self::Probe => "probe",
            Self::Full => "full",
            Self::LayerNorm => "layernorm",
            Self::RandomUniform(_) => "random-uniform",
            Self::RandomRowCol(_) => "random-row-col",
            Self::Columns(_) => "columns",
            Self::Rows(_) => "rows",
            Self::Mask(_) => "mask",
            Self::Union(_) => "union",
        }
    }

    /// The biases that the method chooses by kind.
    pub fn biases(&self) -> BiasSelection {
        match self {
            Self::BitFit(biases) => biases.clone(),
            Self::Union(methods) => {
                let chosen = methods.iter().find(|method| matches!(method, Self::BitFit(_)));
                chosen.map_or_else(BiasSelection::none, Self::biases)
            }
            _ => BiasSelection::none(),
        }
    }

    /// The method that trains these biases.
    pub fn of_biases(biases: BiasSelection) -> Self {
        if biases.is_empty() { Self::Frozen } else { Self::BitFit(biases) }
    }

    /// The same method, with the run's seed where it draws at random and has no seed of its own.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        match self {
            Self::RandomUniform(own) => Self::RandomUniform(own.or(Some(seed))),
            Self::RandomRowCol(own) => Self::RandomRowCol(own.or(Some(seed))),
            Self::Union(methods) => Self::Union(methods.into_iter().map(|method| method.seeded(seed)).collect()),
            method => method,
        }
    }

    /// Whether every parameter trains.
    pub fn trains_everything(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Union(methods) => methods.iter().any(Self::trains_everything),
            _ => false,
        }
    }

    /// The learning rate of the method where `biases` is that for biases: the same for other small parts, and 2e-5
    /// where whole weights train, as in the papers of BERT and of BitFit.
    pub fn learning_rate(&self, biases: f32) -> f32 {
        if self.trains_whole_weights() { 2e-5 } else { biases }
    }

    /// Whether weights train whole, for which a learning rate is right that is far below that of biases.
    pub fn trains_whole_weights(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Union(methods) => methods.iter().any(Self::trains_whole_weights),
            Self::Mask(Some(file)) => file.has_whole_matrix(),
            _ => false,
        }
    }
}
