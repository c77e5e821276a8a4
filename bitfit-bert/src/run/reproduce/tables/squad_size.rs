//! SQuAD by the size of the training set: the paper's figure of growing subsets.
//!
//! All runs have about as many steps: with as many epochs, a small subset would have had few, and the comparison would
//! be one of training time.

use crate::metrics::Metric;
use crate::run::Table;

use super::super::figures::{SQUAD_POINTS, SQUAD_ROWS, SquadPoint};
use super::super::findings::Mean;
use super::super::report::{Context, TableReport, or_dash};
use super::super::{Data, Description, Length, SQUAD_LENGTH};
use super::curves::{self, Line, Panel, Point};

pub(in super::super) const DESCRIPTION: Description = Description {
    about: "SQuAD by the size of the training set and the method, with about equal numbers of steps",
    methods: &["bitfit", "full"],
    data: Data::Squad,
    length: Length::Steps { at_least: SQUAD_LENGTH[0], epochs: SQUAD_LENGTH[1] },
};

/// The metrics with their titles.
const METRICS: [(Metric, &str); 2] = [(Metric::AnswerF1, "F1"), (Metric::ExactMatch, "exact match")];

pub(in super::super) fn report(context: &Context<'_>) -> TableReport {
    let mut remarks = vec![
        "Percentages of the development set, by the number of questions that were trained on. The questions of a size \
         are drawn by the seed and are among those of every larger size. A run has at least so many steps and so many \
         epochs, and ends with an epoch."
            .to_owned(),
        context.choice(),
        "The independent run is of BERT-base on SQuAD 1.1 with as many steps: at least 2,000 and 5 epochs. The paper \
         says of SQuAD that BitFit is above full fine-tuning where data is little and below it where data is much, by \
         exact match; the points of its figure could not be verified."
            .into(),
    ];
    remarks.extend(context.remarks());
    TableReport {
        tables: vec![table(context), context.rates()],
        remarks,
        numbers: numbers(context),
        drawing: curves::svg(&METRICS.map(|(metric, title)| panel(context, metric, title))),
    }
}

/// The score of a method at a size, the place of a task, at its chosen rate.
fn score(context: &Context<'_>, size: usize, method: usize, metric: Metric) -> Option<Mean> {
    let findings = context.findings;
    findings.chosen(size, method)?.mean(&findings.tasks[size].sets[0], metric)
}

/// The point of the independent run at the size of a task.
fn published(context: &Context<'_>, size: usize) -> Option<&'static SquadPoint> {
    SQUAD_POINTS.iter().find(|point| point.rows == context.findings.tasks[size].texts)
}

/// What the independent run has of a method.
fn of_method(point: &SquadPoint, method: &str) -> Option<f64> {
    match method {
        "bitfit" => Some(point.bitfit),
        "full" => Some(point.full),
        _ => None,
    }
}

/// The methods that the independent run has, with their places.
fn published_methods<'a>(context: &'a Context<'_>) -> impl Iterator<Item = (usize, &'a str)> {
    let methods = context.findings.methods.iter().enumerate();
    let methods = methods.map(|(place, choice)| (place, choice.name.as_str()));
    methods.filter(|(_, name)| of_method(&SQUAD_POINTS[0], name).is_some())
}

fn size_name(texts: Option<usize>) -> String {
    texts.map_or_else(|| "all".into(), |texts| texts.to_string())
}

fn table(context: &Context<'_>) -> Table {
    let findings = context.findings;
    let mut columns = vec!["questions".to_owned()];
    for choice in &findings.methods {
        columns.extend(METRICS.map(|(_, title)| format!("{choice}, {title}")));
    }
    columns.extend(published_methods(context).map(|(_, name)| format!("independent run: {name}, F1")));
    let row = |size: usize| {
        let scores = (0..findings.methods.len()).flat_map(|method| {
            METRICS.map(|(metric, _)| or_dash(score(context, size, method, metric).as_ref().map(Mean::percent)))
        });
        let published = published_methods(context).map(|(_, name)| {
            let value = published(context, size).and_then(|point| of_method(point, name));
            or_dash(value.map(|value| format!("{value:.1}")))
        });
        std::iter::once(size_name(findings.tasks[size].texts)).chain(scores).chain(published).collect()
    };
    Table { columns, rows: (0..findings.tasks.len()).map(row).collect() }
}

/// The numbers with the points of the independent run behind them.
fn numbers(context: &Context<'_>) -> Table {
    let mut numbers = context.numbers();
    for size in 0..context.findings.tasks.len() {
        for (_, name) in published_methods(context) {
            let Some(value) = published(context, size).and_then(|point| of_method(point, name)) else { continue };
            let mut row = vec![String::new(); numbers.columns.len()];
            let source = "independent run, BERT-base";
            for (column, text) in [
                ("table", context.table.name()),
                ("task", &context.findings.tasks[size].name),
                ("set", "squad"),
                ("metric", Metric::AnswerF1.name()),
                ("method", name),
                ("source", source),
                ("percent", &value.to_string()),
                ("certainty", "measured"),
            ] {
                if let Some(place) = numbers.columns.iter().position(|name| name == column) {
                    text.clone_into(&mut row[place]);
                }
            }
            numbers.rows.push(row);
        }
    }
    numbers
}

fn panel(context: &Context<'_>, metric: Metric, title: &str) -> Panel {
    let findings = context.findings;
    // All questions are as many as in the training set of SQuAD 1.1.
    let size = |place: usize| findings.tasks[place].texts.unwrap_or(SQUAD_ROWS) as f64;
    let point = |place: usize, method: usize| {
        let Mean { mean, deviation } = score(context, place, method, metric)?;
        Some(Point { size: size(place), mean: mean * 100.0, deviation: deviation.unwrap_or(0.0) * 100.0 })
    };
    let line = |(method, choice): (usize, &crate::run::MethodChoice)| Line {
        name: choice.name.clone(),
        colour: method,
        is_published: false,
        points: (0..findings.tasks.len()).filter_map(|place| point(place, method)).collect(),
    };
    let mut lines: Vec<Line> = findings.methods.iter().enumerate().map(line).collect();
    if metric == Metric::AnswerF1 {
        lines.extend(published_methods(context).map(|(colour, name)| {
            let point = |place: usize| {
                let mean = of_method(published(context, place)?, name)?;
                Some(Point { size: size(place), mean, deviation: 0.0 })
            };
            let points = (0..findings.tasks.len()).filter_map(point).collect();
            Line { name: format!("{name}, independent run"), colour, is_published: true, points }
        }));
    }
    Panel { title: format!("{title} in percent by the number of questions trained on"), lines }
}

#[cfg(test)]
mod tests {
    use super::super::super::PaperTable;
    use super::super::super::testing::{context, findings};
    use super::*;

    #[test]
    fn a_row_is_a_size_with_the_independent_run_beside_it() {
        let mut found = findings(&["squad-500", "squad-700", "squad-all"], &[&[0.4], &[0.5], &[]]);
        for (task, texts) in found.tasks.iter_mut().zip([Some(500), Some(700), None]) {
            (task.texts, task.metrics) = (texts, vec![Metric::AnswerF1, Metric::ExactMatch]);
        }
        for (_, result) in found.cells.iter_mut().flat_map(|cell| &mut cell.rates).flat_map(|rate| &mut rate.runs) {
            let score = result.run.scores[0].1;
            result.run.scores = vec![("answer-f1".into(), score), ("exact-match".into(), score / 2.0)];
        }
        let report = report(&context(PaperTable::SquadSize, &found));
        let table = &report.tables[0];
        assert_eq!(table.columns, ["questions", "bitfit, F1", "bitfit, exact match", "independent run: bitfit, F1"]);
        assert_eq!(
            table.rows,
            [["500", "40.0", "20.0", "55.3"], ["700", "50.0", "25.0", "-"], ["all", "-", "-", "76.8"]]
        );
        let rows = report.numbers.csv();
        assert!(
            rows.contains("squad-size,squad-500,squad,answer-f1,bitfit,\"independent run, BERT-base\",,,,,55.3,"),
            "{rows}"
        );
        assert_eq!(report.drawing.matches("<circle").count(), 4, "two sizes, two metrics");
    }
}
