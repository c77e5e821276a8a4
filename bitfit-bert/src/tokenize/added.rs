//! The tokens that are added to a vocabulary: those that files declare, and the special ones of a class.
//!
//! transformers collects them from up to four files and adds them one behind the other; of two with one text the later
//! one counts. The order here is the same: declared tokens by id, then the named special ones, then those without a
//! name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::class::{Class, NAMED};
use super::config::{ADDED_TOKENS, Config, FILE_NAME, SPECIAL_TOKENS, object, short};
use super::wrong;
use crate::Result;

/// A token as a file gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Token {
    pub content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    /// Looked for in the normalized text; `None` where the file does not say, which is yes for all but special ones.
    normalized: Option<bool>,
    special: bool,
}

/// A token that a file declares under an id.
pub(super) struct Declared {
    pub id: u64,
    pub token: Token,
    /// The file that declares it.
    pub source: &'static str,
}

/// Everything that is added to the vocabulary of a class.
pub(super) struct Tokens {
    /// By ascending id.
    pub declared: Vec<Declared>,
    /// The texts of those.
    declared_texts: HashSet<String>,
    /// The named special tokens by their settings, in the order in which they are added.
    named: Vec<(String, Token)>,
    /// Special tokens without a name.
    extra: Vec<Token>,
}

impl Token {
    /// A special token without settings of its own.
    fn special(content: impl Into<String>, lstrip: bool) -> Self {
        Self { content: content.into(), lstrip, special: true, ..Self::default() }
    }

    /// The token of an object with the fields of transformers' `AddedToken`; `None` if it has no text.
    fn of(value: &Value) -> Option<Self> {
        let flag = |key: &str| value[key].as_bool().unwrap_or(false);
        Some(Self {
            content: value["content"].as_str()?.to_owned(),
            single_word: flag("single_word"),
            lstrip: flag("lstrip"),
            rstrip: flag("rstrip"),
            normalized: value["normalized"].as_bool(),
            special: flag("special"),
        })
    }

    fn added(&self, special: bool) -> AddedToken {
        let special = self.special || special;
        AddedToken::from(self.content.clone(), special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!special))
    }
}

impl Tokens {
    /// The tokens that the files of a directory give to a class. `json` is its `tokenizer.json`, if there is one.
    pub fn read(dir: &Path, config: &Config, class: Class, json: Option<&Value>) -> Result<Self> {
        let named = named(dir, config, class)?;
        let extra = extra(dir, config)?;
        let declared: Vec<Declared> = declared(dir, config, json)?.into_values().collect();
        let declared_texts = declared.iter().map(|declared| declared.token.content.clone()).collect();
        let default = || class.extra_specials().iter().map(|content| Token::special(*content, false)).collect();
        Ok(Self { declared, declared_texts, named, extra: extra.unwrap_or_else(default) })
    }

    /// The text of a named special token; `None` where the class has none or a file says that there is none.
    pub fn named(&self, key: &str) -> Option<&str> {
        self.named.iter().find(|(named, _)| named == key).map(|(_, token)| token.content.as_str())
    }

    /// Whether a file declares this token.
    pub fn declares(&self, content: &str) -> bool {
        self.declared_texts.contains(content)
    }

    /// The tokens to add where those of `present` are added already, in this order.
    pub fn to_add(&self, present: &HashSet<AddedToken>) -> Vec<AddedToken> {
        let texts: HashSet<&str> = present.iter().map(|token| token.content.as_str()).collect();
        let names: HashSet<&str> = self.named.iter().map(|(_, token)| token.content.as_str()).collect();
        let declared = self.declared.iter().map(|declared| &declared.token);
        let declared = declared.filter(|token| !present.contains(&token.added(false)));
        // What is declared says more of a special token than its name does; of two that are the same the first counts.
        let mut seen = HashSet::new();
        let special = self.named.iter().map(|(_, token)| token).chain(&self.extra);
        let special = special.filter(|token| {
            !texts.contains(token.content.as_str()) && !self.declares(&token.content) && seen.insert(*token)
        });
        declared.chain(special).map(|token| token.added(names.contains(token.content.as_str()))).collect()
    }
}

/// The special tokens that a setting of a file names, or the class by itself.
fn named(dir: &Path, config: &Config, class: Class) -> Result<Vec<(String, Token)>> {
    let (map, path) = (&config.special_tokens, dir.join(SPECIAL_TOKENS));
    let mut named = Vec::new();
    for key in NAMED {
        let special = class.specials().iter().find(|special| special.key == key);
        let lstrip = special.is_some_and(|special| special.lstrip);
        // Each of the two files has its own form of a token with flags. A null says that there is no such token.
        let token = match (map.get(key), config.keys.get(key)) {
            (Some(Value::Null), _) | (None, Some(Value::Null)) => None,
            (Some(Value::String(content)), _) | (None, Some(Value::String(content))) => {
                Some(Token::special(content, lstrip))
            }
            (Some(value), _) => Some(in_map(value).ok_or_else(|| refused(&path, key, value))?),
            (None, Some(value)) => Some(in_config(value).ok_or_else(|| refused(&config.path, key, value))?),
            (None, None) => special.map(|special| Token::special(special.default, lstrip)),
        };
        named.extend(token.map(|token| (key.to_owned(), token)));
    }
    named.extend(own_names(dir, config)?);
    Ok(named)
}

/// The special tokens under names of a model's own, such as "image_token", which are settings by themselves or entries
/// of one. Of two with one name the later counts, in the place of the first.
fn own_names(dir: &Path, config: &Config) -> Result<Vec<(String, Token)>> {
    let is_own = |(key, _): &(&String, &Value)| key.ends_with("_token") && !NAMED.contains(&key.as_str());
    let is_text = |value: &Value| value.is_string();
    let (map, keys) = (&config.special_tokens, &config.keys);
    let mut texts = Vec::new();
    let mut flagged = Vec::new();
    for (key, value) in keys.iter().filter(is_own) {
        let list = if is_text(value) { &mut texts } else { &mut flagged };
        list.extend(in_config(value).map(|token| (key, token)));
    }
    for (key, value) in map.iter().filter(is_own) {
        let token = if is_text(value) { in_config(value) } else { in_map(value) };
        flagged.push((key, token.ok_or_else(|| refused(&dir.join(SPECIAL_TOKENS), key, value))?));
    }
    let mut entries = |list: &str| -> Result<bool> {
        for (key, value) in keys.get(list).and_then(Value::as_object).into_iter().flatten() {
            let token = in_config(value).filter(|_| !NAMED.contains(&key.as_str()));
            texts.push((key, token.ok_or_else(|| refused(&dir.join(FILE_NAME), key, value))?));
        }
        Ok(texts.is_empty())
    };
    if entries("extra_special_tokens")? {
        entries("model_specific_special_tokens")?;
    }
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut tokens: Vec<(String, Token)> = Vec::new();
    for (key, token) in flagged.into_iter().chain(texts) {
        match places.get(key.as_str()) {
            Some(&place) => tokens[place].1 = token,
            None => {
                places.insert(key, tokens.len());
                tokens.push((key.clone(), token));
            }
        }
    }
    Ok(tokens)
}

/// The tokens that count as special in an `added_tokens.json`, by the rule of transformers: the named special tokens
/// that a file has as a text, and those of the list in `tokenizer_config.json` under either name of it.
fn special_texts(config: &Config) -> HashSet<&str> {
    let (keys, map) = (&config.keys, &config.special_tokens);
    let named = NAMED.iter().filter_map(|key| match map.get(*key) {
        Some(value) => value.as_str().or_else(|| value["content"].as_str()),
        None => keys.get(*key).and_then(Value::as_str),
    });
    let list = keys.get(EXTRA[0]).filter(|list| !is_empty(list)).or_else(|| keys.get(EXTRA[1]));
    let lists = [list, map.get(EXTRA[0])].into_iter().flatten().filter_map(Value::as_array);
    named.chain(lists.flatten().filter_map(Value::as_str)).collect()
}

/// The settings that list special tokens without a name: today's, and the older one.
const EXTRA: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// Whether Python takes a list or an object for none.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(tokens) => tokens.is_empty(),
        Value::Object(tokens) => tokens.is_empty(),
        value => value.is_null(),
    }
}

/// The special tokens without a name; `None` where no file has a list of them.
fn extra(dir: &Path, config: &Config) -> Result<Option<Vec<Token>>> {
    let list = |path: &Path, key: &str, value: &Value| match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(tokens) => {
            let token = |value: &Value| in_config(value).ok_or_else(|| refused(path, key, value));
            tokens.iter().map(token).collect::<Result<Vec<_>>>()
        }
        _ => Err(refused(path, key, value)),
    };
    let [new, old] = EXTRA.map(|key| config.keys.get(key));
    let (mut tokens, mut old) = match (new.filter(|value| !is_empty(value)), old) {
        // An object gives names, which are read with the others.
        (Some(Value::Object(_)), old) => (None, old.map(|value| (config.path.clone(), value))),
        (Some(value), _) => (Some(list(&config.path, EXTRA[0], value)?), None),
        (None, Some(value)) => (Some(list(&config.path, EXTRA[1], value)?), None),
        (None, None) => (new.map(|_| Vec::new()), None),
    };
    let path = dir.join(SPECIAL_TOKENS);
    if let Some(value) = config.special_tokens.get(EXTRA[0]) {
        // Another value than a list would take the place of the other file's list.
        let listed = Some(value).filter(|value| value.is_array()).ok_or_else(|| refused(&path, EXTRA[0], value))?;
        tokens.get_or_insert_default().extend(list(&path, EXTRA[0], listed)?);
    }
    if let Some(value) = config.special_tokens.get(EXTRA[1]) {
        old = Some((path, value));
    }
    // transformers does not read an older list where there is a newer one.
    match (tokens, old.filter(|(_, value)| !value.is_null())) {
        (None, Some((path, value))) => list(&path, EXTRA[1], value).map(Some),
        (tokens, _) => Ok(tokens),
    }
}

/// The tokens with ids: those of `added_tokens_decoder` in `tokenizer_config.json`; where it has none, those of the
/// older `added_tokens.json` and of `tokenizer.json`.
fn declared(dir: &Path, config: &Config, json: Option<&Value>) -> Result<BTreeMap<u64, Declared>> {
    let mut tokens = BTreeMap::new();
    if let Some(value) = config.keys.get("added_tokens_decoder") {
        let refused = |reason: String| wrong(&dir.join(FILE_NAME), format!("\"added_tokens_decoder\": {reason}"));
        let declared = value.as_object();
        for (id, token) in declared.ok_or_else(|| refused(format!("expected an object, found {}", short(value))))? {
            let (Some(token), Ok(id)) = (Token::of(token), id.parse()) else {
                return Err(refused(format!("{id:?} is not an id with a token")));
            };
            tokens.insert(id, Declared { id, token, source: FILE_NAME });
        }
        return Ok(tokens);
    }
    let path = dir.join(ADDED_TOKENS);
    let specials = special_texts(config);
    for (content, id) in object(&path)?.unwrap_or_default() {
        let Some(id) = id.as_u64() else {
            return Err(wrong(&path, format!("{content:?}: expected an id, found {}", short(&id))));
        };
        let special = specials.contains(content.as_str());
        let token = Token { content, special, normalized: Some(!special), ..Token::default() };
        tokens.insert(id, Declared { id, token, source: ADDED_TOKENS });
    }
    for value in json.and_then(|json| json["added_tokens"].as_array()).into_iter().flatten() {
        // The tokenizers library says what is wrong with one that is neither.
        let (Some(token), Some(id)) = (Token::of(value), value["id"].as_u64()) else { continue };
        tokens.insert(id, Declared { id, token, source: super::load::TOKENIZER });
    }
    Ok(tokens)
}

/// A token of `special_tokens_map.json` with flags.
fn in_map(value: &Value) -> Option<Token> {
    Token::of(value).map(|token| Token { special: true, ..token })
}

/// A token of `tokenizer_config.json`: a text, or an object with flags that is marked as such.
fn in_config(value: &Value) -> Option<Token> {
    match value {
        Value::String(content) => Some(Token::special(content, false)),
        _ if value["__type"] == "AddedToken" => Token::of(value),
        _ => None,
    }
}

fn refused(path: &Path, key: &str, value: &Value) -> crate::Error {
    wrong(path, format!("{key:?}: expected a token, found {}", short(value)))
}

/// The keys of `tokenizer_config.json` that would put something else in the place of the files.
pub(super) fn check_keys(path: &Path, keys: &Map<String, Value>) -> Result<()> {
    for key in [
        "vocab",
        "merges",
        "init_inputs",
        "fast_tokenizer_files",
        "gguf_file",
        "post_processor",
        "tokenizer_object",
        "tokenizer_padding",
        "tokenizer_truncation",
        "_spm_precompiled_charsmap",
    ] {
        if let Some(value) = keys.get(key)
            && !(value.is_null() || value.as_array().is_some_and(Vec::is_empty))
        {
            return Err(wrong(path, format!("the setting {key:?} is not supported")));
        }
    }
    Ok(())
}
