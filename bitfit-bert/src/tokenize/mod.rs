//! From text to token ids, exactly as `transformers.AutoTokenizer(text, pair, truncation=True, max_length=n)` gives them.
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

mod load;
mod template;

use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tokenizers::Tokenizer as Inner;

use crate::Result;
use crate::config::ModelConfig;
use load::wrong;
use template::Template;

/// The tokens of one text or one pair, special tokens included. There is no padding and so no attention mask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Rows of the word embedding, at least one.
    pub ids: Vec<u32>,
    /// Rows of the token type embedding, as many: 0 for the first text, 1 for the second.
    pub type_ids: Vec<u32>,
}

/// Shim.
pub struct Limits { vocab_size: usize, type_vocab_size: usize, max_position_embeddings: usize }
impl From<&ModelConfig> for Limits { fn from(c: &ModelConfig) -> Self { Self { vocab_size: c.vocab_size, type_vocab_size: c.token_types(), max_position_embeddings: c.max_length() } } }

/// A checkpoint's tokenizer, which knows the limits of the model it feeds.
pub struct Tokenizer {
    path: PathBuf,
    inner: Inner,
    template: Template,
    cut_left: bool,
    vocab_size: usize,
    type_vocab_size: usize,
    max_position_embeddings: usize,
}

impl Tokenizer {
    /// Opens the tokenizer of a model directory for the model of `config`: tokenizer.json, or vocab.txt (WordPiece). In
    /// both cases `do_lower_case`, `strip_accents`, `tokenize_chinese_chars` and `truncation_side` of a
    /// tokenizer_config.json win; a vocab.txt without one is lower-cased. Padding and truncation lengths that the files
    /// may hold are left aside.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) and [`Error::Tokenizer`](crate::Error::Tokenizer) if there are no such files or they
    /// cannot be understood.
    pub fn open(dir: &Path, config: &Limits) -> Result<Self> {
        let load::Loaded { path, inner, template, cut_left } = load::load(dir)?;
        Ok(Self {
            path,
            inner,
            template,
            cut_left,
            vocab_size: config.vocab_size,
            type_vocab_size: config.type_vocab_size,
            max_position_embeddings: config.max_position_embeddings,
        })
    }

    /// The tokens of a text, or of a pair of texts, at most `max_length` with the special tokens. What is too long is cut
    /// "longest first": the longer text of a pair gives way until both are equally long. An empty second text still makes a
    /// pair, as it does in transformers' batches (a call for a single pair drops it there).
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) if `max_length` is more than the model has positions or leaves no room
    /// for text, and if a token is beyond the model's embeddings: the tokenizer of another model.
    pub fn encode(&self, text: &str, pair: Option<&str>, max_length: usize) -> Result<Encoding> {
        let room = self.room(pair.is_some(), max_length)?;
        let first = self.tokens(text)?;
        let second = pair.map(|pair| self.tokens(pair)).transpose()?;
        let (n1, n2) = longest_first(first.len(), second.as_ref().map_or(0, Vec::len), room);
        let encoding = self.template.assemble(self.cut(&first, n1), second.as_ref().map(|ids| self.cut(ids, n2)));
        self.check(&encoding)?;
        Ok(encoding)
    }

    /// [`Tokenizer::encode`] for many rows, in parallel over the current rayon pool; the result is in the order of the rows.
    ///
    /// # Errors
    /// Those of the first row that has one.
    pub fn encode_all<A, B>(&self, rows: &[(A, Option<B>)], max_length: usize) -> Result<Vec<Encoding>>
    where
        A: AsRef<str> + Sync,
        B: AsRef<str> + Sync,
    {
        let encode =
            |(text, pair): &(A, Option<B>)| self.encode(text.as_ref(), pair.as_ref().map(B::as_ref), max_length);
        // Not straight into a Result, which would keep the error of whichever thread came first.
        rows.par_iter().map(encode).collect::<Vec<_>>().into_iter().collect()
    }

    /// Shim.
    pub fn fingerprint(&self) -> String { "0".repeat(64) }

    /// How many special tokens are put around a text, or around the two of a pair.
    pub fn special_tokens(&self, is_pair: bool) -> usize {
        self.template.special_count(is_pair)
    }

    /// How many tokens of text fit beside the special tokens.
    fn room(&self, is_pair: bool, max_length: usize) -> Result<usize> {
        if max_length > self.max_position_embeddings {
            let positions = self.max_position_embeddings;
            return Err(wrong(
                &self.path,
                format!("a length of {max_length} is over the model's {positions} positions"),
            ));
        }
        let special = self.special_tokens(is_pair);
        max_length.checked_sub(special).filter(|room| *room > 0).ok_or_else(|| {
            wrong(
                &self.path,
                format!("a length of {max_length} leaves no room for text beside {special} special tokens"),
            )
        })
    }

    /// The tokens of one text alone.
    fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| wrong(&self.path, error))?;
        Ok(encoding.get_ids().to_vec())
    }

    fn cut<'a>(&self, ids: &'a [u32], len: usize) -> &'a [u32] {
        if self.cut_left { &ids[ids.len() - len..] } else { &ids[..len] }
    }

    /// Whether the model has an embedding for everything in `encoding`, and a first token to classify by.
    fn check(&self, encoding: &Encoding) -> Result<()> {
        if let Some(&id) = encoding.ids.iter().find(|id| **id as usize >= self.vocab_size) {
            let token = self.inner.id_to_token(id).unwrap_or_default();
            return Err(wrong(
                &self.path,
                format!(
                    "the token {token:?} is number {id}, but the model's vocabulary has {}: this is another model's tokenizer",
                    self.vocab_size
                ),
            ));
        }
        if let Some(id) = encoding.type_ids.iter().find(|id| **id as usize >= self.type_vocab_size) {
            let types = self.type_vocab_size;
            return Err(wrong(
                &self.path,
                format!("a token of type {id}, but the model has {types}: it reads no pairs"),
            ));
        }
        if encoding.ids.is_empty() {
            return Err(wrong(&self.path, "a text without a single token, and the tokenizer adds none"));
        }
        Ok(())
    }
}

/// The vocabulary is tens of thousands of entries: only where it came from is worth printing.
impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("path", &self.path).finish_non_exhaustive()
    }
}

/// How many tokens of two texts of `n1` and `n2` are kept where `room` fit: the longer one is cut to the shorter one's
/// length first, then both alike, with an odd token going to the one that was longer (the second, if they were equal).
///
/// The rule of the tokenizers crate (`truncate_encodings`), which is also that of transformers' fast tokenizers.
fn longest_first(n1: usize, n2: usize, room: usize) -> (usize, usize) {
    if n1 <= room && n2 <= room - n1 {
        return (n1, n2);
    }
    if n1 > n2 {
        let (n2, n1) = longest_first(n2, n1, room);
        return (n1, n2);
    }
    let half = room / 2;
    if n1 <= half { (n1, room - n1) } else { (half, room - half) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use serde_json::{Value, json};
    use std::fs;
    use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};

    const VOCAB: [&str; 45] = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##a", "##b", "##c", "hello", "world", "##s",
        "he", "##llo", "un", "##able", "!", ",", ".", "'", "-", "$", "中", "国", "e", "é", "##é", "cafe", "café",
        "Hello", "1", "##2", "İ", "i", "ß", "ss", "##n", "[", "]", "sep", "##p", "x", "##x",
    ];

    /// A directory of files, gone at the end of the test.
    fn directory(files: &[(&str, String)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        dir
    }

    fn model(vocab_size: usize, type_vocab_size: usize) -> ModelConfig {
        let config = json!({
            "vocab_size": vocab_size, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
            "intermediate_size": 8, "max_position_embeddings": 128, "type_vocab_size": type_vocab_size
        });
        ModelConfig::from_json(Path::new("config.json"), config.to_string().as_bytes()).unwrap()
    }

    fn open(files: &[(&str, String)]) -> Result<Tokenizer> {
        Tokenizer::open(directory(files).path(), &model(VOCAB.len(), 2))
    }

    /// The tokenizer of a vocab.txt.
    fn from_vocab(config: Value) -> Tokenizer {
        open(&[("vocab.txt", VOCAB.join("\n") + "\n"), ("tokenizer_config.json", config.to_string())]).unwrap()
    }

    /// The same as a tokenizer.json, with padding and truncation of its own, as sentence-transformers saves them.
    fn tokenizer_json() -> Value {
        let vocab: serde_json::Map<_, _> =
            VOCAB.iter().zip(0..).map(|(token, id)| ((*token).into(), id.into())).collect();
        let special = |token: &str, type_id: u32| json!({"SpecialToken": {"id": token, "type_id": type_id}});
        let text = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
        let added = |id: usize| {
            json!({
                "id": id, "content": VOCAB[id], "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        };
        json!({
            "version": "1.0",
            "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0},
            "padding": {
                "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
            "added_tokens": [added(0), added(1), added(2), added(3), added(4)],
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                "lowercase": true,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)],
                "pair": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0), text("B", 1), special("[SEP]", 1)],
                "special_tokens": {
                    "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                    "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
                },
            },
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab,
            },
        })
    }

    fn from_json(json: &Value) -> Result<Tokenizer> {
        open(&[("tokenizer.json", json.to_string())])
    }

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode(text, None, 128).unwrap().ids
    }

    /// Texts with the ids that `BertTokenizer` of transformers 5.23 gives them over `VOCAB`, lower-casing and cased.
    fn goldens() -> Vec<(String, Vec<u32>, Vec<u32>)> {
        let same = |text: &str, ids: &[u32]| (text.to_owned(), ids.to_vec(), ids.to_vec());
        vec![
            same("", &[2, 3]),
            same("   ", &[2, 3]),
            ("Hello worlds!".into(), vec![2, 11, 12, 13, 18, 3], vec![2, 31, 12, 13, 18, 3]),
            same("unable, unables", &[2, 16, 17, 19, 16, 17, 13, 3]),
            ("CAFÉ café cafe\u{301}".into(), vec![2, 29, 29, 29, 3], vec![2, 1, 30, 1, 3]),
            same("中国a", &[2, 24, 25, 5, 3]),
            same("a\0b\u{200b}c\tb\u{a0}c\nab", &[2, 5, 9, 10, 6, 7, 5, 9, 3]),
            same("[SEP] [MASK]a [sep]", &[2, 3, 4, 5, 39, 41, 40, 3]),
            same("don't - $a.b", &[2, 1, 21, 1, 22, 23, 5, 20, 6, 3]),
            ("İ ß".into(), vec![2, 35, 36, 3], vec![2, 34, 36, 3]),
            same(&"x".repeat(100), &[&[2, 43][..], &[44; 99], &[3]].concat()),
            same(&"x".repeat(101), &[2, 1, 3]),
            same("ab🙂c 🙂", &[2, 1, 1, 3]),
            same("\u{fffd}hello", &[2, 11, 3]),
            same("a  a\u{3000}a", &[2, 5, 5, 5, 3]),
            same("12 1n", &[2, 32, 33, 32, 38, 3]),
        ]
    }

    #[test]
    fn a_vocabulary_gives_the_ids_of_transformers() {
        let lower = from_vocab(json!({}));
        let cased = from_vocab(json!({"do_lower_case": false}));
        for (text, lower_ids, cased_ids) in goldens() {
            assert_eq!(ids(&lower, &text), lower_ids, "{text}");
            assert_eq!(ids(&cased, &text), cased_ids, "{text}");
        }
        let accents = from_vocab(json!({"do_lower_case": true, "strip_accents": false}));
        assert_eq!(ids(&accents, "CAFÉ café cafe\u{301}"), [2, 30, 30, 1, 3]);
        let chinese = from_vocab(json!({"tokenize_chinese_chars": false}));
        assert_eq!(ids(&chinese, "中国a"), [2, 1, 3]);
    }

    #[test]
    fn a_tokenizer_json_gives_the_same_ids_without_its_own_lengths() {
        let lower = from_json(&tokenizer_json()).unwrap();
        let mut json = tokenizer_json();
        json["normalizer"]["lowercase"] = false.into();
        let cased = from_json(&json).unwrap();
        for (text, lower_ids, cased_ids) in goldens() {
            assert_eq!(ids(&lower, &text), lower_ids, "{text}");
            assert_eq!(ids(&cased, &text), cased_ids, "{text}");
        }
        let pair = lower.encode("a b c", Some("b"), 128).unwrap();
        assert_eq!(pair, from_vocab(json!({})).encode("a b c", Some("b"), 128).unwrap());
    }

    #[test]
    fn tokenizer_config_wins_unless_the_class_reads_no_switches() {
        let with = |config: Value| {
            let files =
                [("tokenizer.json", tokenizer_json().to_string()), ("tokenizer_config.json", config.to_string())];
            ids(&open(&files).unwrap(), "Hello")
        };
        assert_eq!(with(json!({"do_lower_case": false})), [2, 31, 3]);
        assert_eq!(with(json!({"do_lower_case": false, "tokenizer_class": "BertTokenizerFast"})), [2, 31, 3]);
        assert_eq!(with(json!({"do_lower_case": false, "tokenizer_class": "PreTrainedTokenizerFast"})), [2, 11, 3]);
        assert_eq!(with(json!({})), [2, 11, 3]);
    }

    #[test]
    fn a_pair_is_cut_longest_first_as_transformers_does() {
        let tokenizer = from_vocab(json!({}));
        let (a, b) = ("a b c a b c a", "b b b b");
        let encode = |text, pair, max_length| {
            let Encoding { ids, type_ids } = tokenizer.encode(text, Some(pair), max_length).unwrap();
            let second = type_ids.iter().position(|id| *id == 1).unwrap();
            assert!(type_ids[..second].iter().all(|id| *id == 0) && type_ids[second..].iter().all(|id| *id == 1));
            (ids, second)
        };
        for (max_length, forth, back) in [
            (4, &[2, 5, 3, 3][..], &[2, 3, 5, 3][..]),
            (5, &[2, 5, 3, 6, 3], &[2, 6, 3, 5, 3]),
            (6, &[2, 5, 6, 3, 6, 3], &[2, 6, 3, 5, 6, 3]),
            (9, &[2, 5, 6, 7, 3, 6, 6, 6, 3], &[2, 6, 6, 6, 3, 5, 6, 7, 3]),
            (10, &[2, 5, 6, 7, 5, 3, 6, 6, 6, 3], &[2, 6, 6, 6, 3, 5, 6, 7, 5, 3]),
            (12, &[2, 5, 6, 7, 5, 6, 3, 6, 6, 6, 6, 3], &[2, 6, 6, 6, 6, 3, 5, 6, 7, 5, 6, 3]),
            (14, &[2, 5, 6, 7, 5, 6, 7, 5, 3, 6, 6, 6, 6, 3], &[2, 6, 6, 6, 6, 3, 5, 6, 7, 5, 6, 7, 5, 3]),
        ] {
            assert_eq!(encode(a, b, max_length).0, forth, "{max_length}");
            assert_eq!(encode(b, a, max_length).0, back, "{max_length}");
        }
        assert_eq!(encode("a b", "a b", 6), (vec![2, 5, 3, 5, 6, 3], 3));
        assert_eq!(encode("a b c", "a b c", 8), (vec![2, 5, 6, 3, 5, 6, 7, 3], 4));
        assert_eq!(encode("a", "", 8), (vec![2, 5, 3, 3], 3));
        assert_eq!(tokenizer.encode(a, None, 5).unwrap().ids, [2, 5, 6, 7, 3]);
    }

    #[test]
    fn the_left_end_is_cut_where_the_files_say_so() {
        let by_config = from_vocab(json!({"truncation_side": "left"}));
        let mut json = tokenizer_json();
        json["truncation"]["direction"] = "Left".into();
        for tokenizer in [by_config, from_json(&json).unwrap()] {
            assert_eq!(tokenizer.encode("a b c a b c a", Some("b b b b"), 8).unwrap().ids, [2, 6, 7, 5, 3, 6, 6, 3]);
            assert_eq!(tokenizer.encode("a b c a b c a", None, 5).unwrap().ids, [2, 6, 7, 5, 3]);
        }
    }

    #[test]
    fn lengths_are_those_of_the_tokenizers_crate() {
        let of_length =
            |n| tokenizers::Encoding::from_tokens(vec![tokenizers::Token::new(0, String::new(), (0, 0)); n], 0);
        for n1 in 0..12 {
            for n2 in 0..12 {
                for room in 1..26 {
                    let params = TruncationParams { max_length: room, ..Default::default() };
                    let (a, b) = truncate_encodings(of_length(n1), Some(of_length(n2)), &params).unwrap();
                    assert_eq!(longest_first(n1, n2, room), (a.len(), b.unwrap().len()), "{n1} {n2} {room}");
                }
            }
            for room in 1..14 {
                assert_eq!(longest_first(n1, 0, room), (n1.min(room), 0));
            }
        }
        assert_eq!(longest_first(usize::MAX, usize::MAX, 7), (3, 4));
    }

    #[test]
    fn many_rows_come_back_in_order_and_the_first_error_is_kept() {
        let tokenizer = from_vocab(json!({}));
        let text = |i: usize| "a b c hello unable".split(' ').cycle().skip(i).take(i % 7).collect::<Vec<_>>().join(" ");
        let rows: Vec<(String, Option<String>)> =
            (0..500).map(|i| (text(i), (i % 3 == 0).then(|| text(i + 1)))).collect();
        let all = tokenizer.encode_all(&rows, 9).unwrap();
        for ((text, pair), encoding) in rows.iter().zip(&all) {
            assert_eq!(*encoding, tokenizer.encode(text, pair.as_deref(), 9).unwrap());
        }
        let none: [(&str, Option<&str>); 0] = [];
        assert!(tokenizer.encode_all(&none, 9).unwrap().is_empty());

        // Only c (7) and b (6) are beyond a vocabulary of six.
        let dir = directory(&[("vocab.txt", VOCAB.join("\n"))]);
        let small = Tokenizer::open(dir.path(), &model(6, 2)).unwrap();
        let rows: Vec<(&str, Option<&str>)> = (0..200).map(|i| (if i < 100 { "a" } else { "c b" }, None)).collect();
        let message = small.encode_all(&rows, 9).unwrap_err().to_string();
        assert!(message.contains("\"c\" is number 7") && message.contains("has 6"), "{message}");
    }

    #[test]
    fn what_the_model_has_no_embedding_for_is_refused() {
        let dir = directory(&[("vocab.txt", VOCAB.join("\n"))]);
        let tokenizer = Tokenizer::open(dir.path(), &model(VOCAB.len(), 1)).unwrap();
        assert!(tokenizer.encode("a", None, 128).is_ok());
        assert!(tokenizer.encode("a", Some("b"), 128).unwrap_err().to_string().contains("reads no pairs"));
        assert!(tokenizer.encode("a", None, 129).unwrap_err().to_string().contains("128 positions"));
        for (pair, max_length) in [(None, 0), (None, 2), (Some("b"), 3)] {
            let message = tokenizer.encode("a", pair, max_length).unwrap_err().to_string();
            assert!(message.contains("leaves no room"), "{message}");
        }
    }

    #[test]
    fn a_tokenizer_json_without_a_frame_gets_that_of_its_class() {
        let mut json = tokenizer_json();
        json["post_processor"] = Value::Null;
        assert_eq!(ids(&from_json(&json).unwrap(), "a"), [2, 5, 3]);
        let config = json!({"tokenizer_class": "TokenizersBackend"}).to_string();
        let bare = open(&[("tokenizer.json", json.to_string()), ("tokenizer_config.json", config)]).unwrap();
        assert_eq!(ids(&bare, "a"), [5]);
        assert!(bare.encode("", None, 8).unwrap_err().to_string().contains("without a single token"));
    }

    #[test]
    fn hostile_files_are_refused() {
        let refusal = |files: &[(&str, String)]| {
            let error = open(files).unwrap_err();
            assert!(matches!(error, Error::Tokenizer { .. } | Error::Io { .. }), "{error:?}");
            assert!(!error.to_string().contains('\n'), "{error}");
            error.to_string()
        };
        assert!(refusal(&[]).contains("neither tokenizer.json nor vocab.txt"));
        assert!(refusal(&[("vocab.json", "{}".into())]).contains("RoBERTa"));
        for json in ["", "{", "[]", "3", "{}", "{\"version\": \"2.0\"}", "null"] {
            assert!(refusal(&[("tokenizer.json", json.into())]).contains("tokenizer.json: "));
        }
        for (path, value) in [
            ("/model", Value::Null),
            ("/model/vocab", json!({"a": -1})),
            ("/model/type", json!("Nothing")),
            ("/normalizer", json!(7)),
            ("/normalizer/lowercase", json!("yes")),
            ("/pre_tokenizer/type", json!(3)),
            ("/post_processor/single", json!("$A $B")),
            ("/post_processor/type", json!("RobertaProcessing")),
            ("/added_tokens", json!([{"id": 0}])),
            ("/truncation/direction", json!("Up")),
        ] {
            let mut json = tokenizer_json();
            match json.pointer_mut(path) {
                Some(place) => *place = value,
                None => json["truncation"]["direction"] = value,
            }
            refusal(&[("tokenizer.json", json.to_string())]);
        }
        assert!(refusal(&[("vocab.txt", String::new())]).contains("[UNK]"));
        assert!(refusal(&[("vocab.txt", "[UNK]\n[SEP]\na".into())]).contains("[CLS]"));
        let vocab = ("vocab.txt", VOCAB.join("\n"));
        for config in
            ["{", "[1]", r#"{"do_lower_case": "no"}"#, r#"{"truncation_side": "up"}"#, r#"{"cls_token": "<s>"}"#]
        {
            refusal(&[vocab.clone(), ("tokenizer_config.json", config.into())]);
        }
        let added = json!({"added_tokens_decoder": {"45": {"content": "<new>"}}}).to_string();
        assert!(refusal(&[vocab, ("tokenizer_config.json", added)]).contains("a tokenizer.json is needed"));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("vocab.txt"), b"[UNK]\n\xff\xfe").unwrap();
        assert!(Tokenizer::open(dir.path(), &model(9, 2)).is_err());
    }
}
