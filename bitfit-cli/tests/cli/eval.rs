//! `eval` that succeeds.

use serde_json::json;

use crate::fixture::{Fixture, keys};

#[test]
fn it_finds_the_scores_that_training_found() {
    let fixture = Fixture::new();
    let trained = fixture.finetune("--eval dev.tsv --lr 1e-2 --epochs 4 --batch-size 8");
    let run = fixture.run("eval --task-file out/task.safetensors --data dev.tsv");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    assert_eq!(
        keys(&result),
        [
            "command",
            "model",
            "task_file",
            "data",
            "kind",
            "rows",
            "tokens",
            "cut",
            "metrics",
            "seconds",
            "tokens_per_s",
            "peak_rss_bytes",
            "device",
            "precision"
        ]
    );
    assert_eq!(result["metrics"], trained["metrics"]);
    assert_eq!(
        (&result["command"], &result["model"], &result["kind"]),
        (&json!("eval"), &json!("model"), &json!("classify"))
    );
    assert_eq!((&result["rows"], &result["tokens"], &result["cut"]), (&json!(32), &json!(320), &json!(0)));
    assert!(run.stderr.starts_with("accuracy ") && run.stderr.lines().count() == 1, "{}", run.stderr);
}

#[test]
fn texts_that_are_cut_are_reported_by_every_command_that_reads_them() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1 --max-length 6");
    std::fs::copy(fixture.path("out/task.safetensors"), fixture.path("again.safetensors")).unwrap();
    let task = "--task-file out/task.safetensors";
    // Eight words each, of which four have room beside the two special tokens.
    let note = "note: 32 of 32 texts are longer than 6 tokens and are cut, which loses 40 % of their tokens";
    let advice = "; --max-length 48 is the most that the model reads";
    for (line, advice) in [
        (format!("eval {task} --data dev.tsv"), advice),
        (format!("predict {task} --input dev.tsv"), advice),
        (format!("calibrate {task} --data dev.tsv --out calibrated.safetensors"), ""),
        ("average out/task.safetensors again.safetensors --data dev.tsv --out mean".into(), ""),
    ] {
        let run = fixture.run(&line);
        let notes: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("note: ")).collect();
        assert_eq!(notes[0], format!("{note}{advice}"), "{line}: {}", run.stderr);
        assert_eq!(run.stderr.matches("are cut").count(), 1, "{line}: {}", run.stderr);
    }
    let lines = fixture.run_with(&format!("predict {task}"), fixture.read("dev.tsv").replace('\t', " "));
    assert_eq!(lines.stderr.matches("32 of 33 texts are longer than 6 tokens").count(), 1, "{}", lines.stderr);
    assert_eq!(fixture.run(&format!("eval -q {task} --data dev.tsv")).json()["cut"], 32);
    let whole = fixture.run(&format!("eval {task} --data dev.tsv --max-length 48"));
    assert!(!whole.stderr.contains("note: ") && whole.json()["cut"] == 0, "{}", whole.stderr);
}

#[test]
fn the_model_may_have_moved() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    std::fs::rename(fixture.path("model"), fixture.path("elsewhere")).unwrap();
    let run = fixture.run("eval -q --model elsewhere --task-file out/task.safetensors --data dev.tsv");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert_eq!(run.json()["model"], "elsewhere");
}

#[test]
fn the_metrics_are_the_tasks_unless_another_preset_is_named() {
    let fixture = Fixture::new();
    let named = fixture.read("train.tsv").replace("text\tlabel", "sentence\tlabel");
    fixture.write("train.tsv", named.replace("praise", "positive").replace("blame", "negative"));
    fixture.finetune("--task sst2 --epochs 1");
    let metrics = |flags: &str| {
        let run = fixture.run(&format!("eval -q --task-file out/task.safetensors --data train.tsv {flags}"));
        keys(&run.json()["metrics"]).join(" ")
    };
    assert_eq!(
        (metrics(""), metrics("--task cola"), metrics("--task mrpc")),
        ("accuracy".into(), "matthews".into(), "accuracy f1".into())
    );
}

#[test]
fn rows_that_a_preset_skips_are_reported() {
    let fixture = Fixture::new();
    fixture.write("train.tsv", "sentence1\tsentence2\tgold_label\ngood\tday\tneutral\nbad\tday\tentailment\n");
    fixture.finetune("--task mnli --epochs 1");
    fixture.write("dev.tsv", "sentence1\tsentence2\tgold_label\ngood\tday\tneutral\nbad\tday\t-\nsad\tday\tneutral\n");
    let run = fixture.run("eval --task-file out/task.safetensors --data dev.tsv");
    assert_eq!(run.json()["rows"], 2);
    assert!(
        run.stderr.starts_with("dev.tsv: skipped 1 line, ") && run.stderr.contains("the first of them line 3"),
        "{}",
        run.stderr
    );
}
