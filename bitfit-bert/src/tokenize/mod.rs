//! From text to token ids, exactly as `transformers.AutoTokenizer(text, pair, truncation=True, max_length=n)` gives
//! them.
//!
//! ```text
//! files --load--> tokenizer --encode, words, windows, masked--> Encoding
//! config, vocab   class, added, recipe
//!                 check, frame, cuts
//! ```
//!
//! A directory's class (`class`) says which files are read and what is made of them: the `tokenizer.json` as it is, or
//! the one that transformers 5 builds for the class from the vocabulary in it, or in `vocab.txt`, or in `vocab.json`
//! and `merges.txt` (`vocab`, `recipe`), with the tokens that up to four files add (`added`).
//!
//! The rule for every tokenizer: the ids of transformers, or an error that names what is not supported. Encoding is
//! deterministic, and neither a file nor a text can make it panic.
//!
//! ```no_run
//! # fn main() -> bitfit_bert::Result<()> {
//! use bitfit_bert::{ModelConfig, Tokenizer};
//!
//! let dir = "models/all-MiniLM-L6-v2".as_ref();
//! let tokenizer = Tokenizer::open(dir, &ModelConfig::open(dir)?)?;
//! let encoding = tokenizer.encode("a premise", Some("a hypothesis"), 128)?;
//! assert_eq!(encoding.ids.len(), encoding.type_ids.len());
//! # Ok(()) }
//! ```

mod added;
mod check;
mod class;
mod config;
mod cuts;
mod encode;
mod fingerprint;
mod frame;
mod load;
mod masked;
mod recipe;
#[cfg(test)]
mod tests;
mod vocab;
mod windows;
mod words;

use std::fmt;
use std::path::Path;

use rayon::prelude::*;
use tokenizers::{NormalizedString, Normalizer};

use crate::arch::Module;
use crate::config::ModelConfig;
use crate::{Error, Result, guard};
pub use masked::MaskVocabulary;
pub use windows::Window;

/// The tokens of one text or one pair, special tokens included. There is no padding and so no attention mask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Rows of the word embedding, at least one.
    pub ids: Vec<u32>,
    /// Rows of the token type embedding, one for each id; for BERT 0 for the first text and 1 for the second.
    pub type_ids: Vec<u32>,
    /// Where the second text of a pair begins that is a sequence of its own ([`Tokenizer::encode_apart`]); `None` for
    /// one sequence.
    pub second: Option<usize>,
    /// The tokens that a head over tokens reads ([`Tokenizer::encode_words`]), or that it may read
    /// ([`Tokenizer::encode_all_chunks`]); empty where the head reads pooled rows.
    pub read: Vec<ReadToken>,
    /// Where the context of a question is in this sequence ([`Tokenizer::encode_windows`]), of which a head reads every
    /// token; `None` for any other text.
    pub window: Option<Window>,
    /// The number of tokens of the text, or of both texts, that were left out because they are too long. Where a text
    /// is so long that its rest was not read, an estimate from the tokens of what was.
    pub left_out: usize,
}

/// A token that a head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadToken {
    /// Its position among the tokens of its sequence.
    pub token: usize,
    /// The word of the text that it is the first token of; of a token that may be masked, the word that it is part of.
    pub word: usize,
}

impl Encoding {
    /// The number of rows that a head reads of the text: one, or one for each of [`Encoding::read`], or one for each
    /// token of a [`Window`].
    pub fn rows(&self) -> usize {
        self.window.as_ref().map_or_else(|| self.read.len().max(1), |window| window.tokens)
    }

    /// The number of tokens of each sequence: one, or the two of a pair that is encoded apart.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        let first = self.second.unwrap_or(self.ids.len());
        std::iter::once(first).chain(self.second.map(|second| self.ids.len() - second))
    }
}

/// The limits of the encodings that a model accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// V: the number of rows of the word embedding. A token id that is not below it is an error.
    pub vocab_size: usize,
    /// The number of rows of the token type embedding. A type that is not below it is an error. `None` for a model
    /// without such an embedding: every token is then of type 0, whatever the tokenizer's result.
    pub token_types: Option<usize>,
    /// The longest sequence in tokens, special tokens included.
    pub max_length: usize,
}

impl From<&ModelConfig> for Limits {
    fn from(config: &ModelConfig) -> Self {
        Self {
            vocab_size: config.vocab_size,
            token_types: config.architecture.has(Module::TokenTypeEmbeddings).then_some(config.type_vocab_size),
            max_length: config.max_length(),
        }
    }
}

impl From<&Limits> for Limits {
    fn from(limits: &Limits) -> Self {
        *limits
    }
}

/// A checkpoint's tokenizer, with the limits of its model.
pub struct Tokenizer {
    loaded: load::Loaded,
    limits: Limits,
}

impl Tokenizer {
    /// Opens the tokenizer of a model directory for a model of these limits: `tokenizer.json`; or else `vocab.txt`
    /// (WordPiece), or `vocab.json` with `merges.txt` (BPE at the level of bytes).
    ///
    /// Which of them, and with what normalizer and special tokens, is the matter of the `tokenizer_class` that
    /// `tokenizer_config.json` or `config.json` names, or else of the `model_type` of `config.json`. The settings of
    /// `tokenizer_config.json` that the class reads win over `tokenizer.json`, and so do the tokens that it declares;
    /// `special_tokens_map.json` and `added_tokens.json` count where it declares none. Padding and lengths that the
    /// files hold are ignored, and so is a BPE model's `dropout`: the same text always has the same tokens.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Tokenizer`] if there are no such files, if they are not valid, if two of them
    /// contradict each other, or if they need something that is not supported, such as a `tokenizer_class` with rules
    /// of its own or the model file of SentencePiece.
    pub fn open(dir: &Path, limits: impl Into<Limits>) -> Result<Self> {
        Ok(Self { loaded: load::load(dir)?, limits: limits.into() })
    }

    /// The tokens of a text, or of a pair of texts, at most `max_length` with the special tokens. What is too long is
    /// cut "longest first": the longer text of a pair is shortened until both are equally long. An empty second text
    /// still makes a pair, as in transformers' batches (its call for a single pair drops it).
    ///
    /// Memory and time are bounded by what is kept, not by the length of the text, for tokenizers that work word by
    /// word.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if `max_length` is more than the model has positions or leaves no room for text, if a token
    /// is beyond the model's embeddings (the tokenizer of another model), and if the text cannot be encoded.
    pub fn encode(&self, text: &str, pair: Option<&str>, max_length: usize) -> Result<Encoding> {
        self.encode_row(None, text, pair, max_length)
    }

    /// The tokens of the two texts of a pair, each as a sequence of its own of at most `max_length` tokens, for a model
    /// that encodes them apart.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_apart(&self, text: &str, second: &str, max_length: usize) -> Result<Encoding> {
        self.encode_row_apart(None, text, second, max_length)
    }

    /// [`Tokenizer::encode_apart`] for many pairs, as [`Tokenizer::encode_all`]. A row without a second text is one
    /// sequence.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_all`].
    pub fn encode_all_apart<A, B>(&self, rows: &[(A, Option<B>)], max_length: usize) -> Result<Vec<Encoding>>
    where
        A: AsRef<str> + Sync,
        B: AsRef<str> + Sync,
    {
        encode_rows(rows, |row, text, second| match second {
            Some(second) => self.encode_row_apart(Some(row), text, second, max_length),
            None => self.encode_row(Some(row), text, None, max_length),
        })
    }

    /// [`Tokenizer::encode`] for many rows, in parallel over the current rayon pool; the result is in the order of the
    /// rows.
    ///
    /// # Errors
    /// Those of the first row that has one; for a text that cannot be encoded, with the row's number from 1.
    pub fn encode_all<A, B>(&self, rows: &[(A, Option<B>)], max_length: usize) -> Result<Vec<Encoding>>
    where
        A: AsRef<str> + Sync,
        B: AsRef<str> + Sync,
    {
        encode_rows(rows, |row, text, pair| self.encode_row(Some(row), text, pair, max_length))
    }

    /// How many special tokens are put around a text, or around the two of a pair.
    pub fn special_tokens(&self, is_pair: bool) -> usize {
        self.loaded.frame.special_tokens(is_pair)
    }

    /// A digest of everything that ids depend on, as 64 hexadecimal digits (BLAKE3): vocabulary, merges, normalizer,
    /// pre-tokenizer, added and special tokens, and the side that is cut, after the switches of all files were applied.
    ///
    /// Two tokenizers with one fingerprint give every text the same ids. The converse holds as far as the files show
    /// it: a `vocab.txt` and the `tokenizer.json` that transformers makes of it have one fingerprint.
    pub fn fingerprint(&self) -> String {
        self.loaded.fingerprint.clone()
    }

    /// Whether capital letters become small ones before words are looked up.
    pub(crate) fn lower_cases(&self) -> bool {
        let mut text = NormalizedString::from("AÉЖ");
        let Some(normalizer) = self.loaded.inner.get_normalizer() else { return false };
        let is_normalized = guarded(|| normalizer.normalize(&mut text)).is_ok_and(|done| done.is_ok());
        is_normalized && !text.get().chars().any(char::is_uppercase)
    }

    fn encode_row(&self, row: Option<usize>, text: &str, pair: Option<&str>, max_length: usize) -> Result<Encoding> {
        let room = self.room(pair.is_some(), max_length)?;
        let encoding = encode::encode(&self.loaded, text, pair, room);
        self.fitted(encoding.map_err(|reason| self.wrong_text(row, text, &reason))?)
    }

    /// An encoding as the model takes it, or why it does not.
    fn fitted(&self, mut encoding: Encoding) -> Result<Encoding> {
        if self.limits.token_types.is_none() {
            encoding.type_ids.fill(0);
        }
        self.check(&encoding).map_err(|reason| self.wrong(reason))?;
        Ok(encoding)
    }

    fn encode_row_apart(&self, row: Option<usize>, text: &str, second: &str, max_length: usize) -> Result<Encoding> {
        let mut encoding = self.encode_row(row, text, None, max_length)?;
        let other = self.encode_row(row, second, None, max_length)?;
        encoding.second = Some(encoding.ids.len());
        encoding.ids.extend(other.ids);
        encoding.type_ids.extend(other.type_ids);
        encoding.left_out += other.left_out;
        Ok(encoding)
    }

    /// The number of tokens in the vocabulary, with those that were added to it.
    pub(crate) fn tokens(&self) -> usize {
        self.loaded.inner.get_vocab_size(true)
    }

    /// How many tokens of text fit beside the special tokens.
    fn room(&self, is_pair: bool, max_length: usize) -> Result<usize> {
        let limit = self.limits.max_length;
        if max_length > limit {
            return Err(self.wrong(format!("a length of {max_length} is over the model's {limit} positions")));
        }
        let special = self.special_tokens(is_pair);
        max_length.checked_sub(special).filter(|room| *room > 0).ok_or_else(|| {
            self.wrong(format!("a length of {max_length} leaves no room for text beside {special} special tokens"))
        })
    }

    /// Whether the model has an embedding for everything in `encoding`, and a first token to classify by.
    fn check(&self, encoding: &Encoding) -> Result<(), String> {
        let Limits { vocab_size, token_types, .. } = self.limits;
        if let Some(&id) = encoding.ids.iter().find(|id| **id as usize >= vocab_size) {
            let token = self.loaded.inner.id_to_token(id).unwrap_or_default();
            return Err(format!(
                "the token {token:?} is number {id}, but the model's vocabulary has {vocab_size}: this is the \
                 tokenizer of another model"
            ));
        }
        let types = token_types.unwrap_or(1);
        if let Some(id) = encoding.type_ids.iter().find(|id| **id as usize >= types) {
            return Err(format!("a token of type {id}, but the model has {types}: it takes no pairs"));
        }
        if encoding.ids.is_empty() {
            return Err("a text without a single token, and the tokenizer adds none".into());
        }
        Ok(())
    }

    /// The error for a text that cannot be encoded; it names the text by its number from 0, where it has one.
    fn wrong_text(&self, row: Option<usize>, text: &str, reason: &str) -> Error {
        let start: String = text.chars().take(32).collect();
        let row = row.map_or(String::new(), |row| format!(" {}", row + 1));
        self.wrong(format!("text{row} ({start:?}): {reason}"))
    }

    fn wrong(&self, reason: impl ToString) -> Error {
        wrong(&self.loaded.path, reason)
    }
}

/// Encodes rows in parallel, in their order; the error is that of the first row that has one.
fn encode_rows<A, B>(
    rows: &[(A, Option<B>)],
    encode: impl Fn(usize, &str, Option<&str>) -> Result<Encoding> + Sync,
) -> Result<Vec<Encoding>>
where
    A: AsRef<str> + Sync,
    B: AsRef<str> + Sync,
{
    let encode =
        |(row, (text, second)): (usize, &(A, Option<B>))| encode(row, text.as_ref(), second.as_ref().map(B::as_ref));
    // Not collected directly into a Result, which would keep the error of whichever thread fails first.
    rows.par_iter().enumerate().map(encode).collect::<Vec<_>>().into_iter().collect()
}

/// Prints only the path of the tokenizer, because the vocabulary has tens of thousands of entries.
impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("path", &self.loaded.path).finish_non_exhaustive()
    }
}

/// The result of a call into the tokenizers crate, or what it panicked with. A panic leaves its tokenizers as they
/// were, because encoding changes only their caches.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    guard::guarded(call).map_err(|message| format!("the tokenizers library panicked: {message}"))
}

/// An error on one line, even if the tokenizers crate's message has several.
fn wrong(path: &Path, reason: impl ToString) -> Error {
    let reason = reason.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::Tokenizer { path: path.into(), reason }
}
