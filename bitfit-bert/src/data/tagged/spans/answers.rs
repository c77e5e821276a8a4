//! What annotators marked in a record of each labelling tool, and whether they agree.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Export, Span, Tool};
use crate::data::json::{argilla_responses, list, text};
use crate::data::table::kind;

/// What one annotator marked, and the name of the question where there is one.
type Answer<'a> = (Option<&'a str>, Vec<&'a Value>);

impl Export<'_> {
    /// What annotators marked in a record; nothing if it was not annotated.
    pub(super) fn answers<'b>(&self, record: &'b Map<String, Value>) -> Result<Vec<Answer<'b>>, String> {
        let chosen = self.question.as_deref().filter(|_| self.is_chosen);
        let is_asked = |question: &str| chosen.is_none_or(|chosen| chosen == question);
        let is = |key: &str, value: &str| text(record.get(key)) == value;
        // A list of spans; that of another question may be a list of labels.
        let is_spans = |value: &Value| {
            let has_start = |item: &Value| item.get("start").is_some();
            value.as_array().is_some_and(|items| items.is_empty() || items.iter().any(has_start))
        };
        let not_spans = |question: &str, value: &Value| {
            Err(format!("the answer to {question:?} is {} and no list of spans", kind(value)))
        };
        let mut answers = Vec::new();
        match self.tool {
            Tool::LabelStudio => {
                let is_valid = |annotation: &&Value| annotation.get("was_cancelled") != Some(&Value::Bool(true));
                for annotation in list(record.get("annotations")).filter(is_valid) {
                    let mut questions = BTreeMap::<&str, Vec<&Value>>::new();
                    for result in list(annotation.get("result")) {
                        match (text(result.get("from_name")), text(result.get("type"))) {
                            (question, _) if !is_asked(question) => {}
                            (question, "labels") => {
                                let spans = questions.entry(question).or_default();
                                spans.push(result.get("value").unwrap_or(&Value::Null));
                            }
                            (_, other) if self.is_chosen || other.ends_with("labels") => {
                                return Err(format!(
                                    "annotations of type {other:?}, which are no labels of characters"
                                ));
                            }
                            _ => {}
                        }
                    }
                    if questions.is_empty() {
                        answers.push((None, Vec::new()));
                    }
                    answers.extend(questions.into_iter().map(|(question, spans)| (Some(question), spans)));
                }
            }
            Tool::LabelStudioMin => {
                if record.get("annotation_id").is_none_or(Value::is_null)
                    || record.get("was_cancelled") == Some(&Value::Bool(true))
                {
                    return Ok(answers);
                }
                for (key, value) in record.iter().filter(|(key, _)| **key != self.text && is_asked(key)) {
                    match value {
                        Value::Array(spans) if is_spans(value) && !spans.is_empty() => {
                            answers.push((Some(key.as_str()), spans.iter().collect()));
                        }
                        value if self.is_chosen => return not_spans(key, value),
                        _ => {}
                    }
                }
                if answers.is_empty() {
                    answers.push((None, Vec::new()));
                }
            }
            Tool::Argilla => {
                let responses = argilla_responses(record.get("responses").unwrap_or(&Value::Null));
                for (question, value) in responses.filter(|(question, _)| is_asked(question)) {
                    match value {
                        Value::Null => {}
                        value if is_spans(value) => answers.push((Some(question), list(Some(value)).collect())),
                        value if self.is_chosen => return not_spans(question, value),
                        _ => {}
                    }
                }
            }
            Tool::ArgillaTokens if is("status", "Discarded") => {}
            Tool::ArgillaTokens => match record.get("annotation") {
                None | Some(Value::Null) => {}
                Some(Value::Array(spans)) if spans.is_empty() && is("status", "Default") => {}
                Some(Value::Array(spans)) => answers.push((Some("annotation"), spans.iter().collect())),
                Some(other) => return not_spans("annotation", other),
            },
            Tool::Prodigy if !is("answer", "accept") => {}
            Tool::Prodigy => match record.get("spans") {
                // The interface of single suggestions, such as those of ner.teach.
                Some(_) if is("_view_id", "ner") => {
                    let reason = "one span is accepted, which says nothing of the others; export what was annotated \
                                  with ner.manual or ner.correct";
                    return Err(reason.into());
                }
                None if record.contains_key("label") || record.contains_key("accept") => {
                    return Err("labels for the whole text, and no spans, are accepted".into());
                }
                None | Some(Value::Null) => answers.push((None, Vec::new())),
                Some(Value::Array(spans)) => answers.push((Some("spans"), spans.iter().collect())),
                Some(other) => return not_spans("spans", other),
            },
            Tool::Doccano | Tool::Spans => {
                let key = self.question.as_deref().unwrap_or_default();
                match record.get_key_value(key) {
                    Some((_, Value::Null)) => {}
                    Some((key, Value::Array(spans))) => answers.push((Some(key.as_str()), spans.iter().collect())),
                    Some((key, other)) => return not_spans(key, other),
                    None => return Err(format!("the key {key:?} is missing; give [] where there is no span")),
                }
            }
            Tool::Texts => {}
        }
        Ok(answers)
    }
}

/// The first span that one of two sorted lists has and the other lacks, as a refusal names it.
pub(super) fn difference(first: &[Span], second: &[Span]) -> String {
    let common = first.iter().zip(second).take_while(|(first, second)| first == second).count();
    let span = match (first.get(common), second.get(common)) {
        (Some(first), Some(second)) => Some(first.min(second)),
        (first, second) => first.or(second),
    };
    let span = span.map(|span| format!(" about {span}")).unwrap_or_default();
    format!("{span}; settle it in the tool, or export one annotator's work")
}
