//! A digest of everything that ids depend on: the tokenizer as it is used, not its files.
//!
//! A `vocab.txt` and the `tokenizer.json` made from it have one digest, and so have post-processors of different types
//! that put the same tokens in the same places. Settings that do not affect ids are omitted: decoders, padding,
//! lengths, scores of merges, the disabled dropout, the order of keys, and settings with their default values.

use std::collections::BTreeMap;

use blake3::Hasher;
use serde_json::Value;
use tokenizers::{ModelWrapper, Tokenizer as Inner};

use super::frame::Frame;

/// The domain of the hash, which changes with the data and the method of hashing.
const DOMAIN: &str = "bitfit tokenizer 1";

/// The settings of a model that affect ids, in the order of hashing.
const SETTINGS: [&str; 8] = [
    "byte_fallback",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "ignore_merges",
    "max_input_chars_per_word",
    "unk_id",
    "unk_token",
];

/// A digest of the model of a tokenizer, to which the rest is added.
pub(super) struct Begun(Digest);

/// Begins with `model`, the `model` of a `tokenizer.json` after all switches were applied: the crate, which takes it
/// next, does not give access to merges.
pub(super) fn begin(model: &Value) -> Begun {
    let mut digest = Digest(Hasher::new());
    digest.text(DOMAIN);
    for key in SETTINGS {
        // For each of them, null, false, the empty string and no key at all mean the same.
        let value = model.get(key).filter(|value| !matches!(value, Value::Null | Value::Bool(false)));
        if let Some(value) = value.filter(|value| value.as_str() != Some("")) {
            digest.text(key);
            digest.value(value);
        }
    }
    digest.vocabulary(&model["vocab"]);
    digest.merges(&model["merges"]);
    Begun(digest)
}

impl Begun {
    /// The digest of the whole tokenizer, in 64 hexadecimal digits.
    pub fn finish(self, inner: &Inner, frame: &Frame, cut_left: bool) -> Result<String, serde_json::Error> {
        let Self(mut digest) = self;
        digest.text(match inner.get_model() {
            ModelWrapper::BPE(_) => "BPE",
            ModelWrapper::WordPiece(_) => "WordPiece",
            ModelWrapper::WordLevel(_) => "WordLevel",
            ModelWrapper::Unigram(_) => "Unigram",
        });
        // Serialised by the crate, every setting is present.
        digest.value(&serde_json::to_value(inner.get_normalizer())?);
        digest.value(&serde_json::to_value(inner.get_pre_tokenizer())?);

        let mut added: Vec<_> = inner.get_added_tokens_decoder().into_iter().collect();
        added.sort_unstable_by_key(|(id, _)| *id);
        digest.number(added.len() as u64);
        for (id, token) in added {
            digest.number(id.into());
            digest.text(&token.content);
            digest.0.update(&[token.single_word, token.lstrip, token.rstrip, token.normalized].map(u8::from));
        }
        for trial in frame.trial() {
            digest.number(trial.len() as u64);
            for (id, type_id) in trial.get_ids().iter().zip(trial.get_type_ids()) {
                digest.0.update(&id.to_le_bytes());
                digest.0.update(&type_id.to_le_bytes());
            }
        }
        digest.0.update(&[cut_left.into()]);
        if inner.get_encode_special_tokens() {
            digest.text("split_special_tokens");
            for (id, token) in inner.get_added_tokens_decoder().into_iter().collect::<BTreeMap<_, _>>() {
                digest.number(id.into());
                digest.0.update(&[token.special.into()]);
            }
        }
        Ok(digest.0.finalize().to_hex().to_string())
    }
}

/// A hasher of values, each preceded by its length or a tag, so that different sequences of values have different
/// input.
struct Digest(Hasher);

impl Digest {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    /// Hashes a small value; the keys of an object in sorted order.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => _ = self.0.update(b"n"),
            Value::Bool(on) => _ = self.0.update(if *on { b"t" } else { b"f" }),
            Value::Number(number) => {
                self.0.update(b"#");
                self.text(&number.to_string());
            }
            Value::String(text) => {
                self.0.update(b"s");
                self.text(text);
            }
            Value::Array(values) => {
                self.0.update(b"[");
                self.number(values.len() as u64);
                values.iter().for_each(|value| self.value(value));
            }
            Value::Object(fields) => {
                self.0.update(b"{");
                self.number(fields.len() as u64);
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_unstable_by_key(|(key, _)| *key);
                for (key, value) in fields {
                    self.text(key);
                    self.value(value);
                }
            }
        }
    }

    /// Hashes tokens with their ids, sorted by id; Unigram's list of tokens with their scores unchanged.
    fn vocabulary(&mut self, vocabulary: &Value) {
        let Value::Object(ids) = vocabulary else { return self.value(vocabulary) };
        let mut tokens: Vec<_> = ids.iter().map(|(token, id)| (id.as_u64().unwrap_or(u64::MAX), token)).collect();
        tokens.sort_unstable();
        self.number(tokens.len() as u64);
        for (id, token) in tokens {
            self.number(id);
            self.text(token);
        }
    }

    /// Hashes merges in their order, whether written as `"a b"` or as `["a", "b"]`.
    fn merges(&mut self, merges: &Value) {
        let merges = merges.as_array().map(Vec::as_slice).unwrap_or_default();
        self.number(merges.len() as u64);
        for merge in merges {
            let halves = merge.as_str().and_then(|merge| merge.split_once(' '));
            let halves = halves.or_else(|| merge[0].as_str().zip(merge[1].as_str())).unwrap_or_default();
            self.text(halves.0);
            self.text(halves.1);
        }
    }
}
