//! What well-known tasks imply, so that a name stands for columns, kind, metrics and learning rate.

use crate::data::Kind;
use crate::metrics::Metric;

mod glue;
#[cfg(test)]
mod tests;

pub use glue::GlueTask;

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
    /// The number of columns that a file must have to be read so; for files without a header.
    pub width: Option<usize>,
}

/// What a task implies. Every setting of the caller wins over it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// Classes or scores.
    pub kind: Kind,
    /// What is reported, as in the paper's code; the first chooses the best epoch. STS-B has Spearman first, the one in
    /// the paper's tables and in this project's figures.
    pub metrics: &'static [Metric],
    /// The learning rate for BitFit on BERT-base, from the official code; 1e-3, its default, for WNLI, which the paper
    /// leaves out.
    pub learning_rate: f32,
    /// The layouts, in the order they are tried.
    pub layouts: &'static [Layout],
    /// Whether rows of another width than the header are left out and reported, instead of refused, where labels are
    /// required. Only for QQP: its official files have rows that a line break inside a question cuts in two.
    pub skip_malformed: bool,
    /// Labels that mean "no label": their rows are left out and reported where labels are required. Only for MNLI,
    /// whose `-` says that the annotators did not agree (in MultiNLI's own files; GLUE's have none).
    pub skip_labels: &'static [&'static str],
}
