//! Runs that differ in the seed alone, over one base and data that is read once: [`SeedRuns::prepare`] reads and checks
//! everything, and [`SeedRuns::run`] makes one run after the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitfit_core::Backend;

use crate::model::Base;
use crate::settings::{Setting, check};
use crate::train::{BestEpoch, Events, Score, StopReason};
use crate::{Error, Result};

use super::finetune::{Finetune, Finished, HandedOn, check_options};
use super::options::FinetuneOptions;
use super::output_dir::{OutputDir, check_output};
use super::plan::Plan;
use super::save::{TASK_FILE, WrittenTask};
use super::several;
use super::statistics::MeanScore;
use super::task_data::TaskData;

/// The events of runs that are made one after the other.
pub trait RunEvents: Events {
    /// Called before each run.
    fn begin(&mut self, _run: &RunNumber<'_>, _plan: &Plan) {}

    /// Called where no run is left to make, but this many are made by other processes and are waited for.
    fn waiting(&mut self, _runs: usize) {}

    /// Called where another process has taken over the run that was begun last ([`crate::Error::TakenOver`]).
    fn taken_over(&mut self, _error: &Error) {}
}

/// Which of several runs one is.
#[derive(Clone, Copy, Debug)]
pub struct RunNumber<'a> {
    /// The name of the method that is compared; `None` where all runs are of one.
    pub method: Option<&'a str>,
    /// The seed.
    pub seed: u64,
    /// The number of the run, from 1.
    pub number: usize,
    /// The number of runs.
    pub of: usize,
}

/// Runs of several seeds that are ready to start: everything is read, but nothing is written yet.
#[derive(Debug)]
pub struct SeedRuns<D: Backend> {
    base: Base<D>,
    data: Arc<TaskData>,
    options: FinetuneOptions,
    seeds: Vec<u64>,
    first: Finetune<D>,
}

/// The run of a seed.
#[derive(Debug)]
pub struct SeedRun {
    /// The seed.
    pub seed: u64,
    /// What was reached.
    pub finished: Finished,
}

impl SeedRun {
    /// The epoch that the task file holds.
    pub fn best(&self) -> Option<&BestEpoch> {
        self.finished.report.state.best.as_ref()
    }

    /// The first score of that epoch, which chose it.
    fn score(&self) -> Option<Score> {
        self.best()?.scores.first().copied()
    }
}

/// The results of the runs.
#[derive(Debug)]
pub struct FinishedSeeds {
    /// The runs that were made, in the order of the seeds; the last may have been stopped.
    pub runs: Vec<SeedRun>,
    /// The place of the best of them.
    pub best: Option<usize>,
    /// The task file of the best, a copy in the output directory itself.
    pub task: Option<WrittenTask>,
}

impl FinishedSeeds {
    /// The means of the scores over the runs that came to their end.
    pub fn means(&self) -> Vec<MeanScore> {
        several::means(self.runs.iter().map(|run| &run.finished))
    }

    /// How the last run ended, or else the first one that diverged.
    pub fn stop(&self) -> StopReason {
        several::stop(self.runs.iter().map(|run| &run.finished))
    }
}

/// The beginning of the name of the directory of a seed.
pub(super) const SEED: &str = "seed-";

/// The directory of a seed's files in the output directory of several.
pub fn seed_directory(out: &Path, seed: u64) -> PathBuf {
    out.join(format!("{SEED}{seed}"))
}

impl<D: Backend> SeedRuns<D> {
    /// Reads the data for runs over `base` of each of the seeds, in place of that of the options.
    ///
    /// # Errors
    /// As [`Finetune::prepare`]; [`crate::Error::Setting`] where there is no seed, one twice, or no evaluation set to
    /// compare the seeds on.
    pub fn prepare(base: &Base<D>, mut options: FinetuneOptions, seeds: &[u64]) -> Result<Self> {
        check_seed_runs(&options, seeds)?;
        options.training.seed = seeds[0];
        check_options(base, &options)?;
        check_output(&options.out, options.earlier)?;
        seeds.iter().try_for_each(|&seed| check_output(&seed_directory(&options.out, seed), options.earlier))?;
        let directories: Vec<PathBuf> = seeds.iter().map(|&seed| seed_directory(&options.out, seed)).collect();
        several::check_begun(&options, &directories)?;
        let data = Arc::new(TaskData::read(base, &options)?);
        let first = Finetune::over(base, &data, of_seed(&options, seeds[0]))?;
        Ok(Self { base: base.clone(), data, options, seeds: seeds.to_vec(), first })
    }

    /// The plan of the first run. Those of the others differ in the seed, and, with a limit of rows, in the rows.
    pub fn plan(&self) -> &Plan {
        self.first.plan()
    }

    /// Makes the runs, each into its own directory ([`seed_directory`]). After each that is the best so far by the
    /// first metric, its task file is copied into the output directory.
    ///
    /// Each has the bits of a single run of its seed; see [`PrefixCaches`](crate::train::PrefixCaches) for a GPU.
    /// A run that diverges does not keep the next from being made; one that is stopped is the last. Where runs are
    /// resumed, those that came to their end are not made again.
    ///
    /// # Errors
    /// As [`Finetune::run`].
    pub fn run(self, events: &mut dyn RunEvents) -> Result<FinishedSeeds> {
        let Self { base, data, options, seeds, first } = self;
        let _claimed = OutputDir::claim(&options.out, options.earlier)?;
        let mut first = Some(first);
        let mut handed_on = HandedOn::default();
        let mut done = FinishedSeeds { runs: Vec::new(), best: None, task: None };
        for (place, &seed) in seeds.iter().enumerate() {
            let run = first.take().map_or_else(|| Finetune::over(&base, &data, of_seed(&options, seed)), Ok)?;
            let directory = seed_directory(&options.out, seed);
            let number = RunNumber { method: None, seed, number: place + 1, of: seeds.len() };
            let finished = several::make(run, &options, &directory, &number, &mut handed_on, &mut *events)?;
            let run = SeedRun { seed, finished };
            let best = done.best.and_then(|best| done.runs[best].score());
            let is_best = run
                .score()
                .is_some_and(|score| best.is_none_or(|best: Score| score.metric.is_better(score.value, best.value)));
            if let Some(task) = run.finished.task.as_ref().filter(|_| is_best) {
                done.task = Some(task.copy_to(&options.out.join(TASK_FILE))?);
                done.best = Some(place);
            }
            let stop = run.finished.report.stop.clone();
            done.runs.push(run);
            if stop == StopReason::Stopped {
                break;
            }
        }
        Ok(done)
    }
}

/// The options of the run of a seed.
fn of_seed(options: &FinetuneOptions, seed: u64) -> FinetuneOptions {
    let mut of_seed = several::options_in(options, seed_directory(&options.out, seed));
    of_seed.training.seed = seed;
    of_seed
}

/// Refuses runs of several seeds that are impossible whatever the base and the data are.
///
/// # Errors
/// [`crate::Error::Setting`] with the setting.
pub fn check_seed_runs(options: &FinetuneOptions, seeds: &[u64]) -> Result<()> {
    check_seeds(seeds, options.eval.is_some())?;
    let reason = "each seed has another base as its result: choose a single seed";
    options.save_base.as_ref().map_or(Ok(()), |dir| check(Setting::SaveBase, dir.display(), false, reason))
}

/// Refuses seeds whose runs there would be nothing to compare of.
pub(super) fn check_seeds(seeds: &[u64], evaluates: bool) -> Result<()> {
    let list = || seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    check(Setting::Seeds, list(), !seeds.is_empty(), "there must be at least one")?;
    let is_twice = seeds.iter().enumerate().any(|(place, seed)| seeds[..place].contains(seed));
    check(Setting::Seeds, list(), !is_twice, "one of them is listed twice")?;
    check(Setting::Seeds, list(), evaluates, "their runs are compared on an evaluation set, and none is given")
}
