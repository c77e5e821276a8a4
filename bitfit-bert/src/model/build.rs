//! From a checkpoint to a model: which tensor is frozen, which trains, and where each comes from.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use bitfit_core::{Arena, ArenaBuilder, Backend, FrozenMatrix, HostTensor, Mask, Param, Precision, Random};

use super::{
    Bert, Dense, Embeddings, Norm,
    layer::{Layer, QueryKeyValue},
};
use crate::bias::{BiasKind, Selection};
use crate::checkpoint::hf_name;
use crate::{Checkpoint, Error, Result};

/// The deviation of fresh weights, as in BERT's own initialisation.
const INITIALIZER_RANGE: f64 = 0.02;

/// What stands on the pooled `[CLS]` row.
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
    /// `classifier.weight` and `classifier.bias`, and those of a pooler that the checkpoint lacks, as far as they are given;
    /// the rest as in [`HeadWeights::Fresh`]. Any other tensor is left aside: the base model stays the checkpoint's. The head
    /// trains.
    Given {
        /// The file they are from, for messages.
        path: PathBuf,
        /// Tensors by Hugging Face name.
        tensors: HashMap<String, HostTensor>,
        /// The run's seed, for what is not given.
        seed: u64,
    },
    /// A finished task: its tensors take the place of the checkpoint's, and nothing trains. The head's have to be there, and
    /// those of a pooler that the checkpoint lacks.
    Task {
        /// The task file they are from, for messages.
        path: PathBuf,
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
    /// [`Error::Weights`] when a given tensor has another shape than the model's; [`Error::TaskFile`] when a task's has, or when
    /// a task has a tensor that the model has not; [`Error::MissingTensor`] when a task lacks one of its head's;
    /// [`Error::Core`] when the device is out of memory.
    pub fn build(device: &D, checkpoint: &Checkpoint, options: &ModelOptions) -> Result<(Self, Arena<D>)> {
        let config = checkpoint.config();
        if let HeadWeights::Task { path, tensors } = &options.head_weights {
            check_names(path, tensors, checkpoint)?;
        }
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
            hidden: h,
            outputs: options.head.outputs(),
            parts,
            selection: options.selection.clone(),
            fresh_pooler: !checkpoint.has_pooler(),
            is_finished: matches!(options.head_weights, HeadWeights::Task { .. }),
            total: checkpoint.parameter_count() + head_parameters + pooler_parameters,
        };
        Ok((model, arena.build()?))
    }
}

/// Refuses a task with a tensor that the model would not read: a name that is misspelt must not go unnoticed.
fn check_names(path: &Path, tensors: &HashMap<String, HostTensor>, checkpoint: &Checkpoint) -> Result<()> {
    let head = ["classifier", "pooler.dense"].map(|layer| ["weight", "bias"].map(|part| format!("{layer}.{part}")));
    let known: HashSet<String> =
        checkpoint.names().map(str::to_owned).chain(head.into_iter().flatten()).map(|name| hf_name(&name)).collect();
    match tensors.keys().filter(|name| !known.contains(*name)).min() {
        None => Ok(()),
        Some(name) => {
            let reason = format!("it has the tensor {name}, which the model has not");
            Err(Error::TaskFile { path: path.into(), reason })
        }
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

    /// A tensor of the head's or the task's file, if it has the right shape.
    fn given(&self, canonical: &str, shape: &[usize]) -> Result<Option<HostTensor>> {
        let (HeadWeights::Given { path, tensors, .. } | HeadWeights::Task { path, tensors }) =
            &self.options.head_weights
        else {
            return Ok(None);
        };
        let name = hf_name(canonical);
        let Some(tensor) = tensors.get(&name) else { return Ok(None) };
        if tensor.shape() != shape {
            let reason = format!("the tensor {name} has shape {:?}, but the model's has {shape:?}", tensor.shape());
            let path = path.clone();
            return Err(if self.is_finished() {
                Error::TaskFile { path, reason }
            } else {
                Error::Weights { path, reason }
            });
        }
        Ok(Some(tensor.clone()))
    }

    fn is_finished(&self) -> bool {
        matches!(self.options.head_weights, HeadWeights::Task { .. })
    }

    /// A tensor of the base model: the checkpoint's, unless a finished task has it.
    fn tensor(&self, canonical: &str, shape: &[usize]) -> Result<HostTensor> {
        // A file of a head's first weights may be a whole model, but a task file could not say that the base was another.
        let task = if self.is_finished() { self.given(canonical, shape)? } else { None };
        task.map_or_else(|| self.checkpoint.tensor(canonical, shape), Ok)
    }

    /// A tensor that the checkpoint does not have: given, or else `drawn`; but a finished task is never made up.
    fn given_or(&self, canonical: &str, shape: &[usize], drawn: Vec<f32>) -> Result<HostTensor> {
        match (self.given(canonical, shape)?, &self.options.head_weights) {
            (Some(tensor), _) => Ok(tensor),
            (None, HeadWeights::Task { path, .. }) => {
                Err(Error::MissingTensor { path: path.clone(), name: hf_name(canonical) })
            }
            (None, _) => Ok(HostTensor::new(shape, drawn)?),
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
        let mask = if fixed.is_some() { Mask::None } else { Mask::All };
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
            weight: FrozenMatrix::with_precision(self.device, &[weight], Precision::F32)?.into(),
            bias: self.bias(BiasKind::Pooler, 0, h)?,
        })
    }

    /// A dense layer that the checkpoint does not have: given, or drawn, with a bias of zero.
    fn head(&mut self, prefix: &str, shape: [usize; 2], part: Part) -> Result<Dense<D>> {
        let [weight, bias] = [format!("{prefix}.weight"), format!("{prefix}.bias")];
        let drawn = (0..shape[0] * shape[1]).map(|_| (self.random.normal() * INITIALIZER_RANGE) as f32).collect();
        let values = [self.given_or(&weight, &shape, drawn)?, self.given_or(&bias, &shape[..1], vec![0.0; shape[0]])?];
        if self.is_finished() {
            let [weight, bias] = values;
            let weight = FrozenMatrix::with_precision(self.device, &[weight], Precision::F32)?.into();
            return Ok(Dense { weight, bias: self.arena.freeze(&bias)?.into() });
        }
        let [weight, bias] = [(weight, &values[0]), (bias, &values[1])].map(|(canonical, tensor)| {
            let name = hf_name(&canonical);
            self.parts.push(TrainablePart { name: name.clone(), part, shape: tensor.shape().to_vec(), fixed: None });
            self.arena.train(name, tensor.clone(), Mask::All)
        });
        Ok(Dense { weight: weight?.into(), bias: bias?.into() })
    }
}

#[cfg(test)]
mod tests {
    use bitfit_core::Cpu;

    use super::*;
    use crate::checkpoint::testing::Tiny;

    const WORDS: &str = "bert.embeddings.word_embeddings.weight";
    const NORM: &str = "bert.encoder.layer.1.output.LayerNorm.bias";
    const POOLER: [&str; 2] = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"];
    const CLASSIFIER: [&str; 2] = ["classifier.weight", "classifier.bias"];

    /// H of [`Tiny`].
    const H: usize = 8;

    /// Tensors of sevens.
    fn sevens(shapes: &[(&str, &[usize])]) -> HashMap<String, HostTensor> {
        let seven = |shape: &[usize]| HostTensor::new(shape, vec![7.0; shape.iter().product()]).unwrap();
        shapes.iter().map(|&(name, shape)| (name.to_owned(), seven(shape))).collect()
    }

    fn whole_model() -> HashMap<String, HostTensor> {
        sevens(&[
            (WORDS, &[11, H]),
            (NORM, &[H]),
            (POOLER[0], &[H, H]),
            (POOLER[1], &[H]),
            (CLASSIFIER[0], &[2, H]),
            (CLASSIFIER[1], &[2]),
        ])
    }

    fn given(tensors: HashMap<String, HostTensor>) -> HeadWeights {
        HeadWeights::Given { path: "heads/first.safetensors".into(), tensors, seed: 0 }
    }

    fn task(tensors: HashMap<String, HostTensor>) -> HeadWeights {
        HeadWeights::Task { path: "out/task.safetensors".into(), tensors }
    }

    fn without_pooler() -> Tiny {
        let mut tiny = Tiny::new();
        tiny.tensors.retain(|name, _| !name.starts_with("pooler"));
        tiny
    }

    fn options(head_weights: HeadWeights) -> ModelOptions {
        let head = Head::Classify { classes: 2 };
        ModelOptions { head, head_weights, selection: Selection::all(), dropout: None }
    }

    /// What trains, and the word embeddings, which do not.
    fn build(tiny: &Tiny, head_weights: HeadWeights) -> Result<HashMap<String, HostTensor>> {
        let checkpoint = tiny.open();
        let options = options(head_weights);
        let (model, arena) = Bert::build(&Cpu::default(), &checkpoint, &options)?;
        let mut values = model.values(&arena)?;
        let source = Source::new(arena.device(), &checkpoint, &options);
        values.insert(WORDS.into(), source.tensor("embeddings.word_embeddings.weight", &[11, H])?);
        Ok(values)
    }

    fn is_given(tensor: &HostTensor) -> bool {
        tensor.data().iter().all(|&value| value == 7.0)
    }

    #[test]
    fn a_head_from_a_whole_model_brings_nothing_but_the_head() {
        let values = build(&Tiny::new(), given(whole_model())).unwrap();
        for name in [WORDS, NORM, POOLER[1]] {
            assert!(!is_given(&values[name]), "{name} is the checkpoint's");
        }
        assert!(CLASSIFIER.iter().all(|name| is_given(&values[*name])));
        let values = build(&without_pooler(), given(whole_model())).unwrap();
        assert!(!is_given(&values[WORDS]) && !is_given(&values[NORM]));
        assert!(CLASSIFIER.iter().chain(&POOLER).all(|name| is_given(&values[*name])));
    }

    #[test]
    fn a_finished_task_takes_the_place_of_the_checkpoint() {
        assert!(is_given(&build(&Tiny::new(), task(whole_model())).unwrap()[WORDS]));
    }

    #[test]
    fn a_finished_task_without_its_head_is_refused_by_file_and_tensor() {
        for (tiny, missing) in
            [(Tiny::new(), &CLASSIFIER[..]), (without_pooler(), &CLASSIFIER), (without_pooler(), &POOLER)]
        {
            for name in missing {
                let mut tensors = whole_model();
                tensors.remove(*name);
                let message = build(&tiny, task(tensors)).unwrap_err().to_string();
                assert_eq!(message, format!("out/task.safetensors: the tensor {name} is missing"));
            }
        }
        // The checkpoint has a pooler, so the task need not.
        let mut tensors = whole_model();
        POOLER.iter().for_each(|name| _ = tensors.remove(*name));
        build(&Tiny::new(), task(tensors)).unwrap();
    }

    #[test]
    fn a_finished_task_with_a_tensor_of_no_name_is_refused_by_file_and_tensor() {
        for name in ["bert.encoder.layer.0.output.dense.bais", "encoder.layer.0.output.dense.bias", "dropout"] {
            let mut tensors = whole_model();
            tensors.insert(name.into(), HostTensor::new([H], vec![7.0; H]).unwrap());
            let message = build(&Tiny::new(), task(tensors)).unwrap_err().to_string();
            assert_eq!(message, format!("out/task.safetensors: it has the tensor {name}, which the model has not"));
        }
    }

    #[test]
    fn a_head_of_another_shape_is_refused_by_the_file_it_is_from() {
        let head = sevens(&[(CLASSIFIER[0], &[3, H]), (CLASSIFIER[1], &[3])]);
        for (head_weights, file) in
            [(given(head.clone()), "heads/first.safetensors"), (task(head), "out/task.safetensors")]
        {
            let message = build(&Tiny::new(), head_weights).unwrap_err().to_string();
            let reason = "the tensor classifier.weight has shape [3, 8], but the model's has [2, 8]";
            assert_eq!(message, format!("{file}: {reason}"));
        }
    }
}
