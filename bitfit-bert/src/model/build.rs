//! From a checkpoint to a model: which tensor is frozen, which trains, and where each comes from.

use std::collections::HashMap;

use bitfit_core::{Arena, ArenaBuilder, Backend, DType, FrozenMatrix, HostTensor, Mask, Param, Random};

use super::{
    Bert, Dense, Embeddings, Norm,
    layer::{Layer, QueryKeyValue},
};
use crate::bias::{BiasKind, Selection};
use crate::checkpoint::hf_name;
use crate::{Checkpoint, Error, Result};

/// The deviation of fresh weights, as in BERT's own initialisation.
const INITIALIZER_RANGE: f64 = 0.02;

/// What stands on the pooled [CLS] row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// One logit a class.
    Classify {
        /// C, at least 2.
        classes: usize,
    },
    /// One score.
    Regress,
}

impl Head {
    /// C, or 1.
    pub fn outputs(self) -> usize {
        match self {
            Self::Classify { classes } => classes,
            Self::Regress => 1,
        }
    }
}

/// Where the head's weights come from, and whether they train.
#[derive(Clone, Debug)]
pub enum HeadWeights {
    /// Drawn from this seed; the head trains.
    Fresh {
        /// The run's seed.
        seed: u64,
    },
    /// `classifier.weight` and `classifier.bias` as given, everything else as in [`HeadWeights::Fresh`]; the head trains.
    Given {
        /// Tensors by Hugging Face name.
        tensors: HashMap<String, HostTensor>,
        /// The run's seed, for what is not given.
        seed: u64,
    },
    /// A finished task: its tensors take the place of the checkpoint's, and nothing trains.
    Task {
        /// Tensors by Hugging Face name.
        tensors: HashMap<String, HostTensor>,
    },
}

/// What a model is to be built for.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// The head.
    pub head: Head,
    /// Its weights.
    pub head_weights: HeadWeights,
    /// Which biases train.
    pub selection: Selection,
    /// Takes the place of every dropout probability of the checkpoint's configuration.
    pub dropout: Option<f32>,
}

/// What a trainable tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A bias of the encoder.
    Bias(BiasKind),
    /// A pooler that the checkpoint lacks, trained whole.
    FreshPooler,
    /// The task's head.
    Head,
}

/// A tensor that trains.
#[derive(Clone, Debug)]
pub struct TrainablePart {
    /// Its Hugging Face name.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its value, where it counts as trained but never changes: the key biases.
    pub fixed: Option<HostTensor>,
}

impl TrainablePart {
    /// Its scalars.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl<D: Backend> Bert<D> {
    /// Builds the model that `options` ask for from a checkpoint, and the arena of what trains.
    ///
    /// # Errors
    /// [`Error::Weights`] when a given tensor has another shape than the model's; [`Error::Core`] when the device is out
    /// of memory.
    pub fn build(device: &D, checkpoint: &Checkpoint, options: &ModelOptions) -> Result<(Self, Arena<D>)> {
        let config = checkpoint.config();
        let mut source = Source::new(device, checkpoint, options);
        let [h, f] = [config.hidden_size, config.intermediate_size];
        let hidden_dropout = options.dropout.unwrap_or(config.hidden_dropout_prob);
        let embeddings = Embeddings {
            word: source.frozen("embeddings.word_embeddings.weight", &[config.vocab_size, h])?,
            position: source.frozen("embeddings.position_embeddings.weight", &[config.max_position_embeddings, h])?,
            token_type: source.frozen("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, h])?,
            norm: source.norm("embeddings.LayerNorm", BiasKind::EmbeddingsLayerNorm, 0)?,
            dropout: hidden_dropout,
        };
        let mut layers = Vec::new();
        for layer in 0..config.num_hidden_layers {
            let at = |name: &str| format!("encoder.layer.{layer}.{name}.weight");
            let [query, key, value] = ["query", "key", "value"].map(|name| at(&format!("attention.self.{name}")));
            let is_last = layer + 1 == config.num_hidden_layers;
            layers.push(Layer {
                query_key_value: if is_last {
                    QueryKeyValue::FirstTokens {
                        query: source.matrix(&[&query], [h, h])?.into(),
                        key_value: source.matrix(&[&key, &value], [h, h])?.into(),
                    }
                } else {
                    QueryKeyValue::EveryToken(source.matrix(&[&query, &key, &value], [h, h])?.into())
                },
                query_bias: source.bias(BiasKind::Query, layer, h)?,
                key_bias: source.bias(BiasKind::Key, layer, h)?,
                value_bias: source.bias(BiasKind::Value, layer, h)?,
                attention_output: source.matrix(&[&at("attention.output.dense")], [h, h])?.into(),
                attention_output_bias: source.bias(BiasKind::AttentionOutput, layer, h)?,
                attention_norm: source.norm(
                    &format!("encoder.layer.{layer}.attention.output.LayerNorm"),
                    BiasKind::AttentionLayerNorm,
                    layer,
                )?,
                intermediate: source.matrix(&[&at("intermediate.dense")], [f, h])?,
                intermediate_bias: source.bias(BiasKind::Intermediate, layer, f)?,
                output: source.matrix(&[&at("output.dense")], [h, f])?,
                output_bias: source.bias(BiasKind::Output, layer, h)?,
                output_norm: source.norm(
                    &format!("encoder.layer.{layer}.output.LayerNorm"),
                    BiasKind::OutputLayerNorm,
                    layer,
                )?,
                heads: config.num_attention_heads,
                hidden_dropout,
                attention_dropout: options.dropout.unwrap_or(config.attention_probs_dropout_prob),
            });
        }
        let pooler = source.pooler(h)?;
        let classifier = source.head("classifier", [options.head.outputs(), h], Part::Head)?;
        let head_parameters = options.head.outputs() * (h + 1);
        let pooler_parameters = if checkpoint.has_pooler() { 0 } else { h * (h + 1) };
        let Source { arena, parts, .. } = source;
        let model = Self {
            embeddings,
            layers,
            pooler,
            classifier,
            head_dropout: options.dropout.unwrap_or_else(|| config.head_dropout_prob()),
            outputs: options.head.outputs(),
            parts,
            total: checkpoint.parameter_count() + head_parameters + pooler_parameters,
        };
        Ok((model, arena.build()?))
    }
}

/// Where tensors come from and go to while a model is built.
struct Source<'a, D: Backend> {
    device: &'a D,
    checkpoint: &'a Checkpoint,
    options: &'a ModelOptions,
    arena: ArenaBuilder<D>,
    parts: Vec<TrainablePart>,
    random: Random,
}

impl<'a, D: Backend> Source<'a, D> {
    fn new(device: &'a D, checkpoint: &'a Checkpoint, options: &'a ModelOptions) -> Self {
        let seed = match &options.head_weights {
            HeadWeights::Fresh { seed } | HeadWeights::Given { seed, .. } => *seed,
            HeadWeights::Task { .. } => 0,
        };
        let arena = ArenaBuilder::new(device.clone());
        Self { device, checkpoint, options, arena, parts: Vec::new(), random: Random::new(seed, 0) }
    }

    /// A tensor that was given with the head, if it has the right shape.
    fn given(&self, canonical: &str, shape: &[usize]) -> Result<Option<HostTensor>> {
        let (HeadWeights::Given { tensors, .. } | HeadWeights::Task { tensors }) = &self.options.head_weights else {
            return Ok(None);
        };
        let Some(tensor) = tensors.get(&hf_name(canonical)) else { return Ok(None) };
        if tensor.shape() != shape {
            let reason = format!(
                "the given tensor {} has shape {:?}, but the model's has {shape:?}",
                hf_name(canonical),
                tensor.shape()
            );
            return Err(Error::Weights { path: self.checkpoint.dir().into(), reason });
        }
        Ok(Some(tensor.clone()))
    }

    fn is_finished(&self) -> bool {
        matches!(self.options.head_weights, HeadWeights::Task { .. })
    }

    fn tensor(&self, canonical: &str, shape: &[usize]) -> Result<HostTensor> {
        match self.given(canonical, shape)? {
            Some(tensor) => Ok(tensor),
            None => self.checkpoint.tensor(canonical, shape),
        }
    }

    fn frozen(&self, canonical: &str, shape: &[usize]) -> Result<bitfit_core::Frozen<D>> {
        Ok(self.arena.freeze(&self.tensor(canonical, shape)?)?)
    }

    /// The row-wise concatenation of frozen weights, each of this shape, laid out for its products.
    fn matrix(&self, canonical: &[&str], shape: [usize; 2]) -> Result<FrozenMatrix<D>> {
        let parts = canonical.iter().map(|name| self.tensor(name, &shape)).collect::<Result<Vec<_>>>()?;
        let matrix = FrozenMatrix::new(self.device, &parts)?;
        // From here on only the layout is read.
        canonical.iter().for_each(|name| self.checkpoint.release(name));
        Ok(matrix)
    }

    fn norm(&mut self, prefix: &str, kind: BiasKind, layer: usize) -> Result<Norm<D>> {
        let config = self.checkpoint.config();
        let weight = self.frozen(&format!("{prefix}.weight"), &[config.hidden_size])?.into();
        Ok(Norm { weight, bias: self.bias(kind, layer, config.hidden_size)?, eps: config.layer_norm_eps })
    }

    /// A bias: in the arena if it is selected, but for the key's, which counts and never moves.
    fn bias(&mut self, kind: BiasKind, layer: usize, len: usize) -> Result<Param<D>> {
        let canonical = kind.tensor(layer);
        let tensor = self.tensor(&canonical, &[len])?;
        if self.is_finished() || !self.options.selection.contains(kind, layer) {
            return Ok(self.arena.freeze(&tensor)?.into());
        }
        let fixed = (kind == BiasKind::Key).then(|| tensor.clone());
        let name = hf_name(&canonical);
        let mask = if fixed.is_some() { Mask::None } else { Mask::Whole };
        self.parts.push(TrainablePart { name: name.clone(), part: Part::Bias(kind), shape: vec![len], fixed });
        Ok(self.arena.add(name, tensor, mask)?)
    }

    /// The checkpoint's pooler, frozen but for its bias if that is selected; or a fresh one that trains whole.
    fn pooler(&mut self, h: usize) -> Result<Dense<D>> {
        if !self.checkpoint.has_pooler() {
            return self.head("pooler.dense", [h, h], Part::FreshPooler);
        }
        // A few rows only, read by an activation that reckons in f32: narrow products would save nothing here.
        let weight = self.tensor("pooler.dense.weight", &[h, h])?;
        Ok(Dense {
            weight: FrozenMatrix::with_dtype(self.device, &[weight], DType::F32)?.into(),
            bias: self.bias(BiasKind::Pooler, 0, h)?,
        })
    }

    /// A dense layer that the checkpoint does not have: given, or drawn, with a bias of zero.
    fn head(&mut self, prefix: &str, shape: [usize; 2], part: Part) -> Result<Dense<D>> {
        let [weight, bias] = [format!("{prefix}.weight"), format!("{prefix}.bias")];
        let drawn = (0..shape[0] * shape[1]).map(|_| (self.random.normal() * INITIALIZER_RANGE) as f32).collect();
        let values = [
            self.given(&weight, &shape)?.map_or_else(|| HostTensor::new(shape, drawn), Ok)?,
            self.given(&bias, &shape[..1])?.map_or_else(|| HostTensor::new([shape[0]], vec![0.0; shape[0]]), Ok)?,
        ];
        if self.is_finished() {
            let [weight, bias] = values;
            let weight = FrozenMatrix::with_dtype(self.device, &[weight], DType::F32)?.into();
            return Ok(Dense { weight, bias: self.arena.freeze(&bias)?.into() });
        }
        let [weight, bias] = [(weight, &values[0]), (bias, &values[1])].map(|(canonical, tensor)| {
            let name = hf_name(&canonical);
            self.parts.push(TrainablePart { name: name.clone(), part, shape: tensor.shape().to_vec(), fixed: None });
            self.arena.train(name, tensor.clone(), Mask::Whole)
        });
        Ok(Dense { weight: weight?.into(), bias: bias?.into() })
    }
}
