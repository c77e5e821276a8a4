//! The official files of every task, and what a preset implies.

use std::path::Path;

use super::*;
use crate::Error;
use crate::data::{Dataset, ReadOptions};

fn read(task: GlueTask, require_labels: bool, file: &str) -> Dataset {
    let options = ReadOptions { task: Some(task), require_labels, ..ReadOptions::default() };
    Dataset::from_reader(file.as_bytes(), Path::new("x.tsv"), &options).unwrap()
}

/// Text, pair and label of a file's only example.
fn only(task: GlueTask, require_labels: bool, file: &str) -> (String, Option<String>, Option<String>) {
    let mut set = read(task, require_labels, file);
    assert_eq!(set.examples.len(), 1, "{task}");
    let example = set.examples.remove(0);
    (example.text, example.pair.map(|pair| pair.to_string()), example.label.map(|label| label.to_string()))
}

#[test]
fn the_official_labelled_files_are_read() {
    let files: [(GlueTask, &str, bool); 9] = [
        (GlueTask::Cola, "gj04\tY\t\tA\n", false),
        (GlueTask::Sst2, "sentence\tlabel\nA\tY\n", false),
        (GlueTask::Mrpc, "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\nY\t70\t71\tA\tB\r\n", true),
        (
            GlueTask::Stsb,
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n\
             0\tmain\tMSR\t2012\t1\tnone\tnone\tA\tB\tY\n",
            true,
        ),
        (GlueTask::Qqp, "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tA\tB\tY\n", true),
        (
            GlueTask::Mnli,
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t\
             sentence2_parse\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n0\t1\t2\tx\t(a)\t(b)\t(c)\t(d)\tA\tB\tz\tz\tY\n",
            true,
        ),
        (GlueTask::Qnli, "index\tquestion\tsentence\tlabel\n0\tA\tB\tY\n", true),
        (GlueTask::Rte, "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tY\n", true),
        (GlueTask::Wnli, "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tY\n", true),
    ];
    for ((task, file, pair), listed) in files.into_iter().zip(GlueTask::ALL) {
        assert_eq!(task, *listed);
        let expected = ("A".into(), pair.then(|| "B".into()), Some("Y".into()));
        assert_eq!(only(task, true, file), expected, "{task}");
        assert_eq!(only(task, false, file), expected, "{task}");
    }
}

#[test]
fn the_official_test_files_are_read_without_labels() {
    let files: [(GlueTask, &str, bool); 9] = [
        (GlueTask::Cola, "index\tsentence\n0\tA\n", false),
        (GlueTask::Sst2, "index\tsentence\n0\tA\n", false),
        (GlueTask::Mrpc, "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tA\tB\n", true),
        (
            GlueTask::Stsb,
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\n\
             0\tmain\tMSR\t2012\t1\tnone\tnone\tA\tB\n",
            true,
        ),
        (GlueTask::Qqp, "id\tquestion1\tquestion2\n0\tA\tB\n", true),
        (
            GlueTask::Mnli,
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t\
             sentence2_parse\tsentence1\tsentence2\n0\t1\t2\tx\t(a)\t(b)\t(c)\t(d)\tA\tB\n",
            true,
        ),
        (GlueTask::Qnli, "index\tquestion\tsentence\n0\tA\tB\n", true),
        (GlueTask::Rte, "index\tsentence1\tsentence2\n0\tA\tB\n", true),
        (GlueTask::Wnli, "index\tsentence1\tsentence2\n0\tA\tB\n", true),
    ];
    for (task, file, pair) in files {
        assert_eq!(only(task, false, file), ("A".into(), pair.then(|| "B".into()), None), "{task}");
        let options = ReadOptions { task: Some(task), ..ReadOptions::default() };
        let error = Dataset::from_reader(file.as_bytes(), Path::new("x.tsv"), &options).unwrap_err();
        assert!(matches!(&error, Error::DataColumn { settings: [crate::Setting::LabelColumn], .. }), "{task}: {error}");
    }
}

#[test]
fn other_layouts_go_by_the_common_names() {
    let expected = ("A".into(), Some("B".into()), Some("1".into()));
    assert_eq!(only(GlueTask::Mnli, true, "premise\thypothesis\tlabel\tidx\nA\tB\t1\t0\n"), expected);
    assert_eq!(only(GlueTask::Mnli, true, "index\tsentence1\tsentence2\tlabel\n0\tA\tB\t1\n"), expected);
    assert_eq!(only(GlueTask::Stsb, true, "sentence1\tsentence2\tlabel\tidx\nA\tB\t1\t0\n"), expected);
    assert_eq!(only(GlueTask::Mrpc, true, "sentence1\tsentence2\tlabel\tidx\nA\tB\t1\t0\n"), expected);
    assert_eq!(only(GlueTask::Cola, true, "sentence\tlabel\tidx\nA\t1\t0\n"), ("A".into(), None, Some("1".into())));
}

#[test]
fn labels_of_other_tasks_are_refused_and_every_form_of_the_tasks_own_is_taken() {
    let check = |task: GlueTask, labels: &[&str]| {
        let rows: String = labels.iter().map(|label| format!("A\tB\t{label}\n")).collect();
        let columns = match task.preset().layouts[0].text {
            [_] => "sentence\tsource",
            _ => "sentence1\tsentence2",
        };
        let set = read(task, true, &format!("{columns}\tlabel\n{rows}"));
        task.check_labels(&set).map_err(|error| error.to_string())
    };
    for &task in GlueTask::ALL {
        for form in task.preset().labels {
            assert_eq!(check(task, form), Ok(()), "{task}");
            assert_eq!(check(task, &form[1..]), Ok(()), "{task}: a part of them");
        }
    }
    assert_eq!(check(GlueTask::Mnli, &["neutral", "-", "entailment"]), Ok(()), "a row that is skipped");
    assert_eq!(check(GlueTask::Sst2, &["1.0", "0.0"]), Ok(()));
    assert_eq!(check(GlueTask::Stsb, &["0.5", "4"]), Ok(()), "scores");
    for (task, labels) in [
        (GlueTask::Sst2, &["1", "2"][..]),
        (GlueTask::Sst2, &["1", "positive"]),
        (GlueTask::Sst2, &["weather", "alarm"]),
        (GlueTask::Rte, &["entailment", "neutral"]),
        (GlueTask::Mnli, &["neutral", "not_entailment"]),
    ] {
        assert!(check(task, labels).is_err(), "{task}: {labels:?}");
    }
    assert_eq!(
        check(GlueTask::Rte, &["entailment", "neutral"]).unwrap_err(),
        "x.tsv, line 3, column label: \"neutral\" is not a label of rte, expected entailment, not_entailment or 0, 1; \
         leave the task out for other data"
    );
}

#[test]
fn names_are_read_as_people_write_them() {
    for &task in GlueTask::ALL {
        assert_eq!(task.to_string().parse::<GlueTask>().unwrap(), task);
    }
    assert_eq!("SST-2".parse::<GlueTask>().unwrap(), GlueTask::Sst2);
    assert_eq!("STS-B".parse::<GlueTask>().unwrap(), GlueTask::Stsb);
    let message = "snli".parse::<GlueTask>().unwrap_err().to_string();
    assert!(message.contains("\"snli\"") && message.contains("qnli"), "{message}");
}

#[test]
fn every_metric_suits_its_kind() {
    for &task in GlueTask::ALL {
        let preset = task.preset();
        assert!(!preset.metrics.is_empty() && !preset.layouts.is_empty());
        for metric in preset.metrics {
            let regression = matches!(metric, Metric::Pearson | Metric::Spearman);
            assert_eq!(regression, preset.kind == Kind::Regress, "{task} {metric}");
        }
    }
}
