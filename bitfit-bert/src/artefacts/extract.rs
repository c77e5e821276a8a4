//! The way back from a fine-tuned checkpoint to a task file over its base.

use std::path::Path;

use bitfit_core::{Backend, HostTensor, Mask};

use super::header::{self, HEADER_FILE};
use super::layout::{DENSE_TENSORS, Layout, sentence_files};
use super::moved::{self, MovedTensor};
use super::tuned::{self, TunedTask};
use crate::arch::{MaskedLmTensor, Part};
use crate::checkpoint::mapped::MappedFile;
use crate::checkpoint::safetensors::{self, SINGLE};
use crate::data::Kind;
use crate::methods::{Masks, Method};
use crate::model::{Base, PartialTensor, TrainedTensors, head_names};
use crate::task_file::TaskInfo;
use crate::{Checkpoint, Error, Predictor, Result, TaskFile, Tokenizer};

/// The files of which a directory with a tokenizer has at least one.
const TOKENIZER_FILES: [&str; 3] = ["tokenizer.json", "vocab.txt", "vocab.json"];

/// A task file that was made of a checkpoint, which is not written yet.
#[derive(Clone, Debug)]
pub struct Extracted {
    /// The task.
    pub task: TaskFile,
    /// The tensors of the encoder that differ from the base's, all of which the task file holds.
    pub moved: Vec<MovedTensor>,
    /// What else is in the checkpoint and not in the base, or not as there, and that no task file holds: a pooler that
    /// the task does not read, heads of other tasks.
    pub not_held: Vec<String>,
    /// Whether the checkpoint is one that [`merge`](super::merge) wrote, so that the task file is the one that was
    /// merged.
    pub is_merged: bool,
    /// Whether the checkpoint has a tokenizer, which was found to be the base's.
    pub has_tokenizer: bool,
}

/// Makes a task file of the fine-tuned checkpoint in `dir` over its base. The kind of the task is that of the class in
/// its `config.json`, the labels are its `id2label`, and what neither says is `options`. A directory that
/// [`merge`](super::merge) wrote says everything itself.
///
/// # Errors
/// The errors of [`Checkpoint::open`]; [`Error::Config`] for a configuration that differs from the base's;
/// [`Error::Unsupported`] for a class without a task; [`Error::Tokenizer`] for another tokenizer than the base's;
/// [`Error::MissingTensor`] for a head that is not whole; [`Error::TaskFile`] for a merged directory whose weights were
/// changed beyond the method of its task.
pub fn extract<D: Backend>(base: &Base<D>, dir: &Path, options: &TunedTask) -> Result<Extracted> {
    let tuned = Checkpoint::open(dir)?;
    check_config(base, &tuned)?;
    let has_tokenizer = check_tokenizer(base, &tuned)?;
    let merged = header::read(dir)?;
    let is_merged = merged.is_some();
    let (mut info, method) = match merged {
        Some((info, method)) => (info, Some(method)),
        None => (tuned::info(base, &tuned, dir, options)?, None),
    };
    if info.kind == Kind::MaskedLm {
        tuned.check_masked_lm()?;
    }
    let compare = |role| moved::compare(base, &tuned, role).transpose();
    let moved: Vec<MovedTensor> = base.tensors(info.pooling).roles().filter_map(compare).collect::<Result<_>>()?;
    let masks = match method {
        Some(method) => {
            let masks = Masks::new(&method, base.tensors(info.pooling))?;
            check_within(base, &tuned, &moved, &masks, dir)?;
            masks
        }
        None => {
            let trains_weights = info.kind == Kind::MaskedLm && head_weights_moved(base, &tuned)?;
            info.method = match trains_weights {
                // No other method trains the weights of the checkpoint's own head.
                true => Method::Full,
                false => moved::method(base, &tuned, &moved, info.pooling)?,
            };
            let masks = Masks::new(&info.method, base.tensors(info.pooling))?;
            if matches!(info.method, Method::Mask(_)) {
                info.method = Method::Mask(None);
            }
            masks
        }
    };
    let mut tensors = encoder(base, &tuned, &info, &moved, &masks)?;
    tensors.whole.extend(head(base, &tuned, &info, dir)?);
    let not_held = not_held(base, &tuned, &info)?;
    tuned.check_unchanged()?;
    let task = TaskFile { info, tensors };
    // It checks the base and every tensor.
    Predictor::new(base, dir, task.clone())?;
    Ok(Extracted { task, moved, not_held, is_merged, has_tokenizer })
}

/// Refuses a checkpoint of another architecture or other extents.
fn check_config<D: Backend>(base: &Base<D>, tuned: &Checkpoint) -> Result<()> {
    let Some((key, expected, found)) = base.config().inference().difference(&tuned.config().inference()) else {
        return Ok(());
    };
    Err(Error::Config {
        path: tuned.dir().join(crate::config::FILE_NAME),
        reason: format!(
            "\"{key}\" is {found}, but {expected} in the base model {}: the checkpoint was not made from it",
            base.checkpoint().dir().display()
        ),
    })
}

/// Refuses another tokenizer than the base's; returns whether there is one.
fn check_tokenizer<D: Backend>(base: &Base<D>, tuned: &Checkpoint) -> Result<bool> {
    if !TOKENIZER_FILES.iter().any(|name| tuned.dir().join(name).exists()) {
        return Ok(false);
    }
    let tokenizer = Tokenizer::open(tuned.dir(), tuned.config())?;
    if tokenizer.fingerprint() == base.tokenizer()?.fingerprint() {
        return Ok(true);
    }
    Err(Error::Tokenizer {
        path: tuned.dir().into(),
        reason: format!(
            "it gives other tokens than that of the base model {}: a task file has no tokenizer of its own",
            base.checkpoint().dir().display()
        ),
    })
}

/// Refuses a merged directory in which something moved that its task's method does not train.
fn check_within<D: Backend>(
    base: &Base<D>,
    tuned: &Checkpoint,
    moved: &[MovedTensor],
    masks: &Masks,
    dir: &Path,
) -> Result<()> {
    for MovedTensor { name, role, .. } in moved {
        let is_within = match masks.of(*role) {
            Mask::None => false,
            Mask::All => true,
            mask => {
                let (own, other) = (base.checkpoint().tensor(*role)?, tuned.tensor(*role)?);
                let filled = PartialTensor::of(mask, &other)?.fill(&own)?;
                moved::differing(&filled, &other, tuned.dtype(*role)).next().is_none()
            }
        };
        if !is_within {
            return Err(Error::TaskFile {
                path: dir.join(HEADER_FILE),
                reason: format!(
                    "the tensor {name} differs from the base's beyond what the task trained, so the weights were changed \
                     after they were merged: remove this file to make a new task file of them"
                ),
            });
        }
    }
    Ok(())
}

/// Whether a weight of the checkpoint's own head for masked language modelling differs from the base's.
fn head_weights_moved<D: Backend>(base: &Base<D>, tuned: &Checkpoint) -> Result<bool> {
    for tensor in [MaskedLmTensor::Dense(Part::Weight), MaskedLmTensor::Norm(Part::Weight)] {
        let (own, other) = (base.checkpoint().masked_lm_tensor(tensor)?, tuned.masked_lm_tensor(tensor)?);
        if own.data() != other.data() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the masks choose of the encoder's tensors: the checkpoint's values where a tensor moved, otherwise the base's,
/// of which the checkpoint may have rounded ones.
fn encoder<D: Backend>(
    base: &Base<D>,
    tuned: &Checkpoint,
    info: &TaskInfo,
    moved: &[MovedTensor],
    masks: &Masks,
) -> Result<TrainedTensors> {
    let mut tensors = TrainedTensors::default();
    for role in base.tensors(info.pooling).roles() {
        let mask = masks.of(role);
        if *mask == Mask::None {
            continue;
        }
        let has_moved = moved.iter().any(|tensor| tensor.role == role);
        let values = if has_moved { tuned.tensor(role)? } else { base.checkpoint().tensor(role)? };
        let name = base.architecture().parameter_name(role);
        match mask {
            Mask::All => _ = tensors.whole.insert(name, values),
            mask => _ = tensors.partial.insert(name, PartialTensor::of(mask, &values)?),
        }
    }
    Ok(tensors)
}

/// The head's tensors, and those of a pooler that the base lacks, by their parameter names.
fn head<D: Backend>(
    base: &Base<D>,
    tuned: &Checkpoint,
    info: &TaskInfo,
    dir: &Path,
) -> Result<Vec<(String, HostTensor)>> {
    let (architecture, spec) = (base.architecture(), info.spec());
    if info.kind == Kind::MaskedLm {
        let names = architecture.masked_lm.iter();
        let tensors = names.flat_map(|names| {
            MaskedLmTensor::trained(&info.method).map(|tensor| (names.name(tensor), tuned.masked_lm_tensor(tensor)))
        });
        return tensors.map(|(name, tensor)| Ok((name, tensor?))).collect();
    }
    let is_fresh = architecture.reads_pooler(info.pooling) && !base.checkpoint().has_pooler();
    let pooler = architecture.pooler().filter(|_| is_fresh);
    let mut tensors: Vec<(String, HostTensor)> =
        pooler.map(|role| Ok((architecture.parameter_name(role), tuned.tensor(role)?))).collect::<Result<_>>()?;
    if Layout::of(dir, info, architecture)? == Layout::SentenceEncoder {
        let outputs = spec.head::<D>().outputs();
        let (_, head_dir) = sentence_files(info, base.config().hidden_size, outputs);
        let path = dir.join(head_dir).join(SINGLE);
        let (entries, _) = safetensors::read(&MappedFile::open(&path)?)?;
        for (part, name) in [Part::Weight, Part::Bias].into_iter().zip(DENSE_TENSORS) {
            let missing = || Error::MissingTensor { path: path.clone(), name: name.into() };
            let entry = entries.iter().find(|entry| entry.name == name).ok_or_else(missing)?;
            let dtype = || Error::Dtype { path: path.clone(), tensor: name.into(), dtype: entry.dtype.to_string() };
            let tensor = HostTensor::new(entry.shape.clone(), entry.to_f32().ok_or_else(dtype)?)?;
            tensors.push((architecture.classifier_name(info.pooling, part), tensor));
        }
        return Ok(tensors);
    }
    for name in head_names(architecture, &spec, &info.method) {
        let missing = || Error::MissingTensor { path: tuned.path().into(), name: name.clone() };
        tensors.push((name.clone(), tuned.other(&name)?.ok_or_else(missing)?));
    }
    Ok(tensors)
}

/// What the checkpoint has and the base does not have, or has otherwise, and no task file of this task holds.
fn not_held<D: Backend>(base: &Base<D>, tuned: &Checkpoint, info: &TaskInfo) -> Result<Vec<String>> {
    let (architecture, own) = (base.architecture(), base.checkpoint());
    let mut found = Vec::new();
    if !architecture.reads_pooler(info.pooling) && tuned.has_pooler() {
        for role in architecture.pooler() {
            if !own.has_pooler() || moved::compare(base, tuned, role)?.is_some() {
                found.push(architecture.name(role));
            }
        }
    }
    let head = head_names(architecture, &info.spec(), &info.method);
    for name in tuned.other_names().filter(|name| !head.iter().any(|known| known == name)) {
        // A buffer of old versions: the numbers of the positions.
        if name.ends_with("position_ids") {
            continue;
        }
        let [ours, theirs] = [own, tuned].map(|checkpoint| checkpoint.other(name));
        let is_same = matches!((ours, theirs), (Ok(Some(ours)), Ok(Some(theirs))) if ours.data() == theirs.data());
        if !is_same {
            found.push(name.to_owned());
        }
    }
    if info.kind != Kind::MaskedLm {
        let names = architecture.masked_lm.iter();
        for (name, tensor) in names.flat_map(|names| MaskedLmTensor::ALL.map(|tensor| (names.name(tensor), tensor))) {
            let [ours, theirs] = [own, tuned].map(|checkpoint| checkpoint.masked_lm_tensor(tensor).ok());
            match (ours, theirs) {
                (_, None) => {}
                (Some(ours), Some(theirs)) if ours.data() == theirs.data() => {}
                _ => found.push(name),
            }
        }
    }
    Ok(found)
}
