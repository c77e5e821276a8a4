//! `calibrate`: what it writes, what predict and eval do with it, and what it refuses.

use serde_json::Value;

use crate::fixture::{Fixture, keys};

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
    let inspected = fixture.run("inspect calibrated.safetensors");
    let shown = format!("answers   calibrated, temperature {temperature:.4}, none below a probability of 0.");
    assert!(inspected.stderr.contains(&shown), "{}", inspected.stderr);
    let report = inspected.json();
    let found = report["files"][0]["calibration"]["temperature"].as_f64().unwrap();
    assert!((found - temperature).abs() < 1e-6 * temperature, "{report}");
    assert_eq!(fixture.run("inspect -q out/task.safetensors").json()["files"][0]["calibration"], Value::Null);

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
    assert!(careful["reject_below"].is_number());
    with_rejection(&fixture, "calibrated.safetensors", "rejecting.safetensors", 1.0);
    let rejected = answers("rejecting.safetensors");
    assert!(
        rejected.iter().all(|answer| answer["label"].is_null() && answer["probability"].is_number()),
        "{rejected:?}"
    );
    let lines = fixture.run_with("predict -q --task-file rejecting.safetensors", "good day\n").succeeded();
    assert!(lines.starts_with("\t0."), "{lines}");
}

/// A copy of a task file that gives no class below another probability.
fn with_rejection(fixture: &Fixture, from: &str, to: &str, reject_below: f32) {
    let bytes = fixture.bytes(from);
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut header: std::collections::HashMap<String, String> = fixture.metadata(from).into_iter().collect();
    let mut calibration: Value = serde_json::from_str(&header["calibration"]).unwrap();
    calibration["reject_below"] = serde_json::json!(reject_below);
    header.insert("calibration".into(), calibration.to_string());
    fixture.write(to, safetensors::serialize(file.tensors(), Some(header)).unwrap());
}

#[test]
fn eval_scores_what_is_answered_beside_all() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1 --lr 1e-2 --metric matthews");
    let plain = fixture.run("eval -q --task-file out/task.safetensors --data dev.tsv").json();
    assert_eq!(plain["rejection"], Value::Null);
    fixture.run(&format!("{CALIBRATE} -q")).json();
    // The median of the probabilities rejects half of the texts.
    let texts: Vec<(String, String)> = fixture
        .read("dev.tsv")
        .lines()
        .skip(1)
        .map(|line| line.split_once('\t').map(|(text, label)| (text.to_owned(), label.to_owned())).unwrap())
        .collect();
    let input: String = texts.iter().map(|(text, _)| format!("{text}\n")).collect();
    let answers = |task: &str| -> Vec<Value> {
        let run = fixture.run_with(&format!("predict -q --task-file {task} --output-format jsonl"), input.clone());
        run.succeeded().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let probability = |answer: &Value| answer["probability"].as_f64().unwrap() as f32;
    let mut probabilities: Vec<f32> = answers("calibrated.safetensors").iter().map(probability).collect();
    probabilities.sort_by(f32::total_cmp);
    let median = probabilities[16];
    with_rejection(&fixture, "calibrated.safetensors", "half.safetensors", median);

    let answers = answers("half.safetensors");
    let answered: Vec<bool> = answers.iter().map(|answer| !answer["label"].is_null()).collect();
    let rows = answered.iter().filter(|answered| **answered).count();
    assert!((1..32).contains(&rows), "{probabilities:?}");
    let right = answers.iter().zip(&texts).filter(|(answer, (_, label))| answer["label"] == label.as_str()).count();
    let run = fixture.run("eval --task-file half.safetensors --data dev.tsv --report half.html");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    let rejection = &result["rejection"];
    assert_eq!(
        keys(rejection),
        ["reject_below", "answered", "rejected", "coverage", "metrics"],
        "of the texts that are answered"
    );
    assert_eq!((&rejection["answered"], &rejection["rejected"]), (&rows.into(), &(32 - rows).into()));
    assert_eq!(rejection["coverage"], rows as f64 / 32.0);
    assert_eq!(rejection["metrics"]["accuracy"], right as f64 / rows as f64);
    assert_eq!(keys(&rejection["metrics"]), ["matthews", "accuracy"]);
    // All texts are scored as before, and by accuracy too.
    assert_eq!(result["metrics"]["matthews"], plain["metrics"]["matthews"]);
    assert!(result["metrics"]["accuracy"].is_number() && plain["metrics"]["accuracy"].is_null());
    let line = format!("  ({rows} of 32 rows, {:.1} %; {} below a probability of ", rows as f64 / 0.32, 32 - rows);
    assert!(run.stderr.contains("\nanswered: matthews ") && run.stderr.contains(&line), "{}", run.stderr);
    let page = fixture.read("half.html");
    for part in ["<h2>Rejected texts</h2>", "<span>answered</span>", "<td>rejects</td>"] {
        assert!(page.contains(part), "{part}");
    }
    let without = fixture.run("eval -q --task-file half.safetensors --data dev.tsv").json();
    assert_eq!((&without["rejection"], &without["metrics"]), (rejection, &result["metrics"]));

    with_rejection(&fixture, "calibrated.safetensors", "none.safetensors", 1.0);
    let run = fixture.run("eval --task-file none.safetensors --data dev.tsv");
    let none = run.json();
    assert_eq!((&none["rejection"]["answered"], &none["rejection"]["coverage"]), (&0.into(), &0.0.into()));
    assert_eq!(none["rejection"]["metrics"], serde_json::json!({}));
    assert!(run.stderr.contains("\nanswered: none  (0 of 32 rows, 0.0 %; 32 below "), "{}", run.stderr);
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
fn out_of_fold_answers_calibrate_a_task_that_was_trained_on_all_rows() {
    let fixture = Fixture::new();
    // With some wrong labels, not every answer is right.
    let flip = |(number, row): (usize, &str)| match row.rsplit_once('\t') {
        Some((text, "praise")) if number % 8 == 3 => format!("{text}\tblame\n"),
        Some((text, "blame")) if number % 8 == 5 => format!("{text}\tpraise\n"),
        _ => format!("{row}\n"),
    };
    fixture.write("train.tsv", fixture.read("train.tsv").lines().enumerate().map(flip).collect::<String>());
    let train = "finetune -q --model model --train train.tsv --epochs 3 --lr 1e-2 --dropout 0";
    let folds = fixture.run(&format!("{train} --folds 4 --out folds")).json();
    fixture.run(&format!("{train} --out out")).json();
    // No model is needed.
    std::fs::rename(fixture.path("model"), fixture.path("elsewhere")).unwrap();
    let calibrate = "calibrate --task-file out/task.safetensors --out-of-fold folds/out_of_fold.jsonl \
                     --out calibrated.safetensors";
    let run = fixture.run(&format!("{calibrate} --min-accuracy 0.9"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    let number = |value: &Value| value.as_f64().unwrap();
    let before = format!("\nerror        {:.4} before, ", number(&result["before"]["ece"]));
    assert!(run.stderr.contains(&before) && run.stderr.contains("fitted to 64 rows"), "{}", run.stderr);
    assert_eq!((&result["rows"], &result["data"]), (&folds["rows"], &Value::Null));
    assert_eq!(result["out_of_fold"], "folds/out_of_fold.jsonl");
    assert_eq!(fixture.tensors("calibrated.safetensors"), fixture.tensors("out/task.safetensors"));

    // At the temperature, the derivative of the mean loss of the answers in the file is zero.
    let answers: Vec<Value> =
        fixture.read("folds/out_of_fold.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let slope = |temperature: f64| -> f64 {
        let of = |answer: &Value| {
            let logit = |name: &str| number(&answer["logits"][name]);
            let margin = logit("praise") - logit("blame");
            let is_praise = f64::from(u8::from(answer["expected"] == "praise"));
            (1.0 / (1.0 + (-margin / temperature).exp()) - is_praise) * margin
        };
        answers.iter().map(of).sum()
    };
    let temperature = number(&result["temperature"]);
    assert!(temperature > 0.051 && temperature < 19.9, "within the range: {temperature}");
    assert!(slope(temperature * 1.001) * slope(temperature * 0.999) < 0.0, "{temperature}");
    for answer in &answers {
        let margin = number(&answer["logits"]["praise"]) - number(&answer["logits"]["blame"]);
        let found = number(&answer["probabilities"]["praise"]);
        assert!((found - 1.0 / (1.0 + (-margin).exp())).abs() < 1e-6, "logits before a temperature: {answer}");
    }

    let probability = |task: &str| {
        let predict = format!("predict -q --model elsewhere --task-file {task} --output-format jsonl");
        let answer: Value = serde_json::from_str(&fixture.run_with(&predict, "good bad day\n").succeeded()).unwrap();
        let p = number(&answer["probabilities"]["praise"]);
        (p / (1.0 - p)).ln()
    };
    let (expected, found) = (probability("out/task.safetensors") / temperature, probability("calibrated.safetensors"));
    assert!((expected - found).abs() < 1e-3 * expected.abs().max(1.0), "{expected} {found}");

    // The file of another task, and one that was cut.
    let lines = fixture.read("folds/out_of_fold.jsonl");
    let cut: Vec<&str> = lines.lines().take(60).collect();
    fixture.write("cut.jsonl", cut.join("\n"));
    let other = format!("{train} --out other --pooling mean").replace("model model", "model elsewhere");
    fixture.run(&other).json();
    let again = calibrate.replace("calibrated.safetensors", "new");
    for (line, code, reason) in [
        (again.replace("folds/out_of_fold", "cut"), 1, "cut.jsonl, line 61: the file ends after 60 of 64 rows"),
        (again.replace("out/task", "other/task"), 1, "line 1: the answers are not those of the task file's task"),
        (again.replace("folds/out_of_fold.jsonl", "train.tsv"), 1, "train.tsv, line 1: not a JSON object"),
        (
            format!("{calibrate} --overwrite").replace("calibrated.safetensors", "folds/out_of_fold.jsonl"),
            1,
            "--out folds/out_of_fold.jsonl: it is the data",
        ),
        (format!("{again} --data dev.tsv"), 2, "cannot be used with"),
        (format!("{again} --model elsewhere"), 2, "cannot be used with"),
        (format!("{again} --device cpu"), 2, "cannot be used with"),
        ("calibrate --task-file out/task.safetensors --out new".into(), 2, "--data <FILE>"),
    ] {
        let run = fixture.run(&line);
        assert_eq!(run.code, Some(code), "{line}: {}", run.stderr);
        assert!(run.stderr.contains(reason), "{reason}: {}", run.stderr);
        assert!(!fixture.path("new").exists(), "{line}");
    }
}

#[test]
fn out_of_fold_answers_of_several_labels_have_lists_and_calibrate_each_label() {
    let fixture = Fixture::new();
    let row = |i: usize| {
        let (good, bad) = (["good", "the", "great"][i % 3], ["bad", "a", "awful", "is"][i % 4]);
        let labels = [("good", i % 3 != 1), ("bad", i.is_multiple_of(2))].into_iter().filter(|(_, has)| *has);
        format!("{good} {bad}\t{}\n", labels.map(|(name, _)| name).collect::<Vec<_>>().join(";"))
    };
    fixture.write("many.tsv", format!("text\tlabels\n{}", (0..24).map(row).collect::<String>()));
    let train = "finetune -q --model model --kind multi-label --train many.tsv --epochs 2 --lr 1e-2";
    fixture.run(&format!("{train} --folds 3 --out folds")).json();
    fixture.run(&format!("{train} --out out")).json();
    let first: Value = serde_json::from_str(fixture.read("folds/out_of_fold.jsonl").lines().next().unwrap()).unwrap();
    assert_eq!(first["expected"], serde_json::json!(["bad", "good"]), "{first}");
    let line = "calibrate -q --task-file out/task.safetensors --out-of-fold folds/out_of_fold.jsonl --out new";
    let result = fixture.run(line).json();
    let labels = result["labels"].as_array().unwrap();
    let support: Vec<&Value> = labels.iter().map(|label| &label["support"]).collect();
    assert_eq!(support, [12, 16], "{result}");
    assert!(labels.iter().all(|label| label["f1"].as_f64() >= label["f1_before"].as_f64()), "{result}");
    let inspected = fixture.run("inspect new");
    assert!(inspected.stderr.contains(", from a probability of: bad 0."), "{}", inspected.stderr);
    assert_eq!(inspected.json()["files"][0]["calibration"]["thresholds"].as_array().map(Vec::len), Some(2));
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
        assert_eq!(run.code, Some(if line.contains("--min-accuracy") { 2 } else { 1 }), "{line}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{line}: {}", run.stderr);
        assert!(run.stderr.contains(reason), "{line}: {}", run.stderr);
        assert!(!fixture.path("new").exists());
    }
}
