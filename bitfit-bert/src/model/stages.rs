//! The network as a row of stages, so that a pass may end behind the frozen ones and another begin there: the embeddings are
//! the first stage, then come the layers, then the pooler. The classifier always trains and is none.

use bitfit_core::{Backend, Result, Tape, Var};

use super::{Batch, Bert, layer::Layer};

impl<D: Backend> Bert<D> {
    /// How many stages from the first on hold nothing that trains, where a layer is among them. The embeddings alone count for
    /// none: to look them up again costs less than to keep them.
    pub fn frozen_stages(&self) -> usize {
        let embeddings = std::iter::once(self.embeddings.norm.trains());
        let layers = self.layers.iter().map(Layer::trains);
        let frozen = embeddings.chain(layers).chain([self.pooler.trains()]).take_while(|trains| !trains).count();
        if frozen > 1 { frozen } else { 0 }
    }

    /// Elements that the first `stages` stages make of a sequence of so many tokens: those of all tokens, or of `[CLS]` alone
    /// from the last layer on.
    pub fn stage_elements(&self, stages: usize, tokens: usize) -> usize {
        self.hidden * if stages > self.layers.len() { 1 } else { tokens }
    }

    /// What the first `stages` stages make of a batch, at least one of them: `[T, H]`, or `[B, H]` from the last layer on.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn below(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>, stages: usize) -> Result<Var<D>> {
        let mut x = self.embeddings.forward(tape, batch)?;
        for layer in self.layers.iter().take(stages - 1) {
            x = layer.forward(tape, &x, batch)?;
        }
        if stages > self.layers.len() + 1 { self.pool(tape, &x) } else { Ok(x) }
    }

    /// The head's output `[B, C]` of what the first `stages` stages made of a batch.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn above(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>, mut x: Var<D>, stages: usize) -> Result<Var<D>> {
        for layer in self.layers.iter().skip(stages - 1) {
            x = layer.forward(tape, &x, batch)?;
        }
        if stages < self.layers.len() + 2 {
            x = self.pool(tape, &x)?;
        }
        let pooled = tape.dropout(&x, self.head_dropout)?;
        drop(x);
        tape.linear(&pooled, &self.classifier.weight, &[&self.classifier.bias])
    }

    fn pool(&self, tape: &mut Tape<'_, D>, x: &Var<D>) -> Result<Var<D>> {
        let pooled = tape.linear(x, &self.pooler.weight, &[&self.pooler.bias])?;
        tape.tanh(&pooled)
    }
}
