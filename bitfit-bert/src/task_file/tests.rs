use std::fs;
use std::path::PathBuf;

use bitfit_core::Mask;
use serde_json::json;

use super::*;
use crate::calibrate::Calibration;
use crate::data::{Kind, Labels};
use crate::fixture::Tiny;
use crate::heads::{PairEncoding, Pooling};
use crate::methods::{BiasSelection, Method};
use crate::metrics::Metric;

pub(crate) fn task() -> TaskFile {
    let tensor = |shape: &[usize]| {
        HostTensor::new(shape, (0..shape.iter().product()).map(|i| i as f32 * 0.1).collect()).unwrap()
    };
    TaskFile {
        info: TaskInfo {
            base: "some/model".into(),
            base_path: None,
            base_fingerprint: "ab".repeat(32),
            tokenizer_fingerprint: "cd".repeat(32),
            config: Tiny::new().config().inference(),
            kind: Kind::Classify,
            labels: Labels::from_names(vec!["no".into(), "yes".into()]),
            pairs: true,
            pair: PairEncoding::Separate,
            span: None,
            calibration: Some(Calibration { temperature: 1.5, reject_below: Some(0.6), thresholds: None }),
            pooling: Pooling::Mean,
            method: Method::BitFit(BiasSelection::all().in_layers(1..=1)),
            seed: 7,
            hyperparameters: Hyperparameters {
                task: None,
                learning_rate: 0.001,
                learning_rates: [("head".to_owned(), 0.01)].into(),
                layer_decay: Some(0.9),
                schedule: "constant".into(),
                warmup: 0.1,
                epochs: 3,
                steps: 12,
                batch_size: Some(16),
                batch_tokens: None,
                micro_batch: None,
                shards: None,
                class_weights: Some(vec![0.5, 2.0]),
                label_smoothing: Some(0.1),
                focal_gamma: Some(2.0),
                eval_every: Some(7),
                patience: Some(3),
                group_by_length: false,
                max_length: 128,
                weight_decay: 0.0,
                max_grad_norm: Some(1.0),
                dropout: None,
                frozen_dropout: false,
                shuffle: true,
                limit: None,
                masking: None,
                device: "cpu".into(),
                precision: "f32".into(),
                metrics: vec![Metric::Accuracy, Metric::F1],
            },
            best: Some(Best { epoch: 2, step: Some(7), scores: [("accuracy".to_owned(), 0.75)].into() }),
        },
        tensors: TrainedTensors {
            whole: [("classifier.weight".to_owned(), tensor(&[2, 3])), ("classifier.bias".to_owned(), tensor(&[2]))]
                .into(),
            partial: [(
                "query.weight".to_owned(),
                PartialTensor { mask: Mask::Columns(vec![2, 0]), values: tensor(&[3, 2]) },
            )]
            .into(),
        },
    }
}

/// A directory, and the path of a task file in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("task.safetensors");
    (dir, path)
}

/// Writes a file of the task's tensors with changed metadata, and returns why it is refused.
fn refusal(change: impl FnOnce(&mut HashMap<String, String>)) -> String {
    let (_dir, path) = place();
    let mut metadata = task().info.to_metadata().unwrap();
    change(&mut metadata);
    let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    fs::write(&path, safetensors::serialize([("x", view)], Some(metadata)).unwrap()).unwrap();
    let message = TaskFile::read(&path).unwrap_err().to_string();
    assert!(message.contains("task.safetensors: ") && !message.contains('\n'), "{message}");
    message
}

#[test]
fn what_is_written_is_read_back() {
    let (dir, path) = place();
    task().write(&path).unwrap();
    let read = TaskFile::read(&path).unwrap();
    assert_eq!(read.info, task().info);
    let (found, expected) = (&read.tensors.partial["query.weight"], &task().tensors.partial["query.weight"]);
    assert_eq!((&found.mask, found.values.data()), (&expected.mask, expected.values.data()));
    for (name, tensor) in task().tensors.whole {
        assert_eq!(read.tensors.whole[&name].shape(), tensor.shape());
        assert_eq!(read.tensors.whole[&name].data(), tensor.data());
    }
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["task.safetensors"], "nothing is left beside it");
}

#[test]
fn the_metadata_is_readable_in_python() {
    let metadata = task().info.to_metadata().unwrap();
    let json = |key: &str| serde_json::from_str::<Value>(&metadata[key]).unwrap();
    assert_eq!((metadata["base"].as_str(), metadata["kind"].as_str()), ("some/model", "classify"));
    assert_eq!(json("labels"), json!(["no", "yes"]));
    assert_eq!(json("hyperparameters")["learning_rate"], json!(0.001), "as short as it was given");
    assert_eq!((metadata["pairs"].as_str(), metadata["base_path"].as_str()), ("true", "null"));
}

#[test]
fn a_probe_has_no_settings_of_steps() {
    let (_dir, path) = place();
    let mut probe = task();
    probe.info.method = Method::Probe;
    probe.write(&path).unwrap();
    let read = TaskFile::read(&path).unwrap().info;
    let settings = &read.hyperparameters;
    assert_eq!((settings.learning_rate, settings.epochs, settings.batch_size, settings.patience), (0.0, 0, None, None));
    assert_eq!((&read.method, settings.max_length), (&Method::Probe, 128));
    let metadata = read.to_metadata().unwrap();
    assert_eq!((metadata["method"].as_str(), &metadata), ("probe", &probe.info.to_metadata().unwrap()));
    let settings: Value = serde_json::from_str(&metadata["hyperparameters"]).unwrap();
    let names: Vec<&String> = settings.as_object().unwrap().keys().collect();
    assert_eq!(names, ["task", "max_length", "shuffle", "limit", "device", "precision", "metrics"]);
    let message = refusal(|metadata| _ = metadata.insert("method".into(), "probe".into()));
    assert!(message.contains("\"hyperparameters.learning_rate\" is of steps"), "{message}");
}

#[test]
fn every_field_is_required_and_an_unknown_one_is_refused() {
    for key in task().info.to_metadata().unwrap().into_keys().filter(|key| key != "calibration") {
        let message = refusal(|metadata| _ = metadata.remove(&key));
        assert!(message.contains(&key), "{key}: {message}");
    }
    let message = refusal(|metadata| _ = metadata.insert("lables".into(), "[]".into()));
    assert!(message.contains("lables"), "{message}");
    for (key, change) in [("hyperparameters", "max_lenght"), ("best", "epoh"), ("config", "hidden")] {
        let message = refusal(|metadata| {
            let mut value: Value = serde_json::from_str(&metadata[key]).unwrap();
            value[change] = json!(1);
            metadata.insert(key.into(), value.to_string());
        });
        assert!(message.contains(change), "{message}");
    }
}

#[test]
fn a_field_of_another_type_or_range_is_refused_by_name() {
    for (key, text) in [
        ("seed", "-1"),
        ("seed", "seven"),
        ("pairs", "\"yes\""),
        ("labels", "{}"),
        ("labels", "[]"),
        ("labels", "[\"a\"]"),
        ("labels", "[\"a\", \"a\"]"),
        ("labels", "[\"a\", \" \"]"),
        ("labels", "null"),
        ("kind", "sequence"),
        ("kind", "regress"),
        ("biases", "keys"),
        ("pooling", "max"),
        ("pair", "apart"),
        ("best", "[1]"),
        ("hyperparameters", "{}"),
        ("config", "3"),
        ("calibration", "{}"),
        ("calibration", "{\"temperature\": -1}"),
        ("calibration", "{\"temperature\": 1, \"reject_below\": 2}"),
        ("calibration", "{\"temperature\": 1, \"thresholds\": [0.5, 0.5]}"),
        ("calibration", "{\"temperature\": 1, \"treshold\": 0.5}"),
    ] {
        let message = refusal(|metadata| _ = metadata.insert(key.into(), text.into()));
        let culprit = if (key, text) == ("kind", "regress") { "labels" } else { key };
        assert!(message.contains(culprit), "{key} {text}: {message}");
    }
    for (key, value) in [("max_length", json!(-5)), ("metrics", json!(["bleu"])), ("metrics", json!([]))] {
        let message = refusal(|metadata| {
            let mut settings: Value = serde_json::from_str(&metadata["hyperparameters"]).unwrap();
            settings[key] = value;
            metadata.insert("hyperparameters".into(), settings.to_string());
        });
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn foreign_and_other_versions_are_refused() {
    assert!(refusal(HashMap::clear).contains("not a task file"));
    assert!(refusal(|metadata| _ = metadata.insert("format".into(), "pt".into())).contains("found \"pt\""));
    for version in ["1", "2", "9"] {
        let message = refusal(|metadata| _ = metadata.insert("version".into(), version.into()));
        assert!(message.contains(&format!("found {version:?}")), "{message}");
    }
}

#[test]
fn a_truncated_file_is_refused() {
    let (_dir, path) = place();
    task().write(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for len in [0, 4, 8, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..len]).unwrap();
        let message = TaskFile::read(&path).unwrap_err().to_string();
        assert!(message.contains("task.safetensors: not a complete safetensors file"), "{message}");
    }
}

#[test]
fn a_tensor_of_another_type_is_refused() {
    let (_dir, path) = place();
    let view = TensorView::new(Dtype::F16, vec![2], &[0; 4]).unwrap();
    let metadata = task().info.to_metadata().unwrap();
    fs::write(&path, safetensors::serialize([("x", view)], Some(metadata)).unwrap()).unwrap();
    assert!(TaskFile::read(&path).unwrap_err().to_string().contains("the tensor x is of type F16"));
}

#[test]
fn the_same_task_is_the_same_file() {
    let (_dir, path) = place();
    let files = [(); 4].map(|()| {
        task().write(&path).unwrap();
        fs::read(&path).unwrap()
    });
    // Every call makes a new hash map, and every hash map has its own order.
    assert!(files.iter().all(|file| *file == files[0]));
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing").join("task.safetensors");
    let message = task().write(&path).unwrap_err().to_string();
    assert!(message.contains("missing/task.safetensors"), "{message}");
}
