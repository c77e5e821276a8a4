//! `--folds`: every row is answered once by a model that has not seen it, and a wrong label is found.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fixture::{Fixture, table, texts};

const FOLDS: &str = "finetune --model model --train train.tsv --out out --epochs 3 --lr 1e-2 --dropout 0 --folds 4";

/// The lines of the file of answers.
fn answers(fixture: &Fixture, out: &str) -> Vec<Value> {
    let lines = fixture.read(&format!("{out}/out_of_fold.jsonl"));
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_row_is_answered_by_the_model_of_its_fold() {
    let fixture = Fixture::new();
    let run = fixture.run(FOLDS);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("fold 3, seed 0  (run 4 of 4)") && run.stderr.contains("\nmean "), "{}", run.stderr);
    let result = run.json();
    assert_eq!(result["rows"], 64);
    let answers = answers(&fixture, "out");
    let lines: Vec<u64> = answers.iter().map(|answer| answer["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, (2..66).collect::<Vec<_>>(), "each row of the file, in its order");
    let mut dealt: BTreeMap<(u64, &str), usize> = BTreeMap::new();
    let mut right = [0, 0, 0, 0];
    for answer in &answers {
        let fold = answer["fold"].as_u64().unwrap();
        *dealt.entry((fold, answer["expected"].as_str().unwrap())).or_default() += 1;
        right[fold as usize] += usize::from(answer["label"] == answer["expected"]);
    }
    let per_class = |class: &str| -> Vec<usize> {
        dealt.iter().filter(|((_, of), _)| *of == class).map(|(_, count)| *count).collect()
    };
    for class in ["praise", "blame"] {
        let counts = per_class(class);
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    }
    for (fold, right) in result["folds"].as_array().unwrap().iter().zip(right) {
        let accuracy = fold["metrics"]["accuracy"].as_f64().unwrap();
        assert!((accuracy * fold["rows"].as_f64().unwrap() - right as f64).abs() < 1e-6, "{fold} {right}");
    }
    // The answers are those of the fold's own task file.
    let first = &answers[0];
    let task = format!("out/fold-{}/task.safetensors", first["fold"]);
    let text = first["text"].as_str().unwrap();
    let predict = format!("predict -q --task-file {task} --output-format jsonl");
    let alone: Value = serde_json::from_str(&fixture.run_with(&predict, format!("{text}\n")).succeeded()).unwrap();
    assert_eq!(alone["probabilities"], first["probabilities"]);
}

#[test]
fn suspects_of_pairs_have_a_column_for_each_text() {
    let fixture = Fixture::new();
    let pairs = fixture.read("train.tsv").replace('\t', "\tday\t").replace("text\tday\t", "sentence1\tsentence2\t");
    fixture.write("train.tsv", pairs);
    assert_eq!(fixture.run(&format!("{FOLDS} -q --lr 1e-6").replace("--lr 1e-2 ", "")).json()["rows"], 64);
    let suspects = fixture.read("out/suspects.tsv");
    let (header, first) = (suspects.lines().next().unwrap(), suspects.lines().nth(1).unwrap());
    assert!(header.ends_with("\ttext\tpair") && first.ends_with("\tday"), "{suspects}");
}

#[test]
fn a_wrong_label_is_at_the_top_of_the_suspects() {
    let fixture = Fixture::new();
    let rows = fixture.read("train.tsv");
    let wrong = rows.lines().nth(7).unwrap();
    let flipped = match wrong.split_once('\t').unwrap() {
        (text, "praise") => format!("{text}\tblame"),
        (text, _) => format!("{text}\tpraise"),
    };
    fixture.write("train.tsv", rows.replace(wrong, &flipped));
    let result = fixture.run(&format!("{FOLDS} -q --epochs 12").replace("--epochs 3 ", "")).json();
    assert_eq!(result["suspects"], "out/suspects.tsv");
    let suspects = fixture.read("out/suspects.tsv");
    let fields: Vec<&str> = suspects.lines().nth(1).unwrap().split('\t').collect();
    assert_eq!(fields[0], "8", "{suspects}");
}

#[test]
fn each_fold_is_the_evaluation_set_of_its_run() {
    let fixture = Fixture::new();
    let run = fixture.run(&format!("{FOLDS} --epochs 12 --patience 2 --eval-every 2").replace("--epochs 3 ", ""));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let log = fixture.read("out/fold-0/metrics.jsonl");
    let evaluations: Vec<u64> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["eval"].is_object())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(evaluations[..2], [2, 3], "every two steps, and after the three of an epoch: {log}");
    assert!(evaluations.len() < 24, "it stops when the score no longer rises: {evaluations:?}");
}

#[test]
fn files_of_an_earlier_run_are_not_reported_as_those_of_a_new_one() {
    let fixture = Fixture::new();
    let scores = |class: usize| ["1.5", "4.5"][class].to_owned();
    fixture.write("train.tsv", table("text\tlabel", &texts(64, 1), scores));
    std::fs::create_dir(fixture.path("out")).unwrap();
    fixture.write("out/suspects.tsv", "of another run\n");
    // The answer to a regression is never a suspect.
    let folds = FOLDS.replace("--folds 4", "--folds 2 --overwrite -q --kind regress");
    let result = fixture.run(&folds).json();
    assert_eq!(result["answers"], "out/out_of_fold.jsonl");
    assert!(result["suspects"].is_null());
    assert_eq!(fixture.names("out"), ["fold-0", "fold-1", "out_of_fold.jsonl"]);
    // A run that writes no answers leaves none of the one before it.
    fixture.finetune("--epochs 1");
    assert!(!fixture.path("out/out_of_fold.jsonl").exists());
}

#[test]
fn folds_are_resumed_and_what_contradicts_them_is_refused() {
    let fixture = Fixture::new();
    fixture.run(FOLDS).json();
    let whole = fixture.read("out/out_of_fold.jsonl");
    // As if the process had been killed before the third fold.
    for fold in [2, 3] {
        std::fs::remove_dir_all(fixture.path(&format!("out/fold-{fold}"))).unwrap();
    }
    std::fs::remove_file(fixture.path("out/out_of_fold.jsonl")).unwrap();
    let run = fixture.run("finetune --resume out");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(!run.stderr.contains("fold 1, seed 0") && run.stderr.contains("fold 2, seed 0"), "{}", run.stderr);
    assert_eq!(fixture.read("out/out_of_fold.jsonl"), whole);
    for (flags, code, reason) in [
        ("--folds 1", 2, "--folds 1: expected a whole number from 2 to 1000"),
        ("--folds 65", 1, "--folds 65: the training set has fewer texts"),
        ("--folds 2 --limit 10", 2, "--limit 10: the rows of a fold are chosen from all"),
        ("--folds 2 --kind mlm", 2, "--kind mlm: masked language modelling has no labels"),
        ("--folds 2 --eval dev.tsv", 2, "cannot be used with"),
        ("--folds 2 --seeds 0-1", 2, "cannot be used with"),
        ("--folds 1001", 2, "expected a whole number from 2 to 1000"),
    ] {
        let run = fixture.run(&format!("finetune --model model --train train.tsv --out new {flags}"));
        assert_eq!(run.code, Some(code), "{flags}: {}", run.stderr);
        assert!(run.stderr.contains(reason), "{flags}: {}", run.stderr);
    }
}
