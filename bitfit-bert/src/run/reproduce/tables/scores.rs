//! A table of scores: methods by the sets of all tasks, the published figures under each, and a chart.

use crate::run::Table;
use crate::run::chart::{Chart, ChartRow};

use super::super::figures::{Certainty, Figure, FigureRow, Source};
use super::super::files::GLUE_TASKS;
use super::super::findings::{Findings, Mean, average};
use super::super::grid::ScoredSet;
use super::super::report::{Context, TableReport, or_dash};

/// The report with further remarks.
pub(super) fn report(context: &Context<'_>, further: Vec<String>) -> TableReport {
    let about_scores = "Scores are percentages: of CoLA Matthews' correlation, of STS-B Spearman's, of MRPC and QQP F1, of \
                        all others accuracy.";
    let has_glue = context.findings.tasks.iter().any(|task| task.glue.is_some());
    let mut remarks =
        vec![if has_glue { about_scores.into() } else { "Scores are accuracies in percent.".into() }, context.choice()];
    if context.findings.tasks.len() > 1 {
        let average = match is_complete(context.findings) {
            true => "The average counts MNLI once, by the mean of its two sets, as in the paper.",
            false => {
                "The mean of these is over the tasks that are here, MNLI counted once, and that of published figures is \
                 computed from them; it is not the paper's average, which is over all eight."
            }
        };
        remarks.push(average.into());
    }
    remarks.extend(context.about_figures());
    remarks.extend(further);
    remarks.extend(context.remarks());
    TableReport {
        tables: vec![table(context), context.rates()],
        remarks,
        numbers: context.numbers(),
        drawing: chart(context).svg(),
    }
}

/// The sets of all tasks with the place of the task.
fn sets(findings: &Findings) -> impl Iterator<Item = (usize, &ScoredSet)> {
    findings.tasks.iter().enumerate().flat_map(|(place, task)| task.sets.iter().map(move |set| (place, set)))
}

/// Whether all of the paper's sets are there, over which its average is.
fn is_complete(findings: &Findings) -> bool {
    let glue = findings.tasks.iter().filter(|task| task.glue.is_some());
    glue.clone().count() == GLUE_TASKS && glue.map(|task| task.sets.len()).sum::<usize>() == GLUE_TASKS + 1
}

fn table(context: &Context<'_>) -> Table {
    let findings = context.findings;
    let mut columns = vec!["method".to_owned()];
    columns.extend(sets(findings).map(|(_, set)| set.title.clone()));
    let has_average = findings.tasks.len() > 1;
    if has_average {
        columns.push(if is_complete(findings) { "average" } else { "mean of these" }.into());
    }
    columns.push("% of parameters".into());
    let mut rows = Vec::new();
    for (method, choice) in findings.methods.iter().enumerate() {
        let mut row = vec![choice.name.clone()];
        row.extend(sets(findings).map(|(task, set)| or_dash(findings.score(task, method, set).map(|s| s.percent()))));
        if has_average {
            row.push(or_dash(findings.average(method).as_ref().map(Mean::percent)));
        }
        let share = findings.any(method).map(|result| result.encoder as f64 * 100.0 / result.run.total as f64);
        row.push(or_dash(share.map(|share| format!("{share:.2}"))));
        rows.push(row);
        for figures in context.figures(&choice.name) {
            let mut row = vec![format!("  {}", figures.source.label(figures.model))];
            let texts: Vec<Option<String>> =
                sets(findings).map(|(_, set)| figures.of(&set.name).map(|figure| figure.to_string())).collect();
            if texts.iter().all(Option::is_none) && figures.share.is_none() {
                continue;
            }
            row.extend(texts.into_iter().map(or_dash));
            if has_average {
                row.push(or_dash(published_average(findings, figures).map(|figure| figure.to_string())));
            }
            row.push(or_dash(figures.share.map(|share| format!("{share:.2}"))));
            rows.push(row);
        }
    }
    Table { columns, rows }
}

/// The published average over all tasks, or over those that are there the average of the published figures, if each has
/// one.
fn published_average(findings: &Findings, row: &FigureRow) -> Option<Figure> {
    if is_complete(findings) {
        return row.average;
    }
    let figures: Vec<Vec<Figure>> = findings
        .tasks
        .iter()
        .map(|task| task.sets.iter().map(|set| row.of(&set.name)).collect::<Option<Vec<_>>>())
        .collect::<Option<_>>()?;
    let of = |value: fn(&Figure) -> f64| {
        average(&figures.iter().map(|sets| sets.iter().map(value).collect()).collect::<Vec<_>>())
    };
    let (low, high) = (of(|figure| figure.low)?, of(|figure| figure.high)?);
    let is_seen = figures.iter().flatten().all(|figure| figure.certainty == Certainty::SeenTwice);
    // The mean of two that differ in the last place is no more sure than one that agrees.
    let certainty = if is_seen && high - low < 1e-9 { Certainty::SeenTwice } else { Certainty::Agreed };
    let mean = (low + high) / 2.0;
    Some(Figure { low: mean, high: mean, certainty })
}

fn chart(context: &Context<'_>) -> Chart {
    let findings = context.findings;
    let mut rows = Vec::new();
    let mut has_reference = false;
    for (task, set) in sets(findings) {
        for (method, choice) in findings.methods.iter().enumerate() {
            let score = findings.score(task, method, set);
            let metric = findings.tasks[task].metrics[0];
            let scores = findings.chosen(task, method).map(|runs| runs.scores(set, metric)).unwrap_or_default();
            let paper = context.figures(&choice.name).find(|row| row.source == Source::Paper);
            let reference = paper.and_then(|row| row.of(&set.name));
            has_reference |= reference.is_some();
            rows.push(ChartRow {
                label: format!("{}, {}", set.title, choice.name),
                note: score.map_or_else(|| "no score".into(), |score| score.percent()),
                values: scores.into_iter().map(|(_, value)| value * 100.0).collect(),
                mean: score.map(|score| (score.mean * 100.0, score.deviation.unwrap_or(0.0) * 100.0)),
                reference: reference.map(|figure| (figure.low + figure.high) / 2.0),
            });
        }
    }
    let diamond = format!("; diamond: the paper's, {}", context.shown().name());
    let diamond = if has_reference { diamond.as_str() } else { "" };
    Chart { title: format!("Percent: each seed, mean and standard deviation{diamond}"), rows }
}

#[cfg(test)]
mod tests {
    use super::super::super::PaperTable;
    use super::super::super::testing::{context, findings};
    use super::*;

    #[test]
    fn published_figures_stand_under_ours_with_their_marks() {
        let found = findings(&["qnli", "stsb", "mnli-mm"], &[&[0.9, 0.91], &[0.88, 0.89], &[]]);
        let table = table(&context(PaperTable::Glue, &found));
        assert_eq!(table.columns, ["method", "QNLI", "STSB", "MNLI-MM", "mean of these", "% of parameters"]);
        assert_eq!(table.rows[0], ["bitfit", "90.5 ± 0.7", "88.5 ± 0.7", "-", "-", "0.09"]);
        // (90.2 + 89.2 + 82.2) / 3, of which one is only agreed with.
        assert_eq!(table.rows[1], ["  paper, BERT-base", "90.2", "89.2", "≈82.2", "≈87.2", "0.09"]);
        assert_eq!(table.rows.len(), 2, "the independent run has none of these");
    }

    #[test]
    fn a_mean_of_some_tasks_is_published_where_each_has_a_figure() {
        let found = findings(&["qnli", "wnli"], &[&[0.9], &[0.5]]);
        let shown = context(PaperTable::Glue, &found);
        assert_eq!(published_average(&found, shown.figures("bitfit").next().unwrap()), None);
        let found = findings(&["qnli", "rte"], &[&[0.9], &[0.5]]);
        let shown = table(&context(PaperTable::Glue, &found));
        assert_eq!(shown.rows[1][3], "81.2", "(90.2 + 72.3) / 2, both seen twice");
    }

    #[test]
    fn a_table_that_is_not_of_glue_has_no_figures() {
        let found = findings(&["tagging"], &[&[0.9]]);
        let report = report(&context(PaperTable::Tagging, &found), Vec::new());
        assert_eq!((report.tables[0].rows.len(), report.numbers.rows.len()), (1, 1));
        assert!(report.remarks.iter().any(|remark| remark.starts_with("No figure of the paper stands beside these")));
    }

    #[test]
    fn the_chart_has_a_row_for_each_set_and_method_and_a_diamond_for_each_figure() {
        let found = findings(&["qnli", "wnli"], &[&[0.9, 0.92], &[0.5]]);
        let report = report(&context(PaperTable::Glue, &found), vec!["More.".into()]);
        assert_eq!(report.drawing.matches("Z\"/>").count(), 1, "{}", report.drawing);
        assert!(report.drawing.contains(">QNLI, bitfit<") && report.drawing.contains(">91.0 ± 1.4<"));
        assert_eq!(report.tables[1].rows, [["bitfit", "1e-3", "1e-3"]]);
        assert!(report.remarks.contains(&"More.".to_owned()));
    }
}
