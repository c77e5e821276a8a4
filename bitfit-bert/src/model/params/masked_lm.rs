//! The head for masked language modelling of one task: the base's, with the task's biases.

use bitfit_core::{Backend, Frozen, FrozenMatrix, Mask, Precision};

use super::{Builder, TrainableKind, TrainableTensor};
use crate::Result;
use crate::arch::{MaskedLmTensor, Module, Role};
use crate::model::masked_lm::MaskedLm;

impl<D: Backend> Builder<'_, D> {
    /// The base's head for masked language modelling, whose biases train or are those of a finished task.
    pub(super) fn masked_lm(&mut self) -> Result<MaskedLm<D>> {
        let (base, architecture) = (self.base, self.base.architecture());
        let mut head = base.masked_lm()?.clone();
        let names = architecture.masked_lm.as_ref().expect("a base with such a head");
        for tensor in MaskedLmTensor::BIASES {
            let (name, shape) = (names.name(tensor), tensor.shape(base.config()));
            if self.is_finished() {
                let value = self.given_or(&name, &shape, Vec::new())?;
                *head.bias(tensor) = Frozen::new(base.device(), &value)?.into();
                continue;
            }
            *head.bias(tensor) =
                self.arena.train(name.clone(), base.checkpoint().masked_lm_tensor(tensor)?, Mask::All)?.into();
            self.trainable.push(TrainableTensor { name, kind: TrainableKind::Head, shape, fixed: None });
        }
        // A task may have brought other word embeddings, to which the last product is tied.
        let words = Role::weight(Module::WordEmbeddings, 0);
        if let Some(table) =
            self.given(&architecture.parameter_name(words), &architecture.shape(words, base.config()))?
        {
            head.decoder.weight = FrozenMatrix::with_precision(base.device(), &[table], Precision::F32)?.into();
        }
        Ok(head)
    }
}
