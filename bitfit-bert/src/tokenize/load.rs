//! From a model directory to a tokenizer: `tokenizer.json`, or a vocabulary file, with the settings of the files beside
//! it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::{NormalizedString, Normalizer, PostProcessorWrapper, Tokenizer as Inner};

use super::added::Tokens;
use super::class::{Class, Files};
use super::config::{self, Config};
use super::cuts::Cuts;
use super::frame::Frame;
use super::recipe::{self, Parts};
use super::{check, fingerprint, guarded, vocab, wrong};
use crate::Result;
use crate::files::{parse_json, read_bounded};

pub(super) const TOKENIZER: &str = "tokenizer.json";

/// The largest of these files that is read: those of the largest vocabularies in use have 35 MB, and parsed JSON can
/// take 150 times its size.
const MAX_BYTES: u64 = 96 << 20;

/// What a directory's files make of a text.
pub(super) struct Loaded {
    /// The file that the vocabulary comes from.
    pub path: PathBuf,
    /// Normalizes, splits and looks up. Post-processor, truncation and padding are taken out.
    pub inner: Inner,
    /// How many times longer the normalizers can make a text, beside what Unicode's own forms do.
    pub growth: u64,
    /// The post-processor.
    pub frame: Frame,
    /// Where a long text can be cut before it is encoded; `None` if nowhere.
    pub cuts: Option<Cuts>,
    /// Whether a text that is too long loses its beginning rather than its end.
    pub cut_left: bool,
    /// The text and the id of the mask token; `None` where no file and no class names one.
    pub mask: Option<(String, u32)>,
    /// The ids of the special tokens.
    pub special: HashSet<u32>,
    pub fingerprint: String,
}

/// Reads the tokenizer of a model directory; `tokenizer.json` goes before vocabulary files, as in Python.
pub(super) fn load(dir: &Path) -> Result<Loaded> {
    let config = Config::open(dir)?;
    let path = dir.join(TOKENIZER);
    if path.exists() {
        let text = read_bounded(&path, MAX_BYTES)?;
        let json = parse_json(&text).map_err(|error| wrong(&path, format!("not JSON: {error}")))?;
        return from_json(dir, path, json, &config);
    }
    // transformers does not read a vocab.txt whose class no file tells. Those of the first BERTs have none.
    let class = config.class.unwrap_or(Class::Bert);
    let (path, parts) = vocab::open(dir, class, MAX_BYTES)?;
    let tokens = Tokens::read(dir, &config, class, None)?;
    let json = recipe::build(class, &config, &tokens, parts)?;
    Builder { path, config: &config, class, tokens, processor: None, direction: Value::Null }.build(json)
}

/// The tokenizer of a `tokenizer.json`: as it is, or what its class makes of the vocabulary in it.
fn from_json(dir: &Path, path: PathBuf, mut json: Value, config: &Config) -> Result<Loaded> {
    let class = config.class.unwrap_or(Class::File);
    if !json.is_object() {
        return Err(wrong(&path, "not a JSON object"));
    }
    // Taken out before the crate sees them: lengths are the caller's, a packed batch has no padding, and the crate
    // would run the post-processor on each text of a pair alone.
    let truncation = json["truncation"].take();
    let direction = truncation["direction"].clone();
    json["padding"] = Value::Null;
    let processor = Frame::read(&json["post_processor"].take())
        .map_err(|error| wrong(&path, format!("post_processor: {error}")))?;
    let tokens = Tokens::read(dir, config, class, Some(&json))?;
    let listed = json["added_tokens"].clone();
    if !matches!(class, Class::File | Class::ConvBert) {
        let parts = Parts::take(&mut json, class).map_err(|reason| wrong(&path, reason))?;
        let built = recipe::build(class, config, &tokens, parts)?;
        recipe::compare(class, &json, &built, config).map_err(|reason| wrong(&path, reason))?;
        json = built;
    }
    let loaded = Builder { path, config, class, tokens, processor, direction }.build(json)?;
    for token in listed.as_array().into_iter().flatten().filter_map(|token| token["content"].as_str()) {
        if !loaded.inner.get_added_vocabulary().get_vocab().contains_key(token) {
            let reason = format!(
                "the added token {} is not in the \"added_tokens_decoder\" of {}, which goes before this file",
                config::short(&token.into()),
                config::FILE_NAME
            );
            return Err(wrong(&loaded.path, reason));
        }
    }
    Ok(loaded)
}

/// What a tokenizer is built of, beside a `tokenizer.json`.
struct Builder<'c> {
    path: PathBuf,
    config: &'c Config,
    class: Class,
    tokens: Tokens,
    /// The post-processor of the file.
    processor: Option<PostProcessorWrapper>,
    /// The side that the file truncates.
    direction: Value,
}

impl Builder<'_> {
    /// The tokenizer of `json`, plus the tokens and settings that other files declare.
    fn build(&self, json: Value) -> Result<Loaded> {
        let split_special = self.config.switch("split_special_tokens")? == Some(true);
        self.try_build(json, split_special).map_err(|reason| wrong(&self.path, reason))
    }

    fn try_build(&self, mut json: Value, split_special: bool) -> Result<Loaded, String> {
        let direction = self.config.get("truncation_side").unwrap_or(&self.direction);
        let cut_left = match direction.as_str() {
            Some("left" | "Left") => true,
            None | Some("right" | "Right") => false,
            Some(_) => {
                let found = config::short(direction);
                return Err(format!("expected truncation on the left or the right, found {found}"));
            }
        };
        let growth = check::check(&mut json)?;
        let fingerprint = fingerprint::begin(&json["model"]);
        let mut inner: Inner = guarded(|| serde_json::from_value(json))?.map_err(|error| error.to_string())?;
        self.check_required(&inner)?;
        let present: HashSet<_> = inner.get_added_tokens_decoder().into_values().collect();
        let added = self.tokens.to_add(&present);
        guarded(|| inner.add_tokens(added))?.map_err(|error| error.to_string())?;
        check_added_tokens(&inner)?;
        for declared in &self.tokens.declared {
            let found = inner.token_to_id(&declared.token.content);
            if found.map(u64::from) != Some(declared.id) {
                return Err(format!(
                    "{} declares the token {} with the id {}, but its id here is {}",
                    declared.source,
                    config::short(&declared.token.content.as_str().into()),
                    declared.id,
                    found.map_or("none".into(), |id| id.to_string())
                ));
            }
        }
        inner.set_encode_special_tokens(split_special);
        let frame = self.frame(&inner).map_err(|error| format!("post_processor: {error}"))?;
        let fingerprint = fingerprint.finish(&inner, &frame, cut_left).map_err(|error| error.to_string())?;
        let cuts = Cuts::of(&inner);
        let mask = self.tokens.named("mask_token").map(str::to_owned);
        let mask = mask.and_then(|token| inner.token_to_id(&token).map(|id| (token, id)));
        let added = inner.get_added_tokens_decoder().into_iter();
        let special = added.filter(|(_, token)| token.special).map(|(id, _)| id).collect();
        Ok(Loaded { path: self.path.clone(), inner, growth, frame, cuts, cut_left, mask, special, fingerprint })
    }

    /// Refuses a vocabulary without the tokens that the class puts around a text or in the place of an unknown word.
    /// transformers would give them numbers behind those of the vocabulary, for which a model has no embedding.
    fn check_required(&self, inner: &Inner) -> Result<(), String> {
        let word_piece = (self.class.files() == Files::WordPiece).then_some("unk_token");
        for key in word_piece.into_iter().chain(self.class.frame_keys().into_iter().flatten()) {
            let Some(token) = self.tokens.named(key) else { return Err(format!("{key:?} is null")) };
            if inner.token_to_id(token).is_none() && !self.tokens.declares(token) {
                return Err(format!("the special token {token:?} is not in the vocabulary"));
            }
        }
        Ok(())
    }

    /// The post-processor: the file's for a class that goes by it, and else that of the class, from which the file's
    /// must not differ.
    fn frame(&self, inner: &Inner) -> Result<Frame, String> {
        let of_class = || -> Option<PostProcessorWrapper> {
            let [first, last] = self.class.frame_keys()?.map(|key| {
                let token = self.tokens.named(key)?;
                Some((token.to_owned(), inner.token_to_id(token)?))
            });
            Frame::of_class(self.class, first?, last?)
        };
        let Some(processor) = &self.processor else { return Frame::new(of_class()) };
        let file = Frame::new(Some(processor.clone()))?;
        if matches!(self.class, Class::File | Class::Albert) {
            return Ok(file);
        }
        let own = Frame::new(of_class())?;
        if own.same_as(&file) {
            return Ok(own);
        }
        Err("it puts other tokens around a text than the \"tokenizer_class\" does; set the \"tokenizer_class\" \
             PreTrainedTokenizerFast to go by this file"
            .into())
    }
}

/// Refuses an added token of which the normalizer leaves nothing, which the crate would find in every place.
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
