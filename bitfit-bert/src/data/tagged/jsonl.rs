//! JSON of sentences: objects with a list of words and, of the same length, a list of tags, as data sets on the Hugging
//! Face hub have them; or exports of labelling tools with spans of characters. Tags may be numbers; they are taken as
//! names.

use std::path::Path;

use serde_json::{Map, Value};

use super::spans::Export;
use super::{Sentence, checked};
use crate::data::json::{Objects, Shape};
use crate::data::source::Source;
use crate::data::{ColumnRef, Dataset, Example, ReadOptions};
use crate::{Error, Result, Setting};

/// Keys of lists of words.
pub(super) const COMMON_WORDS: [&str; 2] = ["tokens", "words"];
/// Keys of lists of tags.
const COMMON_TAGS: [&str; 8] = ["tags", "ner_tags", "pos_tags", "upos", "xpos", "chunk_tags", "labels", "ner"];

/// Reads all sentences.
pub(super) fn read(source: Source<'_>, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    let shape = Shape::of(&source.start, source.is_whole);
    let mut objects = Objects::new(source.reader(), path, shape);
    let Some((line, first)) = objects.next()? else {
        return Dataset::assemble(path, Vec::new(), false, Vec::new(), None, Vec::new());
    };
    if let Some(mut export) = Export::recognise(path, &first, options, shape == Shape::Array)? {
        export.add(line, first)?;
        while let Some((line, record)) = objects.next()? {
            export.add(line, record)?;
        }
        return export.finish();
    }
    let keys = Keys::find(path, &first, options)?;
    let mut examples = vec![keys.sentence(path, line, &first, options)?];
    while let Some((line, object)) = objects.next()? {
        examples.push(keys.sentence(path, line, &object, options)?);
    }
    Dataset::assemble(path, examples, false, vec![keys.words], keys.tags, Vec::new())
}

/// Whether an object has a list of words and one of as many tags.
pub(super) fn has_tags(object: &Map<String, Value>) -> bool {
    let items = |key: &&str| object.get(*key).and_then(Value::as_array);
    let is_tag = |tag: &Value| !tag.is_array() && !tag.is_object();
    let fits = |words: &Vec<Value>, tags: &Vec<Value>| tags.len() == words.len() && tags.iter().all(is_tag);
    let words: Vec<_> = COMMON_WORDS.iter().filter_map(items).collect();
    COMMON_TAGS.iter().filter_map(items).any(|tags| words.iter().any(|words| fits(words, tags)))
}

/// The key that a column is, whose number is taken as its name.
pub(super) fn key(column: &ColumnRef) -> String {
    match column {
        ColumnRef::Name(name) => name.clone(),
        ColumnRef::Index(number) => number.to_string(),
    }
}

/// What there is to choose from, for messages.
pub(super) fn keys_of(object: &Map<String, Value>) -> String {
    let keys: Vec<String> = object.keys().take(24).map(|key| format!("{key:?}")).collect();
    format!("the keys of the first object are {}", keys.join(", "))
}

/// The keys of words and tags, by the first object.
struct Keys {
    words: String,
    tags: Option<String>,
}

impl Keys {
    fn find(path: &Path, object: &Map<String, Value>, options: &ReadOptions) -> Result<Self> {
        let choose = |given: Option<&ColumnRef>, common: &[&str]| -> Vec<String> {
            match given {
                Some(column) => vec![key(column)],
                None => common.iter().filter(|key| object.contains_key(**key)).map(|key| (*key).to_owned()).collect(),
            }
        };
        let refuse = |reason: String, settings: &'static [Setting]| {
            let (found, advice) = (keys_of(object), "name the key".into());
            Err(Error::DataColumn { path: path.into(), reason, found, advice, settings })
        };
        let words = match &choose(options.columns.text.first(), &COMMON_WORDS)[..] {
            [key] => key.clone(),
            [] => {
                return refuse(
                    "no list of words and no text with labelled spans is recognised".into(),
                    &[Setting::TextColumn],
                );
            }
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

    /// The sentence of an object.
    fn sentence(
        &self,
        path: &Path,
        line: usize,
        object: &Map<String, Value>,
        options: &ReadOptions,
    ) -> Result<Example> {
        let refuse = |reason: String| Error::DataRow { path: path.into(), line, reason };
        let list = |key: &str| match object.get(key) {
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(refuse(format!("the key {key:?} is no list"))),
            None => Err(refuse(format!("the key {key:?} is missing"))),
        };
        let words = list(&self.words)?;
        let tags = self.tags.as_ref().map(|key| list(key)).transpose()?;
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
            let (word, tag) = checked(path, line, word, tag.as_deref(), options.require_labels)?;
            sentence.push(&word, tag, line);
        }
        sentence.take().ok_or_else(|| refuse("a sentence without words".into()))
    }
}
