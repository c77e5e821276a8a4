//! From a model directory to a tokenizer: `tokenizer.json`, or `vocab.txt`, with the settings of the files beside it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::{NormalizedString, Normalizer, Tokenizer as Inner};

use super::config::{self, AddedToken, Class, Config};
use super::cuts::Cuts;
use super::frame::Frame;
use super::guard::guarded;
use super::{check, fingerprint, vocab, wrong};
use crate::Result;
use crate::files::read_bounded;

const TOKENIZER: &str = "tokenizer.json";
const VOCAB: &str = "vocab.txt";

/// The largest of these files that is read: those of the largest vocabularies in use have 35 MB.
const MAX_BYTES: u64 = 512 << 20;

/// The tokenizer of a directory.
pub(super) struct Loaded {
    /// The file that the vocabulary comes from.
    pub path: PathBuf,
    /// Normalizes, splits and looks up. Post-processor, truncation and padding are taken out.
    pub inner: Inner,
    /// How many times longer the normalizers can make a text, beside what Unicode's own forms do.
    pub growth: u64,
    /// The post-processor.
    pub frame: Frame,
    /// The places where a long text can be cut before it is encoded; `None` if there are none.
    pub cuts: Option<Cuts>,
    /// Whether a text that is too long loses its beginning rather than its end.
    pub cut_left: bool,
    pub fingerprint: String,
}

/// Reads the tokenizer of a model directory; `tokenizer.json` is preferred to `vocab.txt`, as in Python.
pub(super) fn load(dir: &Path) -> Result<Loaded> {
    let config = Config::open(dir)?;
    let path = dir.join(TOKENIZER);
    if path.exists() {
        let text = read_bounded(&path, MAX_BYTES)?;
        let json = serde_json::from_slice(&text).map_err(|error| wrong(&path, format!("not JSON: {error}")))?;
        return build(path, json, &config, &config.added_tokens(dir, false)?);
    }
    let path = dir.join(VOCAB);
    if path.exists() {
        let text = String::from_utf8(read_bounded(&path, MAX_BYTES)?).map_err(|error| {
            let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count();
            wrong(&path, format!("line {line} is not valid UTF-8"))
        })?;
        let json = vocab::to_json(&path, &text, &config)?;
        return build(path, json, &config, &config.added_tokens(dir, true)?);
    }
    let also = if dir.join("vocab.json").exists() { "; the BPE of RoBERTa (vocab.json) is not supported" } else { "" };
    Err(wrong(dir, format!("there is neither {TOKENIZER} nor {VOCAB}{also}")))
}

/// The tokenizer of a `tokenizer.json`, without its lengths, and with the settings and tokens that other files declare.
fn build(path: PathBuf, mut json: Value, config: &Config, declared: &[AddedToken]) -> Result<Loaded> {
    if !json.is_object() {
        return Err(wrong(&path, "not a JSON object"));
    }
    // Removed before the crate reads them: the caller sets the length, a packed batch has no padding, and the crate
    // would apply the post-processor to each text of a pair separately.
    let truncation = json["truncation"].take();
    json["padding"] = Value::Null;
    let processor = json["post_processor"].take();
    apply_switches(&mut json, config)?;
    let cut_left = match config.get("truncation_side").unwrap_or(&truncation["direction"]).as_str() {
        Some("left" | "Left") => true,
        None | Some("right" | "Right") => false,
        Some(other) => {
            let reason =
                format!("expected truncation on the left or the right, found {}", config::short(&other.into()));
            return Err(wrong(&path, reason));
        }
    };
    add_tokens(&mut json, declared);
    let growth = check::check(&mut json).map_err(|reason| wrong(&path, reason))?;
    let fingerprint = fingerprint::begin(&json["model"]);
    let inner: Inner = guarded(|| serde_json::from_value(json))
        .map_err(|panic| wrong(&path, panic))?
        .map_err(|error| wrong(&path, error))?;
    for token in declared {
        let found = inner.token_to_id(&token.content);
        if found.map(u64::from) != Some(token.id) {
            let found = found.map_or("none".into(), |id| id.to_string());
            let reason = format!(
                "{} declares the token {} with the id {}, but its id here is {found}",
                token.source,
                config::short(&token.content.as_str().into()),
                token.id
            );
            return Err(wrong(&path, reason));
        }
    }

    check_added_tokens(&inner).map_err(|reason| wrong(&path, reason))?;

    let frame = |error: String| wrong(&path, format!("post_processor: {error}"));
    let processor = Frame::read(&processor).map_err(frame)?.or_else(|| class_frame(&inner, config));
    let frame = Frame::new(processor).map_err(frame)?;
    let fingerprint = fingerprint.finish(&inner, &frame, cut_left).map_err(|error| wrong(&path, error))?;
    let cuts = Cuts::of(&inner);
    Ok(Loaded { path, inner, growth, frame, cuts, cut_left, fingerprint })
}

/// Replaces the switches of `tokenizer.json` by those of `tokenizer_config.json`, if the class reads them.
fn apply_switches(json: &mut Value, config: &Config) -> Result<()> {
    if config.class.reads_case_switches() && json["normalizer"]["type"] == "BertNormalizer" {
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
    if config.class == Class::Roberta
        && json["pre_tokenizer"]["type"] == "ByteLevel"
        && let Some(on) = config.switch("add_prefix_space")?
    {
        json["pre_tokenizer"]["add_prefix_space"] = on.into();
    }
    Ok(())
}

/// Adds the declared tokens to `added_tokens`. An existing one is replaced, because the declaration takes precedence.
fn add_tokens(json: &mut Value, declared: &[AddedToken]) {
    if json["added_tokens"].is_null() && !declared.is_empty() {
        json["added_tokens"] = Value::Array(Vec::new());
    }
    let Some(added) = json["added_tokens"].as_array_mut() else { return };
    for token in declared {
        match added.iter_mut().find(|other| other["content"].as_str() == Some(&token.content)) {
            Some(same) => *same = token.json.clone(),
            None => added.push(token.json.clone()),
        }
    }
}

/// Refuses an added token whose normalized form is empty, because the crate would find it at every position.
fn check_added_tokens(inner: &Inner) -> Result<(), String> {
    let Some(normalizer) = inner.get_normalizer() else { return Ok(()) };
    for token in inner.get_added_tokens_decoder().into_values().filter(|token| token.normalized) {
        let mut text = NormalizedString::from(token.content.as_str());
        guarded(|| normalizer.normalize(&mut text))?.map_err(|error| error.to_string())?;
        if text.is_empty() {
            return Err(format!(
                "added_tokens: nothing is left of the token {:?} when it is normalized",
                token.content
            ));
        }
    }
    Ok(())
}

/// The post-processor of the class, for files that have none; `None` also where its special tokens are missing.
fn class_frame(inner: &Inner, config: &Config) -> Option<tokenizers::PostProcessorWrapper> {
    let token = |key, default| {
        let token = config.token(key, default);
        inner.token_to_id(&token).map(|id| (token, id))
    };
    match config.class {
        Class::Bert => Some(Frame::bert(token("cls_token", "[CLS]")?, token("sep_token", "[SEP]")?)),
        Class::MPNet => Some(Frame::mpnet(token("cls_token", "<s>")?, token("sep_token", "</s>")?)),
        Class::Roberta | Class::File => None,
    }
}
