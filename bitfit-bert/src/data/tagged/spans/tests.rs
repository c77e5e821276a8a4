//! What is made of each tool's export, and what is refused.

use super::*;
use crate::data::tagged::tests::{options, read, shown};

const TAGS: &str = "Anna/B-PER Lee/I-PER went/O to/O New/B-LOC York/I-LOC ./O";

/// A record of the shape `kind` with a text and spans of it, as the tool writes them.
fn record(kind: &str, text: &str, spans: &[(u64, u64, &str)]) -> Value {
    use serde_json::json;
    let of = |(start, end): (u64, u64)| text.chars().skip(start as usize).take((end - start) as usize);
    let spans = |object: &dyn Fn(u64, u64, &str, String) -> Value| -> Value {
        spans.iter().map(|&(start, end, label)| object(start, end, label, of((start, end)).collect())).collect()
    };
    let plain = || spans(&|start, end, label, _| json!({"start": start, "end": end, "label": label}));
    let arrays = || spans(&|start, end, label, _| json!([start, end, label]));
    match kind {
        "studio" => {
            let result = spans(&|start, end, label, text| {
                let value = json!({"start": start, "end": end, "text": text, "labels": [label]});
                json!({"from_name": "ner", "to_name": "text", "type": "labels", "value": value})
            });
            json!({"id": 1, "data": {"text": text, "source": "x"}, "predictions": [],
                   "annotations": [{"result": result, "was_cancelled": false}]})
        }
        "min" => {
            let list =
                spans(&|start, end, label, text| json!({"start": start, "end": end, "text": text, "labels": [label]}));
            json!({"id": 7, "text": text, "mood": "x", "ner": list, "annotation_id": 3, "lead_time": 1.5})
        }
        "argilla" => {
            json!({"fields": {"text": text}, "responses": {"mood": [{"value": "x"}], "ner": [{"value": plain()}]}})
        }
        "feedback" => {
            json!({"fields": {"text": text}, "responses": [{"status": "submitted", "values": {"ner": {"value": plain()}}}]})
        }
        "tokens" => json!({"text": text, "tokens": [], "annotation": plain(), "status": "Validated"}),
        "tuples" => {
            let tuples = spans(&|start, end, label, _| json!([label, start, end]));
            json!({"text": text, "tokens": ["Anna"], "annotation": tuples, "status": "Validated"})
        }
        "prodigy" => {
            json!({"text": text, "tokens": [], "spans": plain(), "answer": "accept", "_view_id": "ner_manual"})
        }
        "label" => json!({"id": 1, "text": text, "label": arrays(), "Comments": []}),
        "labels" => json!({"text": text, "labels": arrays()}),
        "relations" => {
            let list = spans(&|start, end, label, _| json!({"label": label, "start_offset": start, "end_offset": end}));
            json!({"text": text, "entities": list, "relations": []})
        }
        "entities" => json!({"text": text, "entities": arrays()}),
        _ => json!({"text": text, "spans": plain()}),
    }
}

const KINDS: [(&str, &str, &str); 12] = [
    ("studio", "an export of Label Studio", "ner"),
    ("min", "an export of Label Studio, JSON-MIN", "ner"),
    ("argilla", "an export of Argilla", "ner"),
    ("feedback", "an export of Argilla", "ner"),
    ("tokens", "an export of Argilla", "annotation"),
    ("tuples", "an export of Argilla", "annotation"),
    ("prodigy", "an export of Prodigy", "spans"),
    ("label", "an export of doccano", "label"),
    ("labels", "an export of doccano", "labels"),
    ("relations", "an export of doccano", "entities"),
    ("entities", "texts with labelled spans of characters", "entities"),
    ("spans", "texts with labelled spans of characters", "spans"),
];

fn refusal(file: &str) -> String {
    refusal_of(file, &options(true))
}

fn refusal_of(file: &str, options: &ReadOptions) -> String {
    let message = read(file, options).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

fn labelled(name: &str) -> ReadOptions {
    let mut options = options(true);
    options.columns.label = Some(name.into());
    options
}

#[test]
fn each_shape_is_recognised_and_read() {
    let spans = [(17, 25, "LOC"), (0, 8, "PER")];
    for (kind, found, label) in KINDS {
        let first = record(kind, "Anna Lee went to New York.", &spans);
        // An emoji is one code point; a blank at the end of a span is none of it; without a span, all is O.
        // The other tools may count an emoji twice, and their spans have no texts of their own that would tell.
        let is_clear = ["studio", "min", "prodigy", "entities", "spans"].contains(&kind);
        let odd = if is_clear { "\u{1f600}" } else { "\u{e9}" };
        if !is_clear {
            let message = refusal(&record(kind, "\u{1f600} Bob left", &[(2, 6, "PER")]).to_string());
            assert!(
                message.contains("may count once or twice") && message.contains("give each span its text"),
                "{message}"
            );
        }
        let others = [record(kind, &format!("{odd} Bob left"), &[(2, 6, "PER")]), record(kind, "No one.", &[])];
        let mut rows = [vec![first], others.to_vec()].concat();
        rows.iter_mut().enumerate().for_each(|(id, row)| {
            row.as_object_mut().unwrap().insert("id".into(), id.into());
        });
        let second = format!("{odd}/O Bob/B-PER left/O");
        let expected = [TAGS, &second, "No/O one/O ./O"];
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let pretty = serde_json::to_string_pretty(&rows).unwrap();
        let sequence: String = rows.iter().map(|row| format!("{row:#}\n")).collect();
        for file in [lines, Value::from(rows).to_string(), pretty, sequence] {
            let set = read(&file, &options(true)).unwrap();
            assert_eq!(shown(&set), expected, "{kind}");
            assert_eq!((set.found, set.label_column.as_deref()), (vec![found.to_owned()], Some(label)), "{kind}");
            assert_eq!((set.text_columns, set.skipped), (vec!["text".to_owned()], vec![]), "{kind}");
        }
    }
}

#[test]
fn offsets_of_javascript_are_known_by_the_texts_of_the_spans() {
    let file = |end_of_first: u64| {
        let row = |start: u64, end: u64, text: &str| {
            format!(r#"{{"start": {start}, "end": {end}, "text": {text:?}, "label": "X"}}"#)
        };
        let spans = [row(0, 2, "\u{1f600}"), row(3, end_of_first, "Ann"), row(7, 10, "Bob")].join(", ");
        format!("{{\"text\": \"\u{1f600} Ann Bob\", \"spans\": [{spans}]}}\n")
    };
    let set = read(&file(6), &options(true)).unwrap();
    assert_eq!(shown(&set), ["\u{1f600}/B-X Ann/B-X Bob/B-X"]);
    assert_eq!(set.found, ["texts with labelled spans of characters", "the offsets count units of UTF-16"]);
    let message = refusal(&file(5));
    assert!(
        message.contains("line 1: the span \"X\" from character 0 to 2 is \"\u{1f600} \" in the text, but"),
        "{message}"
    );
    // A span that was not accepted is none.
    let rejected = r#"{"text": "Ann", "spans": [{"start": 0, "end": 3, "label": "X", "answer": "reject"}]}"#;
    assert!(refusal(rejected).contains("a span that was not accepted"));
    // Half of a character is nowhere, and without the spans' texts nothing tells that offsets are not code points.
    let message = refusal("{\"text\": \"\u{1f600} Ann\", \"spans\": [[3, 7, \"X\"]]}\n");
    assert!(message.contains("is outside of its text, which has 5 characters"), "{message}");
    // Label Studio writes the end of a line in a span's own text as two characters.
    let line = r#"{"text": "a\nb", "spans": [{"start": 0, "end": 3, "text": "a\\nb", "label": "X"}]}"#;
    assert_eq!(shown(&read(line, &options(true)).unwrap()), ["a/B-X b/I-X"]);
}

#[test]
fn a_span_inside_of_a_word_takes_the_word_and_is_counted() {
    let file = "{\"text\": \"a b\", \"spans\": [[0, 1, \"X\"]]}\n\
                {\"text\": \"Berliner trams (New-York)\", \"spans\": [[0, 6, \"X\"], [20, 24, \"Y\"]]}\n\
                {\"text\": \"aa bb\", \"spans\": [[1, 4, \"X\"]]}\n";
    let set = read(file, &options(true)).unwrap();
    assert_eq!(shown(&set)[1..], ["Berliner/B-X trams/O (/O New-York/B-Y )/O", "aa/B-X bb/I-X"]);
    assert_eq!(set.found[1], "3 spans begin or end inside of a word, the first in line 2: whole words have the tags");
    let set = read("[{\"text\": \"aa\", \"spans\": [[0, 1, \"X\"]]}]", &options(true)).unwrap();
    assert_eq!(
        set.found[1],
        "1 span begins or ends inside of a word, the first in line 1, object 1: the whole word has the tag"
    );
}

#[test]
fn spans_that_cannot_be_tags_of_words_are_refused() {
    for (spans, expected) in [
        (r#"[0, 4, "X"], [2, 6, "Y"]"#, r#"the spans "X" from character 0 to 4 and "Y" from character 2 to 6 overlap"#),
        (r#"[0, 4, "X"], [0, 4, "X"]"#, "overlap; a word has one tag, so keep one of them"),
        (r#"[0, 2, "X"], [2, 4, "Y"]"#, r#"touch one word, "Anna", which has one tag; keep one of them"#),
        (r#"[5, 10, "X"]"#, "is outside of its text, which has 9 characters; offsets count them from 0"),
        (r#"[50, 51, "X"]"#, "is outside of its text"),
        (r#"[18446744073709551615, 18446744073709551616, "X"]"#, "its ends must be whole numbers of characters"),
        (r#"[3, 3, "X"]"#, r#"the span "X" from character 3 to 3 is empty; remove it"#),
        (r#"[4, 3, "X"]"#, "is empty; remove it"),
        (r#"[4, 5, "X"]"#, "has nothing but blanks; remove it"),
        (r#"[0, 4, " "]"#, "the span from character 0 to 4 has no label; give it one, or remove it"),
        (r#"[0, 4, null]"#, "has no label"),
        (r#"[0, 4, true]"#, "has a boolean for a label; expected a text"),
        (r#"[0, 4, ["X", "Y"]]"#, "has 2 labels; a word has one tag, so keep one of them"),
        (r#"[0, 4, []]"#, "has no label"),
        (r#"{"start": 0, "end": 4}"#, "has no label"),
        (r#"{"start": 0, "label": "X"}"#, "a span lacks its start or its end; expected [start, end, label]"),
        (r#"[0, 4]"#, "a span is an array of 2 items"),
        (r#"["X", 0, 4]"#, r#"a span from "X" to 0: its ends must be whole numbers"#),
        (r#"[-1, 4, "X"]"#, "a span from -1 to 4"),
        (r#"[0, 1.5, "X"]"#, "a span from 0 to 1.5"),
        (r#""X""#, "a string is no span of characters"),
        (r#"{"start": 0, "end": 4, "text": "Bob", "label": "X"}"#, r#"is "Anna" in the text, but "Bob" by the export"#),
    ] {
        let row = |spans: &str| format!("{{\"text\": \"Anna went\", \"label\": [{spans}]}}");
        let (good, bad) = (row(r#"[0, 4, "X"]"#), row(spans));
        let message = refusal(&format!("{good}\n{bad}\n"));
        assert!(message.starts_with("train.txt, line 2: ") && message.contains(expected), "{spans}: {message}");
        let message = refusal(&format!("[{good}, {bad}]"));
        assert!(message.contains("line 1: ") && message.ends_with("(object 2)"), "{spans}: {message}");
        // A task that is used reads the text alone.
        let set = read(&format!("{good}\n{bad}\n"), &options(false)).unwrap();
        assert_eq!(shown(&set), ["Anna/ went/"; 2], "{spans}");
    }
}

#[test]
fn records_that_are_broken_are_refused() {
    for (file, expected) in [
        ("{\"text\": \"a\", \"label\": []}\n{\"text\": \"a\"}\n", "line 2: the key \"label\" is missing; give []"),
        (
            "{\"text\": \"a\", \"label\": []}\n{\"text\": \"a\", \"label\": \"X\"}\n",
            "line 2: the answer to \"label\" is a string",
        ),
        ("{\"text\": \"a\", \"label\": []}\n{\"text\": 1, \"label\": []}\n", "line 2: the key \"text\" has a number"),
        ("{\"text\": \"a\", \"label\": []}\n{\"label\": []}\n", "line 2: the key \"text\" of the text is missing"),
        ("{\"text\": \" \", \"label\": []}\n", "line 1: a text without words; remove the record"),
        ("{\"text\": \"a\", \"label\": []}\n[]\n", "line 2: expected an object, found an array"),
        ("{\"text\": \"a\", \"label\": \"X\"}\n", "no list of words and no text with labelled spans is recognised"),
        ("{\"text\": \"a\", \"label\": [], \"entities\": []}\n", "label and entities may be the spans"),
        ("{\"fields\": {\"a\": \"x\", \"b\": \"y\"}, \"responses\": {}}\n", "\"a\" and \"b\", which may be the text"),
        ("{\"data\": {\"a\": 1}, \"annotations\": []}\n", "the first record has no text"),
        ("{\"text\": \"a\", \"spans\": \"X\", \"answer\": \"accept\"}\n", "the answer to \"spans\" is a string"),
        ("{\"text\": \"a\", \"label\": \"X\", \"answer\": \"accept\"}\n", "labels for the whole text, and no spans"),
        ("{\"text\": \"a\", \"spans\": [], \"answer\": \"accept\", \"_view_id\": \"ner\"}\n", "nothing of the others"),
        ("{\"text\": \"a\", \"tokens\": [], \"annotation\": \"X\"}\n", "the answer to \"annotation\" is a string"),
    ] {
        let message = refusal(file);
        assert!(message.contains(expected), "{file}: {message}");
    }
    let message = refusal_of("{\"text\": \"a\", \"spans\": [], \"answer\": \"accept\"}\n", &labelled("ner"));
    assert!(message.contains("the spans are under the key \"spans\", and not \"ner\""), "{message}");
    let hypertext =
        r#"{"data": {"text": "a"}, "annotations": [{"result": [{"type": "hypertextlabels", "value": {}}]}]}"#;
    assert!(refusal(hypertext).contains("annotations of type \"hypertextlabels\""));
    let mut two = options(true);
    two.columns.text = vec!["text".into(), "id".into()];
    assert!(refusal_of("{\"text\": \"a\", \"label\": []}\n", &two).contains("one column, and several are given"));
}

#[test]
fn what_was_rejected_or_not_annotated_is_skipped() {
    for (file, skipped) in [
        (
            "{\"data\": {\"text\": \"a\"}, \"annotations\": []}\n\
             {\"data\": {\"text\": \"a\"}, \"annotations\": [{\"result\": [], \"was_cancelled\": true}]}\n\
             {\"data\": {\"text\": \"a\"}, \"annotations\": [{\"result\": []}]}\n",
            &[1, 2][..],
        ),
        (
            "{\"text\": \"a\", \"annotation_id\": null, \"lead_time\": null}\n\
             {\"text\": \"a\", \"annotation_id\": 1, \"lead_time\": 1, \"was_cancelled\": true}\n\
             {\"text\": \"a\", \"annotation_id\": 1, \"lead_time\": 1}\n",
            &[1, 2],
        ),
        (
            "{\"fields\": {\"text\": \"a\"}, \"responses\": null}\n\
             {\"fields\": {\"text\": \"a\"}, \"responses\": {\"ner\": [{\"value\": [], \"status\": \"discarded\"}]}}\n\
             {\"fields\": {\"text\": \"a\"}, \"responses\": {\"ner\": [{\"value\": []}]}}\n",
            &[1, 2],
        ),
        (
            "{\"text\": \"a\", \"tokens\": [\"a\"], \"annotation\": null, \"status\": \"Default\"}\n\
             {\"text\": \"a\", \"tokens\": [\"a\"], \"annotation\": [], \"status\": \"Default\"}\n\
             {\"text\": \"a\", \"tokens\": [\"a\"], \"annotation\": [[\"X\", 0, 1]], \"status\": \"Discarded\"}\n\
             {\"text\": \"a\", \"tokens\": [\"a\"], \"annotation\": [], \"status\": \"Validated\"}\n",
            &[1, 2, 3],
        ),
        (
            "{\"text\": \"a\", \"spans\": [[9, 9, \"\"]], \"answer\": \"reject\"}\n{\"text\": \"a\", \"answer\": \"ignore\"}\n\
             {\"text\": \"a\", \"answer\": \"accept\"}\n",
            &[1, 2],
        ),
        ("{\"text\": \"a\", \"label\": null}\n{\"text\": \"a\", \"label\": []}\n", &[1]),
    ] {
        let set = read(file, &options(true)).unwrap();
        assert_eq!((shown(&set), &*set.skipped), (vec!["a/O".to_owned()], skipped), "{file}");
        let all = read(file, &options(false)).unwrap();
        assert_eq!((all.examples.len(), all.skipped.len()), (skipped.len() + 1, 0), "{file}");
        let first = file.lines().next().unwrap();
        assert!(refusal(first).contains("none of its rows can be used: all 1 are"), "{file}");
    }
}

#[test]
fn annotators_must_agree() {
    let result = |end: u64| {
        let value = format!("{{\"start\": 0, \"end\": {end}, \"labels\": [\"X\"]}}");
        format!("{{\"result\": [{{\"from_name\": \"ner\", \"type\": \"labels\", \"value\": {value}}}]}}")
    };
    let studio = |ends: [u64; 2]| {
        format!("{{\"data\": {{\"text\": \"a b\"}}, \"annotations\": [{}, {}]}}\n", result(ends[0]), result(ends[1]))
    };
    let value = |end: u64| format!("{{\"value\": [{{\"start\": 0, \"end\": {end}, \"label\": \"X\"}}]}}");
    let argilla = |ends: [u64; 2]| {
        format!(
            "{{\"fields\": {{\"text\": \"a b\"}}, \"responses\": {{\"ner\": [{}, {}]}}}}\n",
            value(ends[0]),
            value(ends[1])
        )
    };
    let rest = ["\"annotation_id\": 1, \"lead_time\": 1, \"id\": 7", "\"answer\": \"accept\", \"_input_hash\": -3"];
    let twice = |rest: &str, ends: [u64; 2]| {
        ends.map(|end| {
            format!("{{\"text\": \"a b\", \"spans\": [{{\"start\": 0, \"end\": {end}, \"label\": \"X\"}}], {rest}}}\n")
        })
        .concat()
    };
    for (agreed, disagreed, expected) in [
        (studio([3, 3]), studio([1, 3]), "line 1: annotators disagree about \"X\" from character 0 to 1; settle it"),
        (argilla([3, 3]), argilla([3, 1]), "line 1: annotators disagree about \"X\" from character 0 to 1; settle it"),
        (twice(rest[0], [3, 3]), twice(rest[0], [3, 1]), "line 2: it disagrees with line 1 about \"X\" from"),
        (twice(rest[1], [3, 3]), twice(rest[1], [3, 1]), "line 2: it disagrees with line 1 about \"X\" from"),
    ] {
        assert!(shown(&read(&agreed, &options(true)).unwrap()).iter().all(|tags| tags == "a/B-X b/I-X"), "{agreed}");
        let message = refusal(&disagreed);
        assert!(message.contains(expected), "{message}");
    }
    // That one export repeats the text of a span is no disagreement.
    let repeated = studio([3, 3]).replacen("\"end\": 3", "\"end\": 3, \"text\": \"a b\"", 1);
    assert_eq!(shown(&read(&repeated, &options(true)).unwrap()), ["a/B-X b/I-X"]);
    // A number that is used again in another project is of another text.
    let other = twice(rest[0], [3, 1]).replacen("a b", "a c", 1);
    assert_eq!(shown(&read(&other, &options(true)).unwrap()), ["a/B-X c/I-X", "a/B-X b/O"]);
    let one_without = studio([3, 3]).replacen("\"labels\", \"value\"", "\"choices\", \"value\"", 1);
    assert!(refusal(&one_without).contains("annotators disagree about \"X\" from character 0 to 3"));
}

#[test]
fn of_several_questions_one_is_chosen() {
    let studio = r#"{"data": {"text": "a b"}, "annotations": [{"result": [
        {"from_name": "p", "type": "labels", "value": {"start": 0, "end": 1, "labels": ["X"]}},
        {"from_name": "q", "type": "labels", "value": {"start": 2, "end": 3, "labels": ["Y"]}}]}]}"#;
    let min = r#"{"text": "a b", "p": [{"start": 0, "end": 1, "labels": ["X"]}], "q": [{"start": 2, "end": 3,
        "labels": ["Y"]}], "annotation_id": 1, "lead_time": 1}"#;
    let argilla = r#"{"fields": {"text": "a b"}, "responses": {"p": [{"value": [{"start": 0, "end": 1, "label": "X"}]}],
        "q": [{"value": [{"start": 2, "end": 3, "label": "Y"}]}]}}"#;
    let plain = r#"{"text": "a b", "spans": [[0, 1, "X"]], "entities": [[2, 3, "Y"]]}"#;
    for (file, [first, second]) in
        [(studio, ["p", "q"]), (min, ["p", "q"]), (argilla, ["p", "q"]), (plain, ["spans", "entities"])]
    {
        let error = read(file, &options(true)).unwrap_err();
        assert_eq!(error.settings(), [Setting::LabelColumn], "{error}");
        let message = error.to_string();
        assert!(message.contains(first) && message.contains(second) && !message.contains('\n'), "{message}");
        assert_eq!(shown(&read(file, &labelled(first)).unwrap()), ["a/B-X b/O"], "{file}");
        assert_eq!(shown(&read(file, &labelled(second)).unwrap()), ["a/O b/B-Y"], "{file}");
        assert_eq!(shown(&read(file, &options(false)).unwrap()), ["a/ b/"], "{file}");
    }
    for file in [studio, min] {
        let message = refusal_of(file, &labelled("r"));
        assert!(message.contains("no record has a span of \"r\"; an export of Label Studio"), "{message}");
    }
    // Records that answer different questions, and an answer that is no list of spans.
    let message = refusal(
        &(argilla.replace('\n', "").replace("\"q\"", "\"q2\"").replace("\"q2\": [{\"value\"", "\"q2\": [{\"other\"")
            + "\n"
            + &argilla.replace('\n', "").replace("\"p\": [{\"value\"", "\"p\": [{\"other\"")),
    );
    assert!(
        message.contains("line 2 has spans of \"q\", and there are some of \"p\"; an export of Argilla"),
        "{message}"
    );
    let choice = r#"{"fields": {"text": "a"}, "responses": {"mood": [{"value": ["x"]}]}}"#;
    assert!(refusal_of(choice, &labelled("mood")).contains("the answer to \"mood\" is an array and no list of spans"));
    let choice = r#"{"text": "a", "mood": "x", "annotation_id": 1, "lead_time": 1}"#;
    assert!(refusal_of(choice, &labelled("mood")).contains("the answer to \"mood\" is a string and no list of spans"));
}

#[test]
fn words_with_tags_of_their_own_come_first_and_keys_can_be_named() {
    let words = "{\"text\": \"a b\", \"tokens\": [\"a\", \"b\"], \"labels\": [1, 0], \"spans\": []}\n";
    assert_eq!(shown(&read(words, &options(true)).unwrap()), ["a/1 b/0"]);
    assert_eq!(shown(&read(&format!("[{}]", words.trim()), &options(true)).unwrap()), ["a/1 b/0"], "in an array");
    let answered = words.replace("\"spans\": []", "\"answer\": \"accept\"");
    assert_eq!(shown(&read(&answered, &options(true)).unwrap()), ["a/1 b/0"]);
    let spans = "{\"text\": \"a b\", \"tokens\": [\"a\", \"b\"], \"labels\": [[0, 1, \"X\"]]}\n";
    assert_eq!(shown(&read(spans, &options(true)).unwrap()), ["a/B-X b/O"]);
    let named = "{\"body\": \"a b\", \"marks\": [[0, 1, \"X\"]]}\n";
    let mut given = labelled("marks");
    given.columns.text = vec!["body".into()];
    assert_eq!(shown(&read(named, &given).unwrap()), ["a/B-X b/O"]);
    // A field of another name is the text where it is the only one.
    let only = "{\"fields\": {\"body\": \"a\"}, \"responses\": {\"ner\": [{\"value\": []}]}}\n";
    assert_eq!(read(only, &options(true)).unwrap().text_columns, ["body"]);
    let texts = read("{\"text\": \"a b.\"}\n{\"text\": \"\"}\n", &options(false)).unwrap();
    assert_eq!((shown(&texts), texts.found.len()), (vec!["a/ b/ ./".to_owned(), String::new()], 0));
}
