//! Signals: the first ends a run, which keeps its results, and a task file survives signals that cannot be caught.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::Fixture;

#[test]
fn a_signal_ends_the_run_and_what_was_reached_is_kept() {
    for (signal, flags) in [("-INT", "--eval dev.tsv"), ("-TERM", "")] {
        let fixture = Fixture::new();
        let line = format!("finetune --model model --train train.tsv --out out --epochs 100000 --log-every 1 {flags}");
        let mut child = fixture
            .command()
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        // With an evaluation set, only an evaluated epoch is the best one.
        let awaited = if flags.is_empty() { "step " } else { "epoch 1/" };
        assert!(stderr.any(|line| line.unwrap().starts_with(awaited)));
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let said: Vec<String> = stderr.map(Result::unwrap).collect();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{said:?}");
        assert!(said.iter().any(|line| line.starts_with("stopping after this step")), "{said:?}");
        assert!(said.iter().any(|line| line.starts_with("stopped: out/task.safetensors")), "{said:?}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["end"], "stopped");
        assert!(result["steps"].as_u64().unwrap() > 0, "{result}");
        assert_eq!(result["best"].is_object(), !flags.is_empty(), "{result}");
        assert_eq!(fixture.names("out"), ["metrics.jsonl", "state.safetensors", "task.safetensors"]);
        let answers = fixture.run_with("predict --task-file out/task.safetensors", "good day\n").succeeded();
        assert_eq!(answers.lines().count(), 1);
    }
}

#[test]
fn a_run_that_is_killed_leaves_the_best_epoch_so_far() {
    for flags in ["--eval dev.tsv", ""] {
        let fixture = Fixture::new();
        let line = format!("finetune --model model --train train.tsv --out out --epochs 100000 {flags}");
        let mut child = fixture.command().args(line.split_whitespace()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(stderr.any(|line| line.unwrap().starts_with("epoch 1/")));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        let answers = fixture.run_with("predict --task-file out/task.safetensors", "good day\n").succeeded();
        assert_eq!(answers.lines().count(), 1);
        let best: Value = serde_json::from_str(&fixture.metadata("out/task.safetensors")["best"]).unwrap();
        assert_eq!(best["epoch"].is_number(), !flags.is_empty(), "{best}");
    }
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_so() {
    for signal in ["HUP", "INT", "TERM"] {
        let fixture = Fixture::new();
        let program = fixture.command();
        let line = "finetune --model model --train train.tsv --out out --epochs 200";
        let mut child = Command::new("sh")
            .args(["-c", &format!("trap '' {signal}; exec \"$0\" \"$@\"")])
            .arg(program.get_program())
            .args(line.split(' '))
            .current_dir(fixture.path("."))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(stderr.any(|line| line.unwrap().starts_with("step 1/")));
        assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
        let said: Vec<String> = stderr.map(Result::unwrap).collect();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{signal}: {said:?}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&result["end"], &result["epochs"]), (&"finished".into(), &200.into()), "{signal}");
    }
}

#[test]
fn a_signal_removes_answers_that_are_not_complete() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    fixture.write("answers", "as they were");
    let before = fixture.names(".");
    let mut child = fixture
        .command()
        .args("predict --task-file out/task.safetensors --out answers".split(' '))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // The program waits for a text that does not come, and has started its temporary file.
    while fixture.names(".") == before {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    // Standard input stays open until the program ends.
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(130));
    assert_eq!((fixture.names("."), fixture.read("answers")), (before, "as they were".into()));
}

#[test]
fn a_command_that_does_not_train_quits_at_a_signal() {
    let fixture = Fixture::new();
    assert!(Command::new("mkfifo").arg(fixture.path("pipe")).status().unwrap().success());
    let before = fixture.names(".");
    for line in [
        "average pipe model/model.safetensors --out new",
        "calibrate --task-file pipe --data dev.tsv --out new",
        "eval --task-file pipe --data dev.tsv",
        "export --task-file pipe --out new",
        "inspect pipe --svg new",
        "merge --task-file pipe --out new",
        "predict --task-file pipe --input dev.tsv",
    ] {
        let mut child = fixture.command().args(line.split(' ')).stdout(Stdio::piped()).spawn().unwrap();
        // The program has the pipe open, and waits for a task file that does not come.
        let pipe = File::options().write(true).open(fixture.path("pipe")).unwrap();
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{line}");
        assert_eq!(fixture.names("."), before, "{line}");
        drop(pipe);
    }
}
