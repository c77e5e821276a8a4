//! Exports of labelling tools whose texts have labelled spans of characters, recognised by the first record:
//!
//! | tool | export | recognised by |
//! |---|---|---|
//! | Label Studio 1.20 | JSON: `{"data": {…}, "annotations": [{"result": [{"type": "labels", "value": {…}}]}]}` | `data`, `annotations` |
//! | Label Studio 1.20 | JSON-MIN: `{"text": …, NAME: [{"start", "end", "text", "labels"}], "annotation_id": …}` | `annotation_id`, `lead_time` |
//! | Argilla 2.8 | `{"fields": {…}, "responses": {NAME: [{"value": [{"start", "end", "label"}]}]}}` | `fields`, `responses` |
//! | Argilla 1.29 | `{"text": …, "tokens": …, "annotation": [{"label", "start", "end"}]}`, also `[label, start, end]` | these keys |
//! | Prodigy 1.18 | `{"text": …, "spans": [{"start", "end", "label"}], "answer": …}` | `answer` |
//! | doccano 1.8 | `{"text": …, "label": [[start, end, label]]}`, also `labels` | a list under the key |
//! | doccano 1.8 | `{"text": …, "entities": [{"start_offset", "end_offset", "label"}], "relations": …}` | these keys |
//! | none | `{"text": …, "entities": […]}`, also `spans`: `[start, end, label]` or objects of these | a list under the key |
//!
//! Offsets are code points. doccano, Argilla and Label Studio count in a browser, in whose units some characters are
//! two (doccano/doccano issue 2290, argilla-io/argilla issue 5729, HumanSignal/label-studio issue 1347), and do not say
//! so in the file: where it matters and a span has no text of its own that would tell, it is refused. doccano's option
//! to count graphemes must be off.
//!
//! The words are those of [`split_words`]; the first that a span touches is B-X, the others are I-X, all else is O.
//! Records that were rejected, cancelled, discarded or not annotated are skipped. One that was annotated without a span
//! is O throughout, in JSON-MIN too, which leaves out what was cancelled and has no `annotation_id` where nothing was
//! annotated. An empty list of doccano does not tell whether it was annotated and is read as such. Where tags are not
//! required, only the texts are read.

mod answers;

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use self::answers::difference;
use super::jsonl::{self, COMMON_WORDS};
use super::place::{Span, place};
use super::split_words;
use crate::data::json::{BOOKKEEPING, list, text};
use crate::data::table::kind;
use crate::data::{Dataset, Example, Label, ReadOptions, Word};
use crate::{Error, Result, Setting};

#[derive(Clone, Copy, PartialEq)]
enum Tool {
    LabelStudio,
    LabelStudioMin,
    Argilla,
    ArgillaTokens,
    Prodigy,
    Doccano,
    /// Texts with spans of no known tool.
    Spans,
    /// Texts alone, where tags are not required.
    Texts,
}

/// Keys of spans in records of no tool that is known by other keys.
const COMMON_SPANS: [&str; 4] = ["label", "labels", "entities", "spans"];

/// The texts of an export so far, and how to read the next.
pub(super) struct Export<'a> {
    path: &'a Path,
    requires_tags: bool,
    tool: Tool,
    /// The key of the text.
    text: String,
    /// The key or the name of the question whose answers are the spans, once it is known.
    question: Option<String>,
    /// Whether the user chose it.
    is_chosen: bool,
    /// Whether a record has an answer to it.
    is_answered: bool,
    /// Records that may come again from another annotator, by what identifies their text: their places, the numbers of
    /// their examples, and their spans.
    identified: HashMap<String, (String, usize, Vec<Span>)>,
    /// The tags of each label, of the first word and of others.
    labels: HashMap<String, [Label; 2]>,
    outside: Label,
    examples: Vec<Example>,
    skipped: Vec<usize>,
    /// The number of the record, and whether lines do not tell which it is.
    number: usize,
    is_array: bool,
    /// The number of spans that begin or end inside of a word, and the place of the first.
    partial: usize,
    first_partial: String,
    is_utf16: bool,
}

impl<'a> Export<'a> {
    /// The export that a first record belongs to; `is_array` if records may share a line.
    ///
    /// # Errors
    /// [`Error::DataColumn`] if it is one, but several keys may hold the text or the spans.
    pub(super) fn recognise(
        path: &'a Path,
        first: &Map<String, Value>,
        options: &ReadOptions,
        is_array: bool,
    ) -> Result<Option<Self>> {
        let refuse = |reason: String, settings: &'static [Setting]| {
            let advice = "name the key".into();
            Err(Error::DataColumn { path: path.into(), reason, found: jsonl::keys_of(first), advice, settings })
        };
        let given = options.columns.text.first().map(jsonl::key);
        let mut question = options.columns.label.as_ref().map(jsonl::key);
        let is_chosen = question.is_some();
        let object = |key| first.get(key).is_some_and(Value::is_object);
        let array = |key: &str| first.get(key).is_some_and(Value::is_array);
        let has = |key| first.contains_key(key);
        let has_text = first.get(given.as_deref().unwrap_or("text")).is_some_and(Value::is_string);
        let tool = if object("data") && array("annotations") {
            Tool::LabelStudio
        } else if has("annotation_id") && has("lead_time") {
            Tool::LabelStudioMin
        } else if object("fields") && has("responses") {
            Tool::Argilla
        } else if !has_text || jsonl::has_tags(first) {
            return Ok(None);
        } else if matches!(text(first.get("answer")), "accept" | "reject" | "ignore") {
            Tool::Prodigy
        } else if array("tokens") && has("annotation") {
            Tool::ArgillaTokens
        } else {
            let may_be = |key: &&str| first.get(*key).is_some_and(|value| value.is_array() || value.is_null());
            let keys: Vec<&str> = match &question {
                Some(key) => [key.as_str()].into_iter().filter(may_be).collect(),
                None => COMMON_SPANS.into_iter().filter(may_be).collect(),
            };
            match keys[..] {
                [] if options.require_labels || COMMON_WORDS.iter().any(|key| array(key)) => return Ok(None),
                [] => Tool::Texts,
                [_, _, ..] if options.require_labels => {
                    return refuse(format!("{} may be the spans", keys.join(" and ")), &[Setting::LabelColumn]);
                }
                [key, ..] => {
                    let has_offsets = list(first.get(key)).any(|span| span.get("start_offset").is_some());
                    let is_doccano = key.starts_with("label")
                        || ["relations", "cats", "Comments"].iter().any(|key| has(key))
                        || has_offsets;
                    question = Some(key.to_owned());
                    if is_doccano { Tool::Doccano } else { Tool::Spans }
                }
            }
        };
        let only = match tool {
            Tool::Prodigy => Some("spans"),
            Tool::ArgillaTokens => Some("annotation"),
            _ => None,
        };
        if let (Some(only), Some(other)) = (only, question.as_deref().filter(|question| Some(*question) != only)) {
            let reason = format!("the spans are under the key {only:?}, and not {other:?}");
            return refuse(reason, &[Setting::LabelColumn]);
        }
        if options.columns.text.len() > 1 {
            return refuse("a text with tags is one column, and several are given".into(), &[Setting::TextColumn]);
        }
        let fields = match tool.container() {
            Some(key) => first.get(key).and_then(Value::as_object),
            None => Some(first),
        };
        let is_text = |(key, value): &(&String, &Value)| value.is_string() && !BOOKKEEPING.contains(&key.as_str());
        let texts: Vec<&str> = fields.into_iter().flatten().filter(is_text).map(|(key, _)| key.as_str()).collect();
        let text = match (given, &texts[..]) {
            (Some(given), _) => given,
            (None, [only]) => (*only).to_owned(),
            (None, texts) if texts.contains(&"text") => "text".into(),
            (None, texts) => {
                let keys = texts.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(" and ");
                let reason = if texts.is_empty() { "no text".into() } else { format!("{keys}, which may be the text") };
                return refuse(format!("the first record has {reason}"), &[Setting::TextColumn]);
            }
        };
        Ok(Some(Self {
            path,
            requires_tags: options.require_labels,
            tool,
            text,
            question,
            is_chosen,
            is_answered: false,
            identified: HashMap::new(),
            labels: HashMap::new(),
            outside: Label::of_text("O".into()),
            examples: Vec::new(),
            skipped: Vec::new(),
            number: 0,
            is_array,
            partial: 0,
            first_partial: String::new(),
            is_utf16: false,
        }))
    }

    /// Adds a record, which begins on `line`.
    pub(super) fn add(&mut self, line: usize, mut record: Map<String, Value>) -> Result<()> {
        self.number += 1;
        let spans = match self.requires_tags {
            true => match self.spans(line, &record)? {
                Some(spans) => Some(spans),
                None => {
                    self.skipped.push(line);
                    return Ok(());
                }
            },
            false => None,
        };
        let fields = match self.tool.container() {
            Some(key) => record.get_mut(key).and_then(Value::as_object_mut),
            None => Some(&mut record),
        };
        let text = match fields.and_then(|fields| fields.remove(&self.text)) {
            Some(Value::String(text)) => text,
            Some(other) => {
                let found = kind(&other);
                return Err(self.row(line, format!("the key {:?} has {found}, expected a text", self.text)));
            }
            None => return Err(self.row(line, format!("the key {:?} of the text is missing", self.text))),
        };
        let ranges = split_words(&text);
        let tags = match spans {
            None => vec![None; ranges.len()],
            Some(_) if ranges.is_empty() => {
                return Err(self.row(line, "a text without words; remove the record".into()));
            }
            Some(spans) => {
                let tagged = place(&text, &ranges, &spans, self.tool.is_unit_known())
                    .map_err(|reason| self.row(line, reason))?;
                if self.partial == 0 && tagged.partial > 0 {
                    self.first_partial = self.place(line);
                }
                self.partial += tagged.partial;
                self.is_utf16 |= tagged.is_utf16;
                let tag = |word: Option<(usize, bool)>| match word {
                    Some((span, is_first)) => self.tag(&spans[span].label, is_first),
                    None => self.outside.clone(),
                };
                tagged.words.into_iter().map(tag).map(Some).collect()
            }
        };
        let words = ranges.into_iter().zip(tags).map(|(range, tag)| Word { range, tag, line }).collect();
        self.examples.push(Example { text, pair: None, label: None, words, question: None, line });
        Ok(())
    }

    /// The set of all records.
    pub(super) fn finish(self) -> Result<Dataset> {
        if self.requires_tags && self.is_chosen && !self.is_answered && !self.examples.is_empty() {
            let question = self.question.unwrap_or_default();
            return Err(Error::DataColumn {
                path: self.path.into(),
                reason: format!("no record has a span of {question:?}"),
                found: self.tool.found().into(),
                advice: "name the question of the spans as the tool does".into(),
                settings: &[Setting::LabelColumn],
            });
        }
        let mut set = Dataset::assemble(self.path, self.examples, false, vec![self.text], self.question, self.skipped)?;
        set.found.extend(Some(self.tool.found().to_owned()).filter(|_| self.tool != Tool::Texts));
        if self.is_utf16 {
            set.found.push("the offsets count units of UTF-16".into());
        }
        if self.partial > 0 {
            let (spans, word) = match self.partial {
                1 => ("1 span begins or ends".into(), "the whole word has the tag"),
                count => (format!("{count} spans begin or end"), "whole words have the tags"),
            };
            set.found.push(format!("{spans} inside of a word, the first in {}: {word}", self.first_partial));
        }
        Ok(set)
    }

    /// The spans of a record, in their order in the text; `None` if it was not annotated.
    fn spans(&mut self, line: usize, record: &Map<String, Value>) -> Result<Option<Vec<Span>>> {
        let mut agreed: Option<Vec<Span>> = None;
        for (question, spans) in self.answers(record).map_err(|reason| self.row(line, reason))? {
            match (&self.question, question) {
                (Some(known), Some(other)) if known != other => return Err(self.several_questions(line, known, other)),
                (None, Some(question)) => self.question = Some(question.into()),
                _ => {}
            }
            self.is_answered |= question.is_some();
            let parse = |span: &Value| Span::parse(span, self.tool == Tool::ArgillaTokens);
            let spans: Result<Vec<Span>, String> = spans.into_iter().map(parse).collect();
            let mut spans = spans.map_err(|reason| self.row(line, reason))?;
            spans.sort();
            match &agreed {
                Some(first) if *first != spans => {
                    return Err(self.row(line, format!("annotators disagree{}", difference(first, &spans))));
                }
                _ => agreed = Some(spans),
            }
        }
        let id = match self.tool {
            Tool::LabelStudioMin => record.get("id"),
            Tool::Prodigy => record.get("_input_hash"),
            _ => None,
        };
        if let (Some(id), Some(spans)) = (id.filter(|id| !id.is_null()), &agreed) {
            let text = text(record.get(&self.text));
            match self.identified.get(&id.to_string()) {
                Some((place, example, first)) if first != spans && self.examples[*example].text == text => {
                    let difference = difference(first, spans);
                    return Err(self.row(line, format!("it disagrees with {place}{difference}")));
                }
                Some(_) => {}
                None => {
                    let known = (self.place(line), self.examples.len(), spans.clone());
                    self.identified.insert(id.to_string(), known);
                }
            }
        }
        Ok(agreed)
    }

    /// The tag of a word in a span.
    fn tag(&mut self, label: &str, is_first: bool) -> Label {
        if !self.labels.contains_key(label) {
            let tags = ["B", "I"].map(|place| Label::of_text(format!("{place}-{label}").into()));
            self.labels.insert(label.into(), tags);
        }
        self.labels[label][usize::from(!is_first)].clone()
    }

    fn several_questions(&self, line: usize, first: &str, other: &str) -> Error {
        Error::DataColumn {
            path: self.path.into(),
            reason: format!("{} has spans of {other:?}, and there are some of {first:?}", self.place(line)),
            found: self.tool.found().into(),
            advice: "choose one of the questions by its name".into(),
            settings: &[Setting::LabelColumn],
        }
    }

    /// Where a record is, for messages.
    fn place(&self, line: usize) -> String {
        match self.is_array {
            true => format!("line {line}, object {}", self.number),
            false => format!("line {line}"),
        }
    }

    fn row(&self, line: usize, reason: String) -> Error {
        let reason = if self.is_array { format!("{reason} (object {})", self.number) } else { reason };
        Error::DataRow { path: self.path.into(), line, reason }
    }
}

impl Tool {
    /// Whether the tool's offsets count code points for certain. The others count in a browser, whose unit is that of
    /// UTF-16, in some of their versions, and do not say so in the file; and doccano can be set to count graphemes.
    fn is_unit_known(self) -> bool {
        matches!(self, Self::Prodigy | Self::Spans | Self::Texts)
    }

    /// The key of the object that holds the texts, where they are not in the record itself.
    fn container(self) -> Option<&'static str> {
        match self {
            Self::LabelStudio => Some("data"),
            Self::Argilla => Some("fields"),
            _ => None,
        }
    }

    fn found(self) -> &'static str {
        match self {
            Self::LabelStudio => "an export of Label Studio",
            Self::LabelStudioMin => "an export of Label Studio, JSON-MIN",
            Self::Argilla | Self::ArgillaTokens => "an export of Argilla",
            Self::Prodigy => "an export of Prodigy",
            Self::Doccano => "an export of doccano",
            Self::Spans => "texts with labelled spans of characters",
            Self::Texts => "texts",
        }
    }
}

#[cfg(test)]
mod tests;
