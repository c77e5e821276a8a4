//! The encoder's handles to its parameters, and the network as a row of stages: the embeddings are the first, then come
//! the layers, then the read-out. A pass may end behind the frozen stages and another begin there.

use std::ops::Range;

use bitfit_core::{Backend, Error, Param, Result, Tape, Var, Weight};

use super::embeddings::Embeddings;
use super::layer::Layer;
use super::position_bias::PositionBias;
use super::{Base, Batch, Dense};
use crate::arch::{Module, Role};
use crate::heads::Pooling;

/// Where the parameters of an encoder come from: the base, or the task that trains or has trained them.
pub(super) trait Parameters<D: Backend> {
    /// A vector or a table: everything but the weights of linear layers.
    fn tensor(&mut self, role: Role) -> crate::Result<Param<D>>;
    /// The row-wise concatenation of the weights of `modules`, laid out for its products.
    fn weight(&mut self, modules: &[Module], layer: usize) -> crate::Result<Weight<D>>;
}

/// Handles to every parameter of an encoder.
#[derive(Clone, Debug)]
pub(super) struct Encoder<D: Backend> {
    pub(super) embeddings: Embeddings<D>,
    pub(super) layers: Vec<Layer<D>>,
    /// What attention adds to the scores, in every layer; `None` in most architectures.
    pub(super) position_bias: Option<PositionBias<D>>,
    /// `None` where the checkpoint has no pooler and no task has made one, or the task does not read it.
    pub(super) pooler: Option<Dense<D>>,
    pub(super) pooling: Pooling,
}

impl<D: Backend> Encoder<D> {
    /// The encoder of a base below a head over `pooling`, with its parameters from `source`, which is asked for them in
    /// the order of the network.
    pub(super) fn new(base: &Base<D>, pooling: Pooling, source: &mut impl Parameters<D>) -> crate::Result<Self> {
        let config = base.config();
        let embeddings = Embeddings::new(base, source)?;
        let position_bias = base.has(Module::PositionBias).then(|| {
            let table = source.tensor(Role::weight(Module::PositionBias, 0))?;
            Ok::<_, crate::Error>(PositionBias::new(base.device(), table)?)
        });
        let position_bias = position_bias.transpose()?;
        let layers = (0..config.num_hidden_layers)
            .map(|number| Layer::new(config, number, source))
            .collect::<crate::Result<_>>()?;
        let pooler = base.reads_own_pooler(pooling).then(|| Dense::new(Module::Pooler, source)).transpose()?;
        Ok(Self { embeddings, layers, position_bias, pooler, pooling })
    }

    /// The number of stages from the first on in which nothing trains, if they include a layer; otherwise 0. The
    /// embeddings alone do not count, because looking them up again costs less than caching them.
    pub(super) fn frozen_stages(&self) -> usize {
        let embeddings = std::iter::once(self.embeddings.trains());
        let bias_trains = self.position_bias.as_ref().is_some_and(|bias| bias.table.trainable().is_some());
        let layers = self.layers.iter().map(|layer| layer.trains() || bias_trains);
        let read_out = std::iter::once(self.pooler.as_ref().is_some_and(Dense::trains));
        let frozen = embeddings.chain(layers).chain(read_out).take_while(|trains| !trains).count();
        if frozen > 1 { frozen } else { 0 }
    }

    /// The output of the first `stages` stages, at least one, for a batch: `[T, H]`, or `[B, H]` from the read-out on,
    /// and from the last layer on where the first tokens alone are read.
    pub(super) fn forward_prefix(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>, stages: usize) -> Result<Var<D>> {
        let x = self.embeddings.forward(tape, batch)?;
        let x = self.layers(tape, x, batch, 0..self.layers.len().min(stages - 1))?;
        if stages > self.layers.len() + 1 { self.pool(tape, &x, batch) } else { Ok(x) }
    }

    /// The pooled rows `[B, H]` for a batch, from the output of the first `stages` stages.
    pub(super) fn forward_from(
        &self,
        tape: &mut Tape<'_, D>,
        batch: &Batch<D>,
        x: Var<D>,
        stages: usize,
    ) -> Result<Var<D>> {
        let x = self.layers(tape, x, batch, stages - 1..self.layers.len())?;
        if stages < self.layers.len() + 2 { self.pool(tape, &x, batch) } else { Ok(x) }
    }

    /// Some layers; of the last of all, the rows that are read alone are computed.
    fn layers(&self, tape: &mut Tape<'_, D>, mut x: Var<D>, batch: &Batch<D>, numbers: Range<usize>) -> Result<Var<D>> {
        let position_bias = self.position_bias.as_ref().map(|bias| bias.by_distance(tape)).transpose()?;
        for number in numbers {
            let first_only = number + 1 == self.layers.len() && !self.pooling.reads_every_token();
            x = self.layers[number].forward(tape, &x, batch, position_bias.as_ref(), first_only)?;
        }
        Ok(x)
    }

    /// The read-out: from the rows of the last layer to those that the head reads, one a text or one a token.
    fn pool(&self, tape: &mut Tape<'_, D>, x: &Var<D>, batch: &Batch<D>) -> Result<Var<D>> {
        if let Some(pooler) = &self.pooler {
            let pooled = tape.linear(x, &pooler.weight, &[&pooler.bias])?;
            return tape.tanh(&pooled);
        }
        let pooled = match self.pooling {
            Pooling::Tokens => {
                let tokens = batch.read_tokens().ok_or_else(|| {
                    let reason = "no token of the batch is named for the head to read".into();
                    Error::Invalid { op: "read tokens", reason }
                })?;
                return tape.gather_rows(x, tokens);
            }
            Pooling::EveryToken => return Ok(x.clone()),
            Pooling::Mean | Pooling::MeanNormalized => {
                let means = tape.sequence_mean(x, batch.attended())?;
                match batch.unpadded() {
                    Some(rows) => tape.gather_rows(&means, rows)?,
                    None => means,
                }
            }
            Pooling::Pooler | Pooling::Cls | Pooling::ClsNormalized => x.clone(),
        };
        if self.pooling.normalizes() { tape.normalize(&pooled) } else { Ok(pooled) }
    }
}
