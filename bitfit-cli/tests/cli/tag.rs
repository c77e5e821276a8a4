//! Tagging of words from end to end: CoNLL in, a task file, scores, and answers in the format that came in.

use serde_json::{Value, json};

use crate::fixture::Fixture;

const GOOD: [&str; 6] = ["good", "great", "lovely", "happy", "fine", "bright"];
const BAD: [&str; 6] = ["bad", "awful", "nasty", "sad", "poor", "dark"];

/// Sentences in which two words behind each other that are good are one entity, and one that is bad is another.
fn conll(sentences: usize, first: usize) -> String {
    let sentence = |i: usize| {
        let (good, next, bad) = (GOOD[i % 6], GOOD[i / 2 % 6], BAD[i / 3 % 6]);
        format!("the O\n{good} B-UP\n{next} I-UP\nday O\nwas O\n{bad} B-DOWN\n\n")
    };
    (first..first + sentences).map(sentence).collect()
}

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.write("train.conll", conll(60, 0));
    fixture.write("dev.conll", conll(20, 100));
    fixture
}

const FINETUNE: &str = "finetune -q --kind tag --model model --train train.conll --eval dev.conll --out out --overwrite \
                        --lr 1e-2 --dropout 0 --precision f32";

#[test]
fn entities_are_learned_scored_and_answered_in_their_own_format() {
    let fixture = fixture();
    let result = fixture.run(&format!("{FINETUNE} --epochs 6 --init-head probe")).json();
    assert_eq!(result["best"]["metric"], "entity-f1");
    assert!(result["metrics"]["entity-f1"].as_f64().unwrap() > 0.95, "{result}");
    assert!(result["metrics"]["accuracy"].as_f64().unwrap() > 0.95, "{result}");
    let metadata = fixture.metadata("out/task.safetensors");
    assert_eq!((&*metadata["kind"], &*metadata["pooling"]), ("tag", "tokens"));

    let eval = fixture.run("eval -q --task-file out/task.safetensors --data dev.conll").json();
    assert_eq!((&eval["metrics"], &eval["rows"]), (&result["metrics"], &json!(20)));

    let task = "predict -q --task-file out/task.safetensors";
    let answers = fixture.run(&format!("{task} --input dev.conll")).succeeded();
    assert_eq!(answers, conll(20, 100).replace(' ', "\t"), "every word with its tag");

    // Plain text: words are found, and entities are told by their characters.
    let text = "the good great day, was \u{e9}t\u{e9} bad\n";
    let answer: Value = fixture.run_with(&format!("{task} --output-format jsonl"), text).json();
    assert_eq!(answer["words"], json!(["the", "good", "great", "day", ",", "was", "\u{e9}t\u{e9}", "bad"]));
    assert_eq!(answer["tags"].as_array().unwrap().len(), 8);
    assert_eq!(answer["probabilities"].as_array().unwrap().len(), 8);
    let up = &answer["entities"][0];
    assert_eq!(up, &json!({"type": "UP", "start": 4, "end": 14, "text": "good great"}));
}

#[test]
fn a_text_has_the_same_answer_alone_and_in_any_batch_and_however_long_it_is() {
    let fixture = fixture();
    fixture.run(&format!("{FINETUNE} --epochs 1")).json();
    let task = "predict -q --task-file out/task.safetensors --output-format jsonl --input";
    // Longer than the model's 48 positions, so that it is several sequences.
    let long: String = conll(30, 7).replace("\n\n", "\n");
    let sentences = conll(9, 50);
    fixture.write("all.conll", format!("{sentences}{long}\n{sentences}"));
    let together: Vec<String> =
        fixture.run(&format!("{task} all.conll")).succeeded().lines().map(str::to_owned).collect();
    assert_eq!(together.len(), 19);
    assert_eq!(together[..9], together[10..]);
    for (number, sentence) in sentences.split("\n\n").filter(|sentence| !sentence.is_empty()).enumerate() {
        fixture.write("one.conll", format!("{sentence}\n\n"));
        assert_eq!(fixture.run(&format!("{task} one.conll")).succeeded().trim_end(), together[number]);
    }
    let answer: Value = serde_json::from_str(&together[9]).unwrap();
    assert_eq!(answer["tags"].as_array().unwrap().len(), 180, "every word of a long text has a tag");
    assert!(answer["probabilities"].as_array().unwrap().iter().all(|p| p.as_f64().unwrap() > 0.1), "each is read");
}

#[test]
fn an_export_with_spans_trains_what_its_columns_would() {
    let fixture = fixture();
    // The same sentences as doccano exports them: a text, and the characters of each entity.
    let row = |i: usize| {
        let (good, next, bad) = (GOOD[i % 6], GOOD[i / 2 % 6], BAD[i / 3 % 6]);
        let text = format!("the {good} {next} day was {bad}");
        let (up, down) = (4 + good.len() + 1 + next.len(), text.len() - bad.len());
        format!("{}\n", json!({"id": i, "text": text, "label": [[down, text.len(), "DOWN"], [4, up, "UP"]]}))
    };
    fixture.write("spans.jsonl", (0..60).map(row).collect::<String>() + "{\"text\": \"not yet\", \"label\": null}\n");
    let arguments = FINETUNE.replace("finetune -q", "finetune").replace("train.conll", "spans.jsonl");
    let run = fixture.run(&format!("{arguments} --epochs 2"));
    let plan = run.stderr.clone();
    assert!(
        plan.contains("spans.jsonl: an export of doccano\n") && plan.contains("spans.jsonl: skipped 1 line"),
        "{plan}"
    );
    let columns = fixture.run(&format!("{FINETUNE} --epochs 2")).json();
    assert_eq!(run.json()["metrics"], columns["metrics"]);
    let task = "predict -q --task-file out/task.safetensors --output-format jsonl --input spans.jsonl";
    assert_eq!(fixture.run(task).succeeded().lines().count(), 61);

    fixture.write("two.jsonl", "{\"text\": \"a b\", \"spans\": [[0, 1, \"X\"]], \"entities\": [[2, 3, \"Y\"]]}\n");
    let run = fixture.run(&FINETUNE.replace("train.conll", "two.jsonl"));
    assert!(
        run.stderr.contains("entities and spans may be the spans") && run.stderr.contains("(--label)"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_probe_of_words_is_the_result_or_the_beginning() {
    let fixture = fixture();
    let probe = format!("{FINETUNE} --method probe").replace("--lr 1e-2 --dropout 0", "");
    let result = fixture.run(&probe).json();
    assert!(result["metrics"]["accuracy"].as_f64().unwrap() > 0.8, "{result}");
    let begun = fixture.run(&format!("{FINETUNE} --epochs 1 --init-head probe").replace("1e-2", "1e-9")).json();
    assert_eq!(begun["metrics"], begun["probe"]);
    // The frozen layers' outputs are kept, down to those of the words that are read.
    let cached = |size: &str| {
        fixture.run(&format!("{FINETUNE} --method frozen --epochs 2 --prefix-cache {size}")).json()["metrics"].clone()
    };
    assert_eq!(cached("1G"), cached("0"));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let fixture = fixture();
    fixture.write("odd.conll", "a X\nb Y\n\nc\n");
    fixture.write("other.conll", "the O\ngood B-SIDE\n\n");
    let start = "finetune -q --model model --out never --train";
    for (flags, words) in [
        ("train.conll --kind tag --pooling mean", &["--pooling mean", "the first token of each word"][..]),
        ("train.tsv --kind tag --format csv", &["--format csv", "conll"]),
        ("train.conll --format conll", &["--format conll", "the kind tag"]),
        ("odd.conll --kind tag", &["odd.conll", "a line of 2 and one of 1 fields"]),
        ("train.conll --kind tag --label 7", &["no column number 7", "--label"]),
        ("train.conll --kind tag --eval other.conll", &["other.conll, line 2", "\"B-SIDE\""]),
    ] {
        let run = fixture.run(&format!("{start} {flags}"));
        assert!(matches!(run.code, Some(1 | 2)), "{flags}");
        assert!(words.iter().all(|word| run.stderr.contains(word)), "{flags}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{flags}: {}", run.stderr);
    }
}
