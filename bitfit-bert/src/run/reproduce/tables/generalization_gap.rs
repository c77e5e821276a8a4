//! The generalization gap: the score on the texts that were trained on, less that on the development set.

use crate::run::Table;
use crate::run::chart::{Chart, ChartRow};

use super::super::files::glue_title;
use super::super::findings::Mean;
use super::super::report::{Context, TableReport, or_dash};
use super::super::{Data, Description, EPOCHS, Length};

pub(in super::super) const DESCRIPTION: Description = Description {
    about: "scores on the training texts less those on the development set, by method",
    methods: &["bitfit", "full"],
    data: Data::GlueWithTrainingScores,
    length: Length::Epochs(EPOCHS),
};

pub(in super::super) fn report(context: &Context<'_>) -> TableReport {
    let gaps = gaps(context);
    let columns = ["task, method", "metric", "rate", "training texts", "development set", "gap"];
    let row = |gap: &Gap| {
        let percent = |mean: &Option<Mean>| or_dash(mean.as_ref().map(Mean::percent));
        vec![
            gap.name.clone(),
            gap.metric.clone(),
            or_dash(gap.rate.map(|rate| format!("{rate:e}"))),
            percent(&gap.training),
            percent(&gap.development),
            percent(&Mean::of(&gap.differences)),
        ]
    };
    let mut remarks = vec![
        "In percent: the score on the texts that were trained on, that on the development set, and the first less the \
         second."
            .to_owned(),
        context.choice(),
        "The paper compares the gaps of BitFit and of full fine-tuning; its figures could not be verified, so none \
         stands beside these."
            .into(),
    ];
    remarks.extend(context.remarks());
    let chart = Chart {
        title: "Training texts less development set, percent: each seed, mean and standard deviation".into(),
        rows: gaps.iter().map(Gap::chart_row).collect(),
    };
    TableReport {
        tables: vec![Table { columns: columns.map(str::to_owned).to_vec(), rows: gaps.iter().map(row).collect() }],
        remarks,
        numbers: context.numbers(),
        drawing: chart.svg(),
    }
}

/// The gap of a method on a task.
struct Gap {
    name: String,
    metric: String,
    rate: Option<f32>,
    training: Option<Mean>,
    development: Option<Mean>,
    /// The gap of each seed.
    differences: Vec<f64>,
}

fn gaps(context: &Context<'_>) -> Vec<Gap> {
    let findings = context.findings;
    let mut gaps = Vec::new();
    for (place, task) in findings.tasks.iter().enumerate() {
        let (title, metric) = (task.glue.map_or(task.name.as_str(), |glue| glue_title(glue)), task.metrics[0]);
        for (method, choice) in findings.methods.iter().enumerate() {
            let chosen = findings.chosen(place, method);
            let scores = |set: usize| match (chosen, task.sets.get(set)) {
                (Some(runs), Some(set)) => runs.scores(set, metric),
                _ => Vec::new(),
            };
            let (development, training) = (scores(0), scores(1));
            let mean = |scores: &[(u64, f64)]| Mean::of(&scores.iter().map(|(_, score)| *score).collect::<Vec<_>>());
            let difference = |(seed, score): &(u64, f64)| {
                let (_, other) = development.iter().find(|(of, _)| of == seed)?;
                Some(score - other)
            };
            gaps.push(Gap {
                name: format!("{title}, {choice}"),
                metric: metric.to_string(),
                rate: chosen.map(|runs| runs.rate),
                training: mean(&training),
                development: mean(&development),
                differences: training.iter().filter_map(difference).collect(),
            });
        }
    }
    gaps
}

impl Gap {
    fn chart_row(&self) -> ChartRow {
        let mean = Mean::of(&self.differences);
        ChartRow {
            label: self.name.clone(),
            note: mean.as_ref().map_or_else(|| "no score".into(), Mean::percent),
            values: self.differences.iter().map(|value| value * 100.0).collect(),
            mean: mean.map(|mean| (mean.mean * 100.0, mean.deviation.unwrap_or(0.0) * 100.0)),
            reference: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::PaperTable;
    use super::super::super::grid::{FurtherScores, ScoredSet, SetSource};
    use super::super::super::testing::{context, findings};
    use super::*;

    #[test]
    fn the_gap_is_of_each_seed() {
        let mut found = findings(&["rte"], &[&[0.6, 0.7]]);
        let train =
            ScoredSet { name: "train".into(), title: "RTE, training texts".into(), source: SetSource::TrainingTexts };
        found.tasks[0].sets.push(train);
        for ((_, result), score) in found.cells[0].rates[0].runs.iter_mut().zip([0.9, 0.8]) {
            let scores = FurtherScores { file: String::new(), scores: vec![("accuracy".into(), score)] };
            result.further.insert("train".into(), scores);
        }
        let report = report(&context(PaperTable::GeneralizationGap, &found));
        let expected = ["rte, bitfit", "accuracy", "1e-3", "85.0 ± 7.1", "65.0 ± 7.1", "20.0 ± 14.1"];
        assert_eq!(report.tables[0].rows, [expected]);
        assert_eq!(report.drawing.matches("r=\"3\"").count(), 2, "a point for each seed");
        assert_eq!(report.numbers.rows.len(), 4, "a row for each set, and the published ones of the development set");
    }
}
