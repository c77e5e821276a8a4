//! The task file: everything that training changed, as safetensors under Hugging Face's parameter names, so that in Python
//! `model.load_state_dict(safetensors.torch.load_file(file), strict=False)` is all it takes to use it. The metadata says
//! which base model it belongs to and how it came about.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bitfit_core::HostTensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

use crate::data::{Kind, Labels};
use crate::files::AtomicFile;
use crate::{Checkpoint, Error, Result};

/// What the metadata's `format` says.
const FORMAT: &str = "bitfit-task";
/// The version of the format that is written, and the only one that is read.
const VERSION: &str = "1";

/// A finished task: tensors and what they are for.
#[derive(Clone, Debug)]
pub struct TaskFile {
    /// The base model as the user named it.
    pub base: String,
    /// [`Checkpoint::fingerprint`] of the base model.
    pub base_fingerprint: String,
    /// Classes or a score.
    pub kind: Kind,
    /// The classes in the order of the head's outputs; `None` for a regression.
    pub labels: Option<Labels>,
    /// Whether it was trained on pairs of texts; `None` in a file that does not say, from before it was written down.
    pub pairs: Option<bool>,
    /// Which biases were trained, in words.
    pub biases: String,
    /// The run's seed.
    pub seed: u64,
    /// How it was trained: a JSON object.
    pub hyperparameters: Value,
    /// The best epoch and its scores: a JSON object, or null.
    pub best: Value,
    /// The trained tensors by Hugging Face name.
    pub tensors: HashMap<String, HostTensor>,
}

impl TaskFile {
    /// Writes the file: beside its place first, then renamed, so that there is never half of one.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut names: Vec<&String> = self.tensors.keys().collect();
        names.sort_unstable();
        let views: Vec<(&str, TensorView<'_>)> = names
            .into_iter()
            .map(|name| {
                let tensor = &self.tensors[name];
                let bytes = bytemuck::cast_slice(tensor.data());
                (
                    name.as_str(),
                    TensorView::new(Dtype::F32, tensor.shape().to_vec(), bytes).expect("a tensor has its shape's size"),
                )
            })
            .collect();
        let mut bytes = safetensors::serialize(views, Some(self.metadata()))
            .map_err(|error| self.refuse(path, error.to_string()))?;
        sort_metadata(&mut bytes).map_err(|error| self.refuse(path, error.to_string()))?;
        let mut file = AtomicFile::create(path)?;
        file.write(&bytes)?;
        file.finish()
    }

    /// Reads a file that [`TaskFile::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::TaskFile`] when it is no task file, or one of another version.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        let refuse = |reason: String| Error::TaskFile { path: path.into(), reason };
        let invalid =
            |error: safetensors::SafeTensorError| refuse(format!("this is no whole safetensors file: {error}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(invalid)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let field = |name: &str| {
            metadata
                .get(name)
                .map(String::as_str)
                .ok_or_else(|| refuse(format!("the metadata lacks {name:?}; this is no task file")))
        };
        let json = |name: &str| {
            field(name).and_then(|text| {
                serde_json::from_str::<Value>(text)
                    .map_err(|error| refuse(format!("the metadata's {name:?} is no JSON: {error}")))
            })
        };
        if field("format")? != FORMAT {
            return Err(refuse(format!("its format is {:?}; this is no task file", field("format")?)));
        }
        if field("version")? != VERSION {
            return Err(refuse(format!("it has version {}; this program reads version {VERSION}", field("version")?)));
        }
        let kind = field("kind")?.parse().map_err(|reason| refuse(format!("the metadata's \"kind\": {reason}")))?;
        let labels = match kind {
            Kind::Classify => {
                let names: Option<Vec<String>> = serde_json::from_value(json("labels")?).ok();
                let labels = names.and_then(Labels::from_names).filter(|labels| labels.len() >= 2);
                let reason = "the metadata's \"labels\" are no list of two different names or more";
                Some(labels.ok_or_else(|| refuse(reason.into()))?)
            }
            Kind::Regress => None,
        };
        let mut tensors = HashMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(invalid)?.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(refuse(format!("the tensor {name} is of type {}; a task file holds F32", view.dtype())));
            }
            let values = bytemuck::allocation::pod_collect_to_vec(view.data());
            tensors.insert(name.to_owned(), HostTensor::new(view.shape(), values)?);
        }
        Ok(Self {
            base: field("base")?.into(),
            base_fingerprint: field("base_fingerprint")?.into(),
            kind,
            labels,
            pairs: match metadata.get("pairs").map(String::as_str) {
                None => None,
                Some("true") => Some(true),
                Some("false") => Some(false),
                Some(_) => return Err(refuse("the metadata's \"pairs\" is neither true nor false".into())),
            },
            biases: field("biases")?.into(),
            seed: field("seed")?.parse().map_err(|_| refuse("the metadata's \"seed\" is no number".into()))?,
            hyperparameters: json("hyperparameters")?,
            best: json("best")?,
            tensors,
        })
    }

    /// Refuses a base model other than the one the task was trained on.
    ///
    /// # Errors
    /// [`Error::TaskFile`].
    pub fn check_base(&self, path: &Path, checkpoint: &Checkpoint) -> Result<()> {
        let fingerprint = checkpoint.fingerprint();
        if fingerprint == self.base_fingerprint {
            return Ok(());
        }
        let reason = format!(
            "it was trained on {} (weights {}…), but {} holds other weights ({}…)",
            self.base,
            &self.base_fingerprint.chars().take(12).collect::<String>(),
            checkpoint.dir().display(),
            &fingerprint[..12]
        );
        Err(self.refuse(path, reason))
    }

    fn refuse(&self, path: &Path, reason: String) -> Error {
        Error::TaskFile { path: path.into(), reason }
    }

    fn metadata(&self) -> HashMap<String, String> {
        let labels = self.labels.as_ref().map_or(Value::Null, |labels| labels.names().into());
        let fields = [
            ("format", FORMAT.to_owned()),
            ("version", VERSION.to_owned()),
            ("base", self.base.clone()),
            ("base_fingerprint", self.base_fingerprint.clone()),
            ("kind", self.kind.to_string()),
            ("labels", labels.to_string()),
            ("biases", self.biases.clone()),
            ("seed", self.seed.to_string()),
            ("hyperparameters", self.hyperparameters.to_string()),
            ("best", self.best.to_string()),
        ];
        let pairs = self.pairs.map(|pairs| ("pairs", pairs.to_string()));
        fields.into_iter().chain(pairs).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Puts the metadata of a safetensors file in the order of its keys. The crate keeps it in a hash map, whose order is another
/// one in every process, but the same run has to give the same file, bit by bit.
fn sort_metadata(file: &mut [u8]) -> serde_json::Result<()> {
    // The length of the header, the header as JSON with blanks behind it, the tensors.
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
mod tests {
    use super::*;

    fn task() -> TaskFile {
        let labels = Labels::from_names(vec!["no".into(), "yes".into()]).unwrap();
        let tensor = |shape: &[usize]| {
            HostTensor::new(shape, (0..shape.iter().product()).map(|i| i as f32 * 0.1).collect()).unwrap()
        };
        TaskFile {
            base: "some/model".into(),
            base_fingerprint: "ab".repeat(32),
            kind: Kind::Classify,
            labels: Some(labels),
            pairs: Some(true),
            biases: "all".into(),
            seed: 7,
            hyperparameters: serde_json::json!({"learning_rate": 0.001}),
            best: Value::Null,
            tensors: [("classifier.weight".to_owned(), tensor(&[2, 3])), ("classifier.bias".to_owned(), tensor(&[2]))]
                .into(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.safetensors");
        task().write(&path).unwrap();
        let read = TaskFile::read(&path).unwrap();
        assert_eq!((read.labels, read.pairs), (task().labels, Some(true)));
        assert_eq!((read.seed, read.kind, read.hyperparameters), (7, Kind::Classify, task().hyperparameters));
        for (name, tensor) in task().tensors {
            assert_eq!(read.tensors[&name].shape(), tensor.shape());
            assert_eq!(read.tensors[&name].data(), tensor.data());
        }
        let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, ["task.safetensors"], "nothing is left beside it");
    }

    #[test]
    fn a_file_from_before_pairs_were_told_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.safetensors");
        TaskFile { pairs: None, ..task() }.write(&path).unwrap();
        assert_eq!(TaskFile::read(&path).unwrap().pairs, None);
    }

    #[test]
    fn the_same_task_is_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.safetensors");
        let files = [(); 4].map(|()| {
            task().write(&path).unwrap();
            fs::read(&path).unwrap()
        });
        // Every call makes a new hash map, and every hash map has its own order.
        assert!(files.iter().all(|file| *file == files[0]));
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("task.safetensors");
        let message = task().write(&path).unwrap_err().to_string();
        assert!(message.contains("missing/task.safetensors"), "{message}");
    }

    #[test]
    fn truncated_foreign_and_future_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.safetensors");
        task().write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        for len in [0, 4, 8, 100, bytes.len() - 1] {
            fs::write(&path, &bytes[..len]).unwrap();
            let message = TaskFile::read(&path).unwrap_err().to_string();
            assert!(message.contains("task.safetensors") && message.contains("no whole safetensors"), "{message}");
        }
        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        fs::write(&path, safetensors::serialize([("x", view)], None).unwrap()).unwrap();
        let message = TaskFile::read(&path).unwrap_err().to_string();
        assert!(message.contains("no task file"), "{message}");
        let version = br#""version":"1""#;
        let at = bytes.windows(version.len()).position(|window| window == version).unwrap();
        let mut future = bytes.clone();
        future[at + version.len() - 2] = b'9';
        fs::write(&path, future).unwrap();
        let message = TaskFile::read(&path).unwrap_err().to_string();
        assert!(message.contains("version 9"), "{message}");
        for few in [vec![], vec!["a".to_owned()]] {
            TaskFile { labels: Labels::from_names(few), ..task() }.write(&path).unwrap();
            let message = TaskFile::read(&path).unwrap_err().to_string();
            assert!(message.contains("task.safetensors: the metadata's \"labels\""), "{message}");
        }
        let kind = b"classify";
        let at = bytes.windows(kind.len()).position(|window| window == kind).unwrap();
        let mut foreign = bytes;
        foreign[at..at + kind.len()].copy_from_slice(b"sequence");
        fs::write(&path, foreign).unwrap();
        let message = TaskFile::read(&path).unwrap_err().to_string();
        assert!(
            message.contains("task.safetensors: the metadata's \"kind\": there is no kind \"sequence\""),
            "{message}"
        );
    }
}
