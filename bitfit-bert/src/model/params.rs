//! The parameters of one task over a base: the arena of trainable values, and the handles through which the network
//! reads them.

use std::path::{Path, PathBuf};

use bitfit_core::{
    ArenaBuilder, Backend, Frozen, FrozenMatrix, HostTensor, Mask, Param, Precision, Random, Weight, WeightPart,
};

use super::encoder::{Encoder, Parameters};
use super::top::{Fresh, OwnDense, Top};
use super::{Base, Dense, Model, TrainedTensors};
use crate::arch::{MaskedLmTensor, Module, Part, Role};
use crate::data::Kind;
use crate::heads::TaskSpec;
use crate::methods::{BiasKind, Masks, Method};
use crate::{Error, Result};

/// The standard deviation of new weights, as in BERT's initialisation.
const INITIALIZER_RANGE: f64 = 0.02;

/// Tensors by parameter name, with the path of their file for messages.
#[derive(Clone, Debug)]
pub struct TensorFile {
    /// The file.
    pub path: PathBuf,
    /// Its tensors by the names that transformers gives them in a model with a head.
    pub tensors: TrainedTensors,
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
    /// A matrix or a table of the encoder, or the scale of a LayerNorm.
    Weight(Module),
    /// A pooler that the checkpoint lacks, all of which trains.
    FreshPooler,
    /// The dense layer that the architecture's head has below its last, trained whole.
    HeadDense,
    /// The task's head; of the checkpoint's own head its biases.
    Head,
}

/// A tensor of which something trains.
#[derive(Clone, Debug)]
pub struct TrainableTensor {
    /// Its parameter name in a model with a head.
    pub name: String,
    /// What it is.
    pub kind: TrainableKind,
    /// Its extents.
    pub shape: Vec<usize>,
    /// The number of its scalars that train.
    pub scalars: usize,
    /// The value of a tensor that counts as trained but never changes: a key bias.
    pub fixed: Option<HostTensor>,
}

impl<D: Backend> Model<D> {
    /// A model for a task over `base`, whose weights it shares.
    ///
    /// # Errors
    /// The errors of the base's weights at their first use; [`Error::Method`] and [`Error::MaskFile`] when the method
    /// asks for what the base does not have; [`Error::Weights`] when a tensor of a head file has another shape than the
    /// model's; [`Error::TaskFile`] when a finished task's has, or when it holds a tensor that the model does not have;
    /// [`Error::MissingTensor`] when a finished task lacks one of its tensors; [`Error::Core`] when the device is out
    /// of memory.
    pub fn new(base: &Base<D>, options: &ModelOptions) -> Result<Self> {
        let config = base.config();
        let head = options.spec.head();
        let (architecture, pooling) = (base.architecture(), options.spec.pooling);
        let masks = Masks::new(&options.method, base.tensors(pooling))?;
        let mut builder = Builder::new(base, options, &masks, head.outputs());
        builder.check_finished()?;
        let mut encoder = Encoder::new(base, pooling, &mut builder)?;
        if let Some(dropout) = options.dropout {
            encoder.embeddings.dropout = dropout;
            for layer in &mut encoder.layers {
                (layer.hidden_dropout, layer.attention_dropout) = (dropout, dropout);
            }
        }
        if architecture.reads_pooler(pooling) && encoder.pooler.is_none() {
            encoder.pooler = Some(builder.head_dense(HeadDense::Pooler)?);
        }
        let h = config.hidden_size;
        let dense_layer = h * (h + 1);
        let (top, in_head) = if options.spec.kind == Kind::MaskedLm {
            let sizes = MaskedLmTensor::ALL.map(|tensor| tensor.shape(config).iter().product::<usize>());
            (Top::MaskedLm(builder.masked_lm(&encoder.embeddings.word)?), sizes.iter().sum())
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
        let arena = arena.build()?;
        // What trains has been copied, and is read from the arena from here on.
        base.tensors(pooling)
            .roles()
            .filter(|&role| *masks.of(role) != Mask::None)
            .for_each(|role| base.checkpoint().release(role));
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
            masks,
            is_finished: matches!(options.initial, InitialValues::Finished(_)),
            trainable,
            arena,
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
    masks: &'a Masks,
    outputs: usize,
    arena: ArenaBuilder<D>,
    trainable: Vec<TrainableTensor>,
    random: Random,
}

impl<D: Backend> Parameters<D> for Builder<'_, D> {
    fn tensor(&mut self, role: Role) -> Result<Param<D>> {
        let mask = self.mask(role);
        if let Some(given) = self.finished(role)? {
            return Ok(Frozen::new(self.base.device(), &given)?.into());
        }
        let is_inert = self.base.architecture().is_inert(role, self.options.spec.pooling, self.base.config());
        if is_inert && mask != Mask::None {
            // It counts as trained, and never changes.
            self.count(role, &mask, Some(self.base.checkpoint().tensor(role)?));
        } else if mask != Mask::None {
            self.count(role, &mask, None);
            let name = self.base.architecture().parameter_name(role);
            return Ok(self.arena.train(name, self.base.checkpoint().tensor(role)?, mask)?.into());
        }
        Ok(self.base.frozen(role)?.into())
    }

    fn weight(&mut self, modules: &[Module], layer: usize) -> Result<Weight<D>> {
        let roles: Vec<Role> = modules.iter().map(|&module| Role::weight(module, layer)).collect();
        let given = roles.iter().map(|&role| self.finished(role)).collect::<Result<Vec<_>>>()?;
        let trains = roles.iter().any(|&role| self.mask(role) != Mask::None);
        if !trains && given.iter().all(Option::is_none) {
            return Ok(self.base.matrix(modules, layer)?.into());
        }
        // Laid out for this task alone; the layout of the base's own weights is made where another task reads them.
        let mut parts = Vec::with_capacity(roles.len());
        for (&role, given) in roles.iter().zip(given) {
            let tensor = given.map_or_else(|| self.base.checkpoint().tensor(role), Ok)?;
            let mask = self.mask(role);
            self.count(role, &mask, None);
            parts.push(WeightPart::New(self.base.architecture().parameter_name(role), tensor, mask));
        }
        Ok(self.arena.weight_of(parts, self.base.precision(modules))?)
    }
}

impl<'a, D: Backend> Builder<'a, D> {
    fn new(base: &'a Base<D>, options: &'a ModelOptions, masks: &'a Masks, outputs: usize) -> Self {
        let seed = match options.initial {
            InitialValues::Drawn { seed } | InitialValues::HeadFile { seed, .. } => seed,
            InitialValues::Finished(_) => 0,
        };
        let arena = ArenaBuilder::new(base.device().clone());
        Self { base, options, masks, outputs, arena, trainable: Vec::new(), random: Random::new(seed, 0) }
    }

    /// Which entries of a tensor train; none of a finished task.
    fn mask(&self, role: Role) -> Mask {
        if self.is_finished() { Mask::None } else { self.masks.of(role).clone() }
    }

    /// Counts a tensor of which something trains.
    fn count(&mut self, role: Role, mask: &Mask, fixed: Option<HostTensor>) {
        if *mask == Mask::None {
            return;
        }
        let kind = BiasKind::of(role).map_or(TrainableKind::Weight(role.module), TrainableKind::Bias);
        let shape = self.base.architecture().shape(role, self.base.config());
        let (name, scalars) = (self.base.architecture().parameter_name(role), mask.count(&shape));
        self.trainable.push(TrainableTensor { name, kind, shape, scalars, fixed });
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
        self.count_head(&weight, kind, &weight_values, None);
        let weight = WeightPart::New(weight, weight_values, Mask::All);
        let weight = self.arena.weight_of(vec![weight], Precision::F32)?;
        // Above the softmax over tokens, the head's bias has no gradient: it is counted only.
        let bias = if pooling.ignores_a_shift() {
            self.count_head(&bias, kind, &bias_values, Some(bias_values.clone()));
            Frozen::new(self.base.device(), &bias_values)?.into()
        } else {
            self.count_head(&bias, kind, &bias_values, None);
            self.arena.train(bias, bias_values, Mask::All)?.into()
        };
        Ok(Dense { weight, bias })
    }

    /// Counts a tensor of the head, which trains whole.
    fn count_head(&mut self, name: &str, kind: TrainableKind, tensor: &HostTensor, fixed: Option<HostTensor>) {
        let shape = tensor.shape().to_vec();
        self.trainable.push(TrainableTensor { name: name.into(), kind, shape, scalars: tensor.len(), fixed });
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
        let Some(tensor) = file.tensors.whole.get(name) else { return Ok(None) };
        self.check_given(&file.path, name, tensor, shape)?;
        Ok(Some(tensor.clone()))
    }

    /// Refuses a tensor of a file that has another shape or is not finite.
    fn check_given(&self, path: &Path, name: &str, tensor: &HostTensor, shape: &[usize]) -> Result<()> {
        let wrong = |reason| self.wrong(path, reason);
        if tensor.shape() != shape {
            return Err(wrong(format!(
                "the tensor {name} has shape {:?}, but the model's has {shape:?}",
                tensor.shape()
            )));
        }
        if let Some(value) = tensor.data().iter().find(|value| !value.is_finite()) {
            return Err(wrong(format!("the tensor {name} holds {value}: its values must be finite")));
        }
        Ok(())
    }

    fn wrong(&self, path: &Path, reason: String) -> Error {
        let path = path.to_path_buf();
        if self.is_finished() { Error::TaskFile { path, reason } } else { Error::Weights { path, reason } }
    }
}

mod finished;
mod masked_lm;
#[cfg(test)]
mod tests;
