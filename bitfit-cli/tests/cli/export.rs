//! `export`: an ONNX file of a task's model.

use serde_json::json;

use crate::fixture::{Fixture, keys};

#[test]
fn it_writes_a_file_and_says_what_is_in_it() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let run = fixture.run("export --task-file out/task.safetensors --out task.onnx");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    let expected = ["command", "model", "task_file", "kind", "opset", "inputs", "outputs", "nodes", "out", "bytes"];
    assert_eq!(keys(&result), expected);
    assert_eq!(
        (&result["kind"], &result["opset"], &result["out"]),
        (&json!("classify"), &json!(17), &json!("task.onnx"))
    );
    let input = |name: &str| json!({"name": name, "shape": ["batch", "sequence"]});
    assert_eq!(result["inputs"], json!(["input_ids", "attention_mask", "token_type_ids"].map(input)));
    assert_eq!(result["outputs"], json!([{"name": "logits", "shape": ["batch", "2"]}]));
    let bytes = fixture.bytes("task.onnx");
    assert_eq!(result["bytes"], json!(bytes.len()));
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("bert.encoder.layer.1.output.dense.bias") && has(r#"{"0":"blame","1":"praise"}"#));
    assert!(run.stderr.starts_with("task.onnx: input_ids [batch, sequence], ") && run.stderr.lines().count() == 1);

    // The same task is the same file, for any number of threads.
    let quiet = fixture.run("export -q --threads 1 --task-file out/task.safetensors --out again.onnx");
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
    assert!(fixture.bytes("again.onnx") == bytes);
}

#[test]
fn it_refuses_by_name() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    fixture.finetune("--epochs 1");
    other.write("model/vocab.txt", fixture.read("model/vocab.txt"));
    let mut model = crate::fixture::model();
    model.tensors.values_mut().next().unwrap().data[0] += 1.0;
    other.write("model/model.safetensors", model.bytes());
    let other = other.path("model").display().to_string();
    fixture.write("there.onnx", "kept");
    fixture.write("beside.onnx.data", "kept");
    let task = "export -q --task-file out/task.safetensors --out";
    for (line, parts) in [
        (format!("{task} there.onnx"), &["--out there.onnx: it is there already", "--overwrite"][..]),
        (format!("{task} beside.onnx"), &["--out beside.onnx.data: it is there already"]),
        (format!("{task} out/task.safetensors --overwrite"), &["--out out/task.safetensors: it is the task file"]),
        (format!("{task} model/config.json --overwrite"), &["model/config.json: it is a file of the base model"]),
        (format!("{task} new.onnx --model {other}"), &["out/task.safetensors: ", "trained on model", "other weights"]),
        (format!("{task} new.onnx --model ./gone"), &["gone", "no such directory"]),
        (format!("{task} gone/new.onnx"), &["--out gone/new.onnx"]),
        (format!("{task} model --overwrite"), &["--out model: it is a directory"]),
        ("export -q --task-file model/model.safetensors --out new.onnx".into(), &["not a task file"]),
        ("export -q --task-file gone.safetensors --out new.onnx".into(), &["gone.safetensors"]),
    ] {
        let run = fixture.run(&line);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{line}");
        for part in parts {
            assert!(run.stderr.contains(part), "{line}: {part} is not in {}", run.stderr);
        }
    }
    assert_eq!((fixture.read("there.onnx"), fixture.names("new.onnx").len()), ("kept".into(), 0));
    assert!(!fixture.path("new.onnx").exists());
    assert_eq!(fixture.run(&format!("{task} there.onnx --overwrite")).code, Some(0));
    assert!(fixture.bytes("there.onnx").len() > 10_000);
}
