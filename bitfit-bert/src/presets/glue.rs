//! The nine GLUE tasks: the columns of their official files, their metrics, and the learning rates of the BitFit paper.
//!
//! The files are those of the GLUE download (gluebenchmark.com), train, dev and test. The test files have no labels and
//! are read where none are required. Files with other headers, such as exports of the Hugging Face data sets, are read
//! by the common column names.

use std::str::FromStr;

use strum::{Display, IntoStaticStr, VariantArray};

use super::{Col, Layout, Preset};
use crate::data::{Dataset, Kind};
use crate::metrics::Metric;
use crate::{Result, UnknownName};

/// A GLUE task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum GlueTask {
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

/// A layout with a header.
const fn headed(text: &'static [Col], label: &'static str) -> Layout {
    Layout { text, label: Some(Col::Name(label)), width: None }
}

const SENTENCE: &[Col] = &[Col::Name("sentence")];
const SENTENCES: &[Col] = &[Col::Name("sentence1"), Col::Name("sentence2")];

const BINARY: &[&str] = &["0", "1"];
const PAIRS: &[&str] = &["entailment", "not_entailment"];

/// The settings that most tasks have in common.
const BASE: Preset = Preset {
    kind: Kind::Classify,
    metrics: &[Metric::Accuracy],
    learning_rate: 1e-3,
    layouts: &[headed(SENTENCES, "label")],
    skip_malformed: false,
    skip_labels: &[],
    labels: &[PAIRS, BINARY],
};

static COLA: Preset = Preset {
    metrics: &[Metric::Matthews],
    learning_rate: 7e-4,
    // The test file has a header (index, sentence); the others have none (source, label, star, sentence).
    layouts: &[
        headed(SENTENCE, "label"),
        Layout { text: &[Col::Index(3)], label: Some(Col::Index(1)), width: Some(4) },
    ],
    labels: &[BINARY, &["acceptable", "unacceptable"]],
    ..BASE
};
static SST2: Preset = Preset {
    learning_rate: 4e-4,
    layouts: &[headed(SENTENCE, "label")],
    labels: &[BINARY, &["negative", "positive"]],
    ..BASE
};
static MRPC: Preset = Preset {
    metrics: &[Metric::Accuracy, Metric::F1],
    learning_rate: 7e-4,
    layouts: &[headed(&[Col::Name("#1 String"), Col::Name("#2 String")], "Quality")],
    labels: &[BINARY, &["equivalent", "not_equivalent"]],
    ..BASE
};
static STSB: Preset = Preset {
    kind: Kind::Regress,
    metrics: &[Metric::Spearman, Metric::Pearson],
    learning_rate: 1e-4,
    layouts: &[headed(SENTENCES, "score")],
    labels: &[],
    ..BASE
};
static QQP: Preset = Preset {
    metrics: &[Metric::Accuracy, Metric::F1],
    learning_rate: 4e-4,
    layouts: &[headed(&[Col::Name("question1"), Col::Name("question2")], "is_duplicate")],
    skip_malformed: true,
    labels: &[BINARY, &["duplicate", "not_duplicate"]],
    ..BASE
};
static MNLI: Preset = Preset {
    learning_rate: 1e-4,
    layouts: &[headed(SENTENCES, "gold_label"), headed(SENTENCES, "label")],
    skip_labels: &["-"],
    labels: &[&["contradiction", "entailment", "neutral"], &["0", "1", "2"]],
    ..BASE
};
static QNLI: Preset = Preset {
    learning_rate: 1e-4,
    layouts: &[headed(&[Col::Name("question"), Col::Name("sentence")], "label")],
    ..BASE
};

impl GlueTask {
    /// Every task.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name of the task, which [`FromStr`] reads.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The preset of the task.
    pub fn preset(self) -> &'static Preset {
        match self {
            Self::Cola => &COLA,
            Self::Sst2 => &SST2,
            Self::Mrpc => &MRPC,
            Self::Stsb => &STSB,
            Self::Qqp => &QQP,
            Self::Mnli => &MNLI,
            Self::Qnli => &QNLI,
            Self::Rte | Self::Wnli => &BASE,
        }
    }

    /// Refuses a data set with labels of another task: its scores would stand beside those of this one. The labels may
    /// have any of the forms in which the task is distributed, but all of them the same, and a part of them may be
    /// missing.
    ///
    /// # Errors
    /// [`crate::Error::DataField`] with the first of them.
    pub fn check_labels(self, dataset: &Dataset) -> Result<()> {
        let mut forms = self.preset().labels.to_vec();
        if forms.is_empty() {
            return Ok(());
        }
        for example in &dataset.examples {
            let Some(label) = &example.label else { continue };
            // A column of numbers may have been written with fractions.
            let number = label.as_str().parse::<f64>().map(|number| number.to_string());
            let plain = number.unwrap_or_else(|_| label.as_str().to_lowercase());
            forms.retain(|form| form.contains(&plain.as_str()));
            if forms.is_empty() {
                let known = self.preset().labels.iter().map(|form| form.join(", ")).collect::<Vec<_>>().join(" or ");
                let reason = format!("{:?} is not a label of {self}, expected {known}", label.as_str());
                return Err(dataset.label_error(example, format!("{reason}; leave the task out for other data")));
            }
        }
        Ok(())
    }
}

impl FromStr for GlueTask {
    type Err = UnknownName;

    /// Reads a task's name, in any case and with hyphens or without (`SST-2` is `sst2`).
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
        let task = Self::ALL.iter().copied().find(|task| task.name().eq_ignore_ascii_case(&plain));
        task.ok_or_else(|| {
            let known = Self::ALL.iter().map(|task| task.name()).collect();
            UnknownName { what: "task", name: name.to_owned(), known }
        })
    }
}
