//! The base: an encoder's frozen weights, opened once and shared by every task over it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bitfit_core::{Backend, Frozen, FrozenMatrix, Precision, Workspace};

use super::masked_lm::MaskedLm;
use crate::arch::{Architecture, Module, Role};
use crate::config::ModelConfig;
use crate::data::Kind;
use crate::heads::Pooling;
use crate::methods::EncoderTensors;
use crate::{Checkpoint, Result, Tokenizer};

/// A base model on a device: its weights are laid out once, their fingerprint is computed once and its tokenizer is
/// read once. Clones share all of it, and so does every [`Model`](super::Model) over it.
///
/// Opening reads the configuration and the headers of the weight files. The weights are read and checked when the first
/// model is made, so that errors elsewhere are reported without waiting for them; each is laid out when a model reads
/// it, unless its task trains it.
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
    weights: Mutex<Weights<D>>,
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
            weights: Mutex::new(Weights { tensors: HashMap::new(), matrices: HashMap::new() }),
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

    /// The tensors of the base below a head over this read-out.
    pub(crate) fn tensors(&self, pooling: Pooling) -> EncoderTensors<'_> {
        let has_pooler = self.reads_own_pooler(pooling);
        EncoderTensors { architecture: self.architecture(), config: self.config(), has_pooler }
    }

    /// Whether a head over this read-out reads the checkpoint's pooler.
    pub(crate) fn reads_own_pooler(&self, pooling: Pooling) -> bool {
        self.architecture().reads_pooler(pooling) && self.checkpoint().has_pooler()
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

    /// Handles to the head for masked language modelling, which is checked and laid out at the first call.
    pub(super) fn masked_lm(&self) -> Result<&MaskedLm<D>> {
        self.shared.masked_lm.get_or_try(|| {
            self.fingerprint_for(Kind::MaskedLm)?;
            MaskedLm::new(self)
        })
    }

    /// Whether the checkpoint has a module outside of the layers.
    pub(super) fn has(&self, module: Module) -> bool {
        self.checkpoint().roles().any(|role| role.module == module)
    }

    /// A frozen vector or table, which is copied to the device at the first call.
    pub(super) fn frozen(&self, role: Role) -> Result<Frozen<D>> {
        let mut weights = self.weights()?;
        if let Some(tensor) = weights.tensors.get(&role) {
            return Ok(tensor.clone());
        }
        let tensor = Frozen::new(self.device(), &self.checkpoint().tensor(role)?)?;
        Ok(weights.tensors.entry(role).or_insert(tensor).clone())
    }

    /// The row-wise concatenation of the frozen weights of `modules`, which is laid out for its products at the first
    /// call.
    pub(super) fn matrix(&self, modules: &[Module], layer: usize) -> Result<FrozenMatrix<D>> {
        let mut weights = self.weights()?;
        let key = (modules.to_vec(), layer);
        if let Some(matrix) = weights.matrices.get(&key) {
            return Ok(matrix.clone());
        }
        let roles = || modules.iter().map(|&module| Role::weight(module, layer));
        let parts = roles().map(|role| self.checkpoint().tensor(role)).collect::<Result<Vec<_>>>()?;
        let matrix = FrozenMatrix::with_precision(self.device(), &parts, self.precision(modules))?;
        // Only the packed layout is read from here on.
        roles().for_each(|role| self.checkpoint().release(role));
        Ok(weights.matrices.entry(key).or_insert(matrix).clone())
    }

    /// The precision of products with the weights of `modules`.
    pub(super) fn precision(&self, modules: &[Module]) -> Precision {
        match modules {
            // The residual stream that begins behind the projection is f32 in every precision. The pooler reads a few
            // rows only, and its activation computes in f32: products in bf16 would save nothing.
            [Module::EmbeddingsProjection | Module::Pooler] => Precision::F32,
            _ => self.device().precision(),
        }
    }

    /// What is laid out. Its lock is held while something is added, so that each weight is laid out once.
    fn weights(&self) -> Result<MutexGuard<'_, Weights<D>>> {
        // Computing the fingerprint reads and checks every weight.
        self.fingerprint()?;
        // What is there is complete, so a poisoned lock is harmless.
        Ok(self.shared.weights.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<D: Backend> Clone for Base<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// The frozen weights on the device that some task has read so far.
#[derive(Debug)]
struct Weights<D: Backend> {
    tensors: HashMap<Role, Frozen<D>>,
    matrices: HashMap<(Vec<Module>, usize), FrozenMatrix<D>>,
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
