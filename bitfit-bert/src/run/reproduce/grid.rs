//! A grid of runs: every combination of tasks, methods, learning rates and seeds. Each run is independent of all others
//! and has a directory of its own, so that any of them can be made in any order.
//!
//! ```text
//! OUT/<task>/<method>/lr-<rate>/seed-<seed>/    task.safetensors, metrics.jsonl, result.json
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::{Contents, Kind, ReadOptions};
use crate::metrics::Metric;
use crate::presets::GlueTask;
use crate::run::run_record::exact_scores;
use crate::run::seeds::seed_directory;
use crate::run::{EarlierRun, FinetuneOptions, HeadStart, MethodChoice, ProbeUse, RunResult};

/// What a run is trained on and scored on.
#[derive(Clone, Debug)]
pub(super) struct GridTask {
    /// Its name, also in paths.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The preset that the files are read with.
    pub(super) glue: Option<GlueTask>,
    pub(super) train: PathBuf,
    /// The set that chooses the epoch; without one a run keeps its last epoch.
    pub(super) eval: Option<PathBuf>,
    /// The sets that a finished run is scored on; the first chooses the learning rate.
    pub(super) sets: Vec<ScoredSet>,
    /// The metrics, the first of which chooses epoch and rate.
    pub(super) metrics: Vec<Metric>,
    /// The number of texts of the training set that a run draws by its seed; all if not given.
    pub(super) texts: Option<usize>,
}

/// A set that runs are scored on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScoredSet {
    /// Its name in records, tables and figures.
    pub(super) name: String,
    /// Its title in tables.
    pub(super) title: String,
    pub(super) source: SetSource,
}

/// Where the scores of a set are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SetSource {
    /// From the evaluations of the run: those of its best epoch.
    Evaluation,
    /// The finished task is scored on a file.
    File(PathBuf),
    /// The finished task is scored on the texts that it was trained on.
    TrainingTexts,
}

/// How long runs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many passes over the training set.
    Epochs(usize),
    /// At least so many steps and at least so many passes, in whole passes, so that a small training set gets as many
    /// steps as a larger one.
    Steps {
        /// The number of steps.
        at_least: usize,
        /// The number of passes.
        epochs: usize,
    },
}

impl Length {
    /// The number of passes where one has so many steps.
    pub(super) fn epochs(self, steps_of_epoch: usize) -> usize {
        match self {
            Self::Epochs(epochs) => epochs,
            Self::Steps { at_least, epochs } => at_least.div_ceil(steps_of_epoch.max(1)).max(epochs),
        }
    }

    /// For records and people.
    pub(super) fn text(self) -> String {
        match self {
            Self::Epochs(epochs) => epochs.to_string(),
            Self::Steps { at_least, epochs } => format!("at least {at_least} steps and {epochs} epochs"),
        }
    }
}

/// A run of a grid, by the places of its task and method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct GridRun {
    pub(super) task: usize,
    pub(super) method: usize,
    pub(super) rate: f32,
    pub(super) seed: u64,
}

/// The combinations.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) tasks: Vec<GridTask>,
    pub(super) methods: Vec<MethodChoice>,
    /// The learning rates of each method.
    pub(super) rates: Vec<Vec<f32>>,
    pub(super) seeds: Vec<u64>,
    pub(super) length: Length,
    /// The settings that all runs have in common, with the directory of all.
    pub(super) common: FinetuneOptions,
}

impl Grid {
    /// Every run: task by task, method by method, rate by rate, seed by seed.
    pub(super) fn runs(&self) -> Vec<GridRun> {
        let mut runs = Vec::new();
        for task in 0..self.tasks.len() {
            for (method, rates) in self.rates.iter().enumerate() {
                for &rate in rates {
                    runs.extend(self.seeds.iter().map(|&seed| GridRun { task, method, rate, seed }));
                }
            }
        }
        runs
    }

    /// The directory of a run.
    pub(super) fn directory(&self, run: &GridRun) -> PathBuf {
        let (task, method) = (&self.tasks[run.task], &self.methods[run.method]);
        seed_directory(&rate_directory(&self.common.out, task, method, run.rate), run.seed)
    }

    /// Every directory that is written into, each behind the one that it is in.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let out = self.common.out.clone();
        let mut directories = vec![out.clone()];
        for run in self.runs() {
            let seed = self.directory(&run);
            let above: Vec<&Path> = seed.ancestors().take_while(|path| *path != out).collect();
            for path in above.into_iter().rev() {
                if !directories.iter().any(|known| known == path) {
                    directories.push(path.to_owned());
                }
            }
        }
        directories
    }

    /// The name of a run but for its seed: `rte, bitfit, 1e-3`.
    pub(super) fn name(&self, run: &GridRun) -> String {
        format!("{}, {}, rate {:e}", self.tasks[run.task].name, self.methods[run.method], run.rate)
    }

    /// The options of a run whose training set has so many steps an epoch.
    pub(super) fn options(&self, run: &GridRun, steps_of_epoch: usize) -> FinetuneOptions {
        let (task, method) = (&self.tasks[run.task], &self.methods[run.method]);
        let mut options = self.common.clone();
        options.train.clone_from(&task.train);
        options.eval.clone_from(&task.eval);
        options.read = ReadOptions { task: task.glue, contents: Contents::of(task.kind), ..ReadOptions::default() };
        options.kind = task.kind;
        options.metrics.clone_from(&task.metrics);
        options.method = method.method.clone();
        // As in the paper: the head is drawn, and scores are trained on as they are.
        (options.probe, options.head, options.standardize_scores) = (ProbeUse::Off, HeadStart::Drawn, false);
        options.training.learning_rate = run.rate;
        options.training.seed = run.seed;
        options.training.epochs = self.length.epochs(steps_of_epoch);
        options.out = self.directory(run);
        options.earlier = EarlierRun::Replace;
        options
    }
}

/// The directory of the runs of a rate.
fn rate_directory(out: &Path, task: &GridTask, method: &MethodChoice, rate: f32) -> PathBuf {
    out.join(&task.name).join(method.file_name()).join(format!("lr-{rate:e}"))
}

/// What a run of a grid reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GridResult {
    pub(super) run: RunResult,
    /// The number of scalars of the encoder that train, the head's not included.
    pub(super) encoder: usize,
    /// The time of the whole run: steps, evaluations and files. That of a run that was resumed is that since then.
    pub(super) wall_seconds: f64,
    /// The scores on sets other than that of the run's own evaluations, by the name of the set.
    pub(super) further: BTreeMap<String, FurtherScores>,
}

/// The scores of a finished task on a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FurtherScores {
    /// A hash of the file.
    pub(super) file: String,
    /// The scores by metric.
    #[serde(with = "exact_scores")]
    pub(super) scores: Vec<(String, f64)>,
}

impl GridResult {
    /// The score on a set.
    pub(super) fn score(&self, set: &ScoredSet, metric: Metric) -> Option<f64> {
        let scores = match set.source {
            SetSource::Evaluation => &self.run.scores,
            SetSource::File(_) | SetSource::TrainingTexts => &self.further.get(&set.name)?.scores,
        };
        scores.iter().find(|(name, _)| name == metric.name()).map(|(_, value)| *value)
    }

    /// The sets that the finished task is still to be scored on. A run that diverged is scored on none.
    pub(super) fn missing<'a>(&'a self, sets: &'a [ScoredSet]) -> impl Iterator<Item = &'a ScoredSet> {
        let is_missing = |set: &&ScoredSet| {
            set.source != SetSource::Evaluation && !self.run.diverged && !self.further.contains_key(&set.name)
        };
        sets.iter().filter(is_missing)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::grid;
    use super::*;

    #[test]
    fn a_small_training_set_gets_as_many_steps() {
        let length = Length::Steps { at_least: 2_000, epochs: 5 };
        // 500 rows in batches of 16 are 32 steps: 63 epochs are 2,016.
        for (steps_of_epoch, epochs) in [(32, 63), (63, 32), (400, 5), (401, 5), (399, 6), (5_532, 5), (2_000, 5)] {
            assert_eq!(length.epochs(steps_of_epoch), epochs, "{steps_of_epoch}");
            assert!(length.epochs(steps_of_epoch) * steps_of_epoch >= 2_000);
        }
        assert_eq!(Length::Epochs(16).epochs(7), 16);
    }

    #[test]
    fn every_combination_is_a_run_with_a_directory_of_its_own() {
        let grid = grid();
        let runs = grid.runs();
        assert_eq!(runs.len(), 2 * (2 + 1) * 2, "two tasks; two rates and one; two seeds");
        let directories: Vec<PathBuf> = runs.iter().map(|run| grid.directory(run)).collect();
        assert_eq!(directories[0], Path::new("out/rte/bitfit/lr-1e-4/seed-0"));
        assert_eq!(directories[11], Path::new("out/cola/bitfit-query+intermediate/lr-1e-3/seed-1"));
        for (place, directory) in directories.iter().enumerate() {
            assert!(!directories[..place].contains(directory), "{}", directory.display());
        }
        let all = grid.directories();
        assert_eq!(all[0], Path::new("out"));
        for (place, directory) in all.iter().enumerate().skip(1) {
            assert!(all[..place].iter().any(|above| directory.parent() == Some(above)), "{}", directory.display());
        }
        assert!(directories.iter().all(|directory| all.contains(directory)));
    }

    #[test]
    fn a_run_is_scored_once_on_each_further_set() {
        let mut result = super::super::testing::result(0, Some(0.5));
        let set = |name: &str, source| ScoredSet { name: name.into(), title: name.into(), source };
        let sets = [set("mnli", SetSource::Evaluation), set("mnli-mm", SetSource::File("x".into()))];
        assert_eq!(result.missing(&sets).map(|set| set.name.as_str()).collect::<Vec<_>>(), ["mnli-mm"]);
        assert_eq!(
            (result.score(&sets[0], Metric::Accuracy), result.score(&sets[1], Metric::Accuracy)),
            (Some(0.5), None)
        );
        let further = FurtherScores { file: "hash".into(), scores: vec![("accuracy".into(), 0.25)] };
        result.further.insert("mnli-mm".into(), further);
        assert_eq!((result.missing(&sets).count(), result.score(&sets[1], Metric::Accuracy)), (0, Some(0.25)));
        result.further.clear();
        result.run.diverged = true;
        assert_eq!(result.missing(&sets).count(), 0);
    }
}
