//! The head for masked language modelling in a checkpoint: checked when a task reads it, and not before, because no
//! other task does.

use bitfit_core::HostTensor;

use super::mapped::Entry;
use super::{Checkpoint, fingerprint, to_host};
use crate::arch::{MaskedLmNames, MaskedLmTensor, Module, Part, Role};
use crate::{Error, Result};

/// The most rows of a vocabulary of which the number of each is exact in f32, as predictions hold it.
const MAX_VOCABULARY: usize = 1 << 24;

impl Checkpoint {
    /// Checks that the checkpoint has a whole head for masked language modelling, whose last product is with the word
    /// embeddings.
    ///
    /// # Errors
    /// [`Error::Weights`] for a checkpoint without such a head, for one whose last product is with another matrix than
    /// the word embeddings, and for two different tensors in one place; [`Error::MissingTensor`],
    /// [`Error::ShapeMismatch`] and [`Error::Dtype`] for one of its tensors.
    pub fn check_masked_lm(&self) -> Result<()> {
        let wrong = |reason| Err(Error::Weights { path: self.path.clone(), reason });
        let Some(names) = self.masked_lm_names() else {
            let first = self.architecture().masked_lm.as_ref().map(|names| names.name(MaskedLmTensor::ALL[0]));
            let lacks = first.map_or_else(String::new, |first| format!(" (no {first})"));
            return wrong(format!(
                "the file has no head for masked language modelling{lacks}: take a checkpoint as it was pre-trained, \
                 such as bert-base-uncased or roberta-base; sentence encoders and fine-tuned models have lost it"
            ));
        };
        if self.config.vocab_size > MAX_VOCABULARY {
            return wrong(format!("a vocabulary of more than {MAX_VOCABULARY} word pieces cannot be predicted"));
        }
        for tensor in MaskedLmTensor::ALL {
            let [first, others @ ..] = self.masked_lm_entries(tensor) else {
                return Err(Error::MissingTensor { path: self.path.clone(), name: names.name(tensor) });
            };
            self.check_entry(first, tensor.shape(&self.config))?;
            for other in others {
                self.check_entry(other, tensor.shape(&self.config))?;
                if to_host(first)?.data() != to_host(other)?.data() {
                    return wrong(format!(
                        "the tensors {} and {} differ, but both are one tensor of the model: remove the wrong one",
                        first.name, other.name
                    ));
                }
            }
        }
        self.check_tied(names)
    }

    /// Refuses a last product with another matrix than the word embeddings.
    fn check_tied(&self, names: &MaskedLmNames) -> Result<()> {
        let weight = MaskedLmTensor::Decoder(Part::Weight);
        let [entry, ..] = self.masked_lm_entries(weight) else {
            return match self.config.tie_word_embeddings {
                true => Ok(()),
                // It would have a matrix of its own.
                false => Err(Error::MissingTensor { path: self.path.clone(), name: names.name(weight) }),
            };
        };
        self.check_entry(entry, weight.shape(&self.config))?;
        let words = self.tensor(Role::weight(Module::WordEmbeddings, 0))?;
        if to_host(entry)?.data() == words.data() {
            return Ok(());
        }
        let reason = format!(
            "the tensor {} differs from the word embeddings: a head for masked language modelling with a matrix of its \
             own is not supported; take a checkpoint whose embeddings are tied",
            entry.name
        );
        Err(Error::Weights { path: self.path.clone(), reason })
    }

    /// The names of the head's tensors; `None` where the checkpoint holds none of them.
    fn masked_lm_names(&self) -> Option<&'static MaskedLmNames> {
        let dense = MaskedLmTensor::Dense(Part::Weight);
        self.architecture().masked_lm.as_ref().filter(|_| !self.masked_lm_entries(dense).is_empty())
    }

    fn masked_lm_entries(&self, tensor: MaskedLmTensor) -> &[Entry] {
        self.masked_lm.get(&tensor).map_or(&[], Vec::as_slice)
    }

    /// The tensor of the head, in f32; for its last product that of the word embeddings.
    ///
    /// # Errors
    /// As [`Checkpoint::check_masked_lm`], which is to be called first.
    pub fn masked_lm_tensor(&self, tensor: MaskedLmTensor) -> Result<HostTensor> {
        if tensor == MaskedLmTensor::Decoder(Part::Weight) {
            return self.tensor(Role::weight(Module::WordEmbeddings, 0));
        }
        match self.masked_lm_entries(tensor) {
            [entry, ..] => to_host(entry),
            [] => self.check_masked_lm().and(Err(Error::Weights {
                path: self.path.clone(),
                reason: "the head for masked language modelling is not whole".into(),
            })),
        }
    }

    /// The fingerprint of the weights that a task of masked language modelling reads: those of the encoder, whose own
    /// fingerprint is `encoder`, and those of the head.
    ///
    /// # Errors
    /// As [`Checkpoint::fingerprint`] and [`Checkpoint::check_masked_lm`].
    pub fn masked_lm_fingerprint(&self, encoder: &str) -> Result<String> {
        self.check_masked_lm()?;
        let names = self.masked_lm_names().into_iter();
        let tensors: Vec<(String, &Entry)> = names
            .flat_map(|names| MaskedLmTensor::ALL.map(|tensor| (names.name(tensor), tensor)))
            .filter_map(|(name, tensor)| Some((name, self.masked_lm_entries(tensor).first()?)))
            .collect();
        let head = fingerprint::fingerprint(tensors.iter().map(|(name, entry)| (name.as_str(), *entry)))?;
        Ok(blake3::hash(format!("{encoder} {head}").as_bytes()).to_hex().to_string())
    }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::*;
    use crate::arch::Architecture;
    use crate::fixture::Tiny;

    const DECODER: &str = "cls.predictions.decoder.weight";

    fn refusal(tiny: &Tiny) -> String {
        let dir = tempfile::tempdir().unwrap();
        tiny.write(dir.path());
        let message = Checkpoint::open(dir.path()).unwrap().check_masked_lm().unwrap_err().to_string();
        assert!(message.contains("model.safetensors: ") && !message.contains('\n'), "{message}");
        message
    }

    fn check(tiny: &Tiny) -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        tiny.write(dir.path());
        Checkpoint::open(dir.path()).unwrap().check_masked_lm()
    }

    #[test]
    fn the_head_of_every_architecture_is_found() {
        let heads = Architecture::all().filter(|architecture| architecture.masked_lm.is_some());
        for architecture in heads {
            let tiny = Tiny::new().in_words_of(architecture).with_masked_lm();
            let names = architecture.masked_lm.as_ref().unwrap();
            let base = tiny.open();
            for tensor in MaskedLmTensor::ALL {
                let read = base.masked_lm_tensor(tensor).unwrap();
                assert_eq!(read.data(), tiny.tensors[&names.name(tensor)].data, "{architecture} {tensor:?}");
            }
            check(&tiny).unwrap();
        }
    }

    #[test]
    fn a_checkpoint_without_a_head_says_what_is_missing_and_the_way_out() {
        let message = refusal(&Tiny::new());
        assert!(message.contains("no cls.predictions.transform.dense.weight"), "{message}");
        assert!(message.contains("take a checkpoint as it was pre-trained"), "{message}");
        for tensor in MaskedLmTensor::ALL.into_iter().skip(1) {
            let mut tiny = Tiny::new().with_masked_lm();
            let name = crate::arch::BERT.masked_lm.as_ref().unwrap().name(tensor);
            tiny.tensors.remove(&name);
            assert!(refusal(&tiny).ends_with(&format!("the tensor {name} is missing")));
        }
    }

    #[test]
    fn a_head_of_other_extents_or_types_is_refused_by_name() {
        let mut tiny = Tiny::new().with_masked_lm();
        tiny.add("cls.predictions.bias", &[12], Dtype::F32);
        assert!(refusal(&tiny).contains("cls.predictions.bias has shape [12], but config.json implies [11]"));
        tiny.add("cls.predictions.bias", &[11], Dtype::I64);
        assert!(refusal(&tiny).contains("cls.predictions.bias is of type I64"));
    }

    #[test]
    fn a_decoder_is_the_word_embeddings_or_refused() {
        let mut tiny = Tiny::new().with_masked_lm();
        let words = tiny.tensors["embeddings.word_embeddings.weight"].clone();
        tiny.tensors.insert(DECODER.into(), words);
        check(&tiny).unwrap();
        tiny.config["tie_word_embeddings"] = false.into();
        check(&tiny).unwrap();
        tiny.tensors.get_mut(DECODER).unwrap().data[17] += 0.5;
        assert!(refusal(&tiny).contains(&format!("the tensor {DECODER} differs from the word embeddings")));
        tiny.tensors.remove(DECODER);
        let dir = tempfile::tempdir().unwrap();
        tiny.write(dir.path());
        let message = Checkpoint::open(dir.path()).unwrap().check_masked_lm().unwrap_err().to_string();
        assert!(message.ends_with(&format!("the tensor {DECODER} is missing")), "{message}");
    }

    #[test]
    fn two_biases_of_one_place_must_be_equal() {
        let mut tiny = Tiny::new().with_masked_lm();
        let bias = tiny.tensors["cls.predictions.bias"].clone();
        tiny.tensors.insert("cls.predictions.decoder.bias".into(), bias);
        check(&tiny).unwrap();
        tiny.tensors.get_mut("cls.predictions.decoder.bias").unwrap().data[3] = 9.0;
        let message = refusal(&tiny);
        assert!(message.contains("cls.predictions.bias and cls.predictions.decoder.bias differ"), "{message}");
    }

    #[test]
    fn the_fingerprint_sees_every_value_of_the_head_and_the_encoders() {
        let original = Tiny::new().with_masked_lm();
        let of = |tiny: &Tiny, encoder| tiny.open().masked_lm_fingerprint(encoder).unwrap();
        let expected = of(&original, "a");
        assert_ne!(of(&original, "b"), expected);
        for name in original.tensors.keys().filter(|name| name.starts_with("cls.")) {
            let mut changed = original.clone();
            *changed.tensors.get_mut(name).unwrap().data.last_mut().unwrap() += 1.0;
            assert_ne!(of(&changed, "a"), expected, "{name}");
        }
    }
}
