//! The embeddings: `x = drop(LN(word + position + token type))`, and their projection to the width of the layers where
//! that is another.

use bitfit_core::{Backend, Frozen, Result, Tape, Var};

use super::{Batch, Dense, Norm};

/// The tables, and the LayerNorm over their sum.
#[derive(Clone, Debug)]
pub(super) struct Embeddings<D: Backend> {
    pub(super) word: Frozen<D>,
    pub(super) position: Frozen<D>,
    /// `None` in an architecture without token types.
    pub(super) token_type: Option<Frozen<D>>,
    pub(super) norm: Norm<D>,
    /// `None` where the embeddings have the width of the layers.
    pub(super) projection: Option<Dense<D>>,
    pub(super) dropout: f32,
}

impl<D: Backend> Embeddings<D> {
    /// The input `[T, H]` of the first layer.
    pub(super) fn forward(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>) -> Result<Var<D>> {
        let mut tables = vec![(batch.ids(), &self.word), (batch.positions(), &self.position)];
        tables.extend(self.token_type.as_ref().map(|table| (batch.token_types(), table)));
        let sum = tape.embedding_sum(&tables)?;
        let normalized = tape.layer_norm(&sum, &self.norm.weight, &self.norm.bias, self.norm.eps)?;
        let x = tape.dropout(&normalized, self.dropout)?;
        match &self.projection {
            Some(projection) => tape.linear(&x, &projection.weight, &[&projection.bias]),
            None => Ok(x),
        }
    }

    /// Whether anything in them trains.
    pub(super) fn trains(&self) -> bool {
        self.norm.trains() || self.projection.as_ref().is_some_and(Dense::trains)
    }
}
