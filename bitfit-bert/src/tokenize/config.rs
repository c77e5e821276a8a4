//! The settings in the small files beside a vocabulary: `tokenizer_config.json`, `special_tokens_map.json`, and the
//! `tokenizer_class` of `config.json`. All of them are optional.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::wrong;
use crate::files::read_bounded;
use crate::{Error, Result};

pub(super) const FILE_NAME: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";

/// The largest of these files that is read. Chat templates and long lists of added tokens are far smaller.
const MAX_BYTES: u64 = 64 << 20;

/// The settings of a model directory's tokenizer.
///
/// Settings of `tokenizer_config.json` override those of `tokenizer.json`, as in transformers. If it does not have a
/// setting, that of `tokenizer.json` applies; transformers' `BertTokenizer` would then always lower-case, which turns
/// words of a cased model into unknown ones.
pub(super) struct Config {
    path: PathBuf,
    keys: Map<String, Value>,
    /// `special_tokens_map.json`, which transformers reads only where `added_tokens_decoder` is absent.
    special_tokens: Map<String, Value>,
    /// The tokenizer's class.
    pub class: Class,
}

/// The effect of a `tokenizer_class` on the ids. The suffix `Fast` has no effect and is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// BERT's class, or an equivalent one with another name: reads the case switches and puts [CLS] and [SEP] around a
    /// text.
    Bert,
    /// MPNet's class: reads the case switches and puts `<s>` and `</s>` around a text.
    MPNet,
    /// RoBERTa's class: reads `add_prefix_space`.
    Roberta,
    /// A class that follows `tokenizer.json` and reads no switches.
    File,
}

/// An added token as a file declares it.
pub(super) struct AddedToken {
    pub content: String,
    pub id: u64,
    /// The file that declares it.
    pub source: &'static str,
    /// Its object in the `added_tokens` of a `tokenizer.json`.
    pub json: Value,
}

impl Config {
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        let keys = object(&path)?.unwrap_or_default();
        let special_tokens = if keys.contains_key("added_tokens_decoder") {
            Map::new()
        } else {
            object(&dir.join(SPECIAL_TOKENS))?.unwrap_or_default()
        };
        let class = Class::of(dir, &path, &keys)?;
        Ok(Self { path, keys, special_tokens, class })
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// A boolean setting; `None` if the file does not have it.
    pub fn switch(&self, key: &str) -> Result<Option<bool>> {
        let switch = self.get(key).map(|value| {
            let found = || format!("{key:?}: expected true or false, found {}", short(value));
            value.as_bool().ok_or_else(|| wrong(&self.path, found()))
        });
        switch.transpose()
    }

    /// A special token: a string, or an object that has the string as its `content`.
    pub fn token(&self, key: &str, default: &str) -> String {
        let value = self.special_tokens.get(key).filter(|value| !value.is_null()).or_else(|| self.get(key));
        let value = value.unwrap_or(&Value::Null);
        value.as_str().or_else(|| value["content"].as_str()).unwrap_or(default).to_owned()
    }

    /// The tokens that `added_tokens_decoder` declares, in ascending order of their ids; if it is absent and `legacy`
    /// is set, those of the older `added_tokens.json`, which is only used with a vocabulary file.
    pub fn added_tokens(&self, dir: &Path, legacy: bool) -> Result<Vec<AddedToken>> {
        let mut tokens = Vec::new();
        match self.get("added_tokens_decoder") {
            Some(Value::Object(declared)) => {
                for (id, token) in declared {
                    let content = token["content"].as_str();
                    let (Some(content), Ok(id)) = (content, id.parse()) else {
                        let reason = format!("\"added_tokens_decoder\": {id:?} is not an id with a token");
                        return Err(wrong(&self.path, reason));
                    };
                    let flag = |key: &str, default: bool| token[key].as_bool().unwrap_or(default);
                    let special = flag("special", false);
                    let json = serde_json::json!({
                        "id": id, "content": content, "special": special,
                        "single_word": flag("single_word", false), "lstrip": flag("lstrip", false),
                        "rstrip": flag("rstrip", false), "normalized": flag("normalized", !special),
                    });
                    tokens.push(AddedToken { content: content.to_owned(), id, source: FILE_NAME, json });
                }
            }
            Some(other) => {
                let reason = format!("\"added_tokens_decoder\": expected an object, found {}", short(other));
                return Err(wrong(&self.path, reason));
            }
            None if legacy => {
                let path = dir.join(ADDED_TOKENS);
                for (content, id) in object(&path)?.unwrap_or_default() {
                    let Some(id) = id.as_u64() else {
                        return Err(wrong(&path, format!("{content:?}: expected an id, found {}", short(&id))));
                    };
                    let special = self.is_special(&content);
                    let json = serde_json::json!({
                        "id": id, "content": content, "special": special,
                        "single_word": false, "lstrip": false, "rstrip": false, "normalized": !special,
                    });
                    tokens.push(AddedToken { content, id, source: ADDED_TOKENS, json });
                }
            }
            None => {}
        }
        tokens.sort_by_key(|token| token.id);
        Ok(tokens)
    }

    /// Whether a token of `added_tokens.json` counts as special, by the rule of transformers: it is one of the named
    /// special tokens, or one of the list in `tokenizer_config.json` under either name of it.
    fn is_special(&self, token: &str) -> bool {
        const NAMED: [&str; 7] =
            ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
        let content = |value: &Value| value.as_str().or_else(|| value["content"].as_str()) == Some(token);
        let listed =
            |value: Option<&Value>| value.and_then(Value::as_array).is_some_and(|tokens| tokens.iter().any(content));
        let list =
            self.keys.get("extra_special_tokens").filter(|list| list.as_array().is_none_or(|list| !list.is_empty()));
        let list = list.or_else(|| self.keys.get("additional_special_tokens"));
        let named = |key: &&str| self.special_tokens.get(*key).or_else(|| self.keys.get(*key)).is_some_and(content);
        NAMED.iter().any(named) || listed(list) || listed(self.special_tokens.get("extra_special_tokens"))
    }
}

impl Class {
    /// The class that `tokenizer_config.json` names, otherwise the one that `config.json` names.
    fn of(dir: &Path, path: &Path, keys: &Map<String, Value>) -> Result<Self> {
        const KEY: &str = "tokenizer_class";
        let (path, value) = match keys.get(KEY).filter(|value| !value.is_null()) {
            Some(value) => (path.to_owned(), Some(value.clone())),
            None => {
                // Other errors of the model's configuration are not reported here.
                let path = dir.join(crate::config::FILE_NAME);
                let value = object(&path).ok().flatten().and_then(|mut keys| keys.remove(KEY));
                (path, value.filter(|value| !value.is_null()))
            }
        };
        let Some(value) = value else { return Ok(Self::Bert) };
        let name = value.as_str().unwrap_or_default();
        match name.strip_suffix("Fast").unwrap_or(name) {
            "BertTokenizer"
            | "DistilBertTokenizer"
            | "ElectraTokenizer"
            | "LayoutLMTokenizer"
            | "LxmertTokenizer"
            | "MobileBertTokenizer"
            | "SqueezeBertTokenizer" => Ok(Self::Bert),
            "MPNetTokenizer" => Ok(Self::MPNet),
            "RobertaTokenizer" => Ok(Self::Roberta),
            "PreTrainedTokenizer"
            | "TokenizersBackend"
            | "XLMRobertaTokenizer"
            | "CamembertTokenizer"
            | "ConvBertTokenizer" => Ok(Self::File),
            _ => {
                let reason = format!(
                    "the \"tokenizer_class\" {} is not supported; expected BertTokenizer, DistilBertTokenizer, \
                     ElectraTokenizer, MPNetTokenizer, or another class that a tokenizer.json describes in full \
                     (PreTrainedTokenizerFast, TokenizersBackend)",
                    short(&value)
                );
                Err(wrong(&path, reason))
            }
        }
    }

    /// Whether the case switches of `tokenizer_config.json` apply to the class's normalizer.
    pub fn reads_case_switches(self) -> bool {
        matches!(self, Self::Bert | Self::MPNet)
    }
}

/// A JSON object; `None` if there is no such file.
fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    match read_bounded(path, MAX_BYTES) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| wrong(path, format!("expected a JSON object: {error}"))),
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
