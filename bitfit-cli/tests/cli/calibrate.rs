//! `calibrate`: what it writes, what predict and eval do with it, and what it refuses.

use serde_json::Value;

use crate::fixture::Fixture;

const CALIBRATE: &str = "calibrate --task-file out/task.safetensors --data dev.tsv --out calibrated.safetensors";

#[test]
fn the_temperature_is_stored_and_used_and_rows_below_the_threshold_are_rejected() {
    let fixture = Fixture::new();
    fixture.finetune("--eval dev.tsv --epochs 3 --lr 1e-2");
    let run = fixture.run(&format!("{CALIBRATE} --min-accuracy 0.5"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.starts_with("temperature  "), "{}", run.stderr);
    assert!(run.stderr.contains("\nanswers      from a probability of "), "{}", run.stderr);
    let result = run.json();
    let temperature = result["temperature"].as_f64().unwrap();
    assert!(result["after"]["loss"].as_f64() <= result["before"]["loss"].as_f64(), "{result}");
    assert!(fixture.metadata("calibrated.safetensors")["calibration"].contains("\"temperature\":"));
    assert_eq!(fixture.tensors("calibrated.safetensors"), fixture.tensors("out/task.safetensors"));

    let answers = |task: &str| -> Vec<Value> {
        let texts = "good day\nbad meal\nthe room\n";
        let run = fixture.run_with(&format!("predict -q --task-file {task} --output-format jsonl"), texts);
        run.succeeded().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let logit = |answer: &Value| {
        let p = answer["probabilities"]["praise"].as_f64().unwrap();
        (p / (1.0 - p)).ln()
    };
    for (plain, calibrated) in answers("out/task.safetensors").iter().zip(&answers("calibrated.safetensors")) {
        let (expected, found) = (logit(plain) / temperature, logit(calibrated));
        assert!((expected - found).abs() < 1e-3 * expected.abs().max(1.0), "{plain} {calibrated}");
    }
    let scores =
        |task: &str| fixture.run(&format!("eval -q --task-file {task} --data dev.tsv")).json()["metrics"].clone();
    assert_eq!(scores("out/task.safetensors"), scores("calibrated.safetensors"), "it changes no class");

    for line in [
        "merge --task-file calibrated.safetensors --out merged",
        "export --task-file calibrated.safetensors --out model.onnx",
        "average out/task.safetensors calibrated.safetensors --out mean.safetensors",
    ] {
        let run = fixture.run(line);
        assert_eq!(run.code, Some(1), "{line}: {}", run.stderr);
        assert!(
            run.stderr.contains("which does not carry over: give the task file that it was calibrated from"),
            "{line}"
        );
    }

    // Nothing is certain enough.
    let careful = fixture.run(&format!("{CALIBRATE} --min-accuracy 0.5 --overwrite")).json();
    let mut metadata = fixture.metadata("calibrated.safetensors")["calibration"].clone();
    assert!(careful["reject_below"].is_number());
    metadata = metadata.replace(&careful["reject_below"].to_string(), "1.0");
    let bytes = fixture.bytes("calibrated.safetensors");
    let (file, header) =
        (safetensors::SafeTensors::deserialize(&bytes).unwrap(), fixture.metadata("calibrated.safetensors"));
    let mut header: std::collections::HashMap<String, String> = header.into_iter().collect();
    header.insert("calibration".into(), metadata);
    let rejecting = safetensors::serialize(file.tensors(), Some(header)).unwrap();
    fixture.write("rejecting.safetensors", rejecting);
    let rejected = answers("rejecting.safetensors");
    assert!(
        rejected.iter().all(|answer| answer["label"].is_null() && answer["probability"].is_number()),
        "{rejected:?}"
    );
    let lines = fixture.run_with("predict -q --task-file rejecting.safetensors", "good day\n").succeeded();
    assert!(lines.starts_with("\t0."), "{lines}");
}

#[test]
fn several_labels_have_a_threshold_each_which_eval_uses() {
    let fixture = Fixture::new();
    let rows = |first: usize| -> String {
        let row = |i: usize| {
            let (good, bad) = (["good", "the", "great"][i % 3], ["bad", "a", "awful", "is"][i % 4]);
            let labels = [("good", i % 3 != 1), ("bad", i.is_multiple_of(2))].into_iter().filter(|(_, has)| *has);
            format!("{good} {bad}\t{}\n", labels.map(|(name, _)| name).collect::<Vec<_>>().join(";"))
        };
        (first..first + 24).map(row).collect()
    };
    fixture.write("many.tsv", format!("text\tlabels\n{}", rows(0)));
    fixture.write("held.tsv", format!("text\tlabels\n{}", rows(5)));
    let train = "finetune -q --model model --kind multi-label --train many.tsv --out out --epochs 2 --lr 1e-2";
    fixture.run(train).json();
    let run = fixture.run("calibrate --task-file out/task.safetensors --data held.tsv --out calibrated.safetensors");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    let labels = result["labels"].as_array().unwrap();
    assert_eq!(labels.len(), 2);
    assert!(labels.iter().all(|label| label["f1"].as_f64() >= label["f1_before"].as_f64()), "{result}");
    let macro_f1: f64 = labels.iter().map(|label| label["f1"].as_f64().unwrap()).sum::<f64>() / 2.0;
    let scores = fixture.run("eval -q --task-file calibrated.safetensors --data held.tsv").json();
    let found = scores["metrics"]["macro-f1"].as_f64().unwrap();
    assert!((found - macro_f1).abs() < 1e-9, "{found} {macro_f1}");
}

#[test]
fn what_cannot_be_calibrated_is_refused_in_one_line() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    fixture.write("scores.tsv", "text\tscore\ngood day\t1.5\nbad day\t0.5\n");
    fixture.run("finetune -q --model model --kind regress --train scores.tsv --out regression --epochs 1").json();
    fixture.write("there.safetensors", "x");
    for (line, reason) in [
        ("calibrate --task-file out/task.safetensors --data dev.tsv --out there.safetensors", "it is there already"),
        (
            "calibrate --task-file out/task.safetensors --data dev.tsv --out new --min-accuracy 1.5",
            "--min-accuracy 1.5: it is a share",
        ),
        (
            "calibrate --task-file regression/task.safetensors --data scores.tsv --out new",
            "a task of kind regress has no",
        ),
        ("calibrate --task-file out/task.safetensors --data scores.tsv --label score --out new", "is not among those"),
        ("calibrate --task-file out/task.safetensors --data nowhere.tsv --out new", "nowhere.tsv: "),
    ] {
        let run = fixture.run(line);
        assert_eq!(run.code, Some(1), "{line}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{line}: {}", run.stderr);
        assert!(run.stderr.contains(reason), "{line}: {}", run.stderr);
        assert!(!fixture.path("new").exists());
    }
}
