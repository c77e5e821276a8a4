use ndarray::arr2;

use super::*;
use crate::artefacts::HeatRow;
use crate::calibrate::Reliability;
use crate::infer::{Answered, Mistake};
use crate::metrics::Metric;
use crate::metrics::class_report::{ClassReport, ClassScore};
use crate::task_file::Best;
use crate::train::Score;

fn analysis() -> Analysis {
    let logits = arr2(&[[2.0, 0.0], [0.0, 1.5], [0.8, 0.0]]);
    let long = "word ".repeat(100) + "<end>";
    let mistake = |text: &str| Mistake {
        line: 4,
        times: 1,
        texts: vec![text.into(), "a & b".into()],
        expected: "yes".into(),
        answered: "<no>".into(),
        weight: 0.7,
    };
    Analysis {
        scores: vec![Score { metric: Metric::Accuracy, value: 2.0 / 3.0 }],
        answered: None,
        rows: 3,
        tokens: 12,
        names: vec!["<no>".into(), "yes".into()],
        classes: Some(ClassReport::new(&[0, 1, 0], &[0, 1, 1], 2)),
        labels: Vec::new(),
        reliability: Some(Reliability::of_classes(&logits, &[0, 1, 1])),
        mistakes: vec![mistake("<script>alert(1)</script>"), Mistake { times: 3, ..mistake(&long) }],
    }
}

fn report() -> Report {
    let points = |values: &[f64]| values.iter().enumerate().map(|(at, &value)| (at as f64 + 1.0, value)).collect();
    let series = |name: &str, values: &[f64]| Series { name: name.into(), points: points(values) };
    let many: Vec<f64> = (0..5000).map(|step| 1.0 / f64::from(step + 1)).collect();
    Report {
        title: "a <title>".into(),
        data: vec![("rows trained on".into(), "1,234".into())],
        facts: vec![("method".into(), "bitfit & more".into())],
        course: Course {
            loss: series("loss", &many),
            rate: series("learning rate", &[1e-3; 9]),
            scores: vec![series("accuracy", &[0.5, f64::NAN, 0.75]), series("f1", &[0.4])],
            kept: Some(3.0),
        },
        analysis: Some(("dev.tsv".into(), analysis())),
        movement: Some(HeatMap {
            title: "moved".into(),
            rows: vec![HeatRow { label: "query".into(), cells: vec![Some(0.1)] }],
        }),
    }
}

/// Checks that elements are closed in their order, and returns the page without its style.
fn well_formed(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    let body = format!("{head}{rest}").replacen("<!DOCTYPE html>", "", 1);
    let mut open: Vec<String> = Vec::new();
    for tag in body.split('<').skip(1).map(|part| part.split('>').next().unwrap()) {
        let name = tag.trim_start_matches('/').split(|c: char| c.is_whitespace()).next().unwrap().to_owned();
        match () {
            () if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            () if tag.ends_with('/') || ["meta", "br"].contains(&&*name) => {}
            () => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    body
}

#[test]
fn the_page_is_well_formed_and_self_contained_and_escapes_what_it_quotes() {
    let page = html::page(&report());
    let body = well_formed(&page);
    for part in [
        "a &lt;title&gt;",
        "bitfit &amp; more",
        "&lt;script&gt;alert(1)&lt;/script&gt;<br>a &amp; b",
        "&lt;end&gt;</details>",
        "0.6667",
        "reliability diagram",
        ">stated probability of the answer</text>",
        ">share of answers that are right</text>",
        "<tr><td>rows trained on</td><td>1,234</td></tr>",
        "<td>4 (×&#8239;3)</td>",
        "<td>4</td>",
        "the values of step 3.",
        "What moved",
        "prefers-color-scheme:dark",
        "width=device-width",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!body.contains("<script") && !page.contains("url(") && !page.contains("NaN"));
    assert!(!page.replace("http://www.w3.org/2000/svg", "").contains("http"), "nothing from the network");
    assert_eq!(page.matches("<polyline").count(), 2, "the loss and the accuracy; a constant rate is no curve");
    assert_eq!(page.matches("<circle").count(), 1, "a single score is a point");
    assert_eq!(page.matches("<line class=\"kept\"").count(), 2, "in the loss and the scores");
    let right = page.matches("<td class=\"right\" style=\"background:color-mix(in srgb,var(--one)").count();
    assert_eq!((right, page.matches("<td style=\"background:color-mix(in srgb,var(--two)").count()), (2, 2));
    let longest = page.lines().filter(|line| line.contains("<polyline")).map(str::len).max().unwrap();
    assert!(longest < 20_000, "5000 steps are thinned to what can be seen: {longest}");
}

#[test]
fn what_is_empty_is_left_out() {
    let empty = Report { title: "empty".into(), ..Report::default() };
    let page = html::page(&empty);
    well_formed(&page);
    assert!(!page.contains("<section>"));
    let regression =
        Analysis { names: Vec::new(), classes: None, reliability: None, mistakes: Vec::new(), ..analysis() };
    let page = html::page(&Report { analysis: Some(("dev.tsv".into(), regression)), ..empty });
    well_formed(&page);
    assert!(page.contains("0.6667") && !page.contains("<section>"));
}

#[test]
fn the_table_of_classes_has_their_means_and_that_of_labels_has_none() {
    let lines = class_table(&analysis()).unwrap().lines();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["class", "precision", "recall", "F1", "support"]);
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["<no>", "0.5000", "1.0000", "0.6667", "1"]);
    assert_eq!(lines.len(), 5);
    let labels = vec![ClassScore::new(1, 2, 1), ClassScore::new(0, 0, 0)];
    let several = Analysis { classes: None, labels, ..analysis() };
    assert_eq!(class_table(&several).unwrap().rows.len(), 2);
    assert!(class_table(&Analysis { classes: None, ..analysis() }).is_none());
}

#[test]
fn what_is_answered_stands_beside_all() {
    let answered = |rows: usize, scores: &[f64]| {
        let scores = scores.iter().map(|&value| Score { metric: Metric::Accuracy, value }).collect();
        Some(Answered { reject_below: 0.75, rows, rejected: 3 - rows, scores })
    };
    let page = |answered| {
        let analysis = Analysis { answered, ..analysis() };
        html::page(&Report { analysis: Some(("dev.tsv".into(), analysis)), ..Report::default() })
    };
    let some = page(answered(2, &[1.0]));
    well_formed(&some);
    for part in [
        "<b>66.7 %</b><span>answered</span>",
        "below a probability of 0.7500 is rejected",
        "<tr><td>answered</td><td>2</td><td>0.6667</td><td>1.0000</td></tr>",
        "<tr><td>rejected</td><td>1</td><td>0.3333</td><td>-</td></tr>",
        "<tr><td>all</td><td>3</td><td>1.0000</td><td>0.6667</td></tr>",
    ] {
        assert!(some.contains(part), "{part}");
    }
    assert!(page(answered(0, &[])).contains("<tr><td>answered</td><td>0</td><td>0.0000</td><td>-</td></tr>"));
    assert!(!page(None).contains("Rejected texts"));
}

#[test]
fn the_course_is_read_from_the_log_of_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.jsonl");
    let log = "{\"step\":1,\"epoch\":1,\"loss\":9.0,\"mean_loss\":0.5,\"lr\":0.001,\"grad_norm\":1.0}\n\
               {\"epoch\":1,\"step\":3,\"eval\":{\"accuracy\":0.25,\"f1\":0.5}}\n\
               {\"step\":5,\"epoch\":2,\"loss\":9.0,\"mean_loss\":0.25,\"lr\":0.002,\"grad_norm\":1.0}\n\
               {\"epoch\":2,\"step\":6,\"eval\":{\"accuracy\":0.75,\"f1\":1.0}}\n";
    std::fs::write(&path, log).unwrap();
    let best = |epoch, step| Best { epoch, step, scores: Default::default() };
    for (best, kept) in [
        (best(1, None), Some(3.0)),
        (best(2, None), Some(6.0)),
        (best(1, Some(3)), Some(3.0)),
        (best(1, Some(2)), None),
        (best(0, None), Some(0.0)),
        (best(3, None), None),
    ] {
        assert_eq!(Course::read(&path, Some(&best)).unwrap().kept, kept, "{best:?}");
    }
    let course = Course::read(&path, None).unwrap();
    assert_eq!(course.kept, None);
    assert_eq!(course.loss.points, [(1.0, 0.5), (5.0, 0.25)]);
    assert_eq!(course.rate.points, [(1.0, 0.001), (5.0, 0.002)]);
    assert_eq!(course.scores[0], Series { name: "accuracy".into(), points: vec![(3.0, 0.25), (6.0, 0.75)] });
    assert_eq!(course.scores[1].name, "f1");
    for (bad, line) in [("{\"step\":1}\n", 1), ("nonsense", 1), ("\n{\"eval\":{\"f1\":\"x\"}}", 2), ("[1]", 1)] {
        std::fs::write(&path, bad).unwrap();
        let message = Course::read(&path, None).unwrap_err().to_string();
        assert!(message.contains(&format!("metrics.jsonl, line {line}: ")), "{message}");
    }
}
