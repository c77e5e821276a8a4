//! Texts whose words have tags: CoNLL columns, CoNLL-U, JSON with a list of words and one of tags, and exports of
//! labelling tools with spans of characters.
//!
//! ```text
//! bytes, unpacked -> which format, by looking (recognise) -> sentences (conll, conllu, jsonl) -> Dataset
//! an export (jsonl) -> what annotators marked (spans) -> the words that it touches (place)
//! ```
//!
//! Where no tags are required, plain lines are read too; their words are found by [`split_words`].

mod conll;
mod conllu;
mod jsonl;
mod place;
mod recognise;
mod spans;
mod split;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use split::split_words;

use super::line_reader::LineReader;
use super::source::Source;
use super::{Dataset, Example, Format, Label, ReadOptions, Word, format, lines};
use crate::{Error, Result};

/// Reads a whole stream; `path` names it in errors.
pub(super) fn read(source: Source<'_>, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    options.validate()?;
    format::refuse_foreign(&source.start, path)?;
    let format = match options.format {
        Some(format) => format,
        None => recognise::format(&source.start, path, options.require_labels)?,
    };
    let notes = format::packing(&source, path);
    let mut set = sentences(format, source, path, options)?;
    if let (Format::Conll, true, [only]) = (format, options.require_labels, &set.examples[..]) {
        let count = only.words.len();
        set.found.extend((count > 1).then(|| format!("one sentence of {count} words, for no blank line parts them")));
    }
    set.found.extend(notes);
    Ok(set)
}

fn sentences(format: Format, source: Source<'_>, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    match format {
        Format::Conll => conll::read(LineReader::new(source.reader(), path), options),
        Format::Conllu => conllu::read(LineReader::new(source.reader(), path), options),
        Format::Jsonl => jsonl::read(source, path, options),
        Format::Lines => {
            let mut dataset = lines::read(source.reader(), path, options)?;
            for example in &mut dataset.examples {
                let line = example.line;
                let word = |range| Word { range, tag: None, line };
                example.words = split_words(&example.text).into_iter().map(word).collect();
            }
            Ok(dataset)
        }
        Format::Tsv | Format::Csv | Format::Parquet => Err(format::not_of_words(format)),
    }
}

/// A sentence while it is read.
#[derive(Default)]
struct Sentence {
    text: String,
    words: Vec<Word>,
    /// Whether the next word follows without a space.
    is_attached: bool,
}

impl Sentence {
    /// Adds a word, with a space before it unless the one before said otherwise.
    fn push(&mut self, word: &str, tag: Option<Label>, line: usize) {
        if !self.text.is_empty() && !std::mem::take(&mut self.is_attached) {
            self.text.push(' ');
        }
        let start = self.text.len();
        self.text.push_str(word);
        self.words.push(Word { range: start..self.text.len(), tag, line });
    }

    /// The sentence as an example; `None` if it has no word.
    fn take(&mut self) -> Option<Example> {
        let Self { text, words, .. } = std::mem::take(self);
        let line = words.first()?.line;
        Some(Example { text, pair: None, label: None, words, question: None, line })
    }
}

/// A word and its tag as two fields of a row: the word must not be blank, nor the tag where it is required.
fn checked(
    path: &Path,
    line: usize,
    word: &str,
    tag: Option<&str>,
    is_required: bool,
) -> Result<(String, Option<Label>)> {
    let refuse = |reason: &str| Err(Error::DataRow { path: path.into(), line, reason: reason.into() });
    let word = word.trim();
    if word.is_empty() {
        return refuse("an empty word");
    }
    let tag = tag.and_then(Label::new);
    if tag.is_none() && is_required {
        return refuse("a word without a tag");
    }
    Ok((word.to_owned(), tag))
}
