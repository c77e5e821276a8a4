//! Presets of well-known tasks: the columns, kind, metrics and learning rate that a task's name stands for.

use crate::data::Kind;
use crate::metrics::Metric;

mod glue;
mod submission;
#[cfg(test)]
mod tests;

pub use glue::GlueTask;
pub use submission::{Submission, TEST_SETS, TestSet};

/// A column of a preset: [`ColumnRef`](crate::data::ColumnRef) as a constant.
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
    /// The number of columns that a file without a header must have for this layout.
    pub width: Option<usize>,
}

/// The settings of a task. Every setting of the caller overrides it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// Classes or scores.
    pub kind: Kind,
    /// The metrics that are reported, as in the paper's code; the first chooses the best epoch. For STS-B this is
    /// Spearman, as in the paper's tables and this project's results.
    pub metrics: &'static [Metric],
    /// The learning rate for BitFit on BERT-base, from the official code; 1e-3, its default, for WNLI, which the paper
    /// omits.
    pub learning_rate: f32,
    /// The layouts, in the order they are tried.
    pub layouts: &'static [Layout],
    /// Whether rows of another width than the header are skipped and reported instead of refused, if labels are
    /// required. Only for QQP: its official files have rows that a line break inside a question cuts in two.
    pub skip_malformed: bool,
    /// Labels that mean "no label": their rows are skipped and reported if labels are required. Only for MNLI, whose
    /// `-` says that the annotators did not agree (in MultiNLI's own files; GLUE's have none).
    pub skip_labels: &'static [&'static str],
    /// The labels of the task, in each form in which its files are distributed: as in GLUE's download, and as numbers
    /// or by their names as in exports of the Hugging Face data sets. None for scores.
    pub labels: &'static [&'static [&'static str]],
}
