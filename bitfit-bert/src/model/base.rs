//! The base: an encoder's frozen weights, opened once and shared by every task over it.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bitfit_core::{Backend, Frozen, FrozenMatrix, Mask, Precision, Workspace};

use super::embeddings::Embeddings;
use super::encoder::Encoder;
use super::layer::{Layer, QueryKeyValue};
use super::masked_lm::MaskedLm;
use super::position_bias::position_bias;
use super::{Dense, Norm};
use crate::arch::{Architecture, Module, Part, Role};
use crate::config::ModelConfig;
use crate::data::Kind;
use crate::heads::Pooling;
use crate::methods::Method;
use crate::{Checkpoint, Result, Tokenizer};

/// A base model on a device: its weights are laid out once, their fingerprint is computed once and its tokenizer is
/// read once. Clones share all of it, and so does every [`Model`](super::Model) over it.
///
/// Opening reads the configuration and the headers of the weight files. The weights are read, checked and laid out when
/// the first model is made, so that errors elsewhere are reported without waiting for them.
#[derive(Debug)]
pub struct Base<D: Backend> {
    shared: Arc<Shared<D>>,
}

#[derive(Debug)]
struct Shared<D: Backend> {
    device: D,
    workspace: Workspace<D>,
    checkpoint: Checkpoint,
    fingerprint: Once<String>,
    tokenizer: Once<Tokenizer>,
    encoder: Once<Encoder<D>>,
    masked_lm_fingerprint: Once<String>,
    masked_lm: Once<MaskedLm<D>>,
}

impl<D: Backend> Base<D> {
    /// Opens the model directory `dir`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open(device: &D, dir: &Path) -> Result<Self> {
        Ok(Self::new(device, Checkpoint::open(dir)?))
    }

    /// A base of an opened checkpoint.
    pub fn new(device: &D, checkpoint: Checkpoint) -> Self {
        let (device, workspace) = (device.clone(), Workspace::new(device.clone()));
        let shared = Shared {
            device,
            workspace,
            checkpoint,
            fingerprint: Once::new(),
            tokenizer: Once::new(),
            encoder: Once::new(),
            masked_lm_fingerprint: Once::new(),
            masked_lm: Once::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.shared.device
    }

    /// The workspace that the tasks over this base share.
    pub fn workspace(&self) -> &Workspace<D> {
        &self.shared.workspace
    }

    /// The files of the base.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.shared.checkpoint
    }

    /// The architecture and its extents.
    pub fn config(&self) -> &ModelConfig {
        self.checkpoint().config()
    }

    /// The architecture.
    pub fn architecture(&self) -> &'static Architecture {
        self.checkpoint().architecture()
    }

    /// The tensors of the base that a method trains below a head over this read-out, in the order of the network, those
    /// that are inert included.
    pub(super) fn trained_by<'a>(&'a self, method: &'a Method, pooling: Pooling) -> impl Iterator<Item = Role> + 'a {
        let is_read = self.architecture().reads_pooler(pooling) && self.checkpoint().has_pooler();
        let pooler = self.architecture().pooler().filter(move |_| is_read);
        let roles = self.architecture().required(self.config()).chain(pooler);
        roles.filter(|&role| method.mask(role) != Mask::None)
    }

    /// [`Checkpoint::fingerprint`], computed at the first call.
    ///
    /// # Errors
    /// As [`Checkpoint::fingerprint`].
    pub fn fingerprint(&self) -> Result<&str> {
        self.shared.fingerprint.get_or_try(|| self.checkpoint().fingerprint()).map(String::as_str)
    }

    /// The fingerprint of the weights that a task of this kind reads: [`Base::fingerprint`], or for masked language
    /// modelling [`Checkpoint::masked_lm_fingerprint`].
    ///
    /// # Errors
    /// As those.
    pub fn fingerprint_for(&self, kind: Kind) -> Result<&str> {
        let encoder = self.fingerprint()?;
        if kind != Kind::MaskedLm {
            return Ok(encoder);
        }
        let compute = || self.checkpoint().masked_lm_fingerprint(encoder);
        self.shared.masked_lm_fingerprint.get_or_try(compute).map(String::as_str)
    }

    /// The tokenizer of the model directory, read at the first call.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.shared.tokenizer.get_or_try(|| Tokenizer::open(self.checkpoint().dir(), self.config()))
    }

    /// Handles to all of the weights, which are laid out at the first call.
    pub(super) fn encoder(&self) -> Result<&Encoder<D>> {
        self.shared.encoder.get_or_try(|| {
            // Computing the fingerprint reads and checks every weight.
            self.fingerprint()?;
            self.lay_out()
        })
    }

    /// Handles to the head for masked language modelling, which is checked and laid out at the first call.
    pub(super) fn masked_lm(&self) -> Result<&MaskedLm<D>> {
        self.shared.masked_lm.get_or_try(|| {
            self.fingerprint_for(Kind::MaskedLm)?;
            MaskedLm::new(self)
        })
    }

    fn lay_out(&self) -> Result<Encoder<D>> {
        let config = self.config();
        let table = |module| self.frozen(Role::weight(module, 0));
        let token_type = self.architecture().has(Module::TokenTypeEmbeddings).then_some(Module::TokenTypeEmbeddings);
        let embeddings = Embeddings {
            word: table(Module::WordEmbeddings)?,
            position: table(Module::PositionEmbeddings)?,
            token_type: token_type.map(table).transpose()?,
            norm: self.norm(Module::EmbeddingsLayerNorm, 0)?,
            projection: self.has(Module::EmbeddingsProjection).then(|| self.projection()).transpose()?,
            dropout: config.hidden_dropout_prob,
        };
        let layers = (0..config.num_hidden_layers).map(|layer| self.layer(layer)).collect::<Result<_>>()?;
        let pooler = self.checkpoint().has_pooler().then(|| self.pooler()).transpose()?;
        let position_bias = self
            .has(Module::PositionBias)
            .then(|| {
                let table = self.checkpoint().tensor(Role::weight(Module::PositionBias, 0))?;
                position_bias(self.device(), &table)
            })
            .transpose()?;
        Ok(Encoder { embeddings, layers, position_bias, pooler, pooling: Pooling::Pooler })
    }

    /// Whether the checkpoint has a module outside of the layers.
    fn has(&self, module: Module) -> bool {
        self.checkpoint().roles().any(|role| role.module == module)
    }

    fn projection(&self) -> Result<Dense<D>> {
        // The residual stream that begins here is f32 in every precision.
        let weight = self.checkpoint().tensor(Role::weight(Module::EmbeddingsProjection, 0))?;
        let weight = FrozenMatrix::with_precision(self.device(), &[weight], Precision::F32)?.into();
        Ok(Dense { weight, bias: self.frozen(Role::bias(Module::EmbeddingsProjection, 0))?.into() })
    }

    fn layer(&self, layer: usize) -> Result<Layer<D>> {
        let config = self.config();
        let matrix = |modules: &[Module]| self.matrix(modules, layer);
        let bias = |module| Ok::<_, crate::Error>(self.frozen(Role::bias(module, layer))?.into());
        let is_last = layer + 1 == config.num_hidden_layers;
        Ok(Layer {
            query_key_value: if is_last {
                QueryKeyValue::Split {
                    query: matrix(&[Module::Query])?.into(),
                    key_value: matrix(&[Module::Key, Module::Value])?.into(),
                }
            } else {
                QueryKeyValue::Packed(matrix(&[Module::Query, Module::Key, Module::Value])?.into())
            },
            query_bias: bias(Module::Query)?,
            key_bias: bias(Module::Key)?,
            value_bias: bias(Module::Value)?,
            attention_output: matrix(&[Module::AttentionOutput])?.into(),
            attention_output_bias: bias(Module::AttentionOutput)?,
            attention_norm: self.norm(Module::AttentionLayerNorm, layer)?,
            intermediate: matrix(&[Module::Intermediate])?,
            intermediate_bias: bias(Module::Intermediate)?,
            output: matrix(&[Module::Output])?,
            output_bias: bias(Module::Output)?,
            output_norm: self.norm(Module::OutputLayerNorm, layer)?,
            heads: config.num_attention_heads,
            hidden_dropout: config.hidden_dropout_prob,
            attention_dropout: config.attention_probs_dropout_prob,
        })
    }

    fn pooler(&self) -> Result<Dense<D>> {
        // The pooler reads a few rows only, and its activation computes in f32: products in bf16 would save nothing.
        let weight = self.checkpoint().tensor(Role::weight(Module::Pooler, 0))?;
        let weight = FrozenMatrix::with_precision(self.device(), &[weight], Precision::F32)?.into();
        Ok(Dense { weight, bias: self.frozen(Role::bias(Module::Pooler, 0))?.into() })
    }

    fn norm(&self, module: Module, layer: usize) -> Result<Norm<D>> {
        let [weight, bias] = [Part::Weight, Part::Bias].map(|part| self.frozen(Role { layer, module, part }));
        Ok(Norm { weight: weight?.into(), bias: bias?.into(), eps: self.config().layer_norm_eps })
    }

    fn frozen(&self, role: Role) -> Result<Frozen<D>> {
        Ok(Frozen::new(self.device(), &self.checkpoint().tensor(role)?)?)
    }

    /// The row-wise concatenation of the weights of `modules`, laid out for its products.
    fn matrix(&self, modules: &[Module], layer: usize) -> Result<FrozenMatrix<D>> {
        let roles = || modules.iter().map(|&module| Role::weight(module, layer));
        let parts = roles().map(|role| self.checkpoint().tensor(role)).collect::<Result<Vec<_>>>()?;
        let matrix = FrozenMatrix::new(self.device(), &parts)?;
        // Only the packed layout is read from here on.
        roles().for_each(|role| self.checkpoint().release(role));
        Ok(matrix)
    }
}

impl<D: Backend> Clone for Base<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// A value that is computed at its first use; errors are not stored.
#[derive(Debug)]
struct Once<T> {
    value: OnceLock<T>,
    computing: Mutex<()>,
}

impl<T> Once<T> {
    fn new() -> Self {
        Self { value: OnceLock::new(), computing: Mutex::new(()) }
    }

    /// The value, computed by `compute` at the first call. If several threads call it, one computes and the others
    /// wait.
    fn get_or_try(&self, compute: impl FnOnce() -> Result<T>) -> Result<&T> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        // The lock guards no data, so a poisoned lock is harmless.
        let _computing = self.computing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let value = compute()?;
        Ok(self.value.get_or_init(|| value))
    }
}
