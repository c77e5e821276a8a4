//! `finetune --seeds`: a run for each seed, their means, and the best one's task file.

use serde_json::{Value, json};

use crate::fixture::{Fixture, keys, lines};

const LEARN: &str = "--eval dev.tsv --lr 1e-2 --epochs 2 --batch-size 8";

#[test]
fn each_seed_is_a_single_run_and_the_best_is_copied() {
    let fixture = Fixture::new();
    let run =
        fixture.run(&format!("finetune --model model --train train.tsv --out out --seeds 0,2-3 --layers 1 {LEARN}"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    assert_eq!(fixture.names("out"), ["seed-0", "seed-2", "seed-3", "task.safetensors"]);
    let seeds = result["seeds"].as_array().unwrap();
    assert_eq!(seeds.iter().map(|seed| &seed["seed"]).collect::<Vec<_>>(), [0, 2, 3]);
    let mut values = Vec::new();
    for seed in seeds {
        let number = &seed["seed"];
        let alone = fixture.run(&format!(
            "finetune -q --model model --train train.tsv --out alone --overwrite --seed {number} --layers 1 {LEARN}"
        ));
        let alone = alone.json();
        for key in ["metrics", "best", "epochs", "steps", "tokens", "task_bytes", "end"] {
            assert_eq!(alone[key], seed[key], "seed {number}: {key}");
        }
        let among = fixture.bytes(&format!("out/seed-{number}/task.safetensors"));
        assert!(among == fixture.bytes("alone/task.safetensors"), "seed {number}");
        let log = |file: &str| {
            let mut lines = lines(&fixture.read(file));
            // A time is never the same.
            lines.iter_mut().for_each(|line| line["tokens_per_s"] = Value::Null);
            lines
        };
        assert_eq!(log(&format!("out/seed-{number}/metrics.jsonl")), log("alone/metrics.jsonl"));
        values.push(seed["metrics"]["accuracy"].as_f64().unwrap());
    }
    let mean = values.iter().sum::<f64>() / 3.0;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    assert!((result["metrics"]["accuracy"].as_f64().unwrap() - mean).abs() < 1e-12, "{result}");
    assert!((result["deviations"]["accuracy"].as_f64().unwrap() - deviation).abs() < 1e-12, "{result}");
    let highest = values.iter().copied().fold(0.0, f64::max);
    let first = values.iter().position(|&value| value == highest).unwrap();
    assert_eq!((&result["best"]["seed"], &result["best"]["value"]), (&seeds[first]["seed"], &json!(highest)));
    let best = format!("out/seed-{}/task.safetensors", result["best"]["seed"]);
    assert!(fixture.bytes("out/task.safetensors") == fixture.bytes(&best));
    assert_eq!(result["task_bytes"], fixture.bytes(&best).len());
    fixture.run("eval -q --task-file out/task.safetensors --data dev.tsv").succeeded();

    let said = &run.stderr;
    for part in ["a run each of the seeds 0, 2, 3", "seed 2  (run 2 of 3)", " ± ", "a copy of seed", "  best"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let probes = said.lines().filter(|line| line.starts_with("probe  ")).count();
    assert_eq!(probes, 1, "it is fitted once\n{said}");
}

#[test]
fn the_result_of_one_seed_of_a_list_has_no_deviation() {
    let fixture = Fixture::new();
    let result = fixture.finetune(&format!("--seeds 4 {LEARN}"));
    assert_eq!(
        keys(&result),
        [
            "command",
            "model",
            "task",
            "method",
            "trainable",
            "biases",
            "total",
            "seeds",
            "best",
            "metrics",
            "deviations",
            "probe",
            "seconds",
            "peak_rss_bytes",
            "device",
            "precision",
            "task_file",
            "task_bytes",
            "end"
        ]
    );
    assert_eq!(keys(&result["best"]), ["seed", "epoch", "metric", "value"]);
    assert_eq!((&result["deviations"]["accuracy"], &result["end"]), (&Value::Null, &json!("finished")));
}

#[test]
fn masks_are_those_of_each_seed() {
    let fixture = Fixture::new();
    fixture.write("plain.txt", "good day and very fine\n".repeat(12));
    // The checkpoint of the fixture has no head for masked language modelling, which is said before a seed is begun.
    let run =
        fixture.run("finetune -q --model model --kind mlm --train plain.txt --eval plain.txt --out out --seeds 0-1");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("masked language modelling"), "{}", run.stderr);
    assert!(fixture.names("out").is_empty());
}

#[test]
fn what_several_seeds_cannot_be_is_refused() {
    let fixture = Fixture::new();
    for (flags, part) in [
        ("--seeds 0-1", "--seeds: it needs an evaluation set, and none is given (--eval)"),
        ("--seeds 0,0 --eval dev.tsv", "--seeds 0,0: one of them is listed twice"),
        ("--seeds 3-1 --eval dev.tsv", "--seeds 3-1: the first seed of a range"),
        ("--seeds x --eval dev.tsv", "--seeds x: expected a range of seeds, such as 0-4"),
    ] {
        let run = fixture.run(&format!("finetune -q --model model --train train.tsv --out out {flags}"));
        assert_eq!(run.code, Some(2), "{flags}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{}", run.stderr);
        assert!(run.stderr.contains(part), "{flags}: {}", run.stderr);
        assert!(fixture.names("out").is_empty());
    }
    let run = fixture.run("finetune --model model --train train.tsv --out out --seeds 0-1 --seed 3");
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("cannot be used with"), "{}", run.stderr);
    std::fs::create_dir(fixture.path("out")).unwrap();
    std::fs::create_dir_all(fixture.path("out/seed-1/task.safetensors")).unwrap();
    let run = fixture.run(&format!("finetune -q --model model --train train.tsv --out out --seeds 0-1 {LEARN}"));
    assert!(run.stderr.contains("--out out/seed-1: task.safetensors in it is a directory"), "{}", run.stderr);
}

#[test]
fn a_seed_that_diverges_is_said_and_the_others_are_made() {
    let fixture = Fixture::new();
    let run = fixture
        .run("finetune -q --model model --train train.tsv --out out --seeds 0-1 --eval dev.tsv --lr 1e30 --epochs 9");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.starts_with("error: training diverged: seed 0 in step "), "{}", run.stderr);
    assert!(run.stderr.contains("; seed 1 in step ") && run.stderr.lines().count() == 1, "{}", run.stderr);
    let result = run.json();
    assert_eq!((&result["end"], &result["metrics"]), (&json!("diverged"), &json!({})));
    assert_eq!(result["seeds"].as_array().unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn a_signal_keeps_what_the_finished_seeds_reached() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let fixture = Fixture::new();
    let line = format!("finetune --model model --train train.tsv --out out --seeds 0-900 --log-every 1 {LEARN}");
    let mut child =
        fixture.command().args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap().starts_with("seed 2  (run 3 of 901)")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said: Vec<String> = stderr.map(Result::unwrap).collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{said:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["end"], "stopped");
    let ends: Vec<&Value> = result["seeds"].as_array().unwrap().iter().map(|seed| &seed["end"]).collect();
    assert!(ends.len() >= 3 && ends[..2] == ["finished", "finished"] && ends[ends.len() - 1] == "stopped", "{ends:?}");
    for name in ["out/seed-0/task.safetensors", "out/seed-1/task.safetensors", "out/task.safetensors"] {
        fixture.metadata(name);
    }
}
