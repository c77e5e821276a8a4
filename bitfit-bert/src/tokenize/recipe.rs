//! The `tokenizer.json` that a class makes of a vocabulary: its model, normalizer and pre-tokenizer, by the settings of
//! `tokenizer_config.json`. It is what transformers 5 builds, whichever files the vocabulary came from.
//!
//! Of a `tokenizer.json`, transformers keeps vocabulary, merges and character map. Where such a file says something
//! else than its class would do, and `tokenizer_config.json` has no word on it, older versions of transformers went by
//! the file; it is refused here, because one of the two would be a surprise.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::added::Tokens;
use super::class::Class;
use super::config::{Config, short};
use super::guarded;
use crate::Result;

/// What a class takes from the files.
pub(super) struct Parts {
    /// Tokens with their ids; for Unigram a list of tokens with their scores.
    pub vocab: Value,
    /// The merges of BPE.
    pub merges: Value,
    /// SentencePiece's map of characters, in base64.
    charsmap: Option<String>,
}

impl Parts {
    /// Those of vocabulary files, which have no character map.
    pub fn new(vocab: Value, merges: Value) -> Self {
        Self { vocab, merges, charsmap: None }
    }

    /// Takes those of a `tokenizer.json`.
    ///
    /// # Errors
    /// A sentence that says that the file has the model of another class.
    pub fn take(json: &mut Value, class: Class) -> Result<Self, String> {
        let model = &mut json["model"];
        if !model.is_object() {
            return Err(format!("model: expected an object, found {}", short(model)));
        }
        let expected = model_type(class);
        let is_list = model["vocab"].is_array();
        // Older files do not name the model's type.
        let is_expected = model["type"].as_str().is_none_or(|found| found == expected);
        if !is_expected || is_list != (expected == "Unigram") || (model["merges"].is_array() != (expected == "BPE")) {
            let found = model["type"].as_str().unwrap_or(if is_list { "Unigram" } else { "another one" });
            return Err(format!(
                "the \"tokenizer_class\" takes a model of type {expected}, found {}; a class that does what the file \
                 says is PreTrainedTokenizerFast",
                short(&found.into())
            ));
        }
        let (vocab, merges) = (model["vocab"].take(), model["merges"].take());
        let charsmap = parts(&json["normalizer"], "normalizers").into_iter().find(|part| part["type"] == "Precompiled");
        let charsmap = charsmap.and_then(|part| part["precompiled_charsmap"].as_str()).map(str::to_owned);
        Ok(Self { vocab, merges, charsmap })
    }
}

/// The type of a class's model.
fn model_type(class: Class) -> &'static str {
    match class {
        Class::Bert | Class::ConvBert | Class::Funnel | Class::MPNet | Class::File => "WordPiece",
        Class::Roberta | Class::Deberta => "BPE",
        Class::XlmRoberta | Class::Camembert | Class::Albert | Class::DebertaV2 => "Unigram",
    }
}

/// The `tokenizer.json` of a class, without added tokens and post-processor.
pub(super) fn build(class: Class, config: &Config, tokens: &Tokens, parts: Parts) -> Result<Value> {
    let Parts { vocab, merges, charsmap } = parts;
    let unknown = tokens.named("unk_token").unwrap_or_default();
    Ok(json!({
        "version": "1.0", "added_tokens": [], "normalizer": normalizer(class, config, charsmap)?,
        "pre_tokenizer": pre_tokenizer(class, config)?, "model": model(class, config, unknown, vocab, merges),
    }))
}

/// The model of a class.
fn model(class: Class, config: &Config, unknown: &str, vocab: Value, merges: Value) -> Value {
    match model_type(class) {
        "WordPiece" => json!({
            "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        }),
        "BPE" => json!({
            "type": "BPE", "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges,
        }),
        _ => json!({
            "type": "Unigram", "unk_id": unknown_id(class, config, unknown, &vocab), "byte_fallback": false,
            "vocab": vocab,
        }),
    }
}

/// The normalizer of a class, with the character map of its files.
fn normalizer(class: Class, config: &Config, charsmap: Option<String>) -> Result<Value> {
    let charsmap = charsmap.map(|map| json!({"type": "Precompiled", "precompiled_charsmap": map}));
    let replace = |from: Value, to: &str| json!({"type": "Replace", "pattern": from, "content": to});
    Ok(match class {
        Class::Bert | Class::ConvBert | Class::Funnel | Class::MPNet | Class::File => json!({
            "type": "BertNormalizer",
            "clean_text": class != Class::Funnel || config.switch_or("clean_text", true)?,
            "handle_chinese_chars": config.switch_or("tokenize_chinese_chars", true)?,
            "strip_accents": config.switch("strip_accents")?,
            "lowercase": config.switch_or("do_lower_case", true)?,
        }),
        Class::Roberta | Class::Deberta => Value::Null,
        Class::XlmRoberta | Class::Camembert => charsmap.unwrap_or_default(),
        Class::Albert => {
            let mut parts = vec![replace(json!({"String": "``"}), "\""), replace(json!({"String": "''"}), "\"")];
            if !config.flag("keep_accents", false)? {
                parts.extend([json!({"type": "NFKD"}), json!({"type": "StripAccents"})]);
            }
            if config.flag("do_lower_case", true)? {
                parts.push(json!({"type": "Lowercase"}));
            }
            parts.extend(charsmap);
            json!({"type": "Sequence", "normalizers": parts})
        }
        Class::DebertaV2 => {
            let mut parts = Vec::new();
            if config.flag("do_lower_case", false)? {
                parts.push(json!({"type": "Lowercase"}));
            }
            parts.extend([
                replace(json!({"Regex": r"\s{2,}|[\n\r\t]"}), " "),
                json!({"type": "NFC"}),
                json!({"type": "Strip", "strip_left": false, "strip_right": true}),
            ]);
            json!({"type": "Sequence", "normalizers": parts})
        }
    })
}

/// The pre-tokenizer of a class.
fn pre_tokenizer(class: Class, config: &Config) -> Result<Value> {
    let metaspace = |scheme: &str| {
        json!({
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true,
        })
    };
    Ok(match class {
        Class::Bert | Class::ConvBert | Class::Funnel | Class::MPNet | Class::File => {
            json!({"type": "BertPreTokenizer"})
        }
        Class::Roberta | Class::Deberta => json!({
            "type": "ByteLevel", "add_prefix_space": config.switch_or("add_prefix_space", false)?,
            "trim_offsets": true, "use_regex": true,
        }),
        Class::XlmRoberta | Class::Camembert | Class::Albert => {
            let scheme = if config.flag("add_prefix_space", true)? { "always" } else { "never" };
            json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace(scheme)]})
        }
        Class::DebertaV2 => {
            let scheme = if config.flag("add_prefix_space", true)? { "always" } else { "first" };
            let mut parts = Vec::new();
            if config.flag("split_by_punct", false)? {
                parts.push(json!({"type": "Punctuation", "behavior": "Isolated"}));
            }
            parts.push(metaspace(scheme));
            json!({"type": "Sequence", "pretokenizers": parts})
        }
    })
}

/// The number of the piece that stands for unknown characters.
fn unknown_id(class: Class, config: &Config, unknown: &str, vocab: &Value) -> usize {
    let piece = |value: &Value| value[0].as_str() == Some(unknown);
    let pieces = vocab.as_array().map(Vec::as_slice).unwrap_or_default();
    match class {
        Class::Camembert => pieces.iter().position(piece).unwrap_or(0),
        Class::DebertaV2 => {
            let scoreless = |value: &Value| piece(value) && value[1].as_f64() == Some(0.0);
            let id = || config.get("unk_id").and_then(Value::as_u64).map_or(1, |id| id as usize);
            pieces.iter().position(scoreless).unwrap_or_else(id)
        }
        Class::Albert => 1,
        _ => 3,
    }
}

/// Refuses a `tokenizer.json` that says something else than its class does, where `tokenizer_config.json` has no word
/// on it. `file` is without its vocabulary.
///
/// # Errors
/// A sentence that names the key in which they differ.
pub(super) fn compare(class: Class, file: &Value, built: &Value, config: &Config) -> Result<(), String> {
    let differs = |key: &str, found: &Value, setting: &str| {
        let set = if setting.is_empty() { String::new() } else { format!("{setting:?} in tokenizer_config.json, or ") };
        Err(format!(
            "{key} is {}, which is not what the \"tokenizer_class\" does; set {set}the \"tokenizer_class\" \
             PreTrainedTokenizerFast to go by this file",
            short(found)
        ))
    };
    let is_given = |setting: &str| config.keys.contains_key(setting);
    let says = |value: &Value| !(value.is_null() || *value == false || *value == "");
    let settings: &[&str] = match model_type(class) {
        "WordPiece" => &["unk_token", "continuing_subword_prefix", "max_input_chars_per_word"],
        "BPE" => &["continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges"],
        _ => &["unk_id", "byte_fallback"],
    };
    for key in settings {
        let (found, expected) = (&file["model"][key], &built["model"][key]);
        // An older file leaves out what is at its default.
        if found != expected && says(found) && !(*key == "unk_token" && is_given(key)) {
            return differs(&format!("model.{key}"), found, "");
        }
    }
    let normalizer = whole::<NormalizerWrapper>(&file["normalizer"]).map_err(|error| format!("normalizer: {error}"))?;
    let splitter =
        whole::<PreTokenizerWrapper>(&file["pre_tokenizer"]).map_err(|error| format!("pre_tokenizer: {error}"))?;
    if model_type(class) == "Unigram" {
        return compare_unigram(&normalizer, &splitter, built, &is_given, &differs);
    }
    for (key, found) in [("normalizer", &normalizer), ("pre_tokenizer", &splitter)] {
        let built = &built[key];
        if found["type"] != built["type"] {
            return differs(key, found, "");
        }
        for (field, setting) in [
            ("lowercase", "do_lower_case"),
            ("strip_accents", "strip_accents"),
            ("handle_chinese_chars", "tokenize_chinese_chars"),
            ("add_prefix_space", "add_prefix_space"),
            ("clean_text", ""),
            ("use_regex", ""),
        ] {
            if found[field] != built[field] && !is_given(setting) {
                return differs(&format!("{key}.{field}"), &found[field], setting);
            }
        }
    }
    Ok(())
}

/// [`compare`] for Unigram. The converters of several years wrote normalizers and pre-tokenizers that differ in how
/// they treat spaces, and transformers builds one for all of them; what decides on letters and words has to be the
/// same.
fn compare_unigram(
    normalizer: &Value,
    splitter: &Value,
    built: &Value,
    is_given: &dyn Fn(&str) -> bool,
    differs: &dyn Fn(&str, &Value, &str) -> Result<(), String>,
) -> Result<(), String> {
    for (kind, setting) in [("Lowercase", "do_lower_case"), ("StripAccents", "keep_accents")] {
        let kinds = |value| parts(value, "normalizers").iter().any(|part| part["type"] == kind);
        if kinds(normalizer) != kinds(&built["normalizer"]) && !is_given(setting) {
            return differs("normalizer", normalizer, setting);
        }
    }
    let built = parts(&built["pre_tokenizer"], "pretokenizers");
    let scheme = |parts: &[&Value]| parts.iter().find_map(|part| part.get("prepend_scheme").cloned());
    let found = parts(splitter, "pretokenizers");
    let is_known = |part: &&Value| part["type"] == "WhitespaceSplit" || built.iter().any(|b| b["type"] == part["type"]);
    if !found.iter().all(is_known) || scheme(&found).is_none() {
        return differs("pre_tokenizer", splitter, "");
    }
    if scheme(&found) != scheme(&built) && !is_given("add_prefix_space") {
        return differs("pre_tokenizer", splitter, "add_prefix_space");
    }
    Ok(())
}

/// A part of a `tokenizer.json` with every setting, as the library writes what it reads.
fn whole<T: DeserializeOwned + Serialize>(json: &Value) -> Result<Value, String> {
    let part: Option<T> =
        guarded(|| serde_json::from_value(json.clone()))?.map_err(|error: serde_json::Error| error.to_string())?;
    serde_json::to_value(part).map_err(|error| error.to_string())
}

/// A normalizer or pre-tokenizer, or those of a sequence.
fn parts<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    match value[key].as_array() {
        Some(sequence) => sequence.iter().flat_map(|part| parts(part, key)).collect(),
        None => vec![value],
    }
}
