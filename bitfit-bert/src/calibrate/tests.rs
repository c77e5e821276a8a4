//! Against scikit-learn and SciPy: the temperature is that of `scipy.optimize.minimize_scalar` over the mean of
//! `-log_softmax(z / T)[y]`, losses are `sklearn.metrics.log_loss`, F1 is `sklearn.metrics.f1_score` at every threshold
//! there is, and the error is computed with NumPy by the paper's formula.

use ndarray::{Array2, arr2, s};
use std::path::Path;

use super::*;
use crate::data::{Example, Kind, Label, Labels};
use crate::heads::{Prediction, softmax};
use crate::task_file::{TaskInfo, tests::task};

const CLASSES: [usize; 40] = [
    2, 0, 0, 0, 0, 2, 2, 1, 0, 0, 0, 1, 1, 1, 0, 0, 2, 2, 0, 0, 1, 1, 2, 1, 1, 1, 1, 1, 0, 2, 2, 2, 2, 0, 0, 1, 1, 2,
    2, 0,
];
const LOGITS: [f32; 120] = [
    0.05, 3.09, 3.59, 1.49, -0.37, 1.08, 6.37, -0.54, -0.49, 4.5, -1.77, -0.58, 4.27, 1.16, 0.18, 1.34, -5.66, 4.54,
    -1.92, -3.34, 3.05, 1.4, 1.61, -2.15, 2.55, -0.11, 2.81, 3.99, 0.39, 2.22, 2.09, -1.85, 1.17, 1.17, 2.07, -1.57,
    0.46, -2.49, 1.38, 0.98, -0.78, 0.12, 0.57, 1.51, -4.07, 0.67, 1.42, 2.31, -4.32, -1.0, 3.16, -1.22, 3.18, 0.12,
    3.21, -2.1, 2.81, 2.46, -0.74, -3.44, 3.36, 4.01, 1.51, 2.28, 3.2, -1.28, -1.6, -1.6, 5.24, -2.92, 1.31, -0.64,
    0.45, 3.65, -2.5, -3.46, 2.49, 2.43, 1.51, 2.93, -0.63, 0.59, 2.01, 1.63, 0.91, 0.27, -0.22, 1.09, 0.45, 7.6, 3.0,
    2.99, -1.58, -0.68, -1.22, 3.57, -4.56, 2.35, 4.63, -0.1, -1.96, -1.6, 2.59, 1.28, 4.1, -0.39, 4.04, 0.31, 3.52,
    3.98, 2.74, -2.16, -0.38, 0.87, 3.01, 1.32, 1.89, 1.6, 0.97, -1.4,
];
const LABEL_LOGITS: [f32; 120] = [
    1.12, -2.68, 2.27, 0.38, 0.53, -0.43, -0.23, -0.94, -0.51, 1.25, -0.29, -0.79, -1.47, -0.66, 1.09, -1.6, -0.77,
    1.79, -1.27, 0.14, -0.78, 0.4, -1.71, 0.41, 0.36, -0.28, -3.34, 0.87, -0.31, -2.31, 1.99, -0.96, -0.05, 0.7, -3.03,
    -2.07, 0.33, -2.39, 2.34, -1.58, -0.51, -1.46, -3.74, -0.07, 0.69, -2.65, -2.85, -1.13, -2.15, -3.2, -2.18, -0.64,
    -1.97, -0.57, 2.03, -1.47, -2.63, -2.8, -1.53, 1.38, -1.23, -0.95, -1.94, -1.2, 0.03, 0.17, -2.79, -1.07, -1.98,
    -2.61, -2.46, 1.17, 0.39, 1.41, -0.57, -0.13, 1.28, -1.14, -0.19, -0.4, -2.28, -4.56, 1.29, -2.12, -0.01, -2.15,
    -2.68, 2.05, -2.58, 0.7, -0.05, 0.61, -1.58, -1.4, -0.66, -0.31, -0.89, -0.92, 2.83, -1.84, -2.41, -0.76, -1.9,
    -1.21, -1.37, 1.67, -2.16, -1.59, -4.05, -2.39, 2.04, -2.18, -2.2, -0.72, 1.08, 0.68, -2.69, -0.83, 0.76, 1.25,
];
const INDICATORS: [f32; 120] = [
    1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0,
    1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0,
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0,
    0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0,
    0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0,
    1.0, 0.0, 0.0, 1.0, 1.0,
];

fn matrix(values: &[f32; 120]) -> Array2<f32> {
    Array2::from_shape_vec((40, 3), values.to_vec()).unwrap()
}

fn close(found: f64, expected: f64, bound: f64) {
    assert!((found - expected).abs() <= bound, "{found} {expected}");
}

#[test]
fn the_temperature_of_classes_is_scipys_and_the_errors_are_those_of_the_paper() {
    let fit = Fit::new(&matrix(&LOGITS), &Targets::Classes(CLASSES.to_vec()), None).unwrap();
    close(fit.calibration.temperature.into(), 1.6419325799485598, 1e-6);
    close(fit.before.loss, 0.7678320015463151, 1e-6);
    close(fit.after.loss, 0.7131552690176132, 1e-6);
    close(fit.before.ece, 0.11457975804805756, 1e-6);
    close(fit.after.ece, 0.12965358863674015, 1e-6);
    assert_eq!(fit.before.bins.iter().map(|bin| bin.rows).sum::<usize>(), 40);
    assert_eq!((fit.answered, fit.labels.len()), (None, 0));
}

#[test]
fn the_temperature_and_thresholds_of_labels_are_the_best_there_are() {
    let fit = Fit::new(&matrix(&LABEL_LOGITS), &Targets::Indicators(matrix(&INDICATORS)), None).unwrap();
    close(fit.calibration.temperature.into(), 0.37791347316219004, 1e-6);
    close(fit.before.loss, 0.3252248261201506, 1e-6);
    close(fit.after.loss, 0.2372644894440564, 1e-6);
    let best = [0.8823529411764706, 0.9, 0.9696969696969697];
    let usual = [0.8275862068965517, 0.8421052631578947, 0.8666666666666667];
    for ((label, best), usual) in fit.labels.iter().zip(best).zip(usual) {
        close(label.f1, best, 1e-12);
        close(label.f1_before, usual, 1e-12);
    }
    // What metrics read is what is decided.
    let (calibration, outputs) = (&fit.calibration, matrix(&LABEL_LOGITS));
    let scored = calibration.scored(outputs.clone());
    for (row, logits) in scored.rows().into_iter().zip(calibration.logits(outputs).rows()) {
        let probabilities = logits.iter().map(|&logit| logistic(logit)).collect();
        let decided = calibration.decide(Prediction::Labels { labels: Vec::new(), probabilities });
        let Prediction::Labels { labels, .. } = decided else { panic!("{decided:?}") };
        assert_eq!(labels, (0..3).filter(|&label| row[label] >= 0.0).collect::<Vec<_>>());
    }
}

#[test]
fn answers_above_the_threshold_are_as_accurate_as_was_asked_for() {
    // Right at 0.9 and 0.8, wrong at 0.7, right at 0.6, wrong at 0.55.
    let logit = |p: f32| (p / (1.0 - p)).ln();
    let outputs = arr2(&[0.9, 0.6, 0.8, 0.7, 0.55].map(|p| [logit(p), 0.0]));
    let classes = Targets::Classes(vec![0, 0, 0, 1, 1]);
    let fit = |accuracy| Fit::new(&outputs, &classes, Some(accuracy));
    for (accuracy, answered, reached) in [(1.0, 0.4, 1.0), (0.75, 0.8, 0.75), (0.6, 1.0, 0.6), (0.0, 1.0, 0.6)] {
        let fit = fit(accuracy).unwrap();
        assert_eq!(fit.answered, Some((answered, reached)), "{accuracy}");
        let rejects = |row: usize| {
            let logits = fit.calibration.logits(outputs.clone());
            let probabilities = softmax(logits.row(row));
            match fit.calibration.decide(Prediction::Class { class: 0, probabilities, is_rejected: false }) {
                Prediction::Class { is_rejected, .. } => is_rejected,
                other => panic!("{other:?}"),
            }
        };
        let given: Vec<usize> = (0..5).filter(|&row| !rejects(row)).collect();
        assert_eq!(given.len(), (answered * 5.0).round() as usize);
        assert_eq!(fit.calibration.answered(&fit.calibration.logits(outputs.clone())), Some(given), "as is scored");
    }
    let wrong = Targets::Classes(vec![1; 5]);
    let message = Fit::new(&outputs, &wrong, Some(0.5)).unwrap_err().to_string();
    assert!(message.contains("no threshold reaches the least accuracy"), "{message}");
}

#[test]
fn answers_that_are_all_right_or_all_wrong_have_a_temperature() {
    let outputs = arr2(&[[3.0, 0.0], [0.0, 2.0]]);
    let temperature = |classes: [usize; 2]| {
        Fit::new(&outputs, &Targets::Classes(classes.to_vec()), None).unwrap().calibration.temperature
    };
    assert_eq!([temperature([0, 1]), temperature([1, 0])], [0.05, 20.0]);
    let labels = Fit::new(&outputs, &Targets::Indicators(arr2(&[[1.0, 0.0], [0.0, 0.0]])), None).unwrap().labels;
    assert_eq!((labels[1].threshold, labels[1].support), (0.5, 0), "nothing to choose by");
}

#[test]
fn the_loss_of_a_probability_of_one_is_that_of_its_logit() {
    let found = Reliability::of_labels(&arr2(&[[18.0, -200.0]]), &arr2(&[[0.0, 1.0]]));
    close(found.loss, 109.0, 1e-6);
    close(Reliability::of_classes(&arr2(&[[200.0, 0.0]]), &[1]).loss, 200.0, 1e-9);
}

#[test]
fn other_tasks_are_refused() {
    let outputs = arr2(&[[0.5]]);
    for (targets, accuracy) in [
        (Targets::Scores(vec![1.0]), None),
        (Targets::Classes(vec![]), None),
        (Targets::Indicators(arr2(&[[1.0]])), Some(0.9)),
    ] {
        assert!(Fit::new(&outputs, &targets, accuracy).is_err());
    }
    let sound = Calibration { temperature: 1.5, reject_below: None, thresholds: None };
    assert_eq!(sound.problem(Kind::Classify, 2), None);
    for (kind, bad) in [
        (Kind::Regress, sound.clone()),
        (Kind::Classify, Calibration { temperature: 0.0, ..sound.clone() }),
        (Kind::Classify, Calibration { temperature: f32::NAN, ..sound.clone() }),
        (Kind::Classify, Calibration { reject_below: Some(1.5), ..sound.clone() }),
        (Kind::Classify, Calibration { thresholds: Some(vec![0.5; 2]), ..sound.clone() }),
        (Kind::MultiLabel, Calibration { reject_below: Some(0.5), ..sound.clone() }),
        (Kind::MultiLabel, Calibration { thresholds: Some(vec![0.5; 3]), ..sound.clone() }),
        (Kind::MultiLabel, Calibration { thresholds: Some(vec![0.5, f32::NAN]), ..sound }),
    ] {
        assert!(bad.problem(kind, 2).is_some(), "{kind} {bad:?}");
    }
}

/// The header of a task of three labels.
fn header(kind: Kind) -> TaskInfo {
    let labels = Labels::from_names(["a", "b", "c"].map(str::to_owned).to_vec());
    TaskInfo { kind, labels, calibration: None, ..task().info }
}

/// The lines of out-of-fold answers with these outputs.
fn lines(info: &TaskInfo, outputs: &Array2<f32>, targets: &Targets) -> Vec<String> {
    let writer = OutOfFoldWriter::new(info, targets, outputs.nrows());
    let line = |row: usize| {
        let label = match targets {
            Targets::Classes(classes) => Label::new(["a", "b", "c"][classes[row]]),
            _ => Label::new("a;b"),
        };
        let text = format!("text {row}");
        let example = Example { text, pair: None, label, words: Vec::new(), question: None, line: row + 2 };
        serde_json::to_string(&writer.row(row, &example, outputs.slice(s![row..=row, ..]))).unwrap()
    };
    (0..outputs.nrows()).map(line).collect()
}

fn read(lines: &[String], info: &TaskInfo) -> Result<OutOfFold> {
    OutOfFold::from_reader(lines.join("\n").as_bytes(), Path::new("out_of_fold.jsonl"), info)
}

#[test]
fn out_of_fold_answers_keep_every_bit_and_give_scipys_temperature() {
    let classes = Targets::Classes(CLASSES.to_vec());
    let info = header(Kind::Classify);
    let found = read(&lines(&info, &matrix(&LOGITS), &classes), &info).unwrap();
    assert_eq!(found, OutOfFold { outputs: matrix(&LOGITS), targets: classes });
    let fit = Fit::new(&found.outputs, &found.targets, None).unwrap();
    close(fit.calibration.temperature.into(), 1.6419325799485598, 1e-6);
    close(fit.before.ece, 0.11457975804805756, 1e-6);
    close(fit.after.ece, 0.12965358863674015, 1e-6);

    let indicators = Targets::Indicators(matrix(&INDICATORS));
    let info = header(Kind::MultiLabel);
    let found = read(&lines(&info, &matrix(&LABEL_LOGITS), &indicators), &info).unwrap();
    let fit = Fit::new(&found.outputs, &found.targets, None).unwrap();
    assert_eq!(found, OutOfFold { outputs: matrix(&LABEL_LOGITS), targets: indicators });
    close(fit.calibration.temperature.into(), 0.37791347316219004, 1e-6);

    // Values that a fixed number of digits would change.
    let values = [f32::MIN_POSITIVE, 1.0 + f32::EPSILON, f32::MAX, -0.1, 1.0 / 3.0, 16_777_217.0 / 3.0];
    let outputs = Array2::from_shape_vec((2, 3), values.to_vec()).unwrap();
    let info = header(Kind::Classify);
    let lines = lines(&info, &outputs, &Targets::Classes(vec![0, 1]));
    assert_eq!(read(&lines, &info).unwrap().outputs, outputs);
    // The labels are found by their names, and what was calibrated before does not matter.
    let lines: Vec<String> = lines.iter().map(|line| line.replace("\"row\"", "\"fold\":0,\"row\"")).collect();
    let earlier = Some(Calibration { temperature: 2.0, reject_below: None, thresholds: None });
    assert_eq!(read(&lines, &TaskInfo { calibration: earlier, ..info }).unwrap().outputs, outputs);
}

#[test]
fn what_is_not_the_out_of_fold_answers_of_the_task_is_refused_with_its_line() {
    let info = header(Kind::Classify);
    let outputs = arr2(&[[0.5, 1.0, 2.0], [1.5, 0.0, -1.0], [0.0, 0.25, -2.0]]);
    let sound = lines(&info, &outputs, &Targets::Classes(vec![0, 1, 2]));
    assert!(read(&sound, &info).is_ok());
    let refusal = |lines: &[String], info: &TaskInfo| read(lines, info).unwrap_err().to_string();
    let check = |message: &str, line: usize, reason: &str| {
        let place = format!("out_of_fold.jsonl, line {line}: ");
        assert!(message.starts_with(&place) && message.contains(reason), "{message:?} is not {line}, {reason:?}");
    };
    for (from, to, reason) in [
        ("-1.0", "null", "the logit of \"c\" is null, which is not a finite number"),
        ("-1.0", "\"1.0\"", "the logit of \"c\" is \"1.0\", which is not a finite number"),
        ("-1.0", "1e39", "the logit of \"c\" is 1e+39, which is not a finite number"),
        ("-1.0", "NaN", "not a JSON object"),
        (",\"c\":-1.0", "", "it has no logit of the label \"c\""),
        ("\"c\":", "\"d\":", "the label \"d\" is not among those"),
        ("\"b\",", "\"d\",", "the label \"d\" is not among those"),
        ("\"expected\":\"b\"", "\"expected\":[\"b\"]", "\"expected\" is not one label"),
        ("\"expected\":\"b\"", "\"expected\":null", "\"expected\" is not one label"),
        ("\"logits\"", "\"scores\"", "it has no \"logits\": expected out-of-fold answers of kind classify"),
        ("\"row\":2", "\"row\":3", "expected row 2 of 3, found row 3 of 3: rows are missing"),
        ("\"rows\":3", "\"rows\":4", "expected row 2 of 3, found row 2 of 4: rows are missing"),
        ("\"row\":2,", "", "it has no number \"row\""),
        ("{", "[{", "not a JSON object"),
    ] {
        let mut lines = sound.clone();
        assert!(lines[1].contains(from), "{from} {}", lines[1]);
        lines[1] = lines[1].replacen(from, to, 1);
        check(&refusal(&lines, &info), 2, reason);
    }
    check(&refusal(&[sound[0].clone(), sound[2].clone()], &info), 2, "expected row 2 of 3, found row 3 of 3");
    check(&refusal(&sound[..2], &info), 3, "the file ends after 2 of 3 rows");
    check(&refusal(&[], &info), 1, "there is no answer in the file");
    check(&refusal(&sound, &header(Kind::MultiLabel)), 1, "\"expected\" is not a list of labels");
    let several = lines(&header(Kind::MultiLabel), &outputs, &Targets::Indicators(Array2::ones((3, 3))));
    check(&refusal(&several, &info), 1, "\"expected\" is not one label");
    for other in [
        TaskInfo { base_fingerprint: "ef".repeat(32), ..info.clone() },
        TaskInfo { method: crate::Method::Full, ..info.clone() },
        TaskInfo { pairs: !info.pairs, ..info.clone() },
    ] {
        check(&refusal(&sound, &other), 1, "the answers are not those of the task file's task");
    }
    let regression = TaskInfo { kind: Kind::Regress, labels: None, ..info };
    let message = refusal(&sound, &regression);
    assert!(message.contains("a task of kind regress has no probabilities"), "{message}");
    // Of such a task the rows have no logits.
    let scores = Targets::Scores(vec![1.0]);
    let row = lines(&regression, &arr2(&[[0.5]]), &scores).remove(0);
    assert!(!row.contains("logits") && row.contains("\"expected\":\"a;b\""), "{row}");
}
