//! JSON lines: one object per line, with the text and the label under their keys. A label may be a string, a number or
//! a boolean.

use std::io::BufRead;
use std::path::Path;

use serde_json::{Map, Value};

use crate::data::columns::{self, Plan};
use crate::data::line_reader::{Blanks, LineReader, blank};
use crate::data::several::Place;
use crate::data::{Dataset, Example, Label, ReadOptions, means_none};
use crate::presets::GlueTask;
use crate::{Error, Result};

/// Reads the objects of a file. The keys of the first object determine which keys are read; their order and other keys
/// do not matter.
pub(super) fn read(reader: impl BufRead, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    let mut lines = LineReader::new(reader, path);
    let mut blanks = Blanks::default();
    let mut plan: Option<Plan> = None;
    let (mut examples, mut skipped) = (Vec::new(), Vec::new());
    let preset = options.task.map(GlueTask::preset);
    while let Some((line, text)) = lines.next()? {
        if blanks.holds(line, text) {
            continue;
        }
        if let Some(line) = blanks.before_row().next() {
            return Err(blank(path, line));
        }
        let object = parse(path, line, text, plan.is_none())?;
        let plan = match &mut plan {
            Some(plan) => plan,
            empty => {
                let keys: Vec<&str> = object.keys().map(String::as_str).collect();
                empty.insert(columns::resolve(path, &keys, true, options)?)
            }
        };
        let row = Row { path, line, object: &object };
        let mut label = match &plan.label_name {
            Some(key) if options.several.is_some() => {
                let place = Place { path, line, plan, is_first: examples.is_empty() };
                Some(place.of_object(&object, key, options)?)
            }
            Some(key) => row.label(key, options)?,
            None => None,
        };
        if means_none(preset, label.as_ref()) {
            if options.require_labels {
                skipped.push(line);
                continue;
            }
            label = None;
        }
        let text = row.text(&plan.text_names[0])?;
        let pair = plan.text_names.get(1).map(|key| row.text(key)).transpose()?;
        examples.push(Example { text, pair, label, words: Vec::new(), line });
    }
    let (text_names, label_name, indicators) =
        plan.map(|plan| (plan.text_names, plan.label_name, plan.indicators)).unwrap_or_default();
    let set = Dataset::assemble(path, examples, false, text_names, label_name, skipped)?;
    Ok(Dataset { indicators: indicators.into_iter().map(|(_, name)| name).collect(), ..set })
}

fn parse(path: &Path, line: usize, text: &str, first: bool) -> Result<Map<String, Value>> {
    let error = |reason: String| Error::DataRow { path: path.into(), line, reason };
    if first && text.trim_start().starts_with('[') {
        let reason = "a JSON array; write one object a line, for instance with jq -c '.[]'".into();
        return Err(error(reason));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(error(format!("expected an object, found {}", kind(&other)))),
        // The parser sees one line only, so only the column of its position is meaningful.
        Err(cause) => {
            let message = cause.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            Err(error(format!("not a JSON object: {message} at column {}", cause.column())))
        }
    }
}

/// One object and where it is in the file.
struct Row<'a> {
    path: &'a Path,
    line: usize,
    object: &'a Map<String, Value>,
}

impl Row<'_> {
    fn error(&self, key: &str, reason: String) -> Error {
        Error::DataField { path: self.path.into(), line: self.line, column: key.into(), reason }
    }

    fn text(&self, key: &str) -> Result<String> {
        match self.object.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(self.error(key, format!("expected a string, found {}", kind(other)))),
            None => Err(self.error(key, "the object does not have this key".into())),
        }
    }

    fn label(&self, key: &str, options: &ReadOptions) -> Result<Option<Label>> {
        let (field, absence) = match self.object.get(key) {
            Some(Value::String(text)) => (text.clone(), "the label is empty"),
            Some(Value::Number(number)) => (number.to_string(), ""),
            Some(Value::Bool(value)) => (value.to_string(), ""),
            Some(Value::Null) => (String::new(), "the label is null"),
            None => (String::new(), "the object does not have this key"),
            // The key was recognised by its name, and labels are not required.
            Some(_) if options.labels_are_optional() => return Ok(None),
            Some(other) => {
                let reason = format!("expected a string, a number or a boolean, found {}", kind(other));
                return Err(self.error(key, reason));
            }
        };
        match Label::new(&field) {
            None if options.require_labels => Err(self.error(key, absence.into())),
            label => Ok(label),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Columns;

    fn jsonl(file: &str) -> Result<Dataset> {
        read(file.as_bytes(), Path::new("in.jsonl"), &ReadOptions::default())
    }

    fn message(file: &str) -> String {
        jsonl(file).unwrap_err().to_string()
    }

    #[test]
    fn a_label_is_a_string_a_number_or_a_boolean() {
        let set = jsonl(
            "\u{feff}{\"text\": \"a\\tb\", \"label\": \"x\"}\r\n{\"label\": 3, \"text\": \"\", \"id\": [1]}\n\
             {\"text\": \"c\", \"label\": true}\n{\"text\": \"d\", \"label\": -0.5}\n\n",
        )
        .unwrap();
        let labels: Vec<_> = set.examples.iter().map(|e| e.label.as_ref().unwrap().as_str()).collect();
        assert_eq!(labels, ["x", "3", "true", "-0.5"]);
        assert_eq!((set.examples[0].text.as_str(), set.examples[3].line), ("a\tb", 4));
    }

    #[test]
    fn keys_are_recognised_or_named() {
        let set = jsonl("{\"hypothesis\":\"b\",\"idx\":0,\"premise\":\"a\",\"label\":1}\n").unwrap();
        assert_eq!((set.examples[0].text.as_str(), set.examples[0].pair.as_deref()), ("a", Some("b")));
        let error = message("{\"body\":\"a\",\"label\":1}");
        assert!(error.contains("\"body\", \"label\"") && error.contains("name the key of the text column"), "{error}");
        let columns = Columns { text: vec!["0".into()], label: Some("1".into()), ..Columns::default() };
        let options = ReadOptions { columns, ..ReadOptions::default() };
        let set = read(&b"{\"1\":\"x\",\"0\":\"a\"}"[..], Path::new("in.jsonl"), &options).unwrap();
        assert_eq!(set.examples[0].text, "a");
    }

    #[test]
    fn a_broken_object_is_refused_with_its_line() {
        let good = "{\"text\":\"a\",\"label\":1}\n";
        for (bad, reason) in [
            ("{\"text\":\"a\",", "line 2: not a JSON object: EOF"),
            ("{\"text\":\"a\",\"label\":1} x", "line 2: not a JSON object: trailing characters at column"),
            ("[1]", "line 2: expected an object, found an array"),
            ("\"a\"", "line 2: expected an object, found a string"),
            ("{\"text\":1,\"label\":1}", "line 2, column text: expected a string, found a number"),
            ("{\"label\":1}", "line 2, column text: the object does not have this key"),
            ("{\"text\":\"a\"}", "line 2, column label: the object does not have this key"),
            ("{\"text\":\"a\",\"label\":null}", "line 2, column label: the label is null"),
            ("{\"text\":\"a\",\"label\":\" \"}", "line 2, column label: the label is empty"),
            (
                "{\"text\":\"a\",\"label\":{}}",
                "line 2, column label: expected a string, a number or a boolean, found an object",
            ),
            ("{\"text\":\"\\ud800\",\"label\":1}", "line 2: not a JSON object"),
            ("\n{\"text\":\"a\",\"label\":1}", "line 2: a blank line"),
        ] {
            let error = message(&format!("{good}{bad}\n"));
            assert!(error.starts_with(&format!("in.jsonl, {reason}")), "{bad}: {error}");
        }
        let deep = format!("{good}{}", "[".repeat(100_000));
        assert!(message(&deep).contains("recursion limit"));
    }

    #[test]
    fn an_array_is_refused_with_the_way_out() {
        assert!(message("[\n  {\"text\": \"a\", \"label\": 1}\n]\n").contains("one object a line"));
    }

    #[test]
    fn labels_are_optional_to_predict() {
        let options = ReadOptions { require_labels: false, ..ReadOptions::default() };
        let file = "{\"text\":\"a\",\"label\":null}\n{\"text\":\"b\"}\n{\"text\":\"c\",\"label\":1}\n\
                    {\"text\":\"d\",\"label\":[1,2]}\n";
        let set = read(file.as_bytes(), Path::new("in.jsonl"), &options).unwrap();
        let labelled: Vec<_> = set.examples.iter().map(|e| e.label.is_some()).collect();
        assert_eq!(labelled, [false, false, true, false]);
        // A label column that is named by the caller is checked.
        let columns = Columns { label: Some("label".into()), ..Columns::default() };
        let named = read(file.as_bytes(), Path::new("in.jsonl"), &ReadOptions { columns, ..options }).unwrap_err();
        assert!(
            named
                .to_string()
                .contains("line 4, column label: expected a string, a number or a boolean, found an array"),
            "{named}"
        );
    }

    #[test]
    fn multinli_objects_without_a_gold_label_are_left_out() {
        let options = ReadOptions { task: Some(GlueTask::Mnli), ..ReadOptions::default() };
        let file = "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"gold_label\":\"neutral\"}\n\
                    {\"sentence1\":\"a\",\"sentence2\":\"b\",\"gold_label\":\"-\"}\n";
        let set = read(file.as_bytes(), Path::new("in.jsonl"), &options).unwrap();
        assert_eq!((set.examples.len(), set.skipped), (1, vec![2]));
        // Without labels required, no row is left out.
        let options = ReadOptions { require_labels: false, ..options };
        let set = read(file.as_bytes(), Path::new("in.jsonl"), &options).unwrap();
        assert_eq!((set.examples[1].label.as_ref(), set.examples.len(), set.skipped), (None, 2, Vec::new()));
    }
}
