//! The nine GLUE tasks as presets: the columns of their official files, their metrics, and the learning rates of the
//! BitFit paper.
//!
//! The files are those of the GLUE download (gluebenchmark.com), train, dev and test. The test files have no labels and
//! are read where none are required. Files with other headers, such as exports of the Hugging Face data sets, go by the
//! common column names.

use std::fmt;
use std::str::FromStr;

use super::Kind;
use crate::metrics::Metric;
use crate::{Error, Result};

/// A GLUE task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Corpus of Linguistic Acceptability.
    Cola,
    /// Stanford Sentiment Treebank, two classes.
    Sst2,
    /// Microsoft Research Paraphrase Corpus.
    Mrpc,
    /// Semantic Textual Similarity Benchmark, scores 0 to 5.
    Stsb,
    /// Quora Question Pairs.
    Qqp,
    /// Multi-Genre Natural Language Inference.
    Mnli,
    /// Question-answering inference, from SQuAD.
    Qnli,
    /// Recognizing Textual Entailment.
    Rte,
    /// Winograd natural language inference.
    Wnli,
}

/// A column of a preset: [`ColumnRef`](super::ColumnRef) as a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Col {
    /// By name.
    Name(&'static str),
    /// By number, from 0.
    Index(usize),
}

/// One way a task's files are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// One column, or the two of a pair.
    pub text: &'static [Col],
    /// The label's column, absent from the test files.
    pub label: Option<Col>,
    /// The number of columns that a file must have to be read so; for files without a header.
    pub width: Option<usize>,
}

/// What a task implies. Plain data: whatever a caller sets otherwise goes before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// The name that [`Task::from_str`] reads.
    pub name: &'static str,
    /// Classes or scores.
    pub kind: Kind,
    /// What is reported, as in the paper's code; the first chooses the best epoch. STS-B has Spearman first, the one in
    /// the paper's tables and in this project's figures.
    pub metrics: &'static [Metric],
    /// The learning rate for BitFit on BERT-base, from the official code; 1e-3, its default, for WNLI, which the paper leaves out.
    pub learning_rate: f32,
    /// The layouts, in the order they are tried.
    pub layouts: &'static [Layout],
    /// Whether rows of another width than the header are left out and reported, instead of refused, where labels are required.
    /// Only for QQP: its official files have rows that a line break inside a question cuts in two.
    pub skip_malformed: bool,
    /// Labels that mean "no label": their rows are left out and reported where labels are required. Only for MNLI, whose `-`
    /// says that the annotators did not agree (in MultiNLI's own files; GLUE's have none).
    pub skip_labels: &'static [&'static str],
}

/// A layout with a header.
const fn headed(text: &'static [Col], label: &'static str) -> Layout {
    Layout { text, label: Some(Col::Name(label)), width: None }
}

const SENTENCE: &[Col] = &[Col::Name("sentence")];
const SENTENCES: &[Col] = &[Col::Name("sentence1"), Col::Name("sentence2")];

/// What most tasks have in common.
const BASE: Preset = Preset {
    name: "",
    kind: Kind::Classify,
    metrics: &[Metric::Accuracy],
    learning_rate: 1e-3,
    layouts: &[headed(SENTENCES, "label")],
    skip_malformed: false,
    skip_labels: &[],
};

static COLA: Preset = Preset {
    name: "cola",
    metrics: &[Metric::Matthews],
    learning_rate: 7e-4,
    // The test file has a header (index, sentence); the others have none (source, label, star, sentence).
    layouts: &[
        headed(SENTENCE, "label"),
        Layout { text: &[Col::Index(3)], label: Some(Col::Index(1)), width: Some(4) },
    ],
    ..BASE
};
static SST2: Preset = Preset { name: "sst2", learning_rate: 4e-4, layouts: &[headed(SENTENCE, "label")], ..BASE };
static MRPC: Preset = Preset {
    name: "mrpc",
    metrics: &[Metric::Accuracy, Metric::F1],
    learning_rate: 7e-4,
    layouts: &[headed(&[Col::Name("#1 String"), Col::Name("#2 String")], "Quality")],
    ..BASE
};
static STSB: Preset = Preset {
    name: "stsb",
    kind: Kind::Regress,
    metrics: &[Metric::Spearman, Metric::Pearson],
    learning_rate: 1e-4,
    layouts: &[headed(SENTENCES, "score")],
    ..BASE
};
static QQP: Preset = Preset {
    name: "qqp",
    metrics: &[Metric::Accuracy, Metric::F1],
    learning_rate: 4e-4,
    layouts: &[headed(&[Col::Name("question1"), Col::Name("question2")], "is_duplicate")],
    skip_malformed: true,
    ..BASE
};
static MNLI: Preset = Preset {
    name: "mnli",
    learning_rate: 1e-4,
    layouts: &[headed(SENTENCES, "gold_label"), headed(SENTENCES, "label")],
    skip_labels: &["-"],
    ..BASE
};
static QNLI: Preset = Preset {
    name: "qnli",
    learning_rate: 1e-4,
    layouts: &[headed(&[Col::Name("question"), Col::Name("sentence")], "label")],
    ..BASE
};
static RTE: Preset = Preset { name: "rte", ..BASE };
static WNLI: Preset = Preset { name: "wnli", ..BASE };

impl Task {
    /// Every task.
    pub const ALL: [Self; 9] =
        [Self::Cola, Self::Sst2, Self::Mrpc, Self::Stsb, Self::Qqp, Self::Mnli, Self::Qnli, Self::Rte, Self::Wnli];

    /// What the task implies.
    pub fn preset(self) -> &'static Preset {
        match self {
            Self::Cola => &COLA,
            Self::Sst2 => &SST2,
            Self::Mrpc => &MRPC,
            Self::Stsb => &STSB,
            Self::Qqp => &QQP,
            Self::Mnli => &MNLI,
            Self::Qnli => &QNLI,
            Self::Rte => &RTE,
            Self::Wnli => &WNLI,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.preset().name)
    }
}

impl FromStr for Task {
    type Err = Error;

    /// Reads a preset's name, in any case and with hyphens or without (`SST-2` is `sst2`).
    fn from_str(name: &str) -> Result<Self> {
        let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
        Self::ALL.into_iter().find(|task| task.preset().name.eq_ignore_ascii_case(&plain)).ok_or_else(|| {
            Error::UnknownTask { name: name.to_owned(), known: Self::ALL.map(|task| task.to_string()).join(", ") }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Dataset, ReadOptions};
    use super::*;

    fn read(task: Task, require_labels: bool, file: &str) -> Dataset {
        let options = ReadOptions { task: Some(task), require_labels, ..ReadOptions::default() };
        Dataset::from_reader(file.as_bytes(), Path::new("x.tsv"), &options).unwrap()
    }

    /// Text, pair and label of a file's only example.
    fn only(task: Task, require_labels: bool, file: &str) -> (String, Option<String>, Option<String>) {
        let mut set = read(task, require_labels, file);
        assert_eq!(set.examples.len(), 1, "{task}");
        let example = set.examples.remove(0);
        (example.text, example.pair, example.label.map(|label| label.to_string()))
    }

    #[test]
    fn the_official_labelled_files_are_read() {
        let files: [(Task, &str, bool); 9] = [
            (Task::Cola, "gj04\tY\t\tA\n", false),
            (Task::Sst2, "sentence\tlabel\nA\tY\n", false),
            (Task::Mrpc, "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\nY\t70\t71\tA\tB\r\n", true),
            (
                Task::Stsb,
                "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n\
                 0\tmain\tMSR\t2012\t1\tnone\tnone\tA\tB\tY\n",
                true,
            ),
            (Task::Qqp, "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tA\tB\tY\n", true),
            (
                Task::Mnli,
                "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t\
                 sentence2_parse\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n0\t1\t2\tx\t(a)\t(b)\t(c)\t(d)\tA\tB\tz\tz\tY\n",
                true,
            ),
            (Task::Qnli, "index\tquestion\tsentence\tlabel\n0\tA\tB\tY\n", true),
            (Task::Rte, "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tY\n", true),
            (Task::Wnli, "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tY\n", true),
        ];
        for ((task, file, pair), listed) in files.into_iter().zip(Task::ALL) {
            assert_eq!(task, listed);
            let expected = ("A".into(), pair.then(|| "B".into()), Some("Y".into()));
            assert_eq!(only(task, true, file), expected, "{task}");
            assert_eq!(only(task, false, file), expected, "{task}");
        }
    }

    #[test]
    fn the_official_test_files_are_read_without_labels() {
        let files: [(Task, &str, bool); 9] = [
            (Task::Cola, "index\tsentence\n0\tA\n", false),
            (Task::Sst2, "index\tsentence\n0\tA\n", false),
            (Task::Mrpc, "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tA\tB\n", true),
            (
                Task::Stsb,
                "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\n\
                 0\tmain\tMSR\t2012\t1\tnone\tnone\tA\tB\n",
                true,
            ),
            (Task::Qqp, "id\tquestion1\tquestion2\n0\tA\tB\n", true),
            (
                Task::Mnli,
                "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t\
                 sentence2_parse\tsentence1\tsentence2\n0\t1\t2\tx\t(a)\t(b)\t(c)\t(d)\tA\tB\n",
                true,
            ),
            (Task::Qnli, "index\tquestion\tsentence\n0\tA\tB\n", true),
            (Task::Rte, "index\tsentence1\tsentence2\n0\tA\tB\n", true),
            (Task::Wnli, "index\tsentence1\tsentence2\n0\tA\tB\n", true),
        ];
        for (task, file, pair) in files {
            assert_eq!(only(task, false, file), ("A".into(), pair.then(|| "B".into()), None), "{task}");
            let options = ReadOptions { task: Some(task), ..ReadOptions::default() };
            let error = Dataset::from_reader(file.as_bytes(), Path::new("x.tsv"), &options).unwrap_err();
            assert!(
                matches!(&error, Error::DataColumn { advice, .. } if advice.contains("--label")),
                "{task}: {error}"
            );
        }
    }

    #[test]
    fn other_layouts_go_by_the_common_names() {
        let expected = ("A".into(), Some("B".into()), Some("1".into()));
        assert_eq!(only(Task::Mnli, true, "premise\thypothesis\tlabel\tidx\nA\tB\t1\t0\n"), expected);
        assert_eq!(only(Task::Mnli, true, "index\tsentence1\tsentence2\tlabel\n0\tA\tB\t1\n"), expected);
        assert_eq!(only(Task::Stsb, true, "sentence1\tsentence2\tlabel\tidx\nA\tB\t1\t0\n"), expected);
        assert_eq!(only(Task::Mrpc, true, "sentence1\tsentence2\tlabel\tidx\nA\tB\t1\t0\n"), expected);
        assert_eq!(only(Task::Cola, true, "sentence\tlabel\tidx\nA\t1\t0\n"), ("A".into(), None, Some("1".into())));
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        for task in Task::ALL {
            assert_eq!(task.to_string().parse::<Task>().unwrap(), task);
        }
        assert_eq!("SST-2".parse::<Task>().unwrap(), Task::Sst2);
        assert_eq!("STS-B".parse::<Task>().unwrap(), Task::Stsb);
        let message = "snli".parse::<Task>().unwrap_err().to_string();
        assert!(message.contains("\"snli\"") && message.contains("qnli"), "{message}");
    }

    #[test]
    fn every_metric_suits_its_kind() {
        for task in Task::ALL {
            let preset = task.preset();
            assert!(!preset.metrics.is_empty() && !preset.layouts.is_empty());
            for metric in preset.metrics {
                let regression = matches!(metric, Metric::Pearson | Metric::Spearman);
                assert_eq!(regression, preset.kind == Kind::Regress, "{task} {metric}");
            }
        }
    }
}
