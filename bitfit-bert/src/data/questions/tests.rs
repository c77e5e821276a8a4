use serde_json::json;

use super::*;
use crate::data::Contents;

fn read(text: &str, require_labels: bool) -> Result<Dataset> {
    let options = ReadOptions { contents: Contents::Questions, require_labels, ..ReadOptions::default() };
    Dataset::from_reader(text.as_bytes(), "q.json".as_ref(), &options)
}

fn refused(text: &str) -> String {
    let message = read(text, true).unwrap_err().to_string();
    assert!(message.starts_with("q.json") && !message.contains('\n'), "{message}");
    message
}

/// SQuAD's JSON of one paragraph.
fn squad(context: &str, questions: &Value) -> Value {
    json!({"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": questions}]}]})
}

fn answers(set: &Dataset) -> Vec<Vec<&str>> {
    let of = |example: &'_ Example| -> Vec<String> {
        let context = example.pair.clone().unwrap();
        let answers = example.question.as_ref().unwrap().answers.clone().unwrap();
        answers.into_iter().map(|range| context[range].to_owned()).collect()
    };
    set.examples.iter().map(|example| of(example).into_iter().map(|text| &*text.leak()).collect()).collect()
}

#[test]
fn squad_and_rows_of_it_are_read_alike() {
    let context = "Köln is on the Rhine 🏞, in Germany.";
    let at = |answer: &str| context.split(answer).next().unwrap().chars().count();
    let list =
        json!([{"text": "Rhine", "answer_start": at("Rhine")}, {"text": "the Rhine", "answer_start": at("the R")}]);
    let germany = json!([{"text": "Germany", "answer_start": at("Germany")}]);
    let file = squad(
        context,
        &json!([
            {"id": "a", "question": "Where?", "answers": list, "is_impossible": false},
            {"id": "b", "question": "When?", "answers": [], "is_impossible": true, "plausible_answers": germany},
            {"id": "c", "question": "Which country?", "answers": germany},
        ]),
    );
    let rows = [
        json!({"id": "a", "title": "t", "context": context, "question": "Where?",
            "answers": {"text": ["Rhine", "the Rhine"], "answer_start": [at("Rhine"), at("the R")]}}),
        json!({"id": "b", "context": context, "question": "When?", "answers": {"text": [], "answer_start": []}}),
        json!({"id": "c", "context": context, "question": "Which country?", "answers": germany}),
    ];
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let pretty = serde_json::to_string_pretty(&file).unwrap();
    let forms =
        [file.to_string(), pretty, lines, json!(rows).to_string(), json!({"data": rows, "version": 1}).to_string()];
    for text in forms {
        let set = read(&text, true).unwrap();
        assert_eq!(answers(&set), [vec!["Rhine", "the Rhine"], vec![], vec!["Germany"]], "{text}");
        let found = set.examples.iter().map(|example| (&*example.text, &*example.question.as_ref().unwrap().id));
        assert_eq!(found.collect::<Vec<_>>(), [("Where?", "a"), ("When?", "b"), ("Which country?", "c")]);
        assert!(set.is_paired() && set.examples[2].pair.as_deref() == Some(context));
    }
    let set = read(&file.to_string(), true).unwrap();
    let contexts: Vec<_> = set.examples.iter().flat_map(|example| &example.pair).map(|pair| pair.as_ptr()).collect();
    assert_eq!(contexts, [contexts[0]; 3], "one memory for the questions of a paragraph");
}

#[test]
fn an_answer_that_is_not_where_it_is_said_to_be_is_refused_with_its_place() {
    let of = |text: &str, start: u64| {
        let answers = json!([{"text": text, "answer_start": start}]);
        refused(
            &squad("Köln is old, and Bonn is old.", &json!([{"id": "x7", "question": "?", "answers": answers}]))
                .to_string(),
        )
    };
    let message = of("Bonn", 18);
    assert!(
        message.contains(
            "question \"x7\" (data[0].paragraphs[0].qas[0]): the answer \"Bonn\" is not at character 18 of its context, \
             which has \"onn \" there; it is at character 17"
        ),
        "{message}"
    );
    assert!(of("is", 20).contains("; it is at character 22"));
    assert!(of("old", 500).contains("which has 29 characters; it is at character 25"));
    assert!(of("Rome", 0).contains("which has \"Köln\" there; the context does not have it"));
    assert!(of(" ", 4).contains("is empty"));
}

#[test]
fn what_is_missing_or_contradictory_is_refused_by_name() {
    let answer = json!([{"text": "old", "answer_start": 0}]);
    for (text, words) in [
        (json!({"data": 3}), "data is no list"),
        (json!({"data": [3]}), "data[0] is no object"),
        (json!({"data": [{"paragraphs": {}}]}), "data[0].paragraphs is no list"),
        (json!({"data": [{"paragraphs": [{"qas": []}]}]}), "data[0].paragraphs[0].context: it is missing"),
        (json!({"data": [{"paragraphs": [{"context": "old"}]}]}), "data[0].paragraphs[0].qas: it is missing"),
        (json!({"text": "x", "label": "y"}), "context: it is missing"),
        (json!({"context": "old", "id": 1}), "question \"1\": question: it is missing"),
        (json!({"context": "old", "question": "?"}), "its answers are missing"),
        (json!({"context": "old", "question": "?", "answers": "old"}), "answers must be a list"),
        (json!({"context": "old", "question": "?", "answers": ["old"]}), "the text of an answer is null"),
        (json!({"context": "old", "question": "?", "answers": [{"text": "old"}]}), "answer_start of \"old\" is null"),
        (
            json!({"context": "old", "question": "?", "answers": {"text": ["old"], "answer_start": []}}),
            "1 texts of answers and 0 places",
        ),
        (
            json!({"context": "old", "question": "?", "answers": answer, "is_impossible": true}),
            "is_impossible is true, but it has answers",
        ),
        (
            json!({"context": "old", "question": "?", "answers": [], "is_impossible": false}),
            "is_impossible is false, but it has no answers",
        ),
        (json!({"context": "old", "question": "?", "id": []}), "the id [] is neither"),
        (json!({"data": []}), "there are no rows"),
    ] {
        let message = refused(&text.to_string());
        assert!(message.contains(words), "{message}");
    }
    let row = json!({"id": "a", "context": "old", "question": "?", "answers": answer}).to_string();
    assert!(refused(&format!("{row}\n{row}\n")).contains("line 2: question \"a\": an earlier question has this id"));
    assert!(refused("question\tcontext\nwhy\told\n").contains("questions with answers are read from JSON"));
    assert!(refused(&row[..40]).contains("the file may be cut short"));
}

#[test]
fn without_answers_a_question_can_still_be_asked() {
    let set = read(&json!({"context": "old", "question": "?"}).to_string(), false).unwrap();
    assert_eq!(set.examples[0].question, Some(Question { id: "1".into(), answers: None }));
    let set = read("question,context\nwhy,\"old, and new\"\n", false);
    assert!(set.is_err(), "a .json file is no table");
    let options = ReadOptions { contents: Contents::Questions, require_labels: false, ..ReadOptions::default() };
    let set = Dataset::from_reader("question,context\nwhy,old\n".as_bytes(), "q.csv".as_ref(), &options).unwrap();
    assert_eq!((&*set.examples[0].text, set.examples[0].pair.as_deref()), ("why", Some("old")));
}
