//! The embeddings: `x = drop(LN(word + position + token type))`.

use bitfit_core::{Backend, Frozen, Result, Tape, Var};

use super::{Batch, Norm};

/// The tables, and the LayerNorm over their sum.
#[derive(Clone, Debug)]
pub(super) struct Embeddings<D: Backend> {
    pub(super) word: Frozen<D>,
    pub(super) position: Frozen<D>,
    /// `None` in an architecture without token types.
    pub(super) token_type: Option<Frozen<D>>,
    pub(super) norm: Norm<D>,
    pub(super) dropout: f32,
}

impl<D: Backend> Embeddings<D> {
    /// The input `[T, H]` of the first layer.
    pub(super) fn forward(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>) -> Result<Var<D>> {
        let mut tables = vec![(batch.ids(), &self.word), (batch.positions(), &self.position)];
        tables.extend(self.token_type.as_ref().map(|table| (batch.token_types(), table)));
        let sum = tape.embedding_sum(&tables)?;
        let normalized = tape.layer_norm(&sum, &self.norm.weight, &self.norm.bias, self.norm.eps)?;
        tape.dropout(&normalized, self.dropout)
    }
}
