//! A base model of its own: the directory of a base with trained biases in the place of its own, which this program and
//! `from_pretrained` of transformers open.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bitfit_core::{Backend, HostTensor};
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

use crate::checkpoint::safetensors::SINGLE;
use crate::checkpoint::weight_files::BESIDE_WEIGHTS;
use crate::config::FILE_NAME as CONFIG;
use crate::heads::pooling::{MODULES, SentenceModule, modules};
use crate::model::Base;
use crate::{Error, Result};

/// The files that are copied for transformers alone.
const FOR_TRANSFORMERS: [&str; 2] = ["sentencepiece.bpe.model", "generation_config.json"];

/// Refuses a directory that is there already, or that cannot be made.
pub(super) fn check_new(dir: &Path) -> Result<()> {
    refuse_existing(dir)?;
    partial(dir).map(drop)
}

fn refuse_existing(dir: &Path) -> Result<()> {
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::Io { path: dir.into(), source: error }),
        Ok(_) => {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "it is there already: choose a new directory");
            Err(Error::Io { path: dir.into(), source })
        }
    }
}

/// The directory that a path is in.
fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An empty directory beside a path, under a name of its own, with the permissions of a new directory. It is removed
/// when it is dropped.
fn partial(dir: &Path) -> Result<TempDir> {
    let mut prefix = dir.file_name().map(OsStr::to_owned).unwrap_or_default();
    prefix.push(".");
    let make = || {
        let new = tempfile::Builder::new().prefix(&prefix).suffix(".partial").tempdir_in(parent(dir))?;
        // A temporary directory is its owner's alone.
        let plain = new.path().join("new");
        fs::create_dir(&plain)?;
        fs::set_permissions(new.path(), fs::metadata(&plain)?.permissions())?;
        fs::remove_dir(&plain)?;
        Ok(new)
    };
    make().map_err(Error::io(dir))
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
    refuse_existing(dir)?;
    let new = partial(dir)?;
    copy_files(base.checkpoint().dir(), new.path())?;
    write_weights(base, trained, &new.path().join(SINGLE))?;
    base.checkpoint().check_unchanged()?;
    // Another program may have made the directory since; one with files in it is not replaced.
    refuse_existing(dir)?;
    fs::rename(new.path(), dir).map_err(Error::io(dir))?;
    // It has another name now, and nothing is to be removed.
    _ = new.keep();
    _ = File::open(parent(dir)).and_then(|parent| parent.sync_all());
    Ok(())
}

/// Copies the files beside the weights that are there.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let mut names: Vec<PathBuf> = BESIDE_WEIGHTS.into_iter().chain(FOR_TRANSFORMERS).map(PathBuf::from).collect();
    if from.join(MODULES).exists() {
        names.extend(modules(&from.join(MODULES))?.iter().filter_map(SentenceModule::config).map(PathBuf::from));
    }
    for name in names.iter().filter(|name| from.join(name).is_file()) {
        let target = to.join(name);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(Error::io(parent))?;
        }
        let bytes = fs::read(from.join(name)).map_err(Error::io(&from.join(name)))?;
        fs::write(&target, bytes).map_err(Error::io(&target))?;
        sync(&target)?;
    }
    Ok(())
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
        let wrong = |error: safetensors::SafeTensorError| Error::Weights {
            path: entry.path.to_path_buf(),
            reason: format!("the tensor {} cannot be written: {error}", entry.name),
        };
        views.push((entry.name.as_str(), view.map_err(wrong)?));
    }
    if let Some(name) = trained.keys().filter(|name| !replaced.contains(name)).min() {
        return Err(Error::MissingTensor { path: base.checkpoint().path().into(), name: name.clone() });
    }
    // transformers asks for this key.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path)
        .map_err(|error| Error::Weights { path: path.into(), reason: format!("it cannot be written: {error}") })?;
    // It is made for its owner alone; the configuration beside it is as any new file.
    let plain = fs::metadata(path.with_file_name(CONFIG)).map_err(Error::io(path))?.permissions();
    fs::set_permissions(path, plain).map_err(Error::io(path))?;
    sync(path)
}

/// Waits until a file is on the disk.
fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path))
}
