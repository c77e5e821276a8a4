//! BERT on the tape: the one definition of the network, for training and inference, on every device.
//!
//! Reference: `BertForSequenceClassification` of Hugging Face transformers (Devlin et al., arXiv 1810.04805). Activations
//! are packed `[tokens, hidden]`; no padding exists. The last layer computes K and V of all tokens, and everything else of
//! the `[CLS]` rows only, because nothing else of it is read.

mod batch;
mod build;
mod layer;
mod stages;

pub use batch::Batch;
pub use build::{Head, HeadWeights, ModelOptions, Part, TrainablePart};

use std::collections::{BTreeSet, HashMap};

use bitfit_core::{Arena, Backend, Entry, Frozen, HostTensor, Param, Result, Tape, Var, ops::linear::Weight};

use crate::bias::{BiasKind, Selection};
use crate::checkpoint::hf_name;
use layer::Layer;

/// A BERT with a head for one task.
#[derive(Debug)]
pub struct Bert<D: Backend> {
    embeddings: Embeddings<D>,
    layers: Vec<Layer<D>>,
    pooler: Dense<D>,
    classifier: Dense<D>,
    head_dropout: f32,
    hidden: usize,
    outputs: usize,
    parts: Vec<TrainablePart>,
    /// What was asked for, to check the parts against.
    selection: Selection,
    fresh_pooler: bool,
    is_finished: bool,
    total: usize,
}

/// Word, position and token type tables, and the LayerNorm over their sum.
#[derive(Debug)]
struct Embeddings<D: Backend> {
    word: Frozen<D>,
    position: Frozen<D>,
    token_type: Frozen<D>,
    norm: Norm<D>,
    dropout: f32,
}

/// The two vectors of a LayerNorm, and its ε.
#[derive(Debug)]
struct Norm<D: Backend> {
    weight: Param<D>,
    bias: Param<D>,
    eps: f32,
}

/// A linear with its bias.
#[derive(Debug)]
struct Dense<D: Backend> {
    weight: Weight<D>,
    bias: Param<D>,
}

impl<D: Backend> Bert<D> {
    /// The head's output `[B, C]`: logits, or one score.
    ///
    /// # Errors
    /// [`bitfit_core::Error`] when the batch is not of this model, or the device fails.
    pub fn forward(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>) -> Result<Var<D>> {
        let x = self.below(tape, batch, 1)?;
        self.above(tape, batch, x, 1)
    }

    /// H.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// C: classes, or 1 for a regression.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// What trains, tensor by tensor, the key biases included, in the order of the network.
    pub fn parts(&self) -> &[TrainablePart] {
        &self.parts
    }

    /// The names of what has to have a gradient: from the selection, the architecture and the head alone, whatever was
    /// built. The key biases, whose gradient is zero, are not among them.
    pub(crate) fn expected_to_train(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        if self.is_finished {
            return names;
        }
        for kind in self.selection.kinds().filter(|&kind| kind != BiasKind::Key) {
            let layers = if kind.is_in_layers() { self.layers.len() } else { 1 };
            let trained = (0..layers).filter(|&layer| self.selection.contains(kind, layer));
            names.extend(trained.map(|layer| hf_name(&kind.tensor(layer))));
        }
        if self.fresh_pooler {
            names.extend(["weight", "bias"].map(|part| hf_name(&format!("pooler.dense.{part}"))));
        }
        names.extend(["weight", "bias"].map(|part| format!("classifier.{part}")));
        names
    }

    /// How many scalars train, counted as the literature does: with the key biases, whose gradient is zero.
    pub fn trainable(&self) -> usize {
        self.parts.iter().map(TrainablePart::count).sum()
    }

    /// How many parameters the model has, head included.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Everything that trains, by Hugging Face name, as it stands in `arena`.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Device`] when the device fails.
    pub fn values(&self, arena: &Arena<D>) -> Result<HashMap<String, HostTensor>> {
        self.named(arena.entries(), &arena.read()?)
    }

    /// [`Bert::values`] of an arena with this table and these values.
    pub(crate) fn named(&self, entries: &[Entry], values: &[f32]) -> Result<HashMap<String, HostTensor>> {
        let trained = |name: &str| entries.iter().find(|entry| entry.name == name);
        let tensor = |part: &TrainablePart| match (&part.fixed, trained(&part.name)) {
            (Some(fixed), _) => Ok(fixed.clone()),
            (None, Some(entry)) => HostTensor::new(part.shape.clone(), values[entry.range()].to_vec()),
            (None, None) => unreachable!("{} trains, so the arena has it", part.name),
        };
        self.parts.iter().map(|part| Ok((part.name.clone(), tensor(part)?))).collect()
    }
}

impl<D: Backend> Norm<D> {
    fn trains(&self) -> bool {
        self.weight.trainable().or(self.bias.trainable()).is_some()
    }
}

impl<D: Backend> Dense<D> {
    fn trains(&self) -> bool {
        self.weight.trainable().is_some() || self.bias.trainable().is_some()
    }
}

impl<D: Backend> Embeddings<D> {
    fn forward(&self, tape: &mut Tape<'_, D>, batch: &Batch<D>) -> Result<Var<D>> {
        let tables =
            [(batch.ids(), &self.word), (batch.positions(), &self.position), (batch.token_types(), &self.token_type)];
        let sum = tape.embedding_sum(&tables)?;
        let normal = tape.layer_norm(&sum, &self.norm.weight, &self.norm.bias, self.norm.eps)?;
        tape.dropout(&normal, self.dropout)
    }
}
