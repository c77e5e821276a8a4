//! Answers in a context from end to end: SQuAD's JSON in, a task file, scores, and answers as SQuAD's script reads
//! them.

use serde_json::{Map, Value, json};

use crate::fixture::Fixture;

const GOOD: [&str; 6] = ["good", "great", "lovely", "happy", "fine", "bright"];
const BAD: [&str; 6] = ["bad", "awful", "nasty", "sad", "poor", "dark"];

/// Contexts with one word that answers, behind more and more others; every fourth has none.
fn squad(questions: usize, first: usize, some_have_none: bool) -> String {
    let paragraph = |i: usize| {
        let has_none = some_have_none && i % 4 == 3;
        let answer = if has_none { "film" } else { GOOD[i % 6] };
        let before = ["the day", "the very cold meal", "so"][i % 3];
        // Some are several sequences, of which one has the answer.
        let long = if i % 5 == 4 { "the room was one day and ".repeat(12) } else { String::new() };
        let context = format!("{long}{before} was {} and {answer} {}.", BAD[i / 2 % 6], "one room ".repeat(i % 3));
        let start = context.find(&format!(" {answer} ")).unwrap() + 1;
        let answers = if has_none { json!([]) } else { json!([{"text": answer, "answer_start": start}]) };
        json!({"context": context, "qas": [
            {"id": format!("q{i}"), "question": "the film is", "is_impossible": has_none, "answers": answers},
        ]})
    };
    let paragraphs: Vec<Value> = (first..first + questions).map(paragraph).collect();
    json!({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}).to_string()
}

fn fixture(some_have_none: bool) -> Fixture {
    let fixture = Fixture::new();
    fixture.write("train.json", squad(80, 0, some_have_none));
    fixture.write("dev.json", squad(24, 100, some_have_none));
    fixture
}

const FINETUNE: &str =
    "finetune -q --kind span --model model --train train.json --eval dev.json --out out --lr 1e-2 --dropout 0";
const PREDICT: &str = "predict -q --task-file out/task.safetensors";

/// The answer to each question of a file by its id.
fn answers(fixture: &Fixture, file: &str) -> Map<String, Value> {
    let text = fixture.run(&format!("{PREDICT} --output-format squad --input {file}")).succeeded();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn answers_are_learned_scored_and_given_by_their_id() {
    for some_have_none in [false, true] {
        let fixture = fixture(some_have_none);
        let result = fixture.run(&format!("{FINETUNE} --epochs 12")).json();
        assert_eq!(result["best"]["metric"], "answer-f1");
        let metrics = &result["metrics"];
        assert!(metrics["answer-f1"].as_f64() > Some(0.95) && metrics["exact-match"].as_f64() > Some(0.95), "{result}");
        let metadata = fixture.metadata("out/task.safetensors");
        assert_eq!((&*metadata["kind"], &*metadata["pooling"]), ("span", "every-token"));
        let span: Value = serde_json::from_str(&metadata["span"]).unwrap();
        assert_eq!(span, json!({"stride": 16, "unanswerable": some_have_none}));

        let eval = fixture.run("eval -q --task-file out/task.safetensors --data dev.json").json();
        assert_eq!((&eval["metrics"], &eval["rows"]), (metrics, &json!(24)));

        let found = answers(&fixture, "dev.json");
        assert_eq!(found.len(), 24);
        let expected = |i: usize| if some_have_none && i % 4 == 3 { "" } else { GOOD[i % 6] };
        let right = (100..124).filter(|i| found[&format!("q{i}")] == expected(*i)).count();
        assert_eq!(right as f64 / 24.0, metrics["exact-match"].as_f64().unwrap());
    }
}

#[test]
fn a_question_has_the_same_answer_alone_and_in_any_batch_and_in_a_context_of_any_length() {
    let fixture = fixture(false);
    fixture.run(&format!("{FINETUNE} --epochs 12 --stride 8")).json();
    // Longer than the model's 48 positions, so that it is several sequences.
    let context = format!("caf\u{e9} {}was bad and lovely so", "the room was one day and ".repeat(20));
    let row = |i: usize| json!({"id": i, "question": "the film is", "context": context}).to_string() + "\n";
    let others: String = (0..9)
        .map(|i| json!({"question": "is", "context": format!("so {} day", GOOD[i % 6])}).to_string() + "\n")
        .collect();
    let jsonl = format!("{PREDICT} --output-format jsonl --input");
    let lines = |file: &str| -> Vec<Value> {
        let answers = fixture.run(&format!("{jsonl} {file}")).succeeded();
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    fixture.write("all.jsonl", format!("{others}{}{}", row(77), others.replace("so ", "the ")));
    fixture.write("one.jsonl", row(77));
    let (all, one) = (lines("all.jsonl"), lines("one.jsonl"));
    assert_eq!((all.len(), &all[9]), (19, &one[0]));
    let place = |key: &str| one[0][key].as_u64().unwrap() as usize;
    let at: String = context.chars().skip(place("start")).take(place("end") - place("start")).collect();
    assert_eq!((&one[0]["id"], &one[0]["answer"]), (&json!("77"), &json!(at)));

    // Without JSON, a question with its context is a pair of texts.
    fixture.write("pairs.tsv", format!("question\tcontext\nthe film is\t{context}\n"));
    let text = fixture.run(&format!("{PREDICT} --input pairs.tsv")).succeeded();
    assert_eq!(text, format!("{at}\t{:.4}\tthe film is\n", one[0]["probability"].as_f64().unwrap()));
    let line = fixture.run_with(PREDICT, format!("the film is\t{context}\n")).succeeded();
    assert_eq!(line, text);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let fixture = fixture(false);
    fixture.write("wrong.json", squad(3, 0, false).replace("\"answer_start\":", "\"answer_start\":1"));
    fixture.write(
        "long.jsonl",
        json!({"id": "x1", "question": "the day was ".repeat(30), "context": "so good", "answers":
        [{"text": "good", "answer_start": 3}]})
        .to_string(),
    );
    let start = "finetune -q --model model --out never --train";
    for (flags, words) in [
        ("train.json --kind span --pooling mean", &["--pooling mean", "every token"][..]),
        ("train.json --kind span --pair separate", &["--pair separate", "together with its context"]),
        ("train.json --kind span --method probe", &["--kind span", "no probe"]),
        ("train.json --kind span --init-head probe", &["--kind span", "no probe"]),
        ("train.json --kind span --stride 48", &["--stride 48", "less than the maximum length"]),
        ("train.tsv --stride 4", &["--stride", "--kind span"]),
        ("train.tsv --kind span", &["train.tsv", "questions with answers are read from JSON"]),
        ("wrong.json --kind span", &["wrong.json, line 1", "question \"q0\"", "is not at character", "it is at"]),
        ("long.jsonl --kind span", &["question \"x1\"", "no room for its context", "48"]),
    ] {
        let run = fixture.run(&format!("{start} {flags}"));
        assert!(matches!(run.code, Some(1 | 2)), "{flags}");
        assert!(words.iter().all(|word| run.stderr.contains(word)), "{flags}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{flags}: {}", run.stderr);
    }
    fixture.run(&format!("{FINETUNE} --epochs 1")).json();
    for (flags, code) in [("", 2), ("--input train.tsv", 1)] {
        let run = fixture.run_with(&format!("{PREDICT} --output-format squad {flags}"), "a\tb\n");
        assert_eq!((run.code, run.stderr.lines().count()), (Some(code), 1), "{}", run.stderr);
    }
}
