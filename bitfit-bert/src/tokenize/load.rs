//! From a model directory to a tokenizer: tokenizer.json, or vocab.txt with the settings of tokenizer_config.json.
//!
//! A vocab.txt is first turned into the tokenizer.json that `transformers` would make of it, so that both take one path
//! and give the same tokens.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer as Inner;

use super::template::Template;
use crate::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const VOCAB: &str = "vocab.txt";

/// What a directory's files say of its tokenizer.
pub(super) struct Loaded {
    /// The file that the tokens come from.
    pub path: PathBuf,
    /// Normalises, splits and looks up. Post-processor, truncation and padding are taken out.
    pub inner: Inner,
    pub template: Template,
    /// Whether a text that is too long loses its beginning rather than its end.
    pub cut_left: bool,
}

/// Reads the tokenizer of a model directory; tokenizer.json goes before vocab.txt, as in Python.
pub(super) fn load(dir: &Path) -> Result<Loaded> {
    let config = Config::open(dir)?;
    let path = dir.join(TOKENIZER);
    if path.exists() {
        let text = fs::read(&path).map_err(Error::io(&path))?;
        let json = serde_json::from_slice(&text).map_err(|error| wrong(&path, format!("not JSON: {error}")))?;
        return build(path, json, &config);
    }
    let path = dir.join(VOCAB);
    if path.exists() {
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let json = from_vocab(&path, &text, &config)?;
        return build(path, json, &config);
    }
    let also = if dir.join("vocab.json").exists() { "; the BPE of RoBERTa (vocab.json) is not supported" } else { "" };
    Err(wrong(dir, format!("there is neither {TOKENIZER} nor {VOCAB}{also}")))
}

/// An error on one line, whatever the tokenizers crate's own message looks like.
pub(super) fn wrong(path: &Path, reason: impl ToString) -> Error {
    let reason = reason.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::Tokenizer { path: path.into(), reason }
}

/// tokenizer_config.json, which need not exist. Where it says something, it wins over tokenizer.json, as in Python.
///
/// Where it is silent, tokenizer.json has its say; transformers' `BertTokenizer` would then lower-case whatever the file
/// says, which turns a cased model's words into unknown ones.
struct Config {
    path: PathBuf,
    keys: Map<String, Value>,
}

impl Config {
    fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(CONFIG);
        let keys = match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|error| wrong(&path, format!("not a JSON object: {error}")))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(Error::io(&path)(error)),
        };
        Ok(Self { path, keys })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    /// A switch, `None` where the file does not say.
    fn switch(&self, key: &str) -> Result<Option<bool>> {
        let switch = self.get(key).map(|value| {
            value.as_bool().ok_or_else(|| wrong(&self.path, format!("\"{key}\" must be true or false, found {value}")))
        });
        switch.transpose()
    }

    /// Whether the tokenizer is BERT's own class, rather than "whatever tokenizer.json says" (`PreTrainedTokenizerFast`,
    /// `TokenizersBackend`), which does not read the switches.
    fn is_bert_class(&self) -> bool {
        self.get("tokenizer_class").and_then(Value::as_str).is_none_or(|class| class.starts_with("BertTokenizer"))
    }

    /// A special token: a string, or an object that has the string as its `content`.
    fn token(&self, key: &str, default: &str) -> String {
        let value = self.get(key).unwrap_or(&Value::Null);
        value.as_str().or_else(|| value["content"].as_str()).unwrap_or(default).to_owned()
    }
}

/// A tokenizer of what a tokenizer.json says, less its lengths and plus the settings of tokenizer_config.json.
fn build(path: PathBuf, mut json: Value, config: &Config) -> Result<Loaded> {
    if !json.is_object() {
        return Err(wrong(&path, "not a JSON object"));
    }
    // Taken out before the crate sees them: lengths are the caller's, a packed batch has no padding, and the special
    // tokens are `Template`'s.
    let truncation = json["truncation"].take();
    json["padding"] = Value::Null;
    let template = Template::from_json(&json["post_processor"].take()).map_err(|reason| wrong(&path, reason))?;
    if config.is_bert_class() && json["normalizer"]["type"] == "BertNormalizer" {
        for (setting, key) in [
            ("lowercase", "do_lower_case"),
            ("strip_accents", "strip_accents"),
            ("handle_chinese_chars", "tokenize_chinese_chars"),
        ] {
            if let Some(on) = config.switch(key)? {
                json["normalizer"][setting] = on.into();
            }
        }
    }
    let cut_left = match config.get("truncation_side").unwrap_or(&truncation["direction"]).as_str() {
        Some("left" | "Left") => true,
        None | Some("right" | "Right") => false,
        Some(other) => return Err(wrong(&path, format!("truncation on the side {other:?} is not known"))),
    };
    let inner: Inner = serde_json::from_value(json).map_err(|error| wrong(&path, error))?;
    // BERT's own class frames a text whether its file says so or not.
    let frame = || {
        let id = |key, default| inner.token_to_id(&config.token(key, default));
        config.is_bert_class().then(|| id("cls_token", "[CLS]").zip(id("sep_token", "[SEP]"))).flatten()
    };
    let template = match template {
        Some(template) => template,
        None => frame().map_or_else(Template::bare, |(cls, sep)| Template::bert(cls, sep)),
    };
    Ok(Loaded { path, inner, template, cut_left })
}

/// The tokenizer.json of a vocab.txt: clean, split at spaces and punctuation, then greedily into the longest pieces of the
/// vocabulary.
fn from_vocab(path: &Path, text: &str, config: &Config) -> Result<Value> {
    // A token is its line and its id the line's number; of two equal lines the last counts, as in Python.
    let vocab: Map<String, Value> = text.lines().zip(0u32..).map(|(token, id)| (token.to_owned(), id.into())).collect();
    let special = |key, default| {
        let token = config.token(key, default);
        let id = vocab.get(&token).cloned();
        id.map(|id| (token.clone(), id)).ok_or_else(|| wrong(path, format!("the special token {token} is not in it")))
    };
    let unknown = special("unk_token", "[UNK]")?;
    let cls = special("cls_token", "[CLS]")?;
    let sep = special("sep_token", "[SEP]")?;
    // The other two are never put in, but found where they stand in a text.
    let optional = [special("pad_token", "[PAD]").ok(), special("mask_token", "[MASK]").ok()];
    let specials = [&unknown, &cls, &sep].into_iter().chain(optional.iter().flatten());
    let mut added: Vec<Value> = specials
        .map(|(token, id)| {
            json!({
                "id": id, "content": token, "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .collect();
    // The crate takes them in the order of their ids only.
    added.sort_by_key(|token| token["id"].as_u64());
    check_added_tokens(path, &vocab, config)?;
    Ok(json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": [cls.0, cls.1], "sep": [sep.0, sep.1]},
        "model": {
            "type": "WordPiece", "unk_token": unknown.0, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    }))
}

/// Refuses tokens that tokenizer_config.json declares beyond the vocabulary: only a tokenizer.json says how to find them.
fn check_added_tokens(path: &Path, vocab: &Map<String, Value>, config: &Config) -> Result<()> {
    let declared = config.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten();
    for (id, token) in declared {
        let content = token["content"].as_str().unwrap_or_default();
        let known = vocab.get(content).and_then(Value::as_u64);
        if known.is_none() || known != id.parse().ok() {
            let reason =
                format!("{CONFIG} adds the token {content:?} as {id}, which this is not: a {TOKENIZER} is needed");
            return Err(wrong(path, reason));
        }
    }
    Ok(())
}
