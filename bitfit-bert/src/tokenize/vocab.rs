//! The vocabulary files that are read where there is no `tokenizer.json`: the `vocab.txt` of WordPiece, and the
//! `vocab.json` and `merges.txt` of a BPE at the level of bytes. What is wrong with one is said by file and line.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::class::{Class, Files};
use super::config::short;
use super::recipe::Parts;
use super::{check, wrong};
use crate::files::read_bounded;
use crate::{Error, Result};

const VOCAB_TXT: &str = "vocab.txt";
const VOCAB_JSON: &str = "vocab.json";
const MERGES: &str = "merges.txt";

/// The models of SentencePiece and their like, by the names that they have in use.
const MODELS: [&str; 7] = [
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.model",
    "tokenizer.model",
    "tiktoken.model",
    "tekken.json",
];

/// Reads the vocabulary of a class, with the path of its file.
pub(super) fn open(dir: &Path, class: Class, max_bytes: u64) -> Result<(PathBuf, Parts)> {
    let missing = |name: &str| !dir.join(name).exists();
    // Other formats go before those that are read here: transformers takes a tokenizer.model for every class.
    let foreign = MODELS.iter().find(|name| !missing(name));
    let foreign = foreign.filter(|name| match class.files() {
        Files::WordPiece => missing(VOCAB_TXT) || ["tokenizer.model", "tiktoken.model", "tekken.json"].contains(name),
        _ => true,
    });
    if let Some(name) = foreign {
        let reason = format!(
            "the format of {name} is not read here; a tokenizer.json is: in Python, \
             AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) writes one"
        );
        return Err(wrong(&dir.join(name), reason));
    }
    match class.files() {
        Files::WordPiece if missing(VOCAB_TXT) => {
            let also =
                if missing(VOCAB_JSON) { "" } else { "; a vocab.json is read for RobertaTokenizer and its kind" };
            Err(wrong(dir, format!("there is neither tokenizer.json nor {VOCAB_TXT}{also}")))
        }
        Files::WordPiece => {
            let path = dir.join(VOCAB_TXT);
            let vocab = word_pieces(&text(&path, max_bytes)?);
            Ok((path, Parts::new(Value::Object(vocab), Value::Null)))
        }
        Files::Bpe if missing(VOCAB_JSON) => {
            Err(wrong(dir, format!("there is neither tokenizer.json nor {VOCAB_JSON} with {MERGES}")))
        }
        Files::Bpe if missing(MERGES) => Err(wrong(dir, format!("there is a {VOCAB_JSON}, but no {MERGES} beside it"))),
        Files::Bpe => {
            let (path, merges_path) = (dir.join(VOCAB_JSON), dir.join(MERGES));
            let vocab = bpe_vocab(&path, &text(&path, max_bytes)?)?;
            let merges = bpe_merges(&merges_path, &text(&merges_path, max_bytes)?, &vocab)?;
            Ok((path, Parts::new(Value::Object(vocab), merges)))
        }
        Files::SentencePiece(name) => Err(wrong(dir, format!("there is neither tokenizer.json nor {name}"))),
        Files::Json => Err(wrong(dir, "the \"tokenizer_class\" needs a tokenizer.json, and there is none")),
    }
}

/// A file as text.
fn text(path: &Path, max_bytes: u64) -> Result<String> {
    String::from_utf8(read_bounded(path, max_bytes)?).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        wrong(path, format!("line {line} is not valid UTF-8"))
    })
}

/// A token is its line without white space at its end, and its id the line's number; of two equal lines the last
/// counts, as in the library.
fn word_pieces(text: &str) -> Map<String, Value> {
    text.lines().zip(0u32..).map(|(token, id)| (token.trim_end().to_owned(), id.into())).collect()
}

/// A `vocab.json`: an object of tokens with ids, which are 0, 1, 2 and so on without a gap, in any order.
fn bpe_vocab(path: &Path, text: &str) -> Result<Map<String, Value>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let vocab = json.deserialize_map(Vocab).and_then(|vocab| json.end().map(|()| vocab));
    let vocab = vocab.map_err(|error| wrong(path, format!("expected an object of tokens with their ids: {error}")))?;
    let mut ids: Vec<u64> = vocab.values().filter_map(Value::as_u64).collect();
    ids.sort_unstable();
    match ids.iter().zip(0..).find(|(id, expected)| *id != expected) {
        Some((_, hole)) => Err(wrong(path, format!("no token has the id {hole}, though others have higher ones"))),
        None => Ok(vocab),
    }
}

/// The merges of a `merges.txt`, one a line: two tokens of the vocabulary with a space between them, which make a
/// third.
fn bpe_merges(path: &Path, text: &str, vocab: &Map<String, Value>) -> Result<Value> {
    let mut merges = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.starts_with("#version") {
            continue;
        }
        let wrong_line = |reason: String| -> Error { wrong(path, format!("line {number}: {reason}")) };
        let Some((first, second)) = line.split_once(' ').filter(|(_, second)| !second.contains(' ')) else {
            let found = short(&line.into());
            return Err(wrong_line(format!("expected two tokens with a space between them, found {found}")));
        };
        for token in [first, second, &format!("{first}{second}")] {
            if !vocab.contains_key(token) {
                let token = short(&token.into());
                return Err(wrong_line(format!("the token {token} is not in {VOCAB_JSON}")));
            }
        }
        merges.push(Value::from(vec![first, second]));
    }
    Ok(merges.into())
}

/// Reads the object of a `vocab.json`, and refuses a token or an id that comes twice.
struct Vocab;

impl<'de> Visitor<'de> for Vocab {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tokens with their ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut vocab = Map::new();
        let mut tokens: HashMap<u64, String> = HashMap::new();
        while let Some((token, id)) = entries.next_entry::<String, Value>()? {
            let name = short(&token.as_str().into());
            let Some(id) = id.as_u64().filter(|id| *id <= check::MAX_ID) else {
                return Err(A::Error::custom(format!("the token {name} has {} for an id", short(&id))));
            };
            if let Some(other) = tokens.insert(id, token.clone()) {
                let other = short(&other.into());
                return Err(A::Error::custom(format!("the tokens {other} and {name} both have the id {id}")));
            }
            if vocab.insert(token, id.into()).is_some() {
                return Err(A::Error::custom(format!("the token {name} is there twice")));
            }
        }
        Ok(vocab)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCAB: &str = r#"{"a": 0, "b": 1, "ab": 2}"#;

    /// The message of a vocabulary and merges that are refused, without the path in front.
    fn refusal(vocab: &str, merges: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(VOCAB_JSON), vocab).unwrap();
        std::fs::write(dir.path().join(MERGES), merges).unwrap();
        let message = open(dir.path(), Class::Roberta, 1 << 20).err().unwrap().to_string();
        assert!(!message.contains('\n'), "{message}");
        message.rsplit_once('/').unwrap().1.to_owned()
    }

    #[test]
    fn what_is_wrong_with_a_vocabulary_is_said_by_its_line() {
        for (vocab, expected) in [
            ("{\"a\": 0,\n\"b\": 0}", "the tokens \"a\" and \"b\" both have the id 0 at line 2"),
            ("{\"a\": 0,\n\"a\": 1}", "the token \"a\" is there twice at line 2"),
            ("{\"a\": 0,\n\n\"b\": -1}", "the token \"b\" has -1 for an id at line 3"),
            ("{\"a\": 0, \"b\": \"1\"}", "the token \"b\" has \"1\" for an id at line 1"),
            ("{\"a\": 0, \"b\": 99999999}", "has 99999999 for an id"),
            ("{\"a\": 0, \"b\": 2}", "vocab.json: no token has the id 1"),
            ("[\"a\"]", "an object of tokens with their ids"),
            ("{\"a\": 0} x", "trailing characters at line 1"),
            ("", "EOF"),
        ] {
            let message = refusal(vocab, "");
            assert!(message.starts_with("vocab.json: ") && message.contains(expected), "{message}");
        }
    }

    #[test]
    fn what_is_wrong_with_merges_is_said_by_their_line() {
        for (merges, expected) in [
            ("#version: 0.2\na b\n\n", "line 3: expected two tokens with a space between them, found \"\""),
            ("a  b", "line 1: expected two tokens"),
            ("a b\na b ", "line 2: expected two tokens"),
            ("# a comment\n", "line 1: expected two tokens"),
            ("a b\na c", "line 2: the token \"c\" is not in vocab.json"),
            ("a b\nab a", "line 2: the token \"aba\" is not in vocab.json"),
            (" a", "line 1: the token \"\" is not in vocab.json"),
        ] {
            let message = refusal(VOCAB, merges);
            assert!(message.starts_with("merges.txt: ") && message.contains(expected), "{message}");
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(VOCAB_JSON), VOCAB).unwrap();
        let message = open(dir.path(), Class::Roberta, 1 << 20).err().unwrap().to_string();
        assert!(message.contains("no merges.txt beside it"), "{message}");
        std::fs::write(dir.path().join(MERGES), b"a b\n\xff").unwrap();
        let message = open(dir.path(), Class::Roberta, 1 << 20).err().unwrap().to_string();
        assert!(message.contains("line 2 is not valid UTF-8"), "{message}");
    }
}
