//! The encoder's handles to its parameters, and the network as a sequence of stages: the embeddings, then the layers,
//! then the pooler. One pass can end after the frozen stages, and another can start there.

use bitfit_core::{Backend, Param, Result, Tape, Var};

use super::embeddings::Embeddings;
use super::layer::Layer;
use super::{Batch, Dense};
use crate::arch::{Module, Part, Role};

/// Handles to every parameter of an encoder. Clones share the weights; a task replaces the handles of the tensors that
/// it trains.
#[derive(Clone, Debug)]
pub(super) struct Encoder<D: Backend> {
    pub(super) embeddings: Embeddings<D>,
    pub(super) layers: Vec<Layer<D>>,
    /// `None` if the checkpoint has no pooler and no task has added one.
    pub(super) pooler: Option<Dense<D>>,
}

impl<D: Backend> Encoder<D> {
    /// The handle of a vector (a bias, or the scale of a LayerNorm), which a task can replace; `None` for a matrix, a
    /// table or a module that does not exist.
    pub(super) fn vector(&mut self, role: Role) -> Option<&mut Param<D>> {
        match (role.module, role.part) {
            (Module::EmbeddingsLayerNorm, part) => Some(self.embeddings.norm.vector(part)),
            (Module::Pooler, Part::Bias) => self.pooler.as_mut().map(|pooler| &mut pooler.bias),
            (module, part) if module.is_in_layers() => self.layers.get_mut(role.layer)?.vector(module, part),
            _ => None,
        }
    }

    /// The number of stages from the first on in which nothing trains, if they include a layer; otherwise 0. The
    /// embeddings alone do not count, because looking them up again costs less than caching them.
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
