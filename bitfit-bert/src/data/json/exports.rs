//! Exports of labelling tools, recognised by the keys of their first record, with one label for each text or
//! several:
//!
//! | tool | export | recognised by |
//! |---|---|---|
//! | Label Studio 1.20 | JSON: `{"data": {…}, "annotations": [{"result": [{"type": "choices", …}]}]}` | `data`, `annotations` |
//! | Label Studio 1.20 | JSON-MIN: `{"text": …, NAME: …, "annotation_id": …, "lead_time": …}` | the last two |
//! | Prodigy 1.18 | `db-out`: `{"text": …, "accept": […] or "label": …, "answer": …}` | `answer` |
//! | Argilla 2.8 | `Dataset.to_json`: `{"fields": {…}, "responses": {NAME: [{"value": …}]}}` | `fields`, `responses` |
//! | Argilla 1.29, feedback | `{"fields": {…}, "responses": [{"values": {NAME: {"value": …}}, "status": …}]}` | the same |
//! | Argilla 1.29, classification | `{"inputs": {…}, "annotation": …, "status": …}` | `inputs`, `annotation` |
//!
//! doccano's JSON lines (1.8: `{"text": …, "label": ["…"]}`) need no recognition. A record that was rejected or not
//! annotated is skipped where labels are required; annotators who disagree are refused, and so are several labels of a
//! text that has one.
//!
//! Where a text may have several labels, one that was annotated without any has none: an empty list, and in Label
//! Studio's JSON an annotation without the question. JSON-MIN does not tell such a record from one that was skipped, so
//! it is skipped. One label that was accepted in Prodigy says nothing of the others and is refused.

use serde_json::{Map, Value};

use crate::Result;
use crate::data::several::of_answer;
use crate::data::table::{Found, Table, label_of};
use crate::data::{ColumnRef, Columns, Header, Label, ReadOptions};

/// A kind of export, and how to read it.
pub(super) struct Export {
    tool: Tool,
    /// The name of the question whose answer is the label, where the user or the records say it.
    question: Option<String>,
    /// Whether a text may have several labels.
    is_several: bool,
    options: ReadOptions,
}

#[derive(Clone, Copy, PartialEq)]
enum Tool {
    LabelStudio,
    LabelStudioMin,
    Prodigy,
    Argilla,
    ArgillaClassification,
}

/// Keys of a JSON-MIN record that are neither texts nor answers.
pub(in crate::data) const BOOKKEEPING: [&str; 8] =
    ["id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "history"];

impl Export {
    /// The kind of export that a first record belongs to.
    pub(super) fn recognise(first: &Map<String, Value>, options: &ReadOptions) -> Option<Self> {
        // An answer is in one place.
        if options.several.as_ref().is_some_and(|several| !several.further_columns.is_empty()) {
            return None;
        }
        let object = |key| first.get(key).is_some_and(Value::is_object);
        let has = |key| first.contains_key(key);
        let tool = if object("data") && first.get("annotations").is_some_and(Value::is_array) {
            Tool::LabelStudio
        } else if has("annotation_id") && has("lead_time") {
            Tool::LabelStudioMin
        } else if has("text") && matches!(text(first.get("answer")), "accept" | "reject" | "ignore") {
            Tool::Prodigy
        } else if object("fields") && has("responses") {
            Tool::Argilla
        } else if object("inputs") && has("annotation") {
            Tool::ArgillaClassification
        } else {
            return None;
        };
        let question = options.columns.label.as_ref().map(|label| match label {
            ColumnRef::Name(name) => name.clone(),
            ColumnRef::Index(number) => number.to_string(),
        });
        // The columns are those of the texts; the label is found by the tool's own rules.
        let columns = Columns { text: options.columns.text.clone(), label: None, header: Header::Auto };
        let is_several = options.several.is_some();
        let options = ReadOptions { columns, require_labels: false, several: None, ..options.clone() };
        Some(Self { tool, question, is_several, options })
    }

    /// The name of the tool.
    pub(super) fn tool(&self) -> &'static str {
        match self.tool {
            Tool::LabelStudio => "Label Studio",
            Tool::LabelStudioMin => "Label Studio, JSON-MIN",
            Tool::Prodigy => "Prodigy",
            Tool::Argilla | Tool::ArgillaClassification => "Argilla",
        }
    }

    /// Adds a record to a table.
    pub(super) fn add(&mut self, table: &mut Table<'_>, line: usize, record: Map<String, Value>) -> Result<()> {
        let mut answers = Answers::default();
        let texts = match self.tool {
            Tool::LabelStudio => {
                let question = self.question.as_deref();
                list(record.get("annotations")).for_each(|annotation| answers.of_label_studio(annotation, question));
                inner(&record, "data")
            }
            Tool::LabelStudioMin => {
                self.answers_of_min(&record, &mut answers);
                strings(&record)
            }
            Tool::Prodigy => {
                match (text(record.get("answer")), record.get("accept"), record.get("label")) {
                    ("accept", Some(accepted), _) => answers.add("accept", accepted),
                    ("accept", None, Some(_)) if self.is_several => {
                        answers.other = Some("one label is accepted, which says nothing of the others".into());
                    }
                    ("accept", None, Some(label)) => answers.add("label", label),
                    ("accept", None, None) => answers.other = Some("neither accept nor label is there".into()),
                    _ => {}
                }
                strings(&record)
            }
            Tool::Argilla => {
                answers.of_argilla(record.get("responses").unwrap_or(&Value::Null));
                inner(&record, "fields")
            }
            Tool::ArgillaClassification => {
                if text(record.get("status")) != "Discarded" {
                    answers.add("annotation", record.get("annotation").unwrap_or(&Value::Null));
                }
                inner(&record, "inputs")
            }
        };
        if table.is_new() {
            if let (true, [key]) = (self.options.columns.text.is_empty(), &texts.keys().collect::<Vec<_>>()[..]) {
                self.options.columns.text = vec![ColumnRef::Name((*key).clone())];
            }
            table.choose(&texts, &self.options)?;
        }
        let question = self.question.as_deref();
        let (name, label) = if self.is_several { answers.labels(question) } else { answers.label(question) };
        table.name_label(name.or(self.question.as_deref()).unwrap_or("label"));
        table.texts(line, &texts, label)
    }

    /// The answers of a JSON-MIN record, which are beside its texts.
    fn answers_of_min(&mut self, record: &Map<String, Value>, answers: &mut Answers) {
        let is_text = |key: &str| {
            let columns = &self.options.columns.text;
            key == "text" || columns.iter().any(|column| matches!(column, ColumnRef::Name(name) if name == key))
        };
        for (key, value) in record.iter().filter(|(key, _)| !BOOKKEEPING.contains(&key.as_str()) && !is_text(key)) {
            answers.add(key, value.get("choices").unwrap_or(value));
        }
    }
}

/// What annotators answered for one record: the question, and the answer.
#[derive(Default)]
struct Answers {
    given: Vec<(String, Value)>,
    /// Why what there is, is no answer.
    other: Option<String>,
    /// Whether an annotator left the question out.
    is_left_out: bool,
}

impl Answers {
    fn add(&mut self, question: &str, answer: &Value) {
        self.given.push((question.into(), answer.clone()));
    }

    fn of_label_studio(&mut self, annotation: &Value, question: Option<&str>) {
        if annotation.get("was_cancelled") == Some(&Value::Bool(true)) {
            return;
        }
        let answers_it = |result: &Value| question.is_none_or(|question| question == text(result.get("from_name")));
        self.is_left_out |= !list(annotation.get("result")).any(answers_it);
        for result in list(annotation.get("result")) {
            match (text(result.get("type")), result.pointer("/value/choices")) {
                ("choices", Some(choices)) => self.add(text(result.get("from_name")), choices),
                (other, _) => self.other = Some(format!("annotations of type {other:?}, which are not choices")),
            }
        }
    }

    fn of_argilla(&mut self, responses: &Value) {
        argilla_responses(responses).for_each(|(question, answer)| self.add(question, answer));
    }

    /// The label, and the question that it answers.
    fn label(&self, question: Option<&str>) -> (Option<&str>, Found<'static>) {
        let mut name: Option<&str> = None;
        let mut label: Option<String> = None;
        for (of, answer) in self.given.iter().filter(|(of, _)| question.is_none_or(|question| question == of)) {
            let of = of.as_str();
            let text = match label_of(Some(answer)) {
                Found::Text(text) if !text.trim().is_empty() => text.into_owned(),
                Found::Unusable(reason) => return (Some(of), Found::Unusable(reason)),
                Found::TooMany(reason) => return (Some(of), Found::TooMany(reason)),
                _ => continue,
            };
            match (name, &label) {
                (Some(first), _) if first != of => return (None, several_questions(first, of)),
                (_, Some(first)) if *first != text => {
                    let reason = format!("annotators disagree: {first:?} and {text:?}");
                    return (Some(of), Found::Unusable(reason));
                }
                _ => (name, label) = (Some(of), Some(text)),
            }
        }
        match (label, &self.other) {
            (Some(label), _) => (name, Found::Text(label.into())),
            (None, Some(other)) => (None, Found::Unusable(other.clone())),
            (None, None) => (None, Found::Unlabelled),
        }
    }

    /// The labels, any number of them, and the question that they answer.
    fn labels(&self, question: Option<&str>) -> (Option<&str>, Found<'static>) {
        let mut name: Option<&str> = None;
        let none = || Label::of_list(Vec::new());
        let mut labels: Option<Label> = self.is_left_out.then(none);
        for (of, answer) in self.given.iter().filter(|(of, _)| question.is_none_or(|question| question == of)) {
            let of = of.as_str();
            let found = match of_answer(answer) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(reason) => return (Some(of), Found::Unusable(reason)),
            };
            match (name, &labels) {
                (Some(first), _) if first != of => return (None, several_questions(first, of)),
                (_, Some(first)) if *first != found => {
                    let reason = format!("annotators disagree: {first} and {found}");
                    return (Some(of), Found::Unusable(reason));
                }
                _ => (name, labels) = (Some(of), Some(found)),
            }
        }
        match (labels, &self.other) {
            (_, Some(other)) if name.is_none() => (None, Found::Unusable(other.clone())),
            (Some(labels), _) => (name, Found::Several(labels)),
            (None, _) => (None, Found::Unlabelled),
        }
    }
}

/// The answers of Argilla's responses that were submitted, each with its question.
pub(in crate::data) fn argilla_responses(responses: &Value) -> impl Iterator<Item = (&str, &Value)> {
    fn is_given(response: &&Value) -> bool {
        !matches!(text(response.get("status")), "draft" | "discarded")
    }
    // Version 2: an array for each question. Version 1: an array of responses to all questions.
    let second = responses.as_object().into_iter().flatten().flat_map(|(question, responses)| {
        let given = list(Some(responses)).filter(is_given);
        given.map(move |response| (question.as_str(), response.get("value").unwrap_or(&Value::Null)))
    });
    let first = list(Some(responses)).filter(is_given).flat_map(|response| {
        let answers = response.get("values").and_then(Value::as_object).into_iter().flatten();
        answers.map(|(question, answer)| (question.as_str(), answer.get("value").unwrap_or(&Value::Null)))
    });
    second.chain(first)
}

fn several_questions(first: &str, other: &str) -> Found<'static> {
    let reason = format!("answers to several questions, {first:?} and {other:?}; name the one of the label");
    Found::Unusable(reason)
}

/// The strings of an object.
fn strings(object: &Map<String, Value>) -> Map<String, Value> {
    object.iter().filter(|(_, value)| value.is_string()).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The strings of the object under a key.
fn inner(record: &Map<String, Value>, key: &str) -> Map<String, Value> {
    record.get(key).and_then(Value::as_object).map(strings).unwrap_or_default()
}

/// The items of an array; none of anything else.
pub(in crate::data) fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// A string; empty for anything else.
pub(in crate::data) fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}
