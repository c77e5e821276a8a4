//! JSON lines of sentences: an object a line with a list of words and, of the same length, a list of tags, as data
//! sets on the Hugging Face hub have them. Tags may be numbers; they are taken as names.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::{Sentence, checked};
use crate::data::line_reader::{Blanks, Line, LineReader, blank};
use crate::data::{ColumnRef, Dataset, ReadOptions};
use crate::{Error, Result, Setting};

/// Keys of lists of words.
const COMMON_WORDS: [&str; 2] = ["tokens", "words"];
/// Keys of lists of tags.
const COMMON_TAGS: [&str; 8] = ["tags", "ner_tags", "pos_tags", "upos", "xpos", "chunk_tags", "labels", "ner"];

/// Reads all sentences.
pub(super) fn read<R: BufRead>(mut lines: LineReader<R>, options: &ReadOptions) -> Result<Dataset> {
    let path = lines.path().to_owned();
    let (mut examples, mut blanks) = (Vec::new(), Blanks::default());
    let mut keys: Option<Keys> = None;
    while let Some(Line { number: line, text, .. }) = lines.next()? {
        if text.trim().is_empty() {
            blanks.add(line);
            continue;
        }
        if let Some(line) = blanks.before_row().next() {
            return Err(blank(&path, line));
        }
        let refuse = |reason: String| Error::DataRow { path: path.clone(), line, reason };
        let object: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| refuse(format!("expected a JSON object on one line: {error}")))?;
        let keys = match &mut keys {
            Some(keys) => keys,
            None => keys.insert(Keys::find(&path, &object, options)?),
        };
        let list = |key: &str| match object.get(key) {
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(refuse(format!("the key {key:?} is no list"))),
            None => Err(refuse(format!("the key {key:?} is missing"))),
        };
        let words = list(&keys.words)?;
        let tags = keys.tags.as_ref().map(|key| list(key)).transpose()?;
        if let Some(tags) = tags
            && tags.len() != words.len()
        {
            return Err(refuse(format!("{} words and {} tags", words.len(), tags.len())));
        }
        let mut sentence = Sentence::default();
        for (place, word) in words.iter().enumerate() {
            let tag = match tags.map(|tags| &tags[place]) {
                None | Some(Value::Null) => None,
                Some(Value::String(tag)) => Some(tag.clone()),
                Some(Value::Number(tag)) => Some(tag.to_string()),
                Some(other) => return Err(refuse(format!("tag {place} is {other}, neither a text nor a number"))),
            };
            let Value::String(word) = word else {
                return Err(refuse(format!("word {place} is {word}, and no text")));
            };
            let (word, tag) = checked(&path, line, word, tag.as_deref(), options.require_labels)?;
            sentence.push(&word, tag, line);
        }
        examples.push(sentence.take().ok_or_else(|| refuse("a sentence without words".into()))?);
    }
    let (words, tags) = keys.map_or((String::new(), None), |keys| (keys.words, keys.tags));
    Dataset::assemble(&path, examples, false, vec![words], tags, Vec::new())
}

/// The keys of words and tags, by the first object.
struct Keys {
    words: String,
    tags: Option<String>,
}

impl Keys {
    fn find(path: &std::path::Path, object: &Map<String, Value>, options: &ReadOptions) -> Result<Self> {
        let choose = |given: Option<&ColumnRef>, common: &[&str]| -> Vec<String> {
            match given {
                Some(ColumnRef::Name(name)) => vec![name.clone()],
                Some(ColumnRef::Index(number)) => vec![number.to_string()],
                None => common.iter().filter(|key| object.contains_key(**key)).map(|key| (*key).to_owned()).collect(),
            }
        };
        let refuse = |reason: String, settings: &'static [Setting]| {
            let keys: Vec<String> = object.keys().take(24).map(|key| format!("{key:?}")).collect();
            let found = format!("the keys of the first object are {}", keys.join(", "));
            Err(Error::DataColumn { path: path.into(), reason, found, advice: "name the key".into(), settings })
        };
        let words = match &choose(options.columns.text.first(), &COMMON_WORDS)[..] {
            [key] => key.clone(),
            [] => return refuse("no list of words is recognised".into(), &[Setting::TextColumn]),
            several => return refuse(format!("{} may be the words", several.join(" and ")), &[Setting::TextColumn]),
        };
        let tags = match &choose(options.columns.label.as_ref(), &COMMON_TAGS)[..] {
            [key] => Some(key.clone()),
            [] if !options.require_labels => None,
            [] => return refuse("no list of tags is recognised".into(), &[Setting::LabelColumn]),
            _ if !options.require_labels => None,
            several => return refuse(format!("{} may be the tags", several.join(" and ")), &[Setting::LabelColumn]),
        };
        Ok(Self { words, tags })
    }
}
