//! Output files: a run writes and replaces only its own files, and leaves nothing after an error.

use std::fs;

use bitfit_bert::arch::{BERT, Module, Role};

use crate::fixture::{Fixture, keys};

const FINETUNE: &str = "finetune -q --model model --train train.tsv --epochs 1";

/// Runs a command that must be refused; returns its one line.
fn refused(fixture: &Fixture, line: &str) -> String {
    let run = fixture.run(line);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{line}: {}", run.stderr);
    assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{line}: {}", run.stderr);
    run.stderr
}

#[cfg(unix)]
#[test]
fn a_name_that_is_not_a_file_of_its_own_is_refused_before_the_first_step() {
    use std::os::unix::fs::symlink;
    type Make = fn(&Fixture, &str);
    let kinds: [(&str, Make); 5] = [
        ("a directory", |fixture, name| fs::create_dir(fixture.path(name)).unwrap()),
        ("a symbolic link", |fixture, name| symlink("../precious", fixture.path(name)).unwrap()),
        ("a symbolic link", |fixture, name| symlink("/dev/null", fixture.path(name)).unwrap()),
        ("a symbolic link", |fixture, name| symlink("nowhere", fixture.path(name)).unwrap()),
        ("not a regular file", |fixture, name| {
            let made = std::process::Command::new("mkfifo").arg(fixture.path(name)).status().unwrap();
            assert!(made.success());
        }),
    ];
    for name in ["task.safetensors", "metrics.jsonl"] {
        for (what, make) in kinds {
            let fixture = Fixture::new();
            fs::create_dir(fixture.path("out")).unwrap();
            fixture.write("precious", "as it was");
            make(&fixture, &format!("out/{name}"));
            let message = refused(&fixture, &format!("{FINETUNE} --out out"));
            assert!(message.contains(&format!("--out out: {name} in it is {what}")), "{what}: {message}");
            assert_eq!((fixture.names("out"), fixture.read("precious").as_str()), (vec![name.into()], "as it was"));
        }
    }
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("out")).unwrap();
    fixture.write("precious", "as it was");
    fs::hard_link(fixture.path("precious"), fixture.path("out/metrics.jsonl")).unwrap();
    assert_eq!(fixture.run(&format!("{FINETUNE} --out out --overwrite")).code, Some(0));
    assert_eq!(fixture.read("precious"), "as it was", "the log is a new file");
    assert!(fixture.read("out/metrics.jsonl").contains("\"loss\""));
}

#[test]
fn data_that_the_run_would_overwrite_is_refused() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("out")).unwrap();
    let data = "{\"text\": \"good\", \"label\": \"praise\"}\n{\"text\": \"bad\", \"label\": \"blame\"}\n";
    fixture.write("out/metrics.jsonl", data);
    for (flag, line) in [
        ("--train", "finetune -q --model model --out out --train out/metrics.jsonl".to_owned()),
        ("--train", "finetune -q --model model --out ./model/../out --train out/../out/metrics.jsonl".to_owned()),
        ("--eval", format!("{FINETUNE} --out out --eval out/metrics.jsonl")),
    ] {
        let message = refused(&fixture, &line);
        assert!(message.contains(flag) && message.contains("overwrite") && message.contains("--out"), "{message}");
        assert_eq!((fixture.read("out/metrics.jsonl").as_str(), fixture.names("out").len()), (data, 1));
    }
}

#[test]
fn a_directory_that_was_created_and_not_used_is_removed_again() {
    let fixture = Fixture::new();
    let before = fixture.names(".");
    // With a pooler of zeros the gradient is zero below it, which the check before the first step detects.
    let mut model = crate::fixture::model();
    for (name, tensor) in &mut model.tensors {
        let role = BERT.role(name).unwrap();
        if role == Role::weight(Module::Pooler, 0) {
            tensor.data.fill(0.0);
        }
    }
    fixture.write("model/model.safetensors", model.bytes());
    let message = refused(&fixture, &format!("{FINETUNE} --out new/inner/out"));
    assert!(message.contains("zero everywhere"), "{message}");
    assert_eq!(fixture.names("."), before);
    fs::create_dir(fixture.path("old")).unwrap();
    refused(&fixture, &format!("{FINETUNE} --out old"));
    assert!(fixture.path("old").is_dir(), "it was there before");
}

#[test]
fn answers_do_not_replace_what_they_are_made_from() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let files = ["out/task.safetensors", "model/model.safetensors", "model/config.json", "model/vocab.txt"];
    let contents = || files.map(|file| fixture.bytes(file));
    let before = contents();
    for (out, what) in files.iter().zip(["the task file", "base model", "base model", "base model"]) {
        let line = format!("predict -q --task-file out/task.safetensors --input dev.tsv --out ./{out}");
        let message = refused(&fixture, &line);
        assert!(message.contains(&format!("--out ./{out}")) && message.contains(what), "{message}");
        assert!(contents() == before, "{out}");
    }
    // The input is read before the answers take its place.
    fixture.write("copy.tsv", fixture.bytes("dev.tsv"));
    for out in ["model/answers.tsv", "copy.tsv"] {
        let run = fixture.run(&format!("predict -q --task-file out/task.safetensors --input copy.tsv --out {out}"));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{out}");
    }
    assert_eq!(fixture.read("copy.tsv"), fixture.read("model/answers.tsv"));
}

#[test]
fn a_second_run_replaces_the_files_of_the_first_on_request_alone() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let files = || ["task.safetensors", "metrics.jsonl"].map(|name| fixture.bytes(&format!("out/{name}")));
    let before = files();
    // It is said before a base is opened or fetched.
    for line in [format!("{FINETUNE} --out out"), "finetune --model no/such --train train.tsv --out out".into()] {
        let expected = "error: out: it has task.safetensors and metrics.jsonl of an earlier run: choose another \
                        directory, or replace its files (--overwrite)\n";
        assert_eq!(refused(&fixture, &line), expected);
    }
    assert!(files() == before);
    let [first, _] = before;
    let result = fixture.finetune("--epochs 2 --seed 1");
    assert!(fixture.bytes("out/task.safetensors") != first && keys(&result).contains(&"task_file"));
    assert_eq!(fixture.names("out"), ["metrics.jsonl", "task.safetensors"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_stdout_is_refused_where_the_result_would_be_printed() {
    let fixture = Fixture::new();
    fixture.run("finetune --model model --train train.tsv --out out --epochs 1").succeeded();
    let closed = |line: &str| {
        let program = fixture.command().get_program().to_owned();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" {line} >&-")]).arg(program).current_dir(fixture.path("."));
        let output = shell.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for line in [
        "finetune --model model --train train.tsv --out never",
        "eval --task-file out/task.safetensors --data dev.tsv",
        "predict --task-file out/task.safetensors --input dev.tsv",
    ] {
        let (code, stderr) = closed(line);
        assert_eq!(code, Some(1), "{line}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("error: stdout is closed"), "{stderr}");
    }
    assert!(!fixture.path("never").exists());
    let (code, stderr) = closed("predict --task-file out/task.safetensors --input dev.tsv --out answers --quiet");
    assert_eq!(code, Some(0), "nothing goes to stdout: {stderr}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_closed_stdout_changes_neither_files_nor_the_exit_code() {
    let fixture = Fixture::new();
    fixture.run("finetune --model model --train train.tsv --out out --epochs 1").succeeded();
    let unread = |line: &str| {
        let mut command = fixture.command();
        command.args(line.split(' ')).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stderr) = unread(&format!("{FINETUNE} --out diverged --lr 1e30 --clip none"));
    assert!(code == Some(1) && stderr.contains("error: training diverged"), "{code:?}: {stderr}");
    for line in [
        "eval -q --task-file out/task.safetensors --data dev.tsv --report eval.html".to_owned(),
        format!("{FINETUNE} --eval dev.tsv --out other --report run.html"),
    ] {
        assert_eq!(unread(&line), (Some(0), String::new()), "{line}");
        assert!(fixture.path(line.rsplit(' ').next().unwrap()).is_file(), "{line}");
    }
}
