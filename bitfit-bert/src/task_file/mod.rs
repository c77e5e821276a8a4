//! The task file: everything that training changed, as safetensors with transformers' parameter names, so that Python
//! can load it with `model.load_state_dict(safetensors.torch.load_file(file), strict=False)`. The metadata is a typed
//! header, [`TaskInfo`]: which base model the task belongs to, and how it was trained.
//!
//! Of a tensor of which some entries trained alone, the file holds these: `NAME.rows`, `NAME.columns` or
//! `NAME.elements` (U32) says which ones, and `NAME.values` has their values. The documentation has the lines of Python
//! that put them in place.

mod info;

use std::collections::HashMap;
use std::path::Path;

use bitfit_core::{Backend, HostTensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

pub use info::{Best, Hyperparameters, TaskInfo};

use crate::files::{AtomicFile, MAX_TASK, read_bounded};
use crate::methods::index_list;
use crate::model::{Base, PartialTensor, TrainedTensors};
use crate::{Error, Result};

/// A finished task: its header and its tensors.
#[derive(Clone, Debug)]
pub struct TaskFile {
    /// The header: the description of the task and of its training.
    pub info: TaskInfo,
    /// What was trained, by parameter name.
    pub tensors: TrainedTensors,
}

impl TaskFile {
    /// Writes the file under a temporary name and renames it, so that a partial file never exists.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let refuse = |reason: String| Error::TaskFile { path: path.into(), reason };
        let TrainedTensors { whole, partial } = &self.tensors;
        let whole = whole.iter().map(|(name, tensor)| (name.clone(), Stored::of(tensor)));
        let partial = partial.iter().flat_map(|(name, PartialTensor { mask, values })| {
            let (list_name, chosen) = index_list::of(name, mask).expect("a mask chooses some entries");
            let list = Stored { dtype: Dtype::U32, shape: vec![chosen.len()], bytes: bytemuck::cast_slice(chosen) };
            [(list_name, list), (format!("{name}{VALUES}"), Stored::of(values))]
        });
        let mut tensors: Vec<(String, Stored<'_>)> = whole.chain(partial).collect();
        tensors.sort_unstable_by(|(first, _), (second, _)| first.cmp(second));
        let views: Vec<(&str, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, Stored { dtype, shape, bytes })| {
                let view = TensorView::new(*dtype, shape.clone(), bytes);
                (name.as_str(), view.expect("a tensor has its shape's size"))
            })
            .collect();
        let metadata = self.info.to_metadata().map_err(|error| refuse(error.to_string()))?;
        let mut bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| refuse(error.to_string()))?;
        sort_metadata(&mut bytes).map_err(|error| refuse(error.to_string()))?;
        let mut file = AtomicFile::create(path)?;
        file.write(&bytes)?;
        file.finish()
    }

    /// Reads a file that [`TaskFile::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::TaskFile`] when it is not a task file, has another version, or
    /// has an invalid header or tensors.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_bounded(path, MAX_TASK)?;
        let refuse = |reason: String| Error::TaskFile { path: path.into(), reason };
        let incomplete =
            |error: safetensors::SafeTensorError| refuse(format!("not a complete safetensors file: {error}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(incomplete)?;
        let info = TaskInfo::from_metadata(header.metadata().as_ref().unwrap_or(&HashMap::new())).map_err(refuse)?;
        let (mut whole, mut lists) = (HashMap::new(), Vec::new());
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(incomplete)?.iter() {
            match view.dtype() {
                Dtype::F32 => {
                    let values = bytemuck::allocation::pod_collect_to_vec(view.data());
                    whole.insert(name.to_owned(), HostTensor::new(view.shape(), values)?);
                }
                other => {
                    let list = index_list::parse(name).filter(|_| other == Dtype::U32);
                    let wrong = || refuse(format!("the tensor {name} is of type {other}: a task file holds F32"));
                    let (name, mask) = list.ok_or_else(wrong)?;
                    lists.push((name.to_owned(), mask(bytemuck::allocation::pod_collect_to_vec(view.data()))));
                }
            }
        }
        let mut partial = HashMap::new();
        for (name, mask) in lists {
            let values_name = format!("{name}{VALUES}");
            let values = whole.remove(&values_name);
            let values = values.ok_or_else(|| Error::MissingTensor { path: path.into(), name: values_name })?;
            if whole.contains_key(&name) || partial.insert(name.clone(), PartialTensor { mask, values }).is_some() {
                return Err(refuse(format!("the tensor {name} is in it twice")));
            }
        }
        Ok(Self { info, tensors: TrainedTensors { whole, partial } })
    }

    /// Refuses a task that was calibrated, where what is made of it would not be: a format that holds weights alone, or
    /// other weights. `path` is the task file, for messages.
    ///
    /// # Errors
    /// [`Error::TaskFile`].
    pub(crate) fn check_uncalibrated(&self, path: &Path) -> Result<()> {
        let Some(calibration) = &self.info.calibration else { return Ok(()) };
        let reason = format!(
            "it is calibrated (temperature {}), which does not carry over: give the task file that it was calibrated from",
            calibration.temperature
        );
        Err(Error::TaskFile { path: path.into(), reason })
    }

    /// Refuses a base model whose predictions would differ from those of the one that the task was trained on: another
    /// configuration, other weights or another tokenizer. `path` is the task file, for messages.
    ///
    /// # Errors
    /// [`Error::TaskFile`] with the difference; otherwise the errors of reading the base's weights and tokenizer.
    pub fn check_base<D: Backend>(&self, path: &Path, base: &Base<D>) -> Result<()> {
        let refuse = |reason: String| Err(Error::TaskFile { path: path.into(), reason });
        let (trained_on, dir) = (&self.info.base, base.checkpoint().dir().display());
        if let Some((key, expected, found)) = self.info.config.difference(&base.config().inference()) {
            return refuse(format!(
                "the task was trained on {trained_on} with \"{key}\": {expected}, but the configuration in {dir} says {found}"
            ));
        }
        let tokenizer = base.tokenizer()?.fingerprint();
        if tokenizer != self.info.tokenizer_fingerprint {
            return refuse(format!(
                "the task was trained with another tokenizer ({}) than the one in {dir} ({}): restore the tokenizer files \
                 of {trained_on}, case switches included",
                short(&self.info.tokenizer_fingerprint),
                short(&tokenizer)
            ));
        }
        let weights = base.fingerprint_for(self.info.kind)?;
        if weights != self.info.base_fingerprint {
            return refuse(format!(
                "the task was trained on {trained_on} (weights {}), but {dir} holds other weights ({})",
                short(&self.info.base_fingerprint),
                short(weights)
            ));
        }
        Ok(())
    }
}

/// A tensor as it is stored.
struct Stored<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Stored<'a> {
    fn of(tensor: &'a HostTensor) -> Self {
        Self { dtype: Dtype::F32, shape: tensor.shape().to_vec(), bytes: bytemuck::cast_slice(tensor.data()) }
    }
}

/// The ending of the name of the values of some entries; their list is beside it ([`index_list`]).
const VALUES: &str = ".values";

/// The first digits of a fingerprint, for a message.
fn short(fingerprint: &str) -> String {
    format!("{}…", fingerprint.chars().take(12).collect::<String>())
}

/// Sorts the metadata of a safetensors file by its keys. The crate keeps it in a hash map, whose order differs between
/// processes, but the same run must give the same file, byte by byte.
fn sort_metadata(file: &mut [u8]) -> serde_json::Result<()> {
    // The file is the length of the header, the header as JSON padded with blanks, and the tensors.
    let Some((length, rest)) = file.split_first_chunk_mut::<8>() else { return Ok(()) };
    let header = &mut rest[..u64::from_le_bytes(*length) as usize];
    let mut json: serde_json::Map<String, Value> = serde_json::from_slice(header)?;
    if let Some(Value::Object(metadata)) = json.get_mut("__metadata__") {
        metadata.sort_keys();
    }
    let sorted = serde_json::to_vec(&json)?;
    header.fill(b' ');
    header[..sorted.len()].copy_from_slice(&sorted);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
