//! The network on the tape: one definition for every architecture, task and device, in training and in inference.
//!
//! ```text
//! Checkpoint -> Base (weights laid out once, shared) -> Model (one task over it: arena, handles, head) -> Tape
//! ```
//!
//! Activations are packed `[tokens, hidden]`; no padding exists. Where a head reads the first tokens alone, the last
//! layer computes K and V of all tokens and everything else of those rows only.

mod base;
mod batch;
mod embeddings;
mod encoder;
mod layer;
mod masked_lm;
mod params;
pub(crate) mod position_bias;
mod top;
mod trained;

pub use base::Base;
pub use batch::Batch;
pub use params::{InitialValues, ModelOptions, TensorFile, TrainableKind, TrainableTensor};
pub use trained::{ParameterNames, PartialTensor, TrainedTensors};

use std::collections::{BTreeSet, HashMap};

use bitfit_core::{Arena, Backend, HostTensor, Mask, Param, Seed, Tape, Var, Weight, Workspace};
use ndarray::arr2;

use crate::Result;
use crate::arch::{Architecture, MaskedLmTensor, Module, Part, Role};
use crate::config::ModelConfig;
use crate::data::Kind;
use crate::heads::{Head, Pooling, TaskSpec};
use crate::methods::{Masks, Method};
use crate::tokenize::Encoding;
use encoder::{Encoder, Parameters};
use top::Top;

/// One task over a [`Base`]: what trains, the handles by which the network reads its parameters, and the head.
#[derive(Debug)]
pub struct Model<D: Backend> {
    base: Base<D>,
    encoder: Encoder<D>,
    /// The head's layers over the pooled rows.
    top: Top<D>,
    head: Box<dyn Head<D>>,
    spec: TaskSpec,
    method: Method,
    masks: Masks,
    is_finished: bool,
    trainable: Vec<TrainableTensor>,
    total: usize,
    arena: Arena<D>,
}

/// The scale and the shift of a LayerNorm, and its ε.
#[derive(Clone, Debug)]
struct Norm<D: Backend> {
    weight: Param<D>,
    bias: Param<D>,
    eps: f32,
}

/// A linear layer with its bias.
#[derive(Clone, Debug)]
struct Dense<D: Backend> {
    weight: Weight<D>,
    bias: Param<D>,
}

impl<D: Backend> Model<D> {
    /// The base.
    pub fn base(&self) -> &Base<D> {
        &self.base
    }

    /// The task.
    pub fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    /// The head.
    pub fn head(&self) -> &dyn Head<D> {
        &*self.head
    }

    /// The arena of the trainable values, on the device.
    pub fn arena(&self) -> &Arena<D> {
        &self.arena
    }

    /// The arena of the trainable values, for an optimizer to change.
    pub fn arena_mut(&mut self) -> &mut Arena<D> {
        &mut self.arena
    }

    /// The workspace of the device.
    pub fn workspace(&self) -> &Workspace<D> {
        self.base.workspace()
    }

    /// A tape for a training pass of this model; dropout draws from `seed`. For a part of a batch, [`Tape::at`] says
    /// where it stands.
    pub fn training_tape(&self, seed: Seed) -> Tape<'_, D> {
        Tape::train(self.workspace(), &self.arena, seed)
    }

    /// A tape for an inference pass of this model.
    pub fn inference_tape(&self) -> Tape<'_, D> {
        Tape::infer(self.workspace(), &self.arena)
    }

    /// A batch of texts on the model's device.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn batch<'a>(&self, encodings: impl IntoIterator<Item = &'a Encoding> + Clone) -> Result<Batch<D>> {
        // A head over every token would read the padding, and a position bias has no distance for it.
        let pads = self.spec.pooling != Pooling::EveryToken && !self.base.has(Module::PositionBias);
        Ok(Batch::new(self.base.device(), encodings, self.base.config().padding, pads)?)
    }

    /// The head's output `[R, C]`, a row for each that it reads: logits, or one score.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the batch does not belong to this model, or the device fails.
    pub fn forward(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>) -> Result<Var<D>> {
        let x = self.forward_prefix(tape, batch, 1)?;
        self.forward_from(tape, batch, x, 1)
    }

    /// The mean loss `[1, 1]` of a batch's outputs against its targets; of a part of a batch, its share of the whole
    /// one's ([`Batch::with_loss_total`]), so that the shares of all parts add up to that.
    ///
    /// # Errors
    /// [`crate::Error::Metric`] for a batch without targets of the head's kind, or with weighted classes where the head
    /// has none; [`crate::Error::Core`] when the device fails.
    pub fn loss(&self, tape: &mut Tape<'_, D>, outputs: &Var<D>, batch: &Batch<D>) -> Result<Var<D>> {
        let no_targets = || crate::Error::Metric { metric: "loss", reason: "the batch has no targets".into() };
        let targets = batch.targets().ok_or_else(no_targets)?;
        if let Some(weighting) = batch.weighting() {
            return self.head.weighted_loss(tape, outputs, targets, weighting, batch.loss_total());
        }
        let mean = self.head.loss(tape, outputs, targets, batch.sequences())?;
        let Some(total) = batch.loss_total() else { return Ok(mean) };
        let share = tape.workspace().tensor(arr2(&[[(targets.loss_total(None) / total) as f32]]).view())?;
        let share = tape.constant(share);
        Ok(tape.mul(&mean, &share)?)
    }

    /// The number of stages (embeddings, layers, read-out) from the first on that hold nothing that trains, where a
    /// layer is among them; 0 otherwise.
    pub fn frozen_stages(&self) -> usize {
        self.encoder.frozen_stages()
    }

    /// Whether the output of the first `stages` stages has the rows alone that the head reads, and not all tokens'.
    pub(crate) fn is_read_by(&self, stages: usize) -> bool {
        let last_layer = self.encoder.layers.len() + 1;
        stages > last_layer || (stages == last_layer && !self.spec.pooling.reads_every_token())
    }

    /// The number of elements in the output of the first `stages` stages for a text: those of the rows that the head
    /// reads behind the read-out, and of as many rows as are read before it.
    pub fn stage_elements(&self, stages: usize, encoding: &Encoding) -> usize {
        let rows = if !self.is_read_by(stages) {
            encoding.ids.len()
        } else if self.spec.encodes_apart() {
            2
        } else {
            self.output_rows(encoding)
        };
        self.hidden() * rows
    }

    /// The number of rows of the head's output for a text.
    pub(crate) fn output_rows(&self, encoding: &Encoding) -> usize {
        match self.spec.pooling {
            // None of a text without a word that has a token.
            Pooling::Tokens => encoding.read.len(),
            Pooling::EveryToken => encoding.rows(),
            _ => 1,
        }
    }

    /// The output of the first `stages` stages, at least one, for a batch: `[T, H]`, or `[R, H]` from the read-out on,
    /// and from the last layer on where the first tokens alone are read.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn forward_prefix(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>, stages: usize) -> Result<Var<D>> {
        Ok(self.encoder.forward_prefix(tape, batch, stages)?)
    }

    /// What the head reads of a batch: a row a text or a token, as wide as [`TaskSpec::width`] says.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn pooled(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>) -> Result<Var<D>> {
        let x = self.forward_prefix(tape, batch, 1)?;
        let pooled = self.encoder.forward_from(tape, batch, x, 1)?;
        self.features(tape, pooled)
    }

    /// The head's output `[B, C]` for a batch, from the output of the first `stages` stages.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn forward_from(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>, x: Var<D>, stages: usize) -> Result<Var<D>> {
        let pooled = self.encoder.forward_from(tape, batch, x, stages)?;
        let features = self.features(tape, pooled)?;
        Ok(self.top.forward(tape, features)?)
    }

    /// What the head reads: the pooled rows, or the features of each pair of them.
    fn features(&self, tape: &mut Tape<'_, D>, pooled: Var<D>) -> Result<Var<D>> {
        Ok(if self.spec.encodes_apart() { tape.pair_features(&pooled)? } else { pooled })
    }

    /// H: the width of the residual stream.
    pub fn hidden(&self) -> usize {
        self.base.config().hidden_size
    }

    /// C: the number of outputs for a row that are kept to score it ([`Head::keep`]).
    pub fn outputs(&self) -> usize {
        self.head.outputs()
    }

    /// The number of outputs for a row before [`Head::keep`].
    pub(crate) fn width_of_outputs(&self) -> usize {
        self.top.outputs()
    }

    /// The tensors that train, including the key biases, in the order of the network.
    pub fn trainable(&self) -> &[TrainableTensor] {
        &self.trainable
    }

    /// Whether one pass can compute the gradients of several parts of a batch ([`Tape::backward_in_parts`]) with the
    /// bits of a pass over each: no table trains, and the device computes rows independently.
    pub(crate) fn computes_parts_at_once(&self) -> bool {
        let is_table = |name: &str| self.base_role(name).is_some_and(|role| !role.module.has_bias());
        self.base.device().computes_rows_independently() && !self.trainable.iter().any(|tensor| is_table(&tensor.name))
    }

    /// The number of scalars that train. As in the literature, it includes the key biases, whose gradient is zero.
    pub fn trainable_count(&self) -> usize {
        self.trainable.iter().map(|tensor| tensor.scalars).sum()
    }

    /// The number of parameters of the model, head included.
    pub fn parameter_count(&self) -> usize {
        self.total
    }

    /// The names of the tensors that must have a gradient, derived from the method, the architecture and the head,
    /// independently of the arena. They do not include the biases whose gradient is zero.
    pub(crate) fn expected_to_train(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        if self.is_finished {
            return names;
        }
        let architecture = self.base.architecture();
        let name = |role| architecture.parameter_name(role);
        let pooling = self.spec.pooling;
        let trains = |role: &Role| {
            *self.masks.of(*role) != Mask::None && !architecture.is_inert(*role, pooling, self.base.config())
        };
        names.extend(self.base.tensors(pooling).roles().filter(trains).map(name));
        if architecture.reads_pooler(pooling) && !self.base.checkpoint().has_pooler() {
            names.extend(architecture.pooler().map(name));
        }
        let has_gradient =
            |name: &String| !pooling.ignores_a_shift() || *name != architecture.classifier_name(pooling, Part::Bias);
        names.extend(head_names(architecture, &self.spec, &self.method).into_iter().filter(has_gradient));
        names
    }

    /// The role of a tensor that trains, by its parameter name; `None` for those of the task, among them a pooler that
    /// the base lacks.
    pub(crate) fn base_role(&self, name: &str) -> Option<Role> {
        let role = self.base.architecture().role(name);
        role.filter(|role| role.module != Module::Pooler || self.base.checkpoint().has_pooler())
    }

    /// The current values of every tensor of which something trains, whole, by parameter name.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the device fails; those of reading the base's tensors, of which a mask chooses some
    /// entries.
    pub fn values(&self) -> Result<HashMap<String, HostTensor>> {
        let TrainedTensors { mut whole, partial } = self.names().apply(&self.arena.read()?)?;
        let architecture = self.base.architecture();
        for (name, partial) in partial {
            let role = architecture.role(&name).expect("masks are over the encoder's tensors");
            whole.insert(name, partial.fill(&self.base.checkpoint().tensor(role)?)?);
        }
        Ok(whole)
    }

    /// Replaces the values of tensors that train.
    ///
    /// # Errors
    /// [`crate::Error::Core`] for a tensor that does not train or has another size, and when the device fails.
    pub fn set_values(&mut self, tensors: &HashMap<String, HostTensor>) -> Result<()> {
        let mut values = self.arena.read()?;
        for (name, tensor) in tensors {
            let entry =
                self.arena.entries().iter().find(|entry| entry.name == *name && entry.range().len() == tensor.len());
            let refuse = || bitfit_core::Error::Invalid {
                op: "set values",
                reason: format!("no tensor {name} of {} elements trains", tensor.len()),
            };
            values[entry.ok_or_else(refuse)?.range()].copy_from_slice(tensor.data());
        }
        Ok(self.arena.write(&values)?)
    }

    /// The parameter names of the arena's values, for values that were read earlier.
    pub fn names(&self) -> ParameterNames {
        ParameterNames::new(&self.trainable, self.arena.entries())
    }
}

/// The names of the tensors of a task's head that train.
pub(crate) fn head_names(architecture: &Architecture, spec: &TaskSpec, method: &Method) -> Vec<String> {
    if spec.kind == Kind::MaskedLm {
        let names = architecture.masked_lm.iter();
        return names.flat_map(|names| MaskedLmTensor::trained(method).map(|tensor| names.name(tensor))).collect();
    }
    let names = |part| {
        let dense = architecture.head_dense_name(spec.pooling, part);
        dense.into_iter().chain([architecture.classifier_name(spec.pooling, part)])
    };
    [Part::Weight, Part::Bias].into_iter().flat_map(names).collect()
}

impl<D: Backend> Norm<D> {
    fn new(config: &ModelConfig, module: Module, layer: usize, source: &mut impl Parameters<D>) -> Result<Self> {
        let weight = source.tensor(Role::weight(module, layer))?;
        let bias = source.tensor(Role::bias(module, layer))?;
        Ok(Self { weight, bias, eps: config.layer_norm_eps })
    }

    fn trains(&self) -> bool {
        self.weight.trainable().or(self.bias.trainable()).is_some()
    }
}

impl<D: Backend> Dense<D> {
    fn new(module: Module, source: &mut impl Parameters<D>) -> Result<Self> {
        let weight = source.weight(&[module], 0)?;
        Ok(Self { weight, bias: source.tensor(Role::bias(module, 0))? })
    }

    fn trains(&self) -> bool {
        self.weight.trains() || self.bias.trainable().is_some()
    }
}
