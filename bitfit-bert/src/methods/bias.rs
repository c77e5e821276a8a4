//! The bias terms of an encoder by kind, and which of them a run trains.
//!
//! Notation of the paper (arXiv 2106.10199, section 3) beside BERT's parameters: b_q, b_k, b_v, b_m1, b_LN1, b_m2,
//! b_m3, b_LN2 of each layer, and the biases of the embeddings' LayerNorm and of the pooler. The kinds are kept apart:
//! the official code's `output` means two of them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::UnknownName;
use crate::arch::{Module, Part, Role};

/// A kind of bias: one tensor in each layer, or one in the model.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "kebab-case", parse_err_ty = UnknownName, parse_err_fn = unknown)]
pub enum BiasKind {
    /// b_q of the query projection.
    Query,
    /// b_k of the key projection. Its gradient is exactly zero (softmax ignores what is added to a whole row), so it is
    /// counted and saved with the others, as in published counts, but its gradient is never computed and it never
    /// changes.
    Key,
    /// b_v of the value projection.
    Value,
    /// b_m1 of the projection of the concatenated outputs of the heads.
    AttentionOutput,
    /// b_LN1 of the LayerNorm after the attention.
    #[strum(serialize = "attention-layernorm")]
    AttentionLayerNorm,
    /// b_m2 of the first matrix of the feed-forward.
    Intermediate,
    /// b_m3 of the second matrix of the feed-forward.
    Output,
    /// b_LN2 of the LayerNorm after the feed-forward.
    #[strum(serialize = "output-layernorm")]
    OutputLayerNorm,
    /// The bias of the LayerNorm over the embeddings.
    #[strum(serialize = "embeddings-layernorm")]
    EmbeddingsLayerNorm,
    /// The bias of the projection of the embeddings, where the architecture has one.
    EmbeddingsProjection,
    /// The bias of the pooler.
    Pooler,
}

impl BiasKind {
    /// Every kind, in the order of the network within a layer, then those outside the layers.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The kind's name, as a user writes it and [`FromStr`](std::str::FromStr) reads it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The module that the bias belongs to.
    pub fn module(self) -> Module {
        match self {
            Self::Query => Module::Query,
            Self::Key => Module::Key,
            Self::Value => Module::Value,
            Self::AttentionOutput => Module::AttentionOutput,
            Self::AttentionLayerNorm => Module::AttentionLayerNorm,
            Self::Intermediate => Module::Intermediate,
            Self::Output => Module::Output,
            Self::OutputLayerNorm => Module::OutputLayerNorm,
            Self::EmbeddingsLayerNorm => Module::EmbeddingsLayerNorm,
            Self::EmbeddingsProjection => Module::EmbeddingsProjection,
            Self::Pooler => Module::Pooler,
        }
    }

    /// The kind of the bias that has this role; `None` for a weight.
    pub fn of(role: Role) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| role.part == Part::Bias && kind.module() == role.module)
    }
}

fn unknown(name: &str) -> UnknownName {
    let known = BiasKind::ALL.iter().map(|kind| kind.name()).chain(["all"]).collect();
    UnknownName { what: "bias kind", name: name.into(), known }
}

/// Which biases of an encoder train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BiasSelection {
    kinds: BTreeSet<BiasKind>,
    layers: Option<RangeInclusive<usize>>,
}

impl BiasSelection {
    /// Every bias: BitFit as published.
    pub fn all() -> Self {
        Self { kinds: BiasKind::ALL.iter().copied().collect(), layers: None }
    }

    /// No bias, so that only the head trains.
    pub fn none() -> Self {
        Self { kinds: BTreeSet::new(), layers: None }
    }

    /// The biases of these kinds, in every layer.
    pub fn of(kinds: impl IntoIterator<Item = BiasKind>) -> Self {
        Self { kinds: kinds.into_iter().collect(), layers: None }
    }

    /// The same kinds in these layers only, counted from 0. The bias of the pooler still trains; that of the embeddings
    /// trains only if kinds were chosen by name, because a choice of upper layers means that nothing below them trains.
    #[must_use]
    pub fn in_layers(mut self, layers: RangeInclusive<usize>) -> Self {
        if self == Self::all() {
            self.kinds.remove(&BiasKind::EmbeddingsLayerNorm);
            self.kinds.remove(&BiasKind::EmbeddingsProjection);
        }
        self.layers = Some(layers);
        self
    }

    /// Whether the bias of this kind in this layer trains.
    pub fn contains(&self, kind: BiasKind, layer: usize) -> bool {
        let in_layer =
            !kind.module().is_in_layers() || self.layers.as_ref().is_none_or(|layers| layers.contains(&layer));
        self.kinds.contains(&kind) && in_layer
    }

    /// The kinds that train, in the order of [`BiasKind`].
    pub fn kinds(&self) -> impl Iterator<Item = BiasKind> {
        self.kinds.iter().copied()
    }

    /// The layers whose biases train; `None` if all do.
    pub fn layers(&self) -> Option<&RangeInclusive<usize>> {
        self.layers.as_ref()
    }

    /// Whether no kind was chosen by name: every kind trains, or every kind that a choice of layers leaves.
    pub fn is_every_kind(&self) -> bool {
        let all = Self::all();
        let all = match &self.layers {
            Some(layers) => all.in_layers(layers.clone()),
            None => all,
        };
        *self == all
    }

    /// Whether no bias trains.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_by_its_name_and_an_unknown_one_is_named() {
        for kind in BiasKind::ALL.iter().copied() {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let message = "keys".parse::<BiasKind>().unwrap_err().to_string();
        assert!(message.contains("\"keys\"") && message.contains("attention-layernorm"), "{message}");
    }

    #[test]
    fn the_officially_merged_kinds_are_apart() {
        let selection = BiasSelection::of([BiasKind::Output]);
        assert!(selection.contains(BiasKind::Output, 3));
        assert!(!selection.contains(BiasKind::AttentionOutput, 3));
        assert!(!selection.contains(BiasKind::OutputLayerNorm, 3));
    }

    #[test]
    fn upper_layers_of_all_kinds_leave_the_embeddings_frozen() {
        let selection = BiasSelection::all().in_layers(4..=5);
        assert!(selection.contains(BiasKind::Query, 4) && !selection.contains(BiasKind::Query, 3));
        assert!(selection.contains(BiasKind::Pooler, 0));
        assert!(!selection.contains(BiasKind::EmbeddingsLayerNorm, 0));
        assert!(selection.is_every_kind() && BiasSelection::all().is_every_kind());
        let named = BiasSelection::of([BiasKind::EmbeddingsLayerNorm, BiasKind::Query]).in_layers(4..=5);
        assert!(named.contains(BiasKind::EmbeddingsLayerNorm, 0) && !named.is_every_kind());
    }
}
