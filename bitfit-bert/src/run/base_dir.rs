//! A base model of its own: the directory of a base with trained biases in the place of its own, which this program and
//! `from_pretrained` of transformers open.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ::safetensors::SafeTensorError;
use ::safetensors::tensor::{Dtype, TensorView};
use bitfit_core::{Backend, HostTensor};

use crate::checkpoint::safetensors::{self, SINGLE};
use crate::checkpoint::weight_files::{BESIDE_WEIGHTS, FOR_TRANSFORMERS};
use crate::files::NewDirectory;
use crate::heads::pooling::{MODULES, SentenceModule, modules};
use crate::heads::sentence_encoder::SENTENCE_CONFIGS;
use crate::model::Base;
use crate::{Error, Result};

/// A file that is copied for the classes of transformers that have a head of the base's.
const GENERATION: &str = "generation_config.json";

/// Refuses a directory that is there already, or that cannot be made.
pub(super) fn check_new(dir: &Path) -> Result<()> {
    NewDirectory::check(dir)
}

/// Writes a copy of a base with the values of `trained`, which are named as
/// [`Model::values`](crate::model::Model::values) names them, in the place of its own: `config.json`, the files of the
/// tokenizer, and `model.safetensors` with every tensor of the base's files under its own name, those of its heads
/// included. What is not trained keeps its bytes; what is trained is F32.
///
/// The directory must not exist. It is written under a temporary name beside it and renamed when it is complete.
///
/// # Errors
/// [`Error::Io`] for a directory that exists or cannot be written; [`Error::MissingTensor`] for a trained tensor that
/// the base does not have; [`Error::Weights`] for a tensor that does not lie row by row in the base's file, and when
/// the base's files have changed since they were read.
pub fn write_base<D: Backend>(base: &Base<D>, trained: &HashMap<String, HostTensor>, dir: &Path) -> Result<()> {
    let new = NewDirectory::create(dir)?;
    copy_files(base.checkpoint().dir(), &new)?;
    write_weights(base, trained, &new.path().join(SINGLE))?;
    base.checkpoint().check_unchanged()?;
    new.finish()
}

/// Copies the files beside the weights that are there.
fn copy_files(from: &Path, to: &NewDirectory) -> Result<()> {
    let mut names: Vec<String> =
        BESIDE_WEIGHTS.into_iter().chain(FOR_TRANSFORMERS).chain([GENERATION]).map(str::to_owned).collect();
    if from.join(MODULES).exists() {
        names.extend(modules(&from.join(MODULES))?.iter().filter_map(SentenceModule::config));
        names.extend(SENTENCE_CONFIGS.map(str::to_owned));
    }
    to.copy(from, names.iter().map(String::as_str))
}

/// Writes every tensor of the base's files, with the trained values.
fn write_weights<D: Backend>(base: &Base<D>, trained: &HashMap<String, HostTensor>, path: &Path) -> Result<()> {
    let mut views = Vec::new();
    let mut replaced = HashSet::new();
    for (entry, parameter) in base.checkpoint().all_entries() {
        let new = parameter.and_then(|name| trained.get_key_value(&name));
        let view = match new {
            Some((name, tensor)) => {
                replaced.insert(name);
                TensorView::new(Dtype::F32, tensor.shape().to_vec(), bytemuck::cast_slice(tensor.data()))
            }
            None if entry.strides.is_some() => {
                let reason = format!("the tensor {} is not contiguous: save tensor.contiguous()", entry.name);
                return Err(Error::Weights { path: entry.path.to_path_buf(), reason });
            }
            None => TensorView::new(entry.dtype, entry.shape.clone(), &entry.bytes[entry.range.clone()]),
        };
        let wrong = |error: SafeTensorError| Error::Weights {
            path: entry.path.to_path_buf(),
            reason: format!("the tensor {} cannot be written: {error}", entry.name),
        };
        views.push((entry.name.as_str(), view.map_err(wrong)?));
    }
    if let Some(name) = trained.keys().filter(|name| !replaced.contains(name)).min() {
        return Err(Error::MissingTensor { path: base.checkpoint().path().into(), name: name.clone() });
    }
    safetensors::write(views, path)
}
