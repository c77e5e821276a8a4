//! The head for masked language modelling of one task: the base's, with what the task trains of it. Its biases always
//! train; where the method trains every parameter, so do its weights, the last of which is the table of word
//! embeddings.

use bitfit_core::{Backend, FrozenMatrix, Mask, Param, Precision, WeightPart};

use super::{Builder, TrainableKind};
use crate::Result;
use crate::arch::{MaskedLmTensor, Module, Role};
use crate::model::masked_lm::MaskedLm;

impl<D: Backend> Builder<'_, D> {
    /// The base's head for masked language modelling, or that of a finished task; `words` are the encoder's word
    /// embeddings.
    pub(super) fn masked_lm(&mut self, words: &Param<D>) -> Result<MaskedLm<D>> {
        let (base, architecture) = (self.base, self.base.architecture());
        let mut head = base.masked_lm()?.clone();
        let names = architecture.masked_lm.as_ref().expect("a base with such a head");
        let device = base.device();
        for tensor in MaskedLmTensor::trained(&self.options.method) {
            let (name, shape) = (names.name(tensor), tensor.shape(base.config()));
            let value = if self.is_finished() {
                self.given_or(&name, &shape, Vec::new())?
            } else {
                let value = base.checkpoint().masked_lm_tensor(tensor)?;
                self.count_head(&name, TrainableKind::Head, &value, None);
                value
            };
            let mask = if self.is_finished() { Mask::None } else { Mask::All };
            match head.vector(tensor) {
                Some(vector) => *vector = self.arena.add(name, value, mask)?,
                None => {
                    let part = WeightPart::New(name, value, mask);
                    head.dense.weight = self.arena.weight_of(vec![part], Precision::F32)?;
                }
            }
        }
        // A task may have brought other word embeddings, to which the last product is tied.
        let words_role = Role::weight(Module::WordEmbeddings, 0);
        if let Some(table) = self.finished(words_role)? {
            head.decoder.weight = FrozenMatrix::with_precision(device, &[table], Precision::F32)?.into();
        }
        if let Param::Trainable(words) = words {
            head.decoder.weight = self.arena.weight_of(vec![WeightPart::Tied(words.clone())], Precision::F32)?;
        }
        Ok(head)
    }
}
