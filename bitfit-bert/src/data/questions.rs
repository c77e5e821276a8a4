//! Questions with a context that has the answer: SQuAD's JSON, versions 1.1 and 2.0, and rows of the same as the
//! Hugging Face hub has them.
//!
//! ```text
//! {"version", "data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "is_impossible",
//!     "answers": [{"text", "answer_start"}]}]}]}]}
//! {"id", "context", "question", "answers": {"text": […], "answer_start": […]}}       a row, also under "data"
//! ```
//!
//! `answer_start` counts characters (code points) of the context from 0, and the text there must be the answer. A
//! question without an answer in its context has none (`[]`), as in version 2.0; other keys are ignored.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::json::{Objects, Shape};
use super::source::Source;
use super::{Dataset, Example, Question, ReadOptions, format};
use crate::{Error, Result};

/// Whether a file begins as JSON does.
pub(super) fn is_json(source: &Source<'_>) -> bool {
    source.start.trim_ascii_start().starts_with(b"{") || source.start.trim_ascii_start().starts_with(b"[")
}

/// The error for a file that has no answers, where they are required.
pub(super) fn refused(path: &Path) -> Error {
    let reason = "questions with answers are read from JSON: SQuAD's {\"data\": [{\"paragraphs\": …}]}, or a row \
                  {\"id\", \"question\", \"context\", \"answers\"} a line";
    Error::DataFile { path: path.into(), reason: reason.into() }
}

/// Reads a whole stream; `path` names it in errors.
pub(super) fn read(source: Source<'_>, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    format::check_delimiter(options, false)?;
    let notes = format::packing(&source, path);
    let shape = Shape::of(&source.start, source.is_whole);
    let mut objects = Objects::new(source.reader(), path, shape);
    let mut reader =
        Reader { path, requires_answers: options.require_labels, examples: Vec::new(), ids: HashSet::new() };
    while let Some((line, object)) = objects.next()? {
        reader.object(line, object)?;
    }
    let columns = ["question", "context"].map(str::to_owned).to_vec();
    let mut set = Dataset::assemble(path, reader.examples, false, columns, Some("answers".into()), Vec::new())?;
    set.found.extend(notes);
    Ok(set)
}

/// The questions so far.
struct Reader<'a> {
    path: &'a Path,
    requires_answers: bool,
    examples: Vec<Example>,
    ids: HashSet<String>,
}

impl Reader<'_> {
    /// Adds a file's object: the whole of SQuAD's JSON, an article, or a row.
    fn object(&mut self, line: usize, mut object: Map<String, Value>) -> Result<()> {
        if let Some(data) = object.remove("data") {
            for (place, entry) in array(data, "data").map_err(|reason| self.row(line, reason))?.into_iter().enumerate()
            {
                let entry = self.map(line, entry, || format!("data[{place}]"))?;
                self.entry(line, entry, &format!("data[{place}]"))?;
            }
            return Ok(());
        }
        self.entry(line, object, "")
    }

    /// Adds an article or a row, which is at `place` of its file's object.
    fn entry(&mut self, line: usize, mut entry: Map<String, Value>, place: &str) -> Result<()> {
        let at = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
        if let Some(paragraphs) = entry.remove("paragraphs") {
            let paragraphs = array(paragraphs, &at("paragraphs")).map_err(|reason| self.row(line, reason))?;
            for (number, paragraph) in paragraphs.into_iter().enumerate() {
                let place = at(&format!("paragraphs[{number}]"));
                let paragraph = self.map(line, paragraph, || place.clone())?;
                self.paragraph(line, paragraph, &place)?;
            }
            return Ok(());
        }
        let context = text(&mut entry, "context").map_err(|reason| self.row(line, named(&at("context"), reason)))?;
        self.question(line, entry, &context.into(), place)
    }

    fn paragraph(&mut self, line: usize, mut paragraph: Map<String, Value>, place: &str) -> Result<()> {
        let wrong = |key: &str, reason| self.row(line, named(&format!("{place}.{key}"), reason));
        let context = text(&mut paragraph, "context").map_err(|reason| wrong("context", reason))?.into();
        let questions = paragraph.remove("qas").ok_or_else(|| wrong("qas", "it is missing".into()))?;
        let questions = array(questions, &format!("{place}.qas")).map_err(|reason| self.row(line, reason))?;
        for (number, question) in questions.into_iter().enumerate() {
            let place = format!("{place}.qas[{number}]");
            let question = self.map(line, question, || place.clone())?;
            self.question(line, question, &context, &place)?;
        }
        Ok(())
    }

    /// Adds a question about a context.
    fn question(&mut self, line: usize, mut entry: Map<String, Value>, context: &Arc<str>, place: &str) -> Result<()> {
        let id = match entry.remove("id") {
            Some(Value::String(id)) => id,
            Some(Value::Number(id)) => id.to_string(),
            // Predictions need a name, but a row by itself may do without.
            None | Some(Value::Null) => (self.examples.len() + 1).to_string(),
            Some(other) => return Err(self.row(line, format!("the id {other} is neither a text nor a number"))),
        };
        let wrong = |reason: String| match place {
            "" => self.row(line, format!("question {id:?}: {reason}")),
            place => self.row(line, format!("question {id:?} ({place}): {reason}")),
        };
        if self.ids.contains(&id) {
            return Err(wrong("an earlier question has this id; give each its own".into()));
        }
        let question = text(&mut entry, "question").map_err(|reason| wrong(named("question", reason)))?;
        let is_impossible = match entry.remove("is_impossible") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(is_impossible)) => Some(is_impossible),
            Some(other) => return Err(wrong(format!("is_impossible is {other}, neither true nor false"))),
        };
        let answers = match entry.remove("answers").filter(|answers| !answers.is_null()) {
            Some(answers) => Some(given(answers).map_err(wrong)?),
            None if is_impossible == Some(true) => Some(Vec::new()),
            None if self.requires_answers => return Err(wrong("its answers are missing".into())),
            None => None,
        };
        match (is_impossible, answers.as_deref()) {
            (Some(true), Some([_, ..])) => return Err(wrong("is_impossible is true, but it has answers".into())),
            (Some(false), Some([])) if self.requires_answers => {
                return Err(wrong("is_impossible is false, but it has no answers".into()));
            }
            _ => {}
        }
        let place = |(text, start): (String, u64)| find(context, &text, start);
        let answers = answers.map(|answers| answers.into_iter().map(place).collect::<Result<Vec<_>, _>>());
        let answers = answers.transpose().map_err(wrong)?;
        self.ids.insert(id.clone());
        self.examples.push(Example {
            text: question,
            pair: Some(Arc::clone(context)),
            label: None,
            words: Vec::new(),
            question: Some(Question { id, answers }),
            line,
        });
        Ok(())
    }

    fn map(&self, line: usize, value: Value, place: impl Fn() -> String) -> Result<Map<String, Value>> {
        match value {
            Value::Object(map) => Ok(map),
            _ => Err(self.row(line, format!("{} is no object", place()))),
        }
    }

    fn row(&self, line: usize, reason: String) -> Error {
        Error::DataRow { path: self.path.into(), line, reason }
    }
}

/// The answers of a question, each with the character that it begins at: a list of objects, or an object of lists.
fn given(answers: Value) -> Result<Vec<(String, u64)>, String> {
    const SHAPE: &str = "answers must be a list of {text, answer_start}";
    let pairs: Vec<(Value, Value)> = match answers {
        Value::Array(answers) => {
            let pair = |mut answer: Value| {
                let mut take = |key: &str| answer.get_mut(key).map(Value::take).unwrap_or_default();
                (take("text"), take("answer_start"))
            };
            answers.into_iter().map(pair).collect()
        }
        Value::Object(mut lists) => match (lists.remove("text"), lists.remove("answer_start")) {
            (Some(Value::Array(texts)), Some(Value::Array(starts))) if texts.len() == starts.len() => {
                texts.into_iter().zip(starts).collect()
            }
            (Some(Value::Array(texts)), Some(Value::Array(starts))) => {
                return Err(format!("{} texts of answers and {} places", texts.len(), starts.len()));
            }
            _ => return Err(format!("{SHAPE}, or an object of the lists text and answer_start")),
        },
        _ => return Err(SHAPE.into()),
    };
    let answer = |(text, start): (Value, Value)| match (text, start.as_u64()) {
        (Value::String(text), Some(start)) if !text.trim().is_empty() => Ok((text, start)),
        (Value::String(text), Some(_)) => Err(format!("the answer {text:?} is empty")),
        (Value::String(text), None) => Err(format!("answer_start of {text:?} is {start}, and no number from 0 on")),
        (text, _) => Err(format!("the text of an answer is {text}; {SHAPE}")),
    };
    pairs.into_iter().map(answer).collect()
}

/// The bytes of an answer in its context.
fn find(context: &str, answer: &str, start: u64) -> Result<Range<usize>, String> {
    let byte = |character: u64| {
        let mut bytes = context.char_indices().map(|(byte, _)| byte).chain([context.len()]);
        usize::try_from(character).ok().and_then(|character| bytes.nth(character))
    };
    let found = byte(start).map(|first| (first, &context[first..]));
    if let Some((first, _)) = found.filter(|(_, rest)| rest.starts_with(answer)) {
        return Ok(first..first + answer.len());
    }
    let there = match found {
        Some((_, rest)) => {
            format!("which has {:?} there", rest.chars().take(answer.chars().count().min(40)).collect::<String>())
        }
        None => format!("which has {} characters", context.chars().count()),
    };
    // The nearest place, for the correction.
    let (mut behind, mut characters) = (0, 0);
    let places = context.match_indices(answer).map(|(byte, _)| {
        characters += context[behind..byte].chars().count() as u64;
        behind = byte;
        characters
    });
    let advice = match places.min_by_key(|place| place.abs_diff(start)) {
        Some(place) => format!("; it is at character {place}"),
        None => "; the context does not have it".into(),
    };
    Err(format!("the answer {answer:?} is not at character {start} of its context, {there}{advice}"))
}

fn array(value: Value, place: &str) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(format!("{place} is no list")),
    }
}

fn text(entry: &mut Map<String, Value>, key: &str) -> Result<String, String> {
    match entry.remove(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err("it is no text".into()),
        None => Err("it is missing".into()),
    }
}

fn named(place: &str, reason: String) -> String {
    format!("{place}: {reason}")
}

#[cfg(test)]
mod tests;
