//! The embeddings: `x = drop(LN(word + position + token type))`, and their projection to the width of the layers where
//! that is another.

use bitfit_core::{Backend, Param, Result, RowsOf, Tape, Var};

use super::encoder::Parameters;
use super::{Base, Batch, Dense, Norm};
use crate::arch::{Module, Role};

/// The tables, and the LayerNorm over their sum.
#[derive(Clone, Debug)]
pub(super) struct Embeddings<D: Backend> {
    pub(super) word: Param<D>,
    pub(super) position: Param<D>,
    /// `None` in an architecture without token types.
    pub(super) token_type: Option<Param<D>>,
    pub(super) norm: Norm<D>,
    /// `None` where the embeddings have the width of the layers.
    pub(super) projection: Option<Dense<D>>,
    pub(super) dropout: f32,
}

impl<D: Backend> Embeddings<D> {
    /// The embeddings of an encoder.
    pub(super) fn new(base: &Base<D>, source: &mut impl Parameters<D>) -> crate::Result<Self> {
        let mut table = |module| source.tensor(Role::weight(module, 0));
        let token_type = base.architecture().has(Module::TokenTypeEmbeddings).then_some(Module::TokenTypeEmbeddings);
        Ok(Self {
            word: table(Module::WordEmbeddings)?,
            position: table(Module::PositionEmbeddings)?,
            token_type: token_type.map(table).transpose()?,
            norm: Norm::new(base.config(), Module::EmbeddingsLayerNorm, 0, source)?,
            projection: base
                .has(Module::EmbeddingsProjection)
                .then(|| Dense::new(Module::EmbeddingsProjection, source))
                .transpose()?,
            dropout: base.config().hidden_dropout_prob,
        })
    }

    /// The input `[T, H]` of the first layer.
    pub(super) fn forward(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>) -> Result<Var<D>> {
        let mut tables = vec![(batch.ids(), &self.word), (batch.positions(), &self.position)];
        tables.extend(self.token_type.as_ref().map(|table| (batch.token_types(), table)));
        let sum = tape.embedding_sum(&tables)?;
        let normalized = tape.layer_norm(&sum, &self.norm.weight, &self.norm.bias, self.norm.eps)?;
        let x = tape.dropout(&normalized, self.dropout, RowsOf::Tokens)?;
        match &self.projection {
            Some(projection) => tape.linear(&x, &projection.weight, &[&projection.bias]),
            None => Ok(x),
        }
    }

    /// Whether anything in them trains.
    pub(super) fn trains(&self) -> bool {
        let tables = [Some(&self.word), Some(&self.position), self.token_type.as_ref()];
        tables.into_iter().flatten().any(|table| table.trainable().is_some())
            || self.norm.trains()
            || self.projection.as_ref().is_some_and(Dense::trains)
    }
}
