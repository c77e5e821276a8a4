//! A task file and its base as one model directory, which other programs load without this one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ::safetensors::tensor::{Dtype, TensorView};
use bitfit_core::{Backend, HostTensor};
use serde_json::Value;

use super::card::{CARD_FILE, ModelCard};
use super::header;
use super::layout::{DENSE_TENSORS, Layout, configuration, sentence_files};
use crate::arch::{MaskedLmTensor, Module, Part};
use crate::checkpoint::safetensors::{self, SINGLE};
use crate::checkpoint::weight_files::{BESIDE_WEIGHTS, FOR_TRANSFORMERS};
use crate::config::{FILE_NAME as CONFIG, read_json};
use crate::data::Kind;
use crate::files::NewDirectory;
use crate::heads::pooling::MODULES;
use crate::model::{Base, head_names};
use crate::{Error, Predictor, Result, TaskFile};

/// A merged model directory.
#[derive(Clone, Debug)]
pub struct Merged {
    /// What computes it.
    pub layout: Layout,
    /// The name of the class in `config.json`.
    pub class: String,
    /// The number of its parameters.
    pub parameters: usize,
    /// The size of its weights.
    pub bytes: u64,
}

/// Writes the model of a task file over its base into a new directory: `config.json` with the class of transformers
/// that has the task's head and with the labels, `model.safetensors` in F32 under that class's names, the files of the
/// tokenizer, a model card, and the header of the task file ([`HEADER_FILE`](super::HEADER_FILE)). Where the head reads
/// what no such class reads (the plain first token, the mean over the tokens, either divided by its length), the
/// directory is one of sentence-transformers, whose last module is the head: its outputs are the logits, or the score,
/// and the header and the card have the labels.
///
/// The directory must not exist. It is written under a temporary name beside it and renamed when it is complete. `path`
/// is the task file, for messages.
///
/// # Errors
/// The errors of [`Predictor::new`] and of [`Layout::of`]; [`Error::TaskFile`] for a task that was calibrated;
/// [`Error::Io`] for a directory that exists or cannot be written; [`Error::Weights`] when the base's files have
/// changed since they were read.
pub fn merge<D: Backend>(base: &Base<D>, task: &TaskFile, path: &Path, dir: &Path) -> Result<Merged> {
    task.check_uncalibrated(path)?;
    let architecture = base.architecture();
    let layout = Layout::of(path, &task.info, architecture)?;
    NewDirectory::check(dir)?;
    // It checks the base and every tensor of the task.
    Predictor::new(base, path, task.clone())?;
    let new = NewDirectory::create(dir)?;
    let from = base.checkpoint().dir();
    new.copy(
        from,
        BESIDE_WEIGHTS.into_iter().chain(FOR_TRANSFORMERS).filter(|name| ![CONFIG, MODULES].contains(name)),
    )?;
    let config = configuration(read_json(&from.join(CONFIG))?, &task.info, &layout, architecture);
    write_json(&new, CONFIG, &config)?;
    let mut tensors = encoder(base, task, &layout)?;
    let mut parameters = 0;
    match layout {
        Layout::Class(_) => tensors.extend(head(base, task)?),
        Layout::SentenceEncoder => {
            let outputs = task.info.spec().head::<D>().outputs();
            let (files, head_dir) = sentence_files(&task.info, base.config().hidden_size, outputs);
            files.iter().try_for_each(|(name, json)| write_json(&new, name, json))?;
            let renamed = head(base, task)?.into_iter().map(|(name, tensor)| {
                let part = if name.ends_with(Part::Bias.suffix()) { 1 } else { 0 };
                (DENSE_TENSORS[part].to_owned(), tensor)
            });
            let dense: BTreeMap<_, _> = renamed.collect();
            write_tensors(&dense, &new.path().join(head_dir).join(SINGLE)).map_err(new.renamed())?;
            parameters += count(&dense);
        }
    }
    write_tensors(&tensors, &new.path().join(SINGLE)).map_err(new.renamed())?;
    parameters += count(&tensors);
    header::write(task, architecture, &new)?;
    new.write(CARD_FILE, ModelCard::of_merged(&task.info, &layout, dir).text().as_bytes())?;
    let bytes = fs::metadata(new.path().join(SINGLE)).map_err(Error::io(dir))?.len();
    base.checkpoint().check_unchanged()?;
    new.finish()?;
    Ok(Merged { class: layout.class(architecture), layout, parameters, bytes })
}

/// The tensors of the encoder with what was trained, by the names that the layout's class looks for.
fn encoder<D: Backend>(base: &Base<D>, task: &TaskFile, layout: &Layout) -> Result<BTreeMap<String, HostTensor>> {
    let (architecture, checkpoint) = (base.architecture(), base.checkpoint());
    let is_class = matches!(layout, Layout::Class(_));
    // The classes that read tokens have no pooler; the plain encoder has the base's.
    let has_pooler = !is_class || base.reads_own_pooler(task.info.pooling);
    let roles = checkpoint.roles().filter(|role| role.module != Module::Pooler || has_pooler);
    let tensor = |role| {
        let parameter = architecture.parameter_name(role);
        let tensor = task.tensors.over(&parameter, || checkpoint.tensor(role))?;
        Ok((if is_class { parameter } else { architecture.name(role) }, tensor))
    };
    roles.map(tensor).collect()
}

/// The tensors of the head, by their parameter names: those of the task, a pooler that the base lacks, and for masked
/// language modelling the base's own head.
fn head<D: Backend>(base: &Base<D>, task: &TaskFile) -> Result<BTreeMap<String, HostTensor>> {
    let (architecture, info) = (base.architecture(), &task.info);
    if info.kind == Kind::MaskedLm {
        let names = architecture.masked_lm.iter();
        let tensors = names.flat_map(|names| MaskedLmTensor::ALL.map(|tensor| (names.name(tensor), tensor)));
        let value = |tensor| base.checkpoint().masked_lm_tensor(tensor);
        return tensors
            .map(|(name, tensor)| task.tensors.over(&name, || value(tensor)).map(|tensor| (name, tensor)))
            .collect();
    }
    let is_fresh = architecture.reads_pooler(info.pooling) && !base.checkpoint().has_pooler();
    let pooler = architecture.pooler().filter(|_| is_fresh).map(|role| architecture.parameter_name(role));
    let names = head_names(architecture, &info.spec(), &info.method).into_iter().chain(pooler);
    // The task was checked to have them.
    Ok(names.filter_map(|name| task.tensors.whole.get(&name).map(|tensor| (name, tensor.clone()))).collect())
}

fn count(tensors: &BTreeMap<String, HostTensor>) -> usize {
    tensors.values().map(HostTensor::len).sum()
}

fn write_json(dir: &NewDirectory, name: &str, json: &Value) -> Result<()> {
    dir.write(name, format!("{json:#}\n").as_bytes())
}

/// Writes tensors in F32, beside the configuration of what has them.
fn write_tensors(tensors: &BTreeMap<String, HostTensor>, path: &Path) -> Result<()> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let view = TensorView::new(Dtype::F32, tensor.shape().to_vec(), bytemuck::cast_slice(tensor.data()));
        let view = view.map_err(|error| Error::Weights {
            path: path.into(),
            reason: format!("the tensor {name} cannot be written: {error}"),
        });
        views.push((name.as_str(), view?));
    }
    safetensors::write(views, path)
}
