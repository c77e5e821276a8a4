//! The encoder's handles to its parameters, and the network as a row of stages: the embeddings are the first, then come
//! the layers, then the pooler. A pass may end behind the frozen stages and another begin there.

use bitfit_core::{Backend, Param, Result, Tape, Var};

use super::embeddings::Embeddings;
use super::layer::Layer;
use super::{Batch, Dense};
use crate::arch::{Module, Part, Role};

/// Handles to every parameter of an encoder. A clone shares the weights; a task replaces the handles of what it trains.
#[derive(Clone, Debug)]
pub(super) struct Encoder<D: Backend> {
    pub(super) embeddings: Embeddings<D>,
    pub(super) layers: Vec<Layer<D>>,
    /// `None` where the checkpoint has no pooler and no task has made one.
    pub(super) pooler: Option<Dense<D>>,
}

impl<D: Backend> Encoder<D> {
    /// The place of a vector, a bias or the scale of a LayerNorm, for a task to put its own in; `None` for a matrix, a
    /// table or a module that is not there.
    pub(super) fn vector(&mut self, role: Role) -> Option<&mut Param<D>> {
        match (role.module, role.part) {
            (Module::EmbeddingsLayerNorm, part) => Some(self.embeddings.norm.vector(part)),
            (Module::Pooler, Part::Bias) => self.pooler.as_mut().map(|pooler| &mut pooler.bias),
            (module, part) if module.is_in_layers() => self.layers.get_mut(role.layer)?.vector(module, part),
            _ => None,
        }
    }

    /// The number of stages from the first on that hold nothing that trains, where a layer is among them. The
    /// embeddings alone count as none: to look them up again costs less than to keep them.
    pub(super) fn frozen_stages(&self) -> usize {
        let embeddings = std::iter::once(self.embeddings.norm.trains());
        let layers = self.layers.iter().map(Layer::trains);
        let pooler = self.pooler.iter().map(Dense::trains);
        let frozen = embeddings.chain(layers).chain(pooler).take_while(|trains| !trains).count();
        if frozen > 1 { frozen } else { 0 }
    }

    /// The output of the first `stages` stages, at least one, for a batch: `[T, H]`, or `[B, H]` from the last layer
    /// on.
    pub(super) fn forward_prefix(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>, stages: usize) -> Result<Var<D>> {
        let mut x = self.embeddings.forward(tape, batch)?;
        for layer in self.layers.iter().take(stages - 1) {
            x = layer.forward(tape, &x, batch)?;
        }
        if stages > self.layers.len() + 1 { self.pool(tape, &x) } else { Ok(x) }
    }

    /// The pooled rows `[B, H]` for a batch, from the output of the first `stages` stages.
    pub(super) fn forward_from(
        &self,
        tape: &mut Tape<'_, D>,
        batch: &Batch<D>,
        mut x: Var<D>,
        stages: usize,
    ) -> Result<Var<D>> {
        for layer in self.layers.iter().skip(stages - 1) {
            x = layer.forward(tape, &x, batch)?;
        }
        if stages < self.layers.len() + 2 { self.pool(tape, &x) } else { Ok(x) }
    }

    fn pool(&self, tape: &mut Tape<'_, D>, x: &Var<D>) -> Result<Var<D>> {
        let pooler = self.pooler.as_ref().expect("a task brings the pooler that its checkpoint lacks");
        let pooled = tape.linear(x, &pooler.weight, &[&pooler.bias])?;
        tape.tanh(&pooled)
    }
}
