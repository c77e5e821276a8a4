//! What the runs of a grid reached: for each task and method the learning rate that is chosen, means over seeds, and
//! averages over tasks.

use std::path::PathBuf;

use crate::metrics::Metric;
use crate::run::MethodChoice;
use crate::run::statistics::{deviation, mean};

use super::grid::{GridResult, GridTask, ScoredSet};

/// The results of a grid.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) tasks: Vec<GridTask>,
    pub(super) methods: Vec<MethodChoice>,
    /// The number of seeds of each cell.
    pub(super) seeds: usize,
    /// The cells, task by task, and for each task method by method.
    pub(super) cells: Vec<Cell>,
}

/// The runs of a method on a task.
#[derive(Debug)]
pub(super) struct Cell {
    /// The rates in the order in which they were listed.
    pub(super) rates: Vec<RateRuns>,
}

/// The runs of one learning rate.
#[derive(Debug)]
pub(super) struct RateRuns {
    pub(super) rate: f32,
    /// The runs that are made, each with its directory.
    pub(super) runs: Vec<(PathBuf, GridResult)>,
}

/// A mean over seeds, in the unit of its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mean {
    pub(super) mean: f64,
    /// The standard deviation of the sample; `None` for a single value.
    pub(super) deviation: Option<f64>,
}

impl Mean {
    /// The mean of values; `None` without any.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        (!values.is_empty()).then(|| Self { mean: mean(values), deviation: deviation(values) })
    }

    /// In percent with one decimal: `92.1 ± 0.3`.
    pub(super) fn percent(&self) -> String {
        let deviation = self.deviation.map(|deviation| format!(" ± {:.1}", deviation * 100.0));
        format!("{:.1}{}", self.mean * 100.0, deviation.unwrap_or_default())
    }
}

impl RateRuns {
    /// The runs that came to their end.
    pub(super) fn ended(&self) -> impl Iterator<Item = &(PathBuf, GridResult)> {
        self.runs.iter().filter(|(_, result)| !result.run.diverged)
    }

    /// The number of runs whose loss became NaN or infinite.
    pub(super) fn diverged(&self) -> usize {
        self.runs.len() - self.ended().count()
    }

    /// The score of each run that came to its end, with its seed.
    pub(super) fn scores(&self, set: &ScoredSet, metric: Metric) -> Vec<(u64, f64)> {
        let score = |(_, result): &(PathBuf, GridResult)| Some((result.run.seed, result.score(set, metric)?));
        self.ended().filter_map(score).collect()
    }

    /// The mean of these scores.
    pub(super) fn mean(&self, set: &ScoredSet, metric: Metric) -> Option<Mean> {
        Mean::of(&self.scores(set, metric).iter().map(|(_, value)| *value).collect::<Vec<_>>())
    }
}

impl Cell {
    /// The rate that is chosen: of those of which the most runs came to their end, the one whose mean score on the set
    /// is the best, and of equal ones the first. `None` where no run has a score.
    pub(super) fn chosen(&self, set: &ScoredSet, metric: Metric) -> Option<&RateRuns> {
        let most = self.rates.iter().map(|rate| rate.ended().count()).max().filter(|most| *most > 0)?;
        let rates = self.rates.iter().filter(|rate| rate.ended().count() == most);
        let mut best: Option<(&RateRuns, f64)> = None;
        for (rate, mean) in rates.filter_map(|rate| Some((rate, rate.mean(set, metric)?.mean))) {
            if best.is_none_or(|(_, best)| metric.is_better(mean, best)) {
                best = Some((rate, mean));
            }
        }
        best.map(|(rate, _)| rate)
    }
}

impl Findings {
    /// The runs of a method on a task, by their places.
    pub(super) fn cell(&self, task: usize, method: usize) -> &Cell {
        &self.cells[task * self.methods.len() + method]
    }

    /// Those of the rate that is chosen by the first set and the first metric of the task.
    pub(super) fn chosen(&self, task: usize, method: usize) -> Option<&RateRuns> {
        let GridTask { sets, metrics, .. } = &self.tasks[task];
        self.cell(task, method).chosen(&sets[0], metrics[0])
    }

    /// The score of a method on a set of a task by its first metric, at the chosen rate.
    pub(super) fn score(&self, task: usize, method: usize, set: &ScoredSet) -> Option<Mean> {
        self.chosen(task, method)?.mean(set, self.tasks[task].metrics[0])
    }

    /// The mean over the seeds of the average over all tasks, each at its chosen rate; `None` where no seed has a run
    /// of each task.
    pub(super) fn average(&self, method: usize) -> Option<Mean> {
        let chosen: Vec<&RateRuns> =
            (0..self.tasks.len()).map(|task| self.chosen(task, method)).collect::<Option<_>>()?;
        let of_seed = |seed: u64| -> Option<f64> {
            let of_task = |(task, runs): (&GridTask, &&RateRuns)| -> Option<Vec<f64>> {
                let score = |set: &ScoredSet| {
                    let scores = runs.scores(set, task.metrics[0]);
                    scores.into_iter().find(|(of, _)| *of == seed).map(|(_, value)| value)
                };
                task.sets.iter().map(score).collect()
            };
            average(&self.tasks.iter().zip(&chosen).map(of_task).collect::<Option<Vec<_>>>()?)
        };
        let seeds = chosen.first()?.ended().map(|(_, result)| result.run.seed);
        Mean::of(&seeds.filter_map(of_seed).collect::<Vec<_>>())
    }

    /// The number of runs that are made.
    pub(super) fn runs(&self) -> usize {
        self.cells.iter().flat_map(|cell| &cell.rates).map(|rate| rate.runs.len()).sum()
    }

    /// A result of a method on any task.
    pub(super) fn any(&self, method: usize) -> Option<&GridResult> {
        let cells = (0..self.tasks.len()).map(|task| self.cell(task, method));
        cells.flat_map(|cell| &cell.rates).flat_map(|rate| &rate.runs).map(|(_, result)| result).next()
    }

    /// What is missing or left out of the means, in sentences.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for (place, cell) in self.cells.iter().enumerate() {
            let (task, method) = (&self.tasks[place / self.methods.len()], &self.methods[place % self.methods.len()]);
            let of = cell.rates.len() * self.seeds;
            let made: usize = cell.rates.iter().map(|rate| rate.runs.len()).sum();
            let diverged: usize = cell.rates.iter().map(RateRuns::diverged).sum();
            if made < of {
                remarks.push(format!("{}, {method}: {made} of {of} runs are made.", task.name));
            }
            if diverged > 0 {
                let what = "diverged: the loss became NaN or infinite. They are left out of the means";
                remarks.push(format!("{}, {method}: of {made} runs {diverged} {what}.", task.name));
            }
        }
        remarks
    }
}

/// The average over tasks as the paper computes it: the mean over the tasks, where a task of several sets, as MNLI is,
/// counts by the mean of its sets. `None` without a task.
pub(super) fn average(tasks: &[Vec<f64>]) -> Option<f64> {
    (!tasks.is_empty()).then(|| mean(&tasks.iter().map(|sets| mean(sets)).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{findings, result, task};
    use super::*;

    #[test]
    fn a_task_of_two_sets_counts_once() {
        assert_eq!(average(&[vec![0.25], vec![0.5, 1.0]]), Some(0.5));
        assert_eq!(average(&[]), None);
    }

    #[test]
    fn the_rate_with_the_best_mean_is_chosen_among_those_whose_runs_ended() {
        let rates = |rates: &[(f32, &[Option<f64>])]| Cell {
            rates: rates
                .iter()
                .map(|&(rate, scores)| {
                    let runs = scores.iter().enumerate().map(|(seed, score)| result(seed as u64, *score));
                    RateRuns { rate, runs: runs.map(|result| (PathBuf::new(), result)).collect() }
                })
                .collect(),
        };
        let set = &task("rte").sets[0];
        let chosen = |cell: &Cell| cell.chosen(set, Metric::Accuracy).map(|rate| rate.rate);
        let cell = rates(&[(1e-4, &[Some(0.5), Some(0.6)]), (4e-4, &[Some(0.7), Some(0.6)]), (1e-3, &[Some(0.1)])]);
        assert_eq!(chosen(&cell), Some(4e-4));
        // One seed that ended well does not outweigh one that diverged.
        let cell = rates(&[(1e-4, &[Some(0.5), Some(0.5)]), (1e-3, &[Some(0.9), None])]);
        assert_eq!(chosen(&cell), Some(1e-4));
        assert_eq!(chosen(&rates(&[(1e-4, &[Some(0.5)]), (4e-4, &[Some(0.5)])])), Some(1e-4), "the first of equals");
        assert_eq!((chosen(&rates(&[(1e-4, &[None])])), chosen(&rates(&[]))), (None, None));
    }

    #[test]
    fn the_average_is_over_the_seeds_that_have_every_task() {
        let found = findings(&["rte", "cola"], &[&[0.5, 0.75], &[0.25, 0.75]]);
        let average = found.average(0).unwrap();
        assert_eq!(average, Mean { mean: 0.5625, deviation: deviation(&[0.375, 0.75]) });
        let found = findings(&["rte", "cola"], &[&[0.5, 0.75], &[0.25]]);
        assert_eq!(found.average(0), Some(Mean { mean: 0.375, deviation: None }));
        assert_eq!(findings(&["rte", "cola"], &[&[0.5], &[]]).average(0), None);
    }

    #[test]
    fn a_mean_is_shown_in_percent() {
        assert_eq!(Mean { mean: 0.92149, deviation: Some(0.0031) }.percent(), "92.1 ± 0.3");
        assert_eq!(Mean { mean: 0.5, deviation: None }.percent(), "50.0");
    }
}
