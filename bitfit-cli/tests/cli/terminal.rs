//! What comes from a file cannot control the terminal: it is printed with its control characters escaped.

use serde_json::json;

use crate::fixture::{Fixture, lines};

/// Colours, a carriage return, a line separator and an override of the direction.
const HOSTILE: &str = "\x1b[2J\rx\u{2028}\u{202e}\u{9b}";
const ESCAPED: &str = r"\u{1b}[2J\rx\u{2028}\u{202e}\u{9b}";

/// Checks that a text contains no control characters other than line breaks and tabs.
fn assert_safe(text: &str) {
    let is_unsafe = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{2028}' | '\u{202e}');
    assert!(!text.contains(is_unsafe), "{text:?}");
}

#[test]
fn errors_and_plans_quote_a_file_safely() {
    let fixture = Fixture::new();
    let mut model = crate::fixture::model();
    // The name of a tensor.
    let name = model.tensors.keys().next().unwrap().clone();
    let tensor = model.tensors.remove(&name).unwrap();
    model.tensors.insert(format!("{HOSTILE}.{name}"), tensor);
    fixture.write("model/model.safetensors", model.bytes());
    assert_safe(&fixture.run("finetune --model model --train train.tsv --out out").stderr);

    // The columns, the labels and the name of a data file.
    let fixture = Fixture::new();
    fixture.write("odd.csv", format!("text,\"{HOSTILE}\"\ngood,1\n"));
    let run = fixture.run("finetune --model model --train odd.csv --label gone --out out");
    assert_eq!(run.code, Some(1));
    assert_safe(&run.stderr);
    fixture.write("odd.csv", format!("text,label\ngood,\"{HOSTILE}\"\nbad,blame\n"));
    let run = fixture.run("finetune --model model --train odd.csv --eval dev.tsv --out out");
    assert!(run.code == Some(1) && run.stderr.contains("praise"), "{}", run.stderr);
    assert_safe(&run.stderr);
    fixture.write("head", crate::fixture::safetensors(crate::fixture::head(2, |_| 0.5)));
    let run = fixture.run("finetune --model model --train odd.csv --epochs 1 --out out --init-head head");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains(ESCAPED), "the plan names the classes: {}", run.stderr);
    assert_safe(&run.stderr);

    // The configuration, and the metadata of a task file.
    fixture.configure("model_type", json!(HOSTILE));
    let run = fixture.run("eval --task-file out/task.safetensors --data odd.csv");
    assert_eq!(run.code, Some(1));
    assert_safe(&run.stderr);
}

#[test]
fn answers_as_text_are_safe_and_answers_as_json_are_exact() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let text = "good\x1b]0;title\x07\u{2028}day\u{202e}";
    let predict = "predict -q --task-file out/task.safetensors";
    let answers = fixture.run_with(predict, format!("{text}\n")).succeeded();
    assert_safe(&answers);
    assert!(answers.ends_with("\tgood\\u{1b}]0;title\\u{7}\\u{2028}day\\u{202e}\n"), "{answers}");
    let json = fixture.run_with(&format!("{predict} --output-format jsonl"), format!("{text}\n")).succeeded();
    assert_eq!(lines(&json)[0]["text"], text);
    assert!(!json.contains('\x1b'));
}

#[test]
fn a_value_of_many_kilobytes_is_not_quoted_whole() {
    let fixture = Fixture::new();
    for line in [
        format!("finetune --model model --train train.tsv --out out --lr {}", "9x".repeat(25_000)),
        format!("finetune --model {} --train train.tsv --out out", "x/".repeat(25_000)),
    ] {
        let run = fixture.run(&line);
        assert!(matches!(run.code, Some(1 | 2)) && run.stderr.lines().count() == 1, "{}", run.stderr);
        assert!(run.stderr.len() < 1200, "{} bytes", run.stderr.len());
    }
}
