//! The files of a table: what a reproduction found beside what was published, as Markdown, as CSV and as a drawing.

use std::path::Path;

use crate::Result;
use crate::files::AtomicFile;
use crate::metrics::Metric;
use crate::run::Table;

use super::figures::{FigureRow, PublishedModel, figures};
use super::files::LeftOut;
use super::findings::{Findings, RateRuns};
use super::grid::{GridTask, ScoredSet};
use super::{Data, PaperTable};

/// A table with everything that belongs to it.
#[derive(Clone, Debug, Default)]
pub struct TableReport {
    /// The tables for people; the first is the one of the paper.
    pub tables: Vec<Table>,
    /// What the tables do not say, in sentences.
    pub remarks: Vec<String>,
    /// The numbers as they are.
    pub numbers: Table,
    /// The drawing as SVG.
    pub drawing: String,
}

/// What a table is made from.
pub(super) struct Context<'a> {
    pub(super) table: PaperTable,
    pub(super) findings: &'a Findings,
    /// The published model that the base is of the size of.
    pub(super) published: Option<PublishedModel>,
    /// The base as the user named it.
    pub(super) model: &'a str,
    /// The settings of all runs.
    pub(super) settings: &'a str,
    pub(super) left_out: &'a [LeftOut],
}

impl TableReport {
    /// The names of the files of a table: Markdown, CSV and SVG.
    pub fn files(table: PaperTable) -> [String; 3] {
        ["md", "csv", "svg"].map(|extension| format!("{table}.{extension}"))
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let tables = self.tables.iter().map(|table| table.markdown() + "\n");
        let remarks = self.remarks.iter().map(|remark| remark.replace('*', "\\*"));
        tables.collect::<String>() + &remarks.collect::<Vec<_>>().join("\n\n") + "\n"
    }

    /// Writes the files into a directory.
    pub(super) fn write(&self, out: &Path, table: PaperTable) -> Result<()> {
        let texts = [self.markdown(), self.numbers.csv(), self.drawing.clone()];
        for (name, text) in Self::files(table).into_iter().zip(texts) {
            let mut file = AtomicFile::create(&out.join(name))?;
            file.write(text.as_bytes())?;
            file.finish()?;
        }
        Ok(())
    }
}

impl Context<'_> {
    /// The published model whose figures are shown: BERT-base where the base is of another size than those of the
    /// paper.
    pub(super) fn shown(&self) -> PublishedModel {
        self.published.unwrap_or(PublishedModel::BertBase)
    }

    /// The published rows of a method on that model; none for a table that is not of GLUE, which all figures are of.
    pub(super) fn figures(&self, method: &str) -> impl Iterator<Item = &'static FigureRow> {
        let is_of_glue = matches!(self.table.description().data, Data::Glue | Data::GlueWithTrainingScores);
        figures(self.shown(), method).filter(move |_| is_of_glue)
    }

    /// Sentences for every table: how runs were made, what is left out and what is missing.
    pub(super) fn remarks(&self) -> Vec<String> {
        let seeds = if self.findings.seeds == 1 { "one seed".into() } else { format!("{} seeds", self.findings.seeds) };
        let mut remarks = vec![format!(
            "Runs of {}: {seeds}, {}, the head drawn at random, dropout of the checkpoint \
             from the lowest part that trains on.",
            self.model, self.settings
        )];
        let left_out: Vec<String> =
            self.left_out.iter().map(|left_out| format!("{} ({})", left_out.name, left_out.reason)).collect();
        if !left_out.is_empty() {
            remarks.push(format!("Left out: {}.", left_out.join(", ")));
        }
        remarks.extend(self.findings.remarks());
        remarks
    }

    /// How the learning rate of each cell was chosen.
    pub(super) fn choice(&self) -> String {
        let epoch = match self.findings.tasks.iter().all(|task| task.eval.is_some()) {
            true => ", each of its best epoch",
            false => ", each of its last epoch",
        };
        format!(
            "A score is the mean over the seeds{epoch}, ± the standard deviation of the sample, at the learning rate \
             whose mean on the development set is the best, as in the paper: that set chose what is scored on it, so \
             these are not scores on unseen texts."
        )
    }

    /// What the published figures are, if any is shown.
    pub(super) fn about_figures(&self) -> Vec<String> {
        let model = self.shown();
        let is_shown = |row: &FigureRow| !row.sets.is_empty() || row.share.is_some();
        if !self.findings.methods.iter().any(|method| self.figures(&method.name).any(is_shown)) {
            return vec!["No figure of the paper stands beside these: none could be verified.".into()];
        }
        let mut remarks = vec![
            "Figures of the paper (arXiv 2106.10199, as published) are those that a second source gives too; with ≈ \
             those that an independent run or the published average agrees with. What could not be verified is left \
             empty. The independent run is of one seed, with batch 16 and a learning rate of 5e-4 that falls linearly."
                .into(),
        ];
        if self.published.is_none() {
            let what = "is of another size than the models of the paper";
            remarks.push(format!("{} {what}: the figures of {} are no target for it.", self.model, model.name()));
        }
        remarks.extend(super::figures::differing_versions(model).map(str::to_owned));
        remarks
    }

    /// The chosen rates by method and task.
    pub(super) fn rates(&self) -> Table {
        let Findings { tasks, methods, .. } = self.findings;
        let columns = ["chosen rate".to_owned()].into_iter().chain(tasks.iter().map(|task| task.name.clone()));
        let row = |(place, method): (usize, &crate::run::MethodChoice)| {
            let rate = |task| {
                let chosen = self.findings.chosen(task, place);
                or_dash(chosen.map(|runs| format!("{:e}", runs.rate)))
            };
            [method.name.clone()].into_iter().chain((0..tasks.len()).map(rate)).collect()
        };
        Table { columns: columns.collect(), rows: methods.iter().enumerate().map(row).collect() }
    }

    /// The scores of all rates with the published figures behind them, in percent: a row for each task, method, rate,
    /// set and metric.
    pub(super) fn numbers(&self) -> Table {
        let columns = [
            "table",
            "task",
            "set",
            "metric",
            "method",
            "source",
            "rate",
            "chosen",
            "runs",
            "diverged",
            "percent",
            "deviation",
            "percent_high",
            "certainty",
        ];
        let mut rows = Vec::new();
        for (task, of_task) in self.findings.tasks.iter().enumerate() {
            for method in 0..self.findings.methods.len() {
                let chosen = self.findings.chosen(task, method).map(|runs| runs.rate);
                for runs in &self.findings.cell(task, method).rates {
                    let is_chosen = chosen == Some(runs.rate);
                    let sets = of_task.sets.iter().flat_map(|set| of_task.metrics.iter().map(move |m| (set, *m)));
                    rows.extend(sets.map(|(set, metric)| self.number(of_task, method, runs, is_chosen, set, metric)));
                }
                rows.extend(of_task.sets.iter().flat_map(|set| self.published_numbers(of_task, method, set)));
            }
        }
        Table { columns: columns.map(str::to_owned).to_vec(), rows }
    }

    fn number(
        &self,
        task: &GridTask,
        method: usize,
        runs: &RateRuns,
        is_chosen: bool,
        set: &ScoredSet,
        metric: Metric,
    ) -> Vec<String> {
        let mean = runs.mean(set, metric);
        let percent = |value: Option<f64>| value.map_or_else(String::new, |value| (value * 100.0).to_string());
        vec![
            self.table.to_string(),
            task.name.clone(),
            set.name.clone(),
            metric.to_string(),
            self.findings.methods[method].name.clone(),
            "here".into(),
            format!("{:e}", runs.rate),
            if is_chosen { "yes" } else { "no" }.into(),
            runs.runs.len().to_string(),
            runs.diverged().to_string(),
            percent(mean.map(|mean| mean.mean)),
            percent(mean.and_then(|mean| mean.deviation)),
            String::new(),
            String::new(),
        ]
    }

    fn published_numbers(&self, task: &GridTask, method: usize, set: &ScoredSet) -> Vec<Vec<String>> {
        let (model, name) = (self.shown(), &self.findings.methods[method].name);
        let number = |row: &FigureRow| {
            let figure = row.of(&set.name)?;
            let high = if figure.high > figure.low { figure.high.to_string() } else { String::new() };
            Some(vec![
                self.table.to_string(),
                task.name.clone(),
                set.name.clone(),
                task.metrics[0].to_string(),
                name.clone(),
                row.source.label(model),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                figure.low.to_string(),
                String::new(),
                high,
                row.certainty_name(figure).into(),
            ])
        };
        self.figures(name).filter_map(number).collect()
    }
}

/// A text, or a dash where there is none.
pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{context, findings};
    use super::*;

    #[test]
    fn numbers_have_every_rate_and_the_published_figure_behind_them() {
        let found = findings(&["qnli", "mrpc"], &[&[0.9, 0.91], &[0.5]]);
        let csv = context(PaperTable::Glue, &found).numbers().csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert!(
            lines[0].starts_with("table,task,set,metric,method,source,rate,chosen,runs,diverged,percent,deviation")
        );
        assert!(lines[1].starts_with("glue,qnli,qnli,accuracy,bitfit,here,1e-3,yes,2,0,90.5,0.70710"), "{}", lines[1]);
        assert_eq!(lines[2], "glue,qnli,qnli,accuracy,bitfit,\"paper, BERT-base\",,,,,90.2,,,seen twice");
        assert!(lines[3].starts_with("glue,mrpc,mrpc,accuracy,bitfit,here,1e-3,yes,1,0,50,,,"), "{}", lines[3]);
        assert_eq!(lines.len(), 6, "an independent run too: {csv}");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let found = findings(&["rte"], &[&[0.5]]);
        let left_out = [LeftOut { name: "qqp".into(), reason: "QQP/dev.tsv is not there".into() }];
        let context = Context { left_out: &left_out, published: None, ..context(PaperTable::Glue, &found) };
        let remarks = context.remarks().join("\n");
        assert!(remarks.contains("Left out: qqp (QQP/dev.tsv is not there)."), "{remarks}");
        assert!(remarks.contains("rte, bitfit: 1 of 2 runs are made."), "{remarks}");
        let figures = context.about_figures().join("\n");
        assert!(figures.contains("the figures of BERT-base are no target for it"), "{figures}");
        let roberta = Context { published: Some(PublishedModel::RobertaBase), ..context };
        assert!(roberta.about_figures().join("\n").contains("Versions of the paper differ in RoBERTa-base"));
    }

    #[test]
    fn three_files_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let table = Table { columns: vec!["a".into()], rows: vec![vec!["1".into()]] };
        let (tables, remarks) = (vec![table.clone()], vec!["One *star*.".to_owned()]);
        let report = TableReport { tables, remarks, numbers: table, drawing: "<svg/>".into() };
        report.write(dir.path(), PaperTable::SquadSize).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("squad-size.md"), "| a |\n| --- |\n| 1 |\n\nOne \\*star\\*.\n");
        assert_eq!((read("squad-size.csv").as_str(), read("squad-size.svg").as_str()), ("a\n1\n", "<svg/>"));
    }
}
