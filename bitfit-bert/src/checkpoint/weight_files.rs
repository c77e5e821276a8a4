//! Which files of a directory hold its weights: one file or shards with an index, as safetensors or, where there are
//! none, as PyTorch's own files.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::mapped::{Entry, MappedFile};
use super::{pytorch, safetensors};
use crate::config::FILE_NAME;
use crate::files::{MAX_INDEX, parse_json, read_bounded};
use crate::heads::pooling::MODULES;
use crate::{Error, Result};

/// The files of a model directory beside its weights: the configuration, and everything that a tokenizer or a read-out
/// may be read from.
pub(crate) const BESIDE_WEIGHTS: [&str; 9] = [
    FILE_NAME,
    MODULES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
];

/// The files that a tokenizer of transformers may be read from and this crate's is not.
pub(crate) const FOR_TRANSFORMERS: [&str; 1] = ["sentencepiece.bpe.model"];

/// A file by which a directory's weights are found.
pub(crate) struct Candidate {
    pub name: &'static str,
    /// Whether it is the index of shards, and not the weights themselves.
    pub is_index: bool,
    /// What the name of a weight file of this format ends with.
    #[cfg_attr(not(feature = "hub"), expect(dead_code, reason = "only a download checks names by it"))]
    pub suffix: &'static str,
    /// Reads the tensors of a weight file of this format.
    read: fn(&MappedFile) -> Result<Vec<Entry>>,
}

const SAFETENSORS: Candidate =
    Candidate { name: safetensors::SINGLE, is_index: false, suffix: ".safetensors", read: safetensors::entries };
const PYTORCH: Candidate = Candidate { name: pytorch::SINGLE, is_index: false, suffix: ".bin", read: pytorch::entries };

/// The candidates in the order in which transformers looks for them: the first that is there is taken.
static CANDIDATES: [Candidate; 4] = [
    SAFETENSORS,
    Candidate { name: safetensors::INDEX, is_index: true, ..SAFETENSORS },
    PYTORCH,
    Candidate { name: pytorch::INDEX, is_index: true, ..PYTORCH },
];

/// Weight files in formats that are not read: other frameworks' own.
const OTHER_FORMATS: [&str; 2] = ["tf_model.h5", "flax_model.msgpack"];

/// The file that is taken where `has` tells which there are.
pub(crate) fn find(has: impl Fn(&str) -> bool) -> Option<&'static Candidate> {
    CANDIDATES.iter().find(|candidate| has(candidate.name))
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

/// Maps the weight files of a directory.
pub(super) fn read_directory(dir: &Path) -> Result<WeightFiles> {
    let has = |name: &str| dir.join(name).exists();
    let Some(candidate) = find(has) else {
        let reason = match OTHER_FORMATS.into_iter().find(|name| has(name)) {
            Some(other) => format!(
                "there is no {} or {}, only {other}: convert it, in Python with \
                 AutoModel.from_pretrained(DIR).save_pretrained(DIR, safe_serialization=True)",
                SAFETENSORS.name, PYTORCH.name
            ),
            None => format!("there is no {} or {} (nor the index of either's shards)", SAFETENSORS.name, PYTORCH.name),
        };
        return Err(Error::Weights { path: dir.into(), reason });
    };
    let path = dir.join(candidate.name);
    let (mut entries, mut files) = (Vec::new(), Vec::new());
    if candidate.is_index {
        for (shard, promised) in shards(&path)? {
            let file = MappedFile::open(&dir.join(shard))?;
            let found = (candidate.read)(&file)?;
            let names: HashSet<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
            if let Some(name) = promised.into_iter().find(|name| !names.contains(name.as_str())) {
                return Err(Error::MissingTensor { path: file.path.to_path_buf(), name });
            }
            entries.extend(found);
            files.push(file);
        }
    } else {
        let file = MappedFile::open(&path)?;
        entries = (candidate.read)(&file)?;
        files.push(file);
    }
    Ok(WeightFiles { path, entries, files })
}

/// The shards that an index names: the file of each, and the tensors that the index says it holds.
pub(crate) fn shards(index: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let wrong = |reason: String| Error::Weights { path: index.into(), reason };
    let json = read_bounded(index, MAX_INDEX)?;
    let json: Value = parse_json(&json).map_err(|error| wrong(format!("not JSON: {error}")))?;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::tempdir;

    use super::safetensors::{INDEX, SINGLE};
    use super::*;
    use crate::fixture::Tiny;

    #[test]
    fn a_git_lfs_pointer_is_recognised() {
        let dir = tempdir().unwrap();
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 438000000\n";
        fs::write(dir.path().join(SINGLE), pointer).unwrap();
        assert!(read_directory(dir.path()).unwrap_err().to_string().contains("git lfs pull"));
    }

    #[test]
    fn a_directory_without_weights_says_what_to_do() {
        let dir = tempdir().unwrap();
        let message = read_directory(dir.path()).unwrap_err().to_string();
        assert!(message.contains("there is no model.safetensors or pytorch_model.bin"), "{message}");
        fs::write(dir.path().join("tf_model.h5"), b"HDF").unwrap();
        let message = read_directory(dir.path()).unwrap_err().to_string();
        assert!(message.contains("only tf_model.h5: convert it"), "{message}");
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
