//! Resolution of a model's name to a directory of its files: a path, the Hugging Face cache, or a download from the
//! hub.
//!
//! The cache is the one of the Python library huggingface_hub, in its layout, so that a model is fetched once for both.
//! With the feature `hub` a model that is in no cache is downloaded into it. Without the feature, or with
//! `HF_HUB_OFFLINE` set, nothing in this module opens a connection.
//!
//! A hub, the storage that it redirects to and the files in a cache are not trusted: a name from any of them is checked
//! before it becomes a path, the token is sent to the hub's own origin alone, and plain `http://` is used within this
//! machine only, unless `BITFIT_ALLOW_HTTP=1` is set.

#[cfg(feature = "hub")]
mod address;
mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod download;
mod names;
mod settings;
#[cfg(all(test, feature = "hub"))]
mod testing;
#[cfg(test)]
mod tests;

use std::env;
use std::path::{self, Path, PathBuf};

use cache::Repository;
use settings::Settings;

use crate::checkpoint::weight_files::{self, shards};
use crate::config::FILE_NAME as CONFIG;
use crate::heads::pooling::{MODULES, SentenceModule, modules};
use crate::heads::sentence_encoder::SENTENCE_CONFIGS;
use crate::{Error, Result};

/// Returns the directory of the model called `model`.
///
/// An existing directory is returned as it is. Any other name is taken for a hub id, "organisation/name" or "name",
/// which is searched in the cache and then, with the feature `hub`, on the hub. A download shows progress bars on
/// stderr unless it is `quiet`.
///
/// These environment variables have the meaning of huggingface_hub, and a blank one counts as not set: for the cache
/// `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME`; for the token `HF_TOKEN`,
/// `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME` and `HF_HUB_DISABLE_IMPLICIT_TOKEN`; `HF_ENDPOINT`,
/// `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT` and `HF_HUB_DISABLE_SYMLINKS`. `ALL_PROXY`,
/// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` choose a proxy. `BITFIT_ALLOW_HTTP=1` permits `http://` to other hosts.
///
/// # Errors
/// [`Error::ModelNotFound`] with the reason, the places that were searched, and what to do.
pub fn resolve(model: &str, quiet: bool) -> Result<PathBuf> {
    Hub { settings: Settings::new(|key| env::var_os(key)), quiet }.resolve(model)
}

/// The cache and the hub, as the environment describes them.
struct Hub {
    settings: Settings,
    /// Whether a download prints nothing.
    #[cfg_attr(not(feature = "hub"), expect(dead_code, reason = "without downloads nothing is printed"))]
    quiet: bool,
}

impl Hub {
    fn resolve(&self, model: &str) -> Result<PathBuf> {
        let path = Path::new(model);
        if path.is_dir() {
            return Ok(path.into());
        }
        if path.exists() {
            return not_found(model, "this is a file; give the directory that holds config.json and the weights");
        }
        if !names::is_hub_id(model) {
            return not_found(model, &no_directory(path));
        }
        match self.repository(model).and_then(|repository| repository.snapshot()) {
            Some(dir) if is_complete(&dir) && (!self.can_ask() || self.knows_modules(model, &dir)) => Ok(dir),
            _ => self.fetch(model),
        }
    }

    /// Whether the hub can be asked for what the cache lacks.
    fn can_ask(&self) -> bool {
        cfg!(feature = "hub") && !self.settings.offline
    }

    /// Whether the cache knows if the model is a sentence encoder, and what such a one does with its texts. Another
    /// program may have fetched the files that it needs itself, and without the list of modules a sentence encoder
    /// would be taken for another model.
    fn knows_modules(&self, model: &str, dir: &Path) -> bool {
        let is_absent = |file| self.repository(model).is_some_and(|repository| repository.is_absent(dir, file));
        match modules(&dir.join(MODULES)) {
            Ok(modules) => {
                modules.iter().filter_map(SentenceModule::config).all(|config| dir.join(config).exists())
                    && (SENTENCE_CONFIGS.iter().any(|file| dir.join(file).exists()) || is_absent(SENTENCE_CONFIGS[0]))
            }
            Err(_) => dir.join(MODULES).exists() || is_absent(MODULES),
        }
    }

    fn repository(&self, model: &str) -> Option<Repository> {
        Some(Repository::new(self.settings.cache.as_ref()?, model))
    }

    fn fetch(&self, model: &str) -> Result<PathBuf> {
        if self.settings.offline {
            return self.not_at_hand(model, "HF_HUB_OFFLINE forbids a download");
        }
        #[cfg(feature = "hub")]
        return self.download(model);
        #[cfg(not(feature = "hub"))]
        self.not_at_hand(model, "this build has no downloads")
    }

    #[cfg(feature = "hub")]
    fn download(&self, model: &str) -> Result<PathBuf> {
        let Some(repository) = self.repository(model) else {
            return self.not_at_hand(model, "there is no home directory for a cache");
        };
        match download::fetch(&self.settings.network, &repository, model, self.quiet) {
            Ok(dir) if is_complete(&dir) => Ok(dir),
            Ok(_) => self.not_at_hand(model, "the hub's index of the weights' shards cannot be used"),
            Err(failure) => self.not_at_hand(model, &format!("the download failed: {failure}")),
        }
    }

    /// The error for a name that may be a directory or a hub id, but is found as neither.
    fn not_at_hand(&self, model: &str, why: &str) -> Result<PathBuf> {
        let cache = self.settings.cache.as_ref().map_or("any cache".into(), |cache| cache.display().to_string());
        let directory = no_directory(Path::new(model));
        let advice = "give a directory with config.json, model.safetensors or pytorch_model.bin, tokenizer.json and \
                      tokenizer_config.json";
        not_found(model, &format!("{directory}; as the name of a hub model, it is not in {cache}, and {why}; {advice}"))
    }
}

/// A statement that `path` is not a directory, with the place where a relative one was searched.
fn no_directory(path: &Path) -> String {
    match (path.is_relative(), path::absolute(path)) {
        (true, Ok(absolute)) => format!("no such directory: {}", absolute.display()),
        _ => "no such directory".into(),
    }
}

fn not_found(model: &str, reason: &str) -> Result<PathBuf> {
    Err(Error::ModelNotFound { model: model.into(), reason: reason.into() })
}

/// Whether the files that a directory has are a tokenizer's.
fn has_tokenizer(has: impl Fn(&str) -> bool) -> bool {
    has("tokenizer.json") || has("vocab.txt") || (has("vocab.json") && has("merges.txt"))
}

/// Whether a snapshot holds what a checkpoint needs. The Python library fetches single files, so it may hold less.
fn is_complete(dir: &Path) -> bool {
    let has_tokenizer = has_tokenizer(|file| dir.join(file).exists());
    let has_weights = weight_files::find(|file| dir.join(file).exists()).is_some_and(|weights| {
        let has_shards = |index| shards(index).is_ok_and(|shards| shards.keys().all(|shard| dir.join(shard).exists()));
        !weights.is_index || has_shards(&dir.join(weights.name))
    });
    dir.join(CONFIG).exists() && has_weights && has_tokenizer
}
