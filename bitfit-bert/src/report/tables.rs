//! The tables of a report, for its page and for a terminal.

use crate::infer::Analysis;
use crate::metrics::class_report::{ClassReport, ClassScore};
use crate::run::Table;
use crate::train::Score;

/// Precision, recall, F1 and support of each class or label, with their means; `None` for a task that has neither.
pub fn class_table(analysis: &Analysis) -> Option<Table> {
    let (first, scores, means) = match &analysis.classes {
        Some(report) => {
            let means = [("macro average", report.macro_average()), ("weighted average", report.weighted_average())];
            ("class", &report.classes, means.to_vec())
        }
        None if !analysis.labels.is_empty() => ("label", &analysis.labels, Vec::new()),
        None => return None,
    };
    let columns = [first, "precision", "recall", "F1", "support"].map(str::to_owned).to_vec();
    let row = |name: &str, score: &ClassScore| {
        let shares = [score.precision, score.recall, score.f1].map(|share| format!("{share:.4}"));
        std::iter::once(name.to_owned()).chain(shares).chain([score.support.to_string()]).collect()
    };
    let mut rows: Vec<Vec<String>> = analysis.names.iter().zip(scores).map(|(name, score)| row(name, score)).collect();
    rows.extend(means.iter().map(|(name, score)| row(name, score)));
    Some(Table { columns, rows })
}

/// The scores over the texts that a task answers, beside those over all; `None` for a task that rejects nothing.
pub(super) fn answered_table(analysis: &Analysis) -> Option<Table> {
    let answered = analysis.answered.as_ref()?;
    let metrics = analysis.scores.iter().map(|score| score.metric.to_string());
    let columns = ["", "texts", "share"].map(str::to_owned).into_iter().chain(metrics).collect();
    let row = |name: &str, texts: usize, share: f64, scores: &[Score]| {
        let value = |of: &Score| {
            let score = scores.iter().find(|score| score.metric == of.metric);
            score.map_or_else(|| "-".to_owned(), |score| format!("{:.4}", score.value))
        };
        [name.to_owned(), texts.to_string(), format!("{share:.4}")]
            .into_iter()
            .chain(analysis.scores.iter().map(value))
            .collect()
    };
    let coverage = answered.coverage();
    let rows = vec![
        row("answered", answered.rows, coverage, &answered.scores),
        row("rejected", answered.rejected, 1.0 - coverage, &[]),
        row("all", analysis.rows, 1.0, &analysis.scores),
    ];
    Some(Table { columns, rows })
}

/// The pairs of classes that are confused most often, the most frequent first: what is right, what was answered, and
/// how often.
pub(super) fn confusions(report: &ClassReport, names: &[String], most: usize) -> Vec<(String, String, usize)> {
    let mut found: Vec<(usize, usize, usize)> = report
        .confusion
        .indexed_iter()
        .filter(|((expected, answered), count)| expected != answered && **count > 0)
        .map(|((expected, answered), &count)| (count, expected, answered))
        .collect();
    found.sort_by(|one, other| other.0.cmp(&one.0).then((one.1, one.2).cmp(&(other.1, other.2))));
    found.truncate(most);
    found
        .into_iter()
        .map(|(count, expected, answered)| (names[expected].clone(), names[answered].clone(), count))
        .collect()
}
