//! The bias terms of a BERT by kind, and which of them a run trains.
//!
//! Notation of the paper (arXiv 2106.10199, section 3) beside the Hugging Face parameter: b_q, b_k, b_v, b_m1, b_LN1, b_m2,
//! b_m3, b_LN2 of each layer, and the biases of the embeddings' LayerNorm and of the pooler. The kinds are kept apart: the
//! official code's `output` means two of them.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A kind of bias: one tensor in each layer, or one in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BiasKind {
    /// b_q: `attention.self.query.bias`.
    Query,
    /// b_k: `attention.self.key.bias`. Its gradient is exactly zero (softmax ignores what is added to a whole row), so it
    /// is counted and saved with the others, as published counts do, but never computed and never stepped.
    Key,
    /// b_v: `attention.self.value.bias`.
    Value,
    /// b_m1: `attention.output.dense.bias`.
    AttentionOutput,
    /// b_LN1: `attention.output.LayerNorm.bias`.
    AttentionLayerNorm,
    /// b_m2: `intermediate.dense.bias`.
    Intermediate,
    /// b_m3: `output.dense.bias`.
    Output,
    /// b_LN2: `output.LayerNorm.bias`.
    OutputLayerNorm,
    /// `embeddings.LayerNorm.bias`.
    EmbeddingsLayerNorm,
    /// `pooler.dense.bias`.
    Pooler,
}

impl BiasKind {
    /// Every kind, in the order of the network within a layer, then those outside the layers.
    pub const ALL: [Self; 10] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::AttentionOutput,
        Self::AttentionLayerNorm,
        Self::Intermediate,
        Self::Output,
        Self::OutputLayerNorm,
        Self::EmbeddingsLayerNorm,
        Self::Pooler,
    ];

    /// The name a user writes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::AttentionOutput => "attention-output",
            Self::AttentionLayerNorm => "attention-layernorm",
            Self::Intermediate => "intermediate",
            Self::Output => "output",
            Self::OutputLayerNorm => "output-layernorm",
            Self::EmbeddingsLayerNorm => "embeddings-layernorm",
            Self::Pooler => "pooler",
        }
    }

    /// Whether every layer has one.
    pub fn is_in_layers(self) -> bool {
        !matches!(self, Self::EmbeddingsLayerNorm | Self::Pooler)
    }

    /// The canonical name of the tensor; `layer` counts from 0 and does not matter for the kinds outside the layers.
    pub fn tensor(self, layer: usize) -> String {
        let within = match self {
            Self::Query => "attention.self.query",
            Self::Key => "attention.self.key",
            Self::Value => "attention.self.value",
            Self::AttentionOutput => "attention.output.dense",
            Self::AttentionLayerNorm => "attention.output.LayerNorm",
            Self::Intermediate => "intermediate.dense",
            Self::Output => "output.dense",
            Self::OutputLayerNorm => "output.LayerNorm",
            Self::EmbeddingsLayerNorm => return "embeddings.LayerNorm.bias".into(),
            Self::Pooler => return "pooler.dense.bias".into(),
        };
        format!("encoder.layer.{layer}.{within}.bias")
    }
}

impl fmt::Display for BiasKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no kind of bias.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown bias kind {name:?}; the kinds are {kinds}, or all", kinds = BiasKind::ALL.map(BiasKind::name).join(", "))]
pub struct UnknownBiasKind {
    /// What was written.
    pub name: String,
}

impl FromStr for BiasKind {
    type Err = UnknownBiasKind;

    fn from_str(name: &str) -> Result<Self, UnknownBiasKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownBiasKind { name: name.into() })
    }
}

/// Which biases train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    kinds: BTreeSet<BiasKind>,
    layers: Option<RangeInclusive<usize>>,
}

impl Selection {
    /// Every bias: BitFit as published.
    pub fn all() -> Self {
        Self { kinds: BiasKind::ALL.into(), layers: None }
    }

    /// No bias: only the head trains.
    pub fn none() -> Self {
        Self { kinds: BTreeSet::new(), layers: None }
    }

    /// These kinds only.
    pub fn of(kinds: impl IntoIterator<Item = BiasKind>) -> Self {
        Self { kinds: kinds.into_iter().collect(), layers: None }
    }

    /// These layers only, counted from 0. Of the kinds outside the layers, the pooler's stays; the embeddings' stays only
    /// where kinds were chosen by name, because someone who asks for upper layers wants nothing below them to train.
    #[must_use]
    pub fn in_layers(mut self, layers: RangeInclusive<usize>) -> Self {
        if self == Self::all() {
            self.kinds.remove(&BiasKind::EmbeddingsLayerNorm);
        }
        self.layers = Some(layers);
        self
    }

    /// Whether the bias of this kind in this layer trains.
    pub fn contains(&self, kind: BiasKind, layer: usize) -> bool {
        let in_layer = !kind.is_in_layers() || self.layers.as_ref().is_none_or(|layers| layers.contains(&layer));
        self.kinds.contains(&kind) && in_layer
    }

    /// The kinds that train, in the order of [`BiasKind::ALL`].
    pub fn kinds(&self) -> impl Iterator<Item = BiasKind> {
        self.kinds.iter().copied()
    }

    /// The layers that train, where not all do.
    pub fn layers(&self) -> Option<&RangeInclusive<usize>> {
        self.layers.as_ref()
    }

    /// Whether no bias trains.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

impl fmt::Display for Selection {
    /// As a user writes it: `all`, `query,intermediate`, with the layers behind where not all train.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kinds.len() {
            0 => f.write_str("none")?,
            len if len == BiasKind::ALL.len() => f.write_str("all")?,
            _ => f.write_str(&self.kinds().map(BiasKind::name).collect::<Vec<_>>().join(","))?,
        }
        match &self.layers {
            Some(layers) => write!(f, " in layers {}-{}", layers.start(), layers.end()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_by_its_name_and_an_unknown_one_is_named() {
        for kind in BiasKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let message = "keys".parse::<BiasKind>().unwrap_err().to_string();
        assert!(message.contains("\"keys\"") && message.contains("attention-layernorm"), "{message}");
    }

    #[test]
    fn the_officially_merged_kinds_are_apart() {
        let selection = Selection::of([BiasKind::Output]);
        assert!(selection.contains(BiasKind::Output, 3));
        assert!(!selection.contains(BiasKind::AttentionOutput, 3));
        assert!(!selection.contains(BiasKind::OutputLayerNorm, 3));
    }

    #[test]
    fn upper_layers_of_all_kinds_leave_the_embeddings_frozen() {
        let selection = Selection::all().in_layers(4..=5);
        assert!(selection.contains(BiasKind::Query, 4) && !selection.contains(BiasKind::Query, 3));
        assert!(selection.contains(BiasKind::Pooler, 0));
        assert!(!selection.contains(BiasKind::EmbeddingsLayerNorm, 0));
        let named = Selection::of([BiasKind::EmbeddingsLayerNorm, BiasKind::Query]).in_layers(4..=5);
        assert!(named.contains(BiasKind::EmbeddingsLayerNorm, 0));
        assert_eq!(named.to_string(), "query,embeddings-layernorm in layers 4-5");
    }
}
