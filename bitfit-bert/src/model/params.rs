//! The parameters of one task over a base: the arena of trainable values, and the handles through which the network
//! reads them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bitfit_core::{ArenaBuilder, Backend, Frozen, FrozenMatrix, HostTensor, Mask, Param, Precision, Random, Trainable};

use super::encoder::Encoder;
use super::layer::MatrixMut;
use super::position_bias::position_bias;
use super::top::{Fresh, OwnDense, Top};
use super::{Base, Dense, Model, head_names};
use crate::arch::{MaskedLmTensor, Module, Part, Role};
use crate::data::Kind;
use crate::heads::TaskSpec;
use crate::methods::{BiasKind, Method};
use crate::{Error, Result};

/// The standard deviation of new weights, as in BERT's initialisation.
const INITIALIZER_RANGE: f64 = 0.02;

/// Tensors by parameter name, with the path of their file for messages.
#[derive(Clone, Debug)]
pub struct TensorFile {
    /// The file.
    pub path: PathBuf,
    /// Its tensors by the names that transformers gives them in a model with a head.
    pub tensors: HashMap<String, HostTensor>,
}

/// The first values of a task's parameters, and whether they train.
#[derive(Clone, Debug)]
pub enum InitialValues {
    /// The encoder's values are from the base, the head's are drawn from this seed.
    Drawn {
        /// The run's seed.
        seed: u64,
    },
    /// The head's weights and biases, and those of a pooler that the base lacks, from a file as far as it has them; the
    /// rest as in [`InitialValues::Drawn`]. Other tensors of the file are ignored, so that the encoder stays the
    /// base's.
    HeadFile {
        /// The head's tensors.
        file: TensorFile,
        /// The run's seed, for what the file does not have.
        seed: u64,
    },
    /// A finished task: its tensors replace the base's, and nothing trains. Every tensor of what the method trained, of
    /// the head, and of a pooler that the base lacks is required.
    Finished(TensorFile),
}

/// The options of a model.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// The task.
    pub spec: TaskSpec,
    /// What trains, or was trained, in addition to the head.
    pub method: Method,
    /// The first values of the parameters.
    pub initial: InitialValues,
    /// Replaces every dropout probability of the base's configuration.
    pub dropout: Option<f32>,
}

/// The kinds of trainable tensors, in the order of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrainableKind {
    /// A bias of the encoder.
    Bias(BiasKind),
    /// A pooler that the checkpoint lacks, all of which trains.
    FreshPooler,
    /// The dense layer that the architecture's head has below its last, trained whole.
    HeadDense,
    /// The task's head; of the checkpoint's own head its biases.
    Head,
}

/// A tensor that trains.
#[derive(Clone, Debug)]
pub struct TrainableTensor {
    /// Its parameter name in a model with a head.
    pub name: String,
    /// What it is.
    pub kind: TrainableKind,
    /// Its extents.
    pub shape: Vec<usize>,
    /// The value of a tensor that counts as trained but never changes: a key bias.
    pub fixed: Option<HostTensor>,
}

impl TrainableTensor {
    /// The number of its scalars.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl<D: Backend> Model<D> {
    /// A model for a task over `base`, whose weights it shares.
    ///
    /// # Errors
    /// The errors of the base's weights at their first use; [`Error::Weights`] when a tensor of a head file has another
    /// shape than the model's; [`Error::TaskFile`] when a finished task's has, or when it holds a tensor that the model
    /// does not have; [`Error::MissingTensor`] when a finished task lacks one of its tensors; [`Error::Core`] when the
    /// device is out of memory.
    pub fn new(base: &Base<D>, options: &ModelOptions) -> Result<Self> {
        let mut encoder = base.encoder()?.clone();
        let config = base.config();
        if let Some(dropout) = options.dropout {
            encoder.embeddings.dropout = dropout;
            for layer in &mut encoder.layers {
                (layer.hidden_dropout, layer.attention_dropout) = (dropout, dropout);
            }
        }
        let head = options.spec.head();
        let mut builder = Builder::new(base, options, head.outputs());
        builder.encoder(&mut encoder)?;
        let (architecture, pooling) = (base.architecture(), options.spec.pooling);
        encoder.pooling = pooling;
        if !architecture.reads_pooler(pooling) {
            encoder.pooler = None;
        } else if encoder.pooler.is_none() {
            encoder.pooler = Some(builder.head_dense(HeadDense::Pooler)?);
        }
        let h = config.hidden_size;
        let dense_layer = h * (h + 1);
        let (top, in_head) = if options.spec.kind == Kind::MaskedLm {
            let sizes = MaskedLmTensor::ALL.map(|tensor| tensor.shape(config).iter().product::<usize>());
            (Top::MaskedLm(builder.masked_lm()?), sizes.iter().sum())
        } else {
            let own_dense = architecture.head_dense_name(pooling, Part::Weight).is_some();
            let dense = own_dense.then(|| builder.head_dense(HeadDense::Dense)).transpose()?.map(|dense| OwnDense {
                dense,
                activation: architecture.head.activation,
                has_dropout_before: architecture.head.has_dropout_before_dense,
            });
            let classifier = builder.head_dense(HeadDense::Classifier)?;
            let dropout = options.dropout.unwrap_or_else(|| config.head_dropout_prob(pooling));
            let classifier_layer = head.outputs() * (options.spec.width(h) + 1);
            let in_head = classifier_layer + dense_layer * usize::from(own_dense);
            (Top::Fresh(Fresh { dense, classifier, dropout }), in_head)
        };
        let Builder { arena, trainable, .. } = builder;
        let mut total = base.checkpoint().parameter_count() + in_head;
        match (base.checkpoint().has_pooler(), encoder.pooler.is_some()) {
            (false, true) => total += dense_layer,
            // A pooler that is not read is no part of the model.
            (true, false) => total -= dense_layer,
            _ => {}
        }
        Ok(Self {
            base: base.clone(),
            encoder,
            total,
            head,
            top,
            spec: options.spec.clone(),
            method: options.method.clone(),
            is_finished: matches!(options.initial, InitialValues::Finished(_)),
            trainable,
            arena: arena.build()?,
        })
    }
}

/// The dense layers that a task may bring.
#[derive(Clone, Copy)]
enum HeadDense {
    Pooler,
    Dense,
    Classifier,
}

/// Collects what trains while a model is made.
struct Builder<'a, D: Backend> {
    base: &'a Base<D>,
    options: &'a ModelOptions,
    outputs: usize,
    arena: ArenaBuilder<D>,
    trainable: Vec<TrainableTensor>,
    random: Random,
}

impl<'a, D: Backend> Builder<'a, D> {
    fn new(base: &'a Base<D>, options: &'a ModelOptions, outputs: usize) -> Self {
        let seed = match options.initial {
            InitialValues::Drawn { seed } | InitialValues::HeadFile { seed, .. } => seed,
            InitialValues::Finished(_) => 0,
        };
        let arena = ArenaBuilder::new(base.device().clone());
        Self { base, options, outputs, arena, trainable: Vec::new(), random: Random::new(seed, 0) }
    }

    /// Replaces the handles of the encoder's tensors that train, or that a finished task brings.
    fn encoder(&mut self, encoder: &mut Encoder<D>) -> Result<()> {
        let mut trained = self.base.trained_by(&self.options.method, self.options.spec.pooling);
        match &self.options.initial {
            InitialValues::Finished(file) => {
                self.check_finished(file, trained)?;
                self.put_finished(encoder, file)
            }
            _ => trained.try_for_each(|role| self.train(encoder, role)),
        }
    }

    /// Registers a tensor of the encoder with the arena. An inert bias is only counted, and never changes.
    fn train(&mut self, encoder: &mut Encoder<D>, role: Role) -> Result<()> {
        let architecture = self.base.architecture();
        let kind = BiasKind::of(role).expect("the methods train biases");
        let place = encoder.vector(role).expect("every bias of the architecture has a place");
        let tensor = self.base.checkpoint().tensor(role)?;
        let name = architecture.parameter_name(role);
        let shape = tensor.shape().to_vec();
        let is_inert = architecture.is_inert(role, self.options.spec.pooling, self.base.config());
        let fixed = is_inert.then(|| tensor.clone());
        if fixed.is_none() {
            *place = Param::Trainable(self.arena.train(name.clone(), tensor, self.options.method.mask(role))?);
        }
        self.trainable.push(TrainableTensor { name, kind: TrainableKind::Bias(kind), shape, fixed });
        Ok(())
    }

    /// Refuses a finished task that lacks a trained tensor, or has a tensor that the model does not have, so that
    /// misspelt names are detected.
    fn check_finished(&self, file: &TensorFile, trained: impl Iterator<Item = Role>) -> Result<()> {
        let architecture = self.base.architecture();
        for role in trained {
            let name = architecture.parameter_name(role);
            if !file.tensors.contains_key(&name) {
                return Err(Error::MissingTensor { path: file.path.clone(), name });
            }
        }
        let pooling = self.options.spec.pooling;
        let head = head_names(architecture, &self.options.spec);
        let layers = self.base.config().num_hidden_layers;
        let is_known = |name: &String| {
            let role = architecture.role(name).filter(|role| role.layer < layers);
            let role = role.filter(|role| role.module != Module::Pooler || architecture.reads_pooler(pooling));
            head.contains(name) || role.is_some_and(|role| architecture.parameter_name(role) == *name)
        };
        match file.tensors.keys().filter(|name| !is_known(name)).min() {
            None => Ok(()),
            Some(name) => {
                let reason = format!("unexpected tensor {name}: the model has none of that name");
                Err(Error::TaskFile { path: file.path.clone(), reason })
            }
        }
    }

    /// Replaces tensors of the base by those of a finished task. Matrices are laid out for this task alone.
    fn put_finished(&self, encoder: &mut Encoder<D>, file: &TensorFile) -> Result<()> {
        let architecture = self.base.architecture();
        let device = self.base.device();
        let mut replaced = HashMap::new();
        for name in file.tensors.keys() {
            let Some(role) = architecture.role(name) else { continue };
            let shape = architecture.shape(role, self.base.config());
            let tensor = self.given(name, &shape)?.expect("the name is one of the file's");
            if let Some(place) = encoder.vector(role) {
                *place = Frozen::new(device, &tensor)?.into();
            } else {
                replaced.insert(role, tensor);
            }
        }
        let tables = [
            (Module::WordEmbeddings, Some(&mut encoder.embeddings.word)),
            (Module::PositionEmbeddings, Some(&mut encoder.embeddings.position)),
            (Module::TokenTypeEmbeddings, encoder.embeddings.token_type.as_mut()),
        ];
        for (module, table) in tables {
            if let (Some(table), Some(tensor)) = (table, replaced.get(&Role::weight(module, 0))) {
                *table = Frozen::new(device, tensor)?;
            }
        }
        for (number, layer) in encoder.layers.iter_mut().enumerate() {
            for (modules, place) in layer.matrices() {
                let roles = modules.iter().map(|&module| Role::weight(module, number));
                if roles.clone().all(|role| !replaced.contains_key(&role)) {
                    continue;
                }
                let tensor =
                    |role| replaced.get(&role).map_or_else(|| self.base.checkpoint().tensor(role), |t| Ok(t.clone()));
                let matrix = FrozenMatrix::new(device, &roles.map(tensor).collect::<Result<Vec<_>>>()?)?;
                match place {
                    MatrixMut::Weight(weight) => *weight = matrix.into(),
                    MatrixMut::Frozen(frozen) => *frozen = matrix,
                }
            }
        }
        if let (Some(pooler), Some(tensor)) = (&mut encoder.pooler, replaced.get(&Role::weight(Module::Pooler, 0))) {
            pooler.weight = FrozenMatrix::with_precision(device, std::slice::from_ref(tensor), Precision::F32)?.into();
        }
        let projection = (&mut encoder.embeddings.projection, Role::weight(Module::EmbeddingsProjection, 0));
        if let (Some(projection), Some(tensor)) = (projection.0, replaced.get(&projection.1)) {
            projection.weight =
                FrozenMatrix::with_precision(device, std::slice::from_ref(tensor), Precision::F32)?.into();
        }
        if let Some(table) = replaced.get(&Role::weight(Module::PositionBias, 0)) {
            encoder.position_bias = Some(position_bias(device, table)?);
        }
        Ok(())
    }

    /// A dense layer that the base does not have: from the file, or drawn, with a bias of zero.
    fn head_dense(&mut self, dense: HeadDense) -> Result<Dense<D>> {
        let (architecture, h) = (self.base.architecture(), self.base.config().hidden_size);
        let pooling = self.options.spec.pooling;
        let parts = [Part::Weight, Part::Bias];
        let width = if matches!(dense, HeadDense::Classifier) { self.options.spec.width(h) } else { h };
        let (kind, out, [weight, bias]) = match dense {
            HeadDense::Pooler => {
                let name = |part| architecture.parameter_name(Role { layer: 0, module: Module::Pooler, part });
                (TrainableKind::FreshPooler, h, parts.map(name))
            }
            HeadDense::Dense => {
                let name = |part| architecture.head_dense_name(pooling, part).expect("the caller asked");
                (TrainableKind::HeadDense, h, parts.map(name))
            }
            HeadDense::Classifier => {
                (TrainableKind::Head, self.outputs, parts.map(|part| architecture.classifier_name(pooling, part)))
            }
        };
        let drawn = (0..out * width).map(|_| (self.random.normal() * INITIALIZER_RANGE) as f32).collect();
        let values = [self.given_or(&weight, &[out, width], drawn)?, self.given_or(&bias, &[out], vec![0.0; out])?];
        if self.is_finished() {
            let [weight, bias] = values;
            let weight = FrozenMatrix::with_precision(self.base.device(), &[weight], Precision::F32)?.into();
            return Ok(Dense { weight, bias: Frozen::new(self.base.device(), &bias)?.into() });
        }
        let [weight_values, bias_values] = values;
        let weight = self.train_head(weight, kind, weight_values)?;
        // Above the softmax over tokens, the head's bias has no gradient: it is counted only.
        let bias = if pooling.ignores_a_shift() {
            let (shape, fixed) = (bias_values.shape().to_vec(), Some(bias_values.clone()));
            self.trainable.push(TrainableTensor { name: bias, kind, shape, fixed });
            Frozen::new(self.base.device(), &bias_values)?.into()
        } else {
            self.train_head(bias, kind, bias_values)?.into()
        };
        Ok(Dense { weight: weight.into(), bias })
    }

    /// Registers a tensor of the head with the arena.
    fn train_head(&mut self, name: String, kind: TrainableKind, tensor: HostTensor) -> Result<Trainable> {
        self.trainable.push(TrainableTensor { name: name.clone(), kind, shape: tensor.shape().to_vec(), fixed: None });
        Ok(self.arena.train(name, tensor, Mask::All)?)
    }

    fn is_finished(&self) -> bool {
        matches!(self.options.initial, InitialValues::Finished(_))
    }

    /// A tensor that the base does not have: that of the file, otherwise `drawn`; but a finished task must have it.
    fn given_or(&self, name: &str, shape: &[usize], drawn: Vec<f32>) -> Result<HostTensor> {
        match (self.given(name, shape)?, &self.options.initial) {
            (Some(tensor), _) => Ok(tensor),
            (None, InitialValues::Finished(file)) => {
                Err(Error::MissingTensor { path: file.path.clone(), name: name.into() })
            }
            (None, _) => Ok(HostTensor::new(shape, drawn)?),
        }
    }

    /// The tensor of this name in the head file or task file, if there is one; another shape is an error.
    fn given(&self, name: &str, shape: &[usize]) -> Result<Option<HostTensor>> {
        let (InitialValues::HeadFile { file, .. } | InitialValues::Finished(file)) = &self.options.initial else {
            return Ok(None);
        };
        let Some(tensor) = file.tensors.get(name) else { return Ok(None) };
        let wrong = |reason| self.wrong(&file.path, reason);
        if tensor.shape() != shape {
            return Err(wrong(format!(
                "the tensor {name} has shape {:?}, but the model's has {shape:?}",
                tensor.shape()
            )));
        }
        if let Some(value) = tensor.data().iter().find(|value| !value.is_finite()) {
            return Err(wrong(format!("the tensor {name} holds {value}: its values must be finite")));
        }
        Ok(Some(tensor.clone()))
    }

    fn wrong(&self, path: &Path, reason: String) -> Error {
        let path = path.to_path_buf();
        if self.is_finished() { Error::TaskFile { path, reason } } else { Error::Weights { path, reason } }
    }
}

mod masked_lm;
#[cfg(test)]
mod tests;
