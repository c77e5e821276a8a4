//! The tensors of a finished task's model: those that the task trained, and the base's for all others.

use bitfit_core::HostTensor;

use crate::arch::{MaskedLmTensor, Role};
use crate::config::ModelConfig;
use crate::model::TrainedTensors;
use crate::{Checkpoint, Error, Result};

/// Which tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A tensor of the encoder, or of a pooler that the base may lack.
    Encoder(Role),
    /// A tensor of the checkpoint's head for masked language modelling.
    MaskedLm(MaskedLmTensor),
    /// A tensor of a head that is new with the task, by its parameter name.
    Head(String),
}

/// The tensors of a model by what they are.
#[derive(Debug)]
pub(super) struct Weights<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) trained: &'a TrainedTensors,
}

impl Weights<'_> {
    /// The configuration of the base.
    pub(super) fn config(&self) -> &ModelConfig {
        self.checkpoint.config()
    }

    /// The parameter name, which is that of transformers.
    pub(super) fn name(&self, source: &Source) -> String {
        let architecture = self.checkpoint.architecture();
        match source {
            Source::Encoder(role) => architecture.parameter_name(*role),
            Source::MaskedLm(tensor) => {
                architecture.masked_lm.as_ref().map(|names| names.name(*tensor)).unwrap_or_default()
            }
            Source::Head(name) => name.clone(),
        }
    }

    /// The extents; empty for a tensor of a head that the task does not have.
    pub(super) fn shape(&self, source: &Source) -> Vec<usize> {
        match source {
            Source::Encoder(role) => self.checkpoint.architecture().shape(*role, self.config()),
            Source::MaskedLm(tensor) => tensor.shape(self.config()),
            Source::Head(name) => self.trained.whole.get(name).map_or_else(Vec::new, |tensor| tensor.shape().to_vec()),
        }
    }

    /// The tensor: that of the task, otherwise the base's.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] for one that neither has; those of the base's files.
    pub(super) fn tensor(&self, source: &Source) -> Result<HostTensor> {
        let name = self.name(source);
        if let Some(tensor) = self.trained.whole.get(&name) {
            return Ok(tensor.clone());
        }
        let partial = self.trained.partial.get(&name);
        let of_base = match source {
            Source::Encoder(role) => self.checkpoint.tensor(*role)?,
            Source::MaskedLm(tensor) => self.checkpoint.masked_lm_tensor(*tensor)?,
            Source::Head(_) => return Err(Error::MissingTensor { path: self.checkpoint.path().into(), name }),
        };
        partial.map_or(Ok(of_base.clone()), |partial| partial.fill(&of_base))
    }

    /// Returns the memory of a tensor's file to the system, once it has been written elsewhere.
    pub(super) fn release(&self, source: &Source) {
        if let Source::Encoder(role) = source {
            self.checkpoint.release(*role);
        }
    }
}
