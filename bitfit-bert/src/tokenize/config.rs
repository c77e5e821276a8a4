//! The small files beside a vocabulary, `tokenizer_config.json` and `special_tokens_map.json`, of which neither has to
//! exist; and how the files of a tokenizer are read.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::class::Class;
use super::{added, wrong};
use crate::files::{parse_json, read_bounded};
use crate::{Error, Result};

pub(super) const FILE_NAME: &str = "tokenizer_config.json";
pub(super) const SPECIAL_TOKENS: &str = "special_tokens_map.json";
pub(super) const ADDED_TOKENS: &str = "added_tokens.json";

/// The largest of these files that is read. Chat templates and long lists of added tokens stay far below.
const MAX_BYTES: u64 = 64 << 20;

/// The settings of a model directory's tokenizer.
pub(super) struct Config {
    /// `tokenizer_config.json`.
    pub path: PathBuf,
    /// Its keys.
    pub keys: Map<String, Value>,
    /// `special_tokens_map.json`, which transformers reads only where `added_tokens_decoder` is absent.
    pub special_tokens: Map<String, Value>,
    /// The tokenizer's class; `None` where no file says.
    pub class: Option<Class>,
}

impl Config {
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        let keys = object(&path)?.unwrap_or_default();
        added::check_keys(&path, &keys)?;
        let special_tokens = if keys.contains_key("added_tokens_decoder") {
            Map::new()
        } else {
            object(&dir.join(SPECIAL_TOKENS))?.unwrap_or_default()
        };
        let class = Class::of(dir, &keys)?;
        Ok(Self { path, keys, special_tokens, class })
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// A switch; `None` where the file does not have it.
    pub fn switch(&self, key: &str) -> Result<Option<bool>> {
        let switch = self.get(key).map(|value| {
            let found = || format!("{key:?}: expected true or false, found {}", short(value));
            value.as_bool().ok_or_else(|| wrong(&self.path, found()))
        });
        switch.transpose()
    }

    /// A switch, with its value where the file does not have it.
    pub fn switch_or(&self, key: &str, default: bool) -> Result<bool> {
        self.switch(key).map(|on| on.unwrap_or(default))
    }

    /// As [`Config::switch_or`], where Python only asks whether a switch is set: a null is a no.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        self.switch_or(key, default && !self.keys.get(key).is_some_and(Value::is_null))
    }
}

/// A JSON object; `None` if there is no such file.
pub(super) fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    match read_bounded(path, MAX_BYTES) {
        Ok(text) => {
            parse_json(&text).map(Some).map_err(|error| wrong(path, format!("expected a JSON object: {error}")))
        }
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A value for a message. A hostile one can be megabytes of JSON; its beginning says enough.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
