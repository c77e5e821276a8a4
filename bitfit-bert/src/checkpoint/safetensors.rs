//! Weight files on disk: which files a directory's weights are in, mapped into memory, with their headers checked.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use serde_json::Value;

use crate::{Error, Result, files};

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The largest index in bytes that is read, far above any model's: one of a thousand tensors has 100 kB.
const MAX_INDEX: u64 = 4 << 20;

/// Weight files in formats that are not read: Python pickles and other frameworks' own.
const OTHER_FORMATS: [&str; 4] =
    ["pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack"];

/// One tensor of a mapped file.
#[derive(Debug)]
pub(super) struct Entry {
    /// The file that holds it.
    pub path: Arc<Path>,
    /// Its name in the file.
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Arc<Mmap>,
    /// Its bytes' place in `bytes`; the header is checked, so the range is inside.
    pub range: Range<usize>,
}

impl Entry {
    /// Gives the memory of the tensor's pages back to the system; the next read loads them from the file again. This is
    /// a hint, which a system may ignore.
    pub(super) fn release(&self) {
        #[cfg(unix)]
        {
            use memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the map is read-only and of a file, so that a page that is dropped is loaded again with the same
            // bytes (as long as the file is not rewritten, which is the condition of the map itself). A failure does no
            // harm: the pages stay.
            _ = unsafe { self.bytes.unchecked_advise_range(DontNeed, self.range.start, self.range.len()) };
        }
    }
}

/// The weight files of a directory.
#[derive(Debug)]
pub(super) struct WeightFiles {
    /// The one file, or the index of the shards: the path in messages about all of them.
    pub path: PathBuf,
    /// All tensors, in no particular order.
    pub entries: Vec<Entry>,
    /// The files themselves.
    pub files: Vec<MappedFile>,
}

/// A mapped file, held open to find out whether it is changed in place.
#[derive(Debug)]
pub(super) struct MappedFile {
    path: PathBuf,
    file: File,
    len: u64,
    modified: Option<SystemTime>,
}

impl MappedFile {
    /// Refuses a file that was truncated or rewritten in place since it was mapped. A file that was replaced by another
    /// of its name is not affected: the map keeps the old one.
    ///
    /// # Errors
    /// [`Error::Weights`] with the file; [`Error::Io`] when the system does not answer.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        let now = self.file.metadata().map_err(Error::io(&self.path))?;
        if (now.len(), now.modified().ok()) == (self.len, self.modified) {
            return Ok(());
        }
        let reason =
            "the file was changed while it was in use, so the weights are no longer those that were read: run again";
        Err(Error::Weights { path: self.path.clone(), reason: reason.into() })
    }
}

/// Maps the weight files of a directory.
pub(super) fn read_directory(dir: &Path) -> Result<WeightFiles> {
    let mut files = Vec::new();
    let single = dir.join(SINGLE);
    if single.exists() {
        let entries = read_file(&single, &mut files)?;
        return Ok(WeightFiles { path: single, entries, files });
    }
    let index = dir.join(INDEX);
    if index.exists() {
        let entries = read_sharded(dir, &index, &mut files)?;
        return Ok(WeightFiles { path: index, entries, files });
    }
    let reason = match OTHER_FORMATS.iter().find(|name| dir.join(name).exists()) {
        Some(other) => format!(
            "there is no {SINGLE}, only {other}: convert it, in Python with \
             AutoModel.from_pretrained(DIR).save_pretrained(DIR, safe_serialization=True)"
        ),
        None => format!("there is no {SINGLE} (nor {INDEX})"),
    };
    Err(Error::Weights { path: dir.into(), reason })
}

/// Maps one safetensors file and checks its header against its length.
fn read_file(path: &Path, files: &mut Vec<MappedFile>) -> Result<Vec<Entry>> {
    let weights = |reason: String| Error::Weights { path: path.into(), reason };
    let file = File::open(path).map_err(Error::io(path))?;
    let about = file.metadata().map_err(Error::io(path))?;
    if !about.is_file() {
        return Err(weights("not a regular file".into()));
    }
    if about.len() == 0 {
        return Err(weights("the file is empty".into()));
    }
    // SAFETY: the map is read-only and nothing here writes to the file, so that the one condition is that no other
    // program truncates or rewrites it in place while it is mapped (a read past its end is a bus error, changed bytes
    // are changed weights). That cannot be ruled out here, but weight files are written once, and hub clients and
    // safetensors replace them by renaming, which leaves the mapped file alone. `Checkpoint` documents the condition
    // for its users, and `MappedFile::check_unchanged` finds a breach of it before anything is saved.
    let bytes = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(weights("a Git LFS pointer instead of the weights: run `git lfs pull` in its directory".into()));
    }
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| {
        weights(format!(
            "not a complete safetensors file ({error}; {} bytes): fetch it again if the download was cut short",
            bytes.len()
        ))
    })?;
    files.push(MappedFile { path: path.into(), file, len: about.len(), modified: about.modified().ok() });
    Ok(entries(path, Arc::new(bytes), header, &metadata))
}

fn entries(path: &Path, bytes: Arc<Mmap>, header: usize, metadata: &Metadata) -> Vec<Entry> {
    let path: Arc<Path> = path.into();
    // The data follow the header, and the eight bytes in front of it that hold its length.
    let start = size_of::<u64>() + header;
    let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| Entry {
        path: path.clone(),
        name,
        dtype: info.dtype,
        shape: info.shape.clone(),
        bytes: bytes.clone(),
        range: start + info.data_offsets.0..start + info.data_offsets.1,
    };
    metadata.tensors().into_iter().map(entry).collect()
}

/// The shards that an index names: the file of each, and the tensors that the index says it holds.
pub(crate) fn shards(index: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let wrong = |reason: String| Error::Weights { path: index.into(), reason };
    let json = files::read(index, MAX_INDEX)?;
    let json: Value = serde_json::from_slice(&json).map_err(|error| wrong(format!("not JSON: {error}")))?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| wrong("\"weight_map\" is missing or not an object".into()))?;
    let mut shards = BTreeMap::<String, Vec<String>>::new();
    for (name, shard) in map {
        // A shard is a file beside the index; an index must not lead anywhere else.
        let shard = shard.as_str().filter(|shard| Path::new(shard).file_name() == Some(OsStr::new(shard)));
        let shard = shard.ok_or_else(|| wrong(format!("the shard of tensor {name} is not a file name")))?;
        shards.entry(shard.to_owned()).or_default().push(name.clone());
    }
    Ok(shards)
}

/// The tensors of all shards that the index names.
fn read_sharded(dir: &Path, index: &Path, files: &mut Vec<MappedFile>) -> Result<Vec<Entry>> {
    let mut all = Vec::new();
    for (shard, promised) in shards(index)? {
        let path = dir.join(shard);
        let found = read_file(&path, files)?;
        let names: HashSet<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
        if let Some(name) = promised.into_iter().find(|name| !names.contains(name.as_str())) {
            return Err(Error::MissingTensor { path, name });
        }
        all.extend(found);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture::Tiny;
    use tempfile::tempdir;

    /// Writes `bytes` as the weights of an empty directory and returns why they are refused.
    fn refusal(bytes: &[u8]) -> String {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join(SINGLE), bytes).unwrap();
        let error = read_directory(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Weights { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains("model.safetensors: ") && !message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn an_empty_file_is_refused() {
        assert!(refusal(b"").ends_with("the file is empty"));
    }

    #[test]
    fn a_file_cut_short_anywhere_is_refused() {
        let whole = Tiny::new().bytes();
        for len in [1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
            let message = refusal(&whole[..len]);
            assert!(message.contains(&format!("{len} bytes")) && message.contains("cut short"), "{message}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(refusal(&longer).contains("not a complete safetensors file"));
    }

    #[test]
    fn a_garbage_header_is_refused() {
        let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
        for bytes in [
            vec![0xff; 64],
            b"PK\x03\x04 a zip archive that calls itself safetensors".to_vec(),
            header("{"),
            header("[1, 2]"),
            header("{\"a\": 1}"),
            header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999]}}"#),
            header(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#),
            header(r#"{"a":{"dtype":"F32","shape":[18446744073709551615,4],"data_offsets":[0,4]}}"#),
            header(r#"{"a":{"dtype":"F99","shape":[0],"data_offsets":[0,0]}}"#),
            header(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#),
            [&8u64.to_le_bytes()[..], &[0xc3, 0x28, 0, 0, 0, 0, 0, 0]].concat(),
        ] {
            assert!(refusal(&bytes).contains("not a complete safetensors file"));
        }
    }

    #[test]
    fn a_git_lfs_pointer_is_recognised() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 438000000\n";
        assert!(refusal(pointer).contains("git lfs pull"));
    }

    #[test]
    fn a_directory_without_safetensors_says_what_to_do() {
        let dir = tempdir().unwrap();
        let message = read_directory(dir.path()).unwrap_err().to_string();
        assert!(message.contains("there is no model.safetensors"), "{message}");
        fs::write(dir.path().join("pytorch_model.bin"), b"pickle").unwrap();
        let message = read_directory(dir.path()).unwrap_err().to_string();
        assert!(message.contains("only pytorch_model.bin: convert it"), "{message}");
        fs::create_dir(dir.path().join(SINGLE)).unwrap();
        let message = read_directory(dir.path()).unwrap_err().to_string();
        assert!(message.contains("model.safetensors"), "{message}");
    }

    #[test]
    fn an_index_cannot_lead_out_of_its_directory() {
        for shard in ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", ""] {
            let dir = tempdir().unwrap();
            let index = serde_json::json!({"weight_map": {"a": shard}});
            fs::write(dir.path().join(INDEX), index.to_string()).unwrap();
            let message = read_directory(dir.path()).unwrap_err().to_string();
            assert!(message.contains("not a file name"), "{shard}: {message}");
        }
    }

    #[test]
    fn an_index_or_a_configuration_of_megabytes_is_refused_before_it_is_parsed() {
        let dir = tempdir().unwrap();
        let large = "[".repeat(MAX_INDEX as usize + 1);
        fs::write(dir.path().join(INDEX), &large).unwrap();
        let message = read_directory(dir.path()).unwrap_err().to_string();
        assert!(message.ends_with("index.json: more than 4 MiB, the most that is read"), "{message}");
        fs::write(dir.path().join("config.json"), &large).unwrap();
        let message = crate::ModelConfig::open(dir.path()).unwrap_err().to_string();
        assert!(message.ends_with("config.json: more than 4 MiB, the most that is read"), "{message}");
    }

    #[test]
    fn a_broken_index_is_refused() {
        for (index, expected) in [
            ("", "not JSON"),
            ("{}", "weight_map"),
            (r#"{"weight_map": [1]}"#, "weight_map"),
            (r#"{"weight_map": {"a": 1}}"#, "not a file name"),
            (r#"{"weight_map": {"a": "gone.safetensors"}}"#, "gone.safetensors"),
        ] {
            let dir = tempdir().unwrap();
            fs::write(dir.path().join(INDEX), index).unwrap();
            let message = read_directory(dir.path()).unwrap_err().to_string();
            assert!(message.contains(expected), "{index}: {message}");
        }
    }

    #[test]
    fn a_shard_without_its_tensor_is_refused() {
        let dir = tempdir().unwrap();
        Tiny::new().write(dir.path());
        fs::rename(dir.path().join(SINGLE), dir.path().join("one.safetensors")).unwrap();
        let index = serde_json::json!({"weight_map": {"embeddings.lost": "one.safetensors"}});
        fs::write(dir.path().join(INDEX), index.to_string()).unwrap();
        let error = read_directory(dir.path()).unwrap_err();
        assert!(matches!(&error, Error::MissingTensor { name, .. } if name == "embeddings.lost"), "{error}");
    }
}
