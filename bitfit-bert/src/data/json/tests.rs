//! JSON in every shape, and exports of labelling tools.

use super::*;
use crate::data::line_reader::MAX_LINE;
use crate::data::{Columns, Label};
use crate::presets::GlueTask;

fn from(file: &str, options: &ReadOptions) -> Result<Dataset> {
    Dataset::from_reader(file.as_bytes(), Path::new("in.jsonl"), options)
}

fn jsonl(file: &str) -> Result<Dataset> {
    from(file, &ReadOptions::default())
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
    let set = from("{\"1\":\"x\",\"0\":\"a\"}", &options).unwrap();
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
fn labels_are_optional_to_predict() {
    let options = ReadOptions { require_labels: false, ..ReadOptions::default() };
    let file = "{\"text\":\"a\",\"label\":null}\n{\"text\":\"b\"}\n{\"text\":\"c\",\"label\":1}\n\
                {\"text\":\"d\",\"label\":[1,2]}\n";
    let set = from(file, &options).unwrap();
    let labelled: Vec<_> = set.examples.iter().map(|e| e.label.is_some()).collect();
    assert_eq!(labelled, [false, false, true, false]);
    // A label column that is named by the caller is checked.
    let columns = Columns { label: Some("label".into()), ..Columns::default() };
    let named = from(file, &ReadOptions { columns, ..options }).unwrap_err();
    assert!(named.to_string().contains("line 4, column label: an array of 2 labels"), "{named}");
}

#[test]
fn multinli_objects_without_a_gold_label_are_left_out() {
    let options = ReadOptions { task: Some(GlueTask::Mnli), ..ReadOptions::default() };
    let file = "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"gold_label\":\"neutral\"}\n\
                {\"sentence1\":\"a\",\"sentence2\":\"b\",\"gold_label\":\"-\"}\n";
    let set = from(file, &options).unwrap();
    assert_eq!((set.examples.len(), set.skipped), (1, vec![2]));
    // Without labels required, no row is left out.
    let options = ReadOptions { require_labels: false, ..options };
    let set = from(file, &options).unwrap();
    assert_eq!((set.examples[1].label.as_ref(), set.examples.len(), set.skipped), (None, 2, Vec::new()));
}

/// Text, label and line of every example.
fn rows(set: &Dataset) -> Vec<(&str, &str, usize)> {
    set.examples.iter().map(|e| (e.text.as_str(), e.label.as_ref().map_or("", Label::as_str), e.line)).collect()
}

#[test]
fn objects_are_read_in_every_shape() {
    let one = "{\n  \"text\": \"a }]\\\" b\",\n  \"label\": \"x\"\n}";
    let two = "{\"text\": \"c\", \"label\": \"y\"}";
    for (file, lines, note) in [
        (format!("{two}\n{two}\n"), [1, 2], None),
        (format!("{one}\n{two}\n"), [1, 5], None),
        (format!("{one}\n\n{two}"), [1, 6], None),
        (format!("[{one},{two}]"), [1, 4], None),
        (format!("[\n{one},\n{two}\n]\n"), [2, 6], None),
        (format!("{{\"version\": [1], \"data\": [{one},\n{two}], \"n\": 2}}"), [1, 5], Some("the key \"data\"")),
        (format!("{{\n\"n\": {{}},\n\"rows\": [\n{one},\n{two}]\n}}\n"), [4, 8], Some("the key \"rows\"")),
    ] {
        let set = jsonl(&file).unwrap();
        let first = if file.contains("a }") { ("a }]\" b", "x", lines[0]) } else { ("c", "y", lines[0]) };
        assert_eq!(rows(&set), [first, ("c", "y", lines[1])], "{file}");
        assert_eq!(set.found.iter().any(|found| note.is_some_and(|note| found.contains(note))), note.is_some());
    }
    assert!(message("[]").contains("no rows") && message(" [\n]\n").contains("no rows"));
    assert_eq!(jsonl("{\"text\": \"a\", \"label\": 1, \"spans\": [{}]}").unwrap().examples.len(), 1);
}

#[test]
fn an_array_longer_than_any_line_is_read_an_element_at_a_time() {
    let row = format!("{{\"text\": \"{}\", \"label\": 1}}", "x".repeat(1000));
    let file = format!("[{}]", vec![row; 70_000].join(", "));
    assert!(file.len() > MAX_LINE);
    assert_eq!(jsonl(&file).unwrap().examples.len(), 70_000);
}

#[test]
fn broken_json_over_several_lines_is_refused_with_its_line() {
    let one = "{\n\"text\": \"a\",\n\"label\": 1\n}";
    for (file, reason) in [
        (format!("[{one}"), "line 4: the array does not end"),
        (format!("[{one},"), "line 4: a value is missing"),
        (format!("[{one}\n{one}]"), "line 5: expected a comma"),
        (format!("[{one}] x"), "line 4: something follows"),
        (format!("[{one},\n 7]"), "line 5: expected an object, found a number"),
        (format!("[[{one}]]"), "line 1: expected an object, found an array"),
        (format!("{one}\n{{\"text\": \"b\",\n"), "line 5: the value that begins here does not end"),
        (format!("{one}\n{{\"text\": \"b\",\n\"label\" 1}}"), "line 6: not a JSON object: expected `:` at column 9"),
        (
            "[{\"text\": \"a\", \"label\": 1}, {\"text\" 2}]".into(),
            "line 1: not a JSON object: expected `:` at column 37",
        ),
        (format!("{one}\n[]"), "line 5: expected an object, found an array"),
    ] {
        let error = message(&file);
        assert!(error.starts_with(&format!("in.jsonl, {reason}")), "{file}: {error}");
    }
    let third =
        "[{\"text\": \"a\", \"label\": 1}, {\"text\": \"b\", \"label\": 0}, {\"text\": \"c\", \"label\": null}]";
    assert_eq!(message(third), "in.jsonl, line 1, column label: the label is null (object 3)");
    let error = message("{\"train\": [{\"text\": \"a\"}], \"test\": [{\"text\": \"b\"}]}");
    assert!(error.contains("several arrays, \"train\", \"test\"") && error.contains("jq"), "{error}");
    let error = Dataset::from_reader(&b"[{\"text\": \"caf\xe9\"}]"[..], Path::new("x.json"), &ReadOptions::default());
    assert!(error.unwrap_err().to_string().starts_with("x.json, line 1: not valid UTF-8"));
}

#[test]
fn doccanos_lists_are_labels() {
    let file = "{\"id\": 1, \"text\": \"a\", \"label\": [\"x\"], \"Comments\": []}\n\
                {\"id\": 2, \"text\": \"b\", \"label\": []}\n{\"id\": 3, \"text\": \"c\", \"label\": [\"y\"]}\n";
    let set = jsonl(file).unwrap();
    assert_eq!((rows(&set), set.skipped.clone()), (vec![("a", "x", 1), ("c", "y", 3)], vec![2]));
    let several = message("{\"text\": \"a\", \"label\": [\"x\", \"y\"]}");
    assert!(several.starts_with("in.jsonl, line 1, column label: an array of 2 labels"), "{several}");
    let spans = message("{\"text\": \"a\", \"label\": [[0, 1, \"x\"]]}");
    assert!(spans.starts_with("in.jsonl, line 1, column label: an array of spans"), "{spans}");
}

/// Reads records as lines, and the same as an array; then without labels, where no record may be skipped.
fn export(records: &[&str], options: &ReadOptions) -> Dataset {
    let set = from(&records.join("\n"), options).unwrap();
    let array = from(&format!("[\n{}\n]", records.join(",\n")), options).unwrap();
    let same: Vec<_> = rows(&array).into_iter().map(|(text, label, line)| (text, label, line - 1)).collect();
    assert_eq!(rows(&set), same);
    let answered = from(&records.join("\n"), &ReadOptions { require_labels: false, ..ReadOptions::default() }).unwrap();
    assert_eq!((answered.examples.len(), answered.skipped.len()), (records.len(), 0));
    set
}

#[test]
fn label_studios_choices_are_labels() {
    let task = |text: &str, annotations: &str| {
        format!(
            "{{\"id\": 1, \"data\": {{\"body\": {text:?}, \"n\": 3}}, \"annotations\": [{annotations}], \"predictions\": []}}"
        )
    };
    let chosen = |name: &str, choices: &str| {
        format!(
            "{{\"id\": 7, \"was_cancelled\": false, \"result\": [{{\"from_name\": {name:?}, \"to_name\": \"text\", \
             \"type\": \"choices\", \"value\": {{\"choices\": [{choices}]}}}}]}}"
        )
    };
    let x = chosen("mood", "\"x\"");
    let cancelled = x.replace("false", "true");
    let records = [
        task("none", ""),
        task("one", &x),
        task("cancelled", &cancelled),
        task("agreed", &format!("{x}, {x}, {cancelled}")),
        task("other", &chosen("mood", "\"y\"")),
    ];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let set = export(&records, &ReadOptions::default());
    assert_eq!(rows(&set), [("one", "x", 2), ("agreed", "x", 4), ("other", "y", 5)]);
    assert_eq!((set.skipped, set.label_column.as_deref()), (vec![1, 3], Some("mood")));
    assert_eq!(set.found, ["an export of Label Studio"]);
    let refused = |annotations: &str, reason: &str| {
        let error = message(&task("a", annotations));
        assert!(error.starts_with("in.jsonl, line 1, column ") && error.contains(reason), "{error}");
    };
    refused(&chosen("mood", "\"x\", \"y\""), "column mood: an array of 2 labels");
    refused(&format!("{x}, {}", chosen("mood", "\"y\"")), "annotators disagree: \"x\" and \"y\"");
    refused(&x.replace("choices", "labels"), "annotations of type \"labels\"");
    let two = format!("{x}, {}", chosen("topic", "\"z\""));
    refused(&two, "several questions, \"mood\" and \"topic\"");
    let columns = Columns { label: Some("topic".into()), ..Columns::default() };
    let set = from(&task("a", &two), &ReadOptions { columns, ..ReadOptions::default() }).unwrap();
    assert_eq!(rows(&set), [("a", "z", 1)]);
}

#[test]
fn label_studios_small_export_is_read() {
    let record = |rest: &str| {
        format!(
            "{{\"id\": 1, \"text\": \"a\", {rest}\"annotator\": 1, \"annotation_id\": 2, \"created_at\": \"d\", \"lead_time\": 1.5}}"
        )
    };
    let records = [record("\"mood\": \"x\", "), record(""), record("\"mood\": {\"choices\": [\"y\"]}, ")];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let set = export(&records, &ReadOptions::default());
    assert_eq!((rows(&set), set.skipped.clone()), (vec![("a", "x", 1), ("a", "y", 3)], vec![2]));
    for (rest, reason) in [
        ("\"mood\": {\"choices\": [\"x\", \"y\"]}, ", "column mood: an array of 2 labels"),
        ("\"mood\": [{\"start\": 0, \"end\": 1, \"labels\": [\"x\"]}], ", "column mood: an array of spans"),
        ("\"mood\": \"x\", \"topic\": \"y\", ", "several questions"),
    ] {
        assert!(message(&record(rest)).contains(reason), "{}", message(&record(rest)));
    }
}

#[test]
fn prodigys_answers_are_labels() {
    let options = "\"options\": [{\"id\": \"x\", \"text\": \"X\"}], \"_task_hash\": 1";
    let records = [
        format!("{{\"text\": \"a\", {options}, \"accept\": [\"x\"], \"answer\": \"accept\"}}"),
        format!("{{\"text\": \"b\", {options}, \"accept\": [], \"answer\": \"ignore\"}}"),
        format!("{{\"text\": \"c\", {options}, \"accept\": [\"x\"], \"answer\": \"reject\"}}"),
        format!("{{\"text\": \"d\", {options}, \"accept\": [], \"answer\": \"accept\"}}"),
        "{\"text\": \"e\", \"label\": \"y\", \"answer\": \"accept\"}".to_owned(),
        "{\"text\": \"f\", \"label\": \"y\", \"answer\": \"reject\"}".to_owned(),
    ];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let set = export(&records, &ReadOptions::default());
    assert_eq!((rows(&set), set.skipped.clone()), (vec![("a", "x", 1), ("e", "y", 5)], vec![2, 3, 4, 6]));
    let error = message("{\"text\": \"a\", \"accept\": [1, 2], \"answer\": \"accept\"}");
    assert!(error.contains("column accept: an array of 2 labels"), "{error}");
    let error = message("{\"text\": \"a\", \"spans\": [], \"answer\": \"accept\"}");
    assert!(error.contains("neither accept nor label"), "{error}");
}

#[test]
fn argillas_responses_are_labels() {
    let second = |text: &str, responses: &str| {
        format!(
            "{{\"id\": \"1\", \"fields\": {{\"review\": {text:?}}}, \"suggestions\": {{}}, \"responses\": {responses}}}"
        )
    };
    let records = [
        second("a", "{\"mood\": [{\"value\": \"x\", \"user_id\": \"u\"}, {\"value\": \"x\", \"user_id\": \"v\"}]}"),
        second("b", "{}"),
        second("c", "[{\"values\": {\"mood\": {\"value\": \"y\"}}, \"status\": \"submitted\"}]"),
        second("d", "[{\"values\": {\"mood\": {\"value\": \"y\"}}, \"status\": \"discarded\"}]"),
    ];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let set = export(&records, &ReadOptions::default());
    assert_eq!((rows(&set), set.skipped.clone()), (vec![("a", "x", 1), ("c", "y", 3)], vec![2, 4]));
    let error = message(&second("a", "{\"mood\": [{\"value\": [\"x\", \"y\"], \"user_id\": \"u\"}]}"));
    assert!(error.contains("column mood: an array of 2 labels"), "{error}");
    let first = |annotation: &str, status: &str| {
        format!(
            "{{\"text\": null, \"inputs\": {{\"text\": \"a\"}}, \"annotation\": {annotation}, \"status\": {status:?}}}"
        )
    };
    let records = [
        first("\"x\"", "Validated"),
        first("null", "Default"),
        first("\"x\"", "Discarded"),
        first("[\"y\"]", "Validated"),
    ];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let set = export(&records, &ReadOptions::default());
    assert_eq!((rows(&set), set.skipped.clone()), (vec![("a", "x", 1), ("a", "y", 4)], vec![2, 3]));
}
