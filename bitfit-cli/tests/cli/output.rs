//! Output files: a run writes and replaces only its own files, and leaves nothing after an error.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};

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
            let made = Command::new("mkfifo").arg(fixture.path(name)).status().unwrap();
            assert!(made.success());
        }),
    ];
    for name in ["task.safetensors", "metrics.jsonl", "mask.safetensors"] {
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
    fixture.write("out/mask.safetensors", "a mask");
    fixture.write("out/comparison.csv", "good\t1\n");
    let names = fixture.names("out");
    for (flag, line) in [
        ("--train", "finetune -q --model model --out out --train out/metrics.jsonl".to_owned()),
        ("--train", "finetune -q --model model --out ./model/../out --train out/../out/metrics.jsonl".to_owned()),
        ("--eval", format!("{FINETUNE} --out out --eval out/metrics.jsonl")),
        ("--init-head", format!("{FINETUNE} --out out --overwrite --init-head out/mask.safetensors")),
        ("--class-weight", format!("{FINETUNE} --out out --overwrite --class-weight out/comparison.csv")),
    ] {
        let message = refused(&fixture, &line);
        assert!(message.contains(flag) && message.contains("overwrite") && message.contains("--out"), "{message}");
        assert_eq!((fixture.read("out/metrics.jsonl").as_str(), fixture.names("out")), (data, names.clone()));
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

#[cfg(unix)]
#[test]
fn a_run_that_is_refused_leaves_the_directory_of_the_run_that_made_it() {
    let fixture = Fixture::new();
    let (pipe, out) = (fixture.path("pipe.tsv"), fixture.path("out"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let line = "finetune -q --model model --train pipe.tsv --out out --epochs 1";
    let child = fixture.command().args(line.split(' ')).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // While it waits for its texts, and has found no directory, another run makes and claims it.
    let mut texts = File::options().write(true).open(pipe).unwrap();
    fs::create_dir(&out).unwrap();
    let claimed = File::open(&out).unwrap();
    claimed.lock().unwrap();
    texts.write_all(&fixture.bytes("train.tsv")).unwrap();
    drop(texts);
    let stderr = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(stderr.contains("out: another run is writing into it"), "{stderr}");
    assert!(out.is_dir());
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
    let message = refused(&fixture, "predict -q --task-file out/task.safetensors --input dev.tsv --out ./dev.tsv");
    assert!(message.contains("--out ./dev.tsv: it is the input, which would be overwritten"), "{message}");
    let run = fixture.run("predict -q --task-file out/task.safetensors --input dev.tsv --out model/answers.tsv");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "a new file beside the model's");
}

#[test]
fn no_command_writes_over_what_it_reads() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    fixture.write("weights", "praise\t2\nblame\t1\n");
    fs::create_dir(fixture.path("model/1_Pooling")).unwrap();
    fixture.write("model/1_Pooling/config.json", "{}");
    fs::copy(fixture.path("out/task.safetensors"), fixture.path("again.safetensors")).unwrap();
    let task = "--task-file out/task.safetensors";
    for (flag, out, line) in [
        ("--svg", "out/task.safetensors", "inspect out/task.safetensors".to_owned()),
        ("--svg", "again.safetensors", "inspect out/task.safetensors again.safetensors".into()),
        ("--svg", "model/model.safetensors", "inspect out/task.safetensors".into()),
        ("--svg", "model/1_Pooling/config.json", "inspect out/task.safetensors --model model".into()),
        ("--report", "model/config.json", format!("eval {task} --data dev.tsv")),
        ("--report", "weights", format!("{FINETUNE} --out new --class-weight weights")),
        ("--report", "model/vocab.txt", format!("{FINETUNE} --out new")),
        ("--out", "model/vocab.txt", format!("calibrate {task} --data dev.tsv --overwrite")),
        ("--out", "out/task.safetensors", format!("export {task} --overwrite")),
    ] {
        let before = fixture.bytes(out);
        let message = refused(&fixture, &format!("{line} {flag} {out}"));
        assert!(message.starts_with(&format!("error: {flag} {out}: it is ")), "{message}");
        assert!(message.contains("which would be overwritten; choose another file"), "{message}");
        assert!(fixture.bytes(out) == before, "{out}");
    }
    assert!(!fixture.path("new").exists());
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_anything_is_computed() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let task = "--task-file out/task.safetensors";
    for (flag, line) in [
        ("--svg", "inspect out/task.safetensors".to_owned()),
        ("--out", format!("predict {task} --input dev.tsv")),
        ("--out", format!("calibrate {task} --data dev.tsv")),
        ("--out", format!("export {task}")),
        ("--report", format!("eval {task} --data dev.tsv")),
        ("--report", format!("{FINETUNE} --out new")),
    ] {
        let message = refused(&fixture, &format!("{line} {flag} gone/file"));
        assert_eq!(message, format!("error: {flag} gone/file: its directory does not exist\n"), "{line}");
        // Nobody may create a file there.
        if cfg!(target_os = "linux") {
            let message = refused(&fixture, &format!("{line} {flag} /proc/file"));
            assert!(message.starts_with(&format!("error: {flag} /proc/file: ")), "{line}: {message}");
        }
    }
    assert!(!fixture.path("new").exists());
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
        let mut shell = Command::new("sh");
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
        command.args(line.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
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
