//! The runs of a table: [`Reproduction::prepare`] reads and checks everything, and [`Reproduction::run`] makes what is
//! not on disk yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bitfit_core::{Backend, Random};

use crate::files::remove;
use crate::model::{Base, TrainableKind};
use crate::run::compare::{PeakMemory, check_methods};
use crate::run::finetune::{Finetune, HandedOn, check_options};
use crate::run::options::{EarlierRun, FinetuneOptions};
use crate::run::output_dir::OutputDir;
use crate::run::run_record::{Origin, RunRecord, RunResult};
use crate::run::save::TASK_FILE;
use crate::run::seeds::{RunEvents, RunNumber, check_seeds};
use crate::run::state_file::can_resume;
use crate::run::task_data::TaskData;
use crate::run::{MethodChoice, ProbeUse};
use crate::settings::{Setting, check};
use crate::train::{BatchSize, StopReason};
use crate::{Error, Result};

use super::figures::PublishedModel;
use super::files::LeftOut;
use super::findings::{Cell, Findings, RateRuns};
use super::grid::{Grid, GridResult, GridRun, GridTask, Length};
use super::plan::{GridPlan, PlannedRun, RunState};
use super::prepare::{check_rates, check_scored, length, origin, read, sized, tasks};
use super::report::{Context, TableReport};
use super::scoring::ScoredFiles;
use super::{Data, PaperTable, ReproduceOptions};

/// The stream of the seed that draws the texts of a smaller training set.
const STREAM: u32 = u32::MAX - 2;

/// A reproduction that is ready to start: everything is read, but nothing is written yet.
#[derive(Debug)]
pub struct Reproduction<D: Backend> {
    base: Base<D>,
    table: PaperTable,
    grid: Grid,
    runs: Vec<Tracked>,
    left_out: Vec<LeftOut>,
    remove_task_files: bool,
}

/// A run with what is on disk of it.
#[derive(Debug)]
struct Tracked {
    run: GridRun,
    directory: PathBuf,
    /// What it is made from.
    origin: Origin,
    /// The number of its steps, if no text is several sequences.
    steps: usize,
    result: Option<GridResult>,
}

/// What a reproduction found.
#[derive(Clone, Debug)]
pub struct FinishedReproduction {
    /// The table; nothing is written while no run is made.
    pub report: TableReport,
    /// The number of runs that are made.
    pub made: usize,
    /// Whether it came to its end: [`StopReason::Finished`] or [`StopReason::Stopped`].
    pub stop: StopReason,
}

impl<D: Backend> Reproduction<D> {
    /// Finds the tasks of a table in the data directory, reads their files, and what an earlier call left in the output
    /// directory.
    ///
    /// # Errors
    /// [`Error::DataFile`] for a directory without the table's files; every error of reading a file; [`Error::Setting`]
    /// for settings that are impossible or not the table's; [`Error::RunRecord`] where the output directory has a run
    /// of another base, data or setting.
    pub fn prepare(base: &Base<D>, table: PaperTable, options: &ReproduceOptions) -> Result<Self> {
        let length = length(table, options)?;
        let methods = if options.methods.is_empty() { table.methods() } else { options.methods.clone() };
        check_methods(&methods)?;
        if let Some(probe) = methods.iter().find(|choice| choice.probe == ProbeUse::Result) {
            let reason = "a probe has no learning rate to search, and the paper has none: see compare";
            check(Setting::Methods, &probe.name, false, reason)?;
        }
        check_seeds(&options.seeds, true)?;
        if let BatchSize::Tokens(size) = options.common.training.batch_size {
            check(Setting::BatchTokens, size, false, "the paper's batches are of a number of texts")?;
        }
        let rates: Vec<Vec<f32>> = methods.iter().map(|choice| options.rates.of(choice)).collect();
        rates.iter().try_for_each(|rates| check_rates(rates))?;
        let (tasks, mut left_out) = tasks(table, options)?;
        let common = options.common.clone();
        let mut grid = Grid { tasks, methods, rates, seeds: options.seeds.clone(), length, common };
        for task in 0..grid.tasks.len() {
            for method in 0..grid.methods.len() {
                let run = GridRun { task, method, rate: grid.rates[method][0], seed: grid.seeds[0] };
                check_options(base, &grid.options(&run, 1))?;
            }
        }
        let facts = read(&grid)?;
        if table.description().data == Data::Squad {
            sized(&mut grid, &options.sizes, &facts, &mut left_out)?;
        }
        let mut runs = Vec::new();
        for run in grid.runs() {
            let task = &grid.tasks[run.task];
            let texts = task.texts.unwrap_or(facts[&task.train].texts);
            let texts = texts.min(options.common.training.limit.unwrap_or(usize::MAX));
            let of_epoch = texts.div_ceil(batch_size(&options.common));
            let origin = origin(base, &grid, &run, &facts)?;
            let directory = grid.directory(&run);
            let result = RunRecord::<GridResult>::find(&directory, &origin)?;
            if let Some(result) = &result {
                check_scored(&directory, result, &task.sets, &facts)?;
            }
            runs.push(Tracked { run, directory, origin, steps: of_epoch * length.epochs(of_epoch), result });
        }
        let remove_task_files = options.remove_task_files;
        Ok(Self { base: base.clone(), table, grid, runs, left_out, remove_task_files })
    }

    /// The tasks and sets that are left out.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The names of the tasks.
    pub fn tasks(&self) -> Vec<&str> {
        self.grid.tasks.iter().map(|task| task.name.as_str()).collect()
    }

    /// The names of the methods with the learning rates of each.
    pub fn methods(&self) -> Vec<(&str, &[f32])> {
        let names = self.grid.methods.iter().map(|choice| choice.name.as_str());
        names.zip(self.grid.rates.iter().map(Vec::as_slice)).collect()
    }

    /// How long each run is.
    pub fn length(&self) -> Length {
        self.grid.length
    }

    /// Every directory that is written into, each behind the one that it is in.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.grid.directories()
    }

    /// The runs, and how far each is.
    pub fn plan(&self) -> GridPlan {
        let planned = |tracked: &Tracked| {
            let state = match &tracked.result {
                Some(result) if result.missing(&self.grid.tasks[tracked.run.task].sets).next().is_none() => {
                    RunState::Done
                }
                Some(_) => RunState::ToScore,
                None if can_resume(&tracked.directory) => RunState::Begun,
                None => RunState::ToMake,
            };
            PlannedRun {
                task: self.grid.tasks[tracked.run.task].name.clone(),
                method: self.grid.methods[tracked.run.method].name.clone(),
                rate: tracked.run.rate,
                seed: tracked.run.seed,
                directory: tracked.directory.clone(),
                state,
                steps: tracked.steps,
                seconds: tracked.result.as_ref().map(|result| result.wall_seconds),
            }
        };
        GridPlan { runs: self.runs.iter().map(planned).collect() }
    }

    /// Makes the runs that are not on disk, each into its own directory, which gets its record when the run has come to
    /// its end, scores those that are not scored yet, and writes the table into the output directory.
    ///
    /// A run that diverges is part of the result. One that is stopped is the last, and goes on in the next call.
    ///
    /// # Errors
    /// As [`Finetune::run`]; [`Error::TaskFile`] where a finished run is to be scored and its task file is gone.
    pub fn run(mut self, events: &mut dyn RunEvents, memory: PeakMemory) -> Result<FinishedReproduction> {
        let _claimed = OutputDir::claim(&self.grid.common.out.clone(), EarlierRun::Resume)?;
        let mut stop = StopReason::Finished;
        for task in 0..self.grid.tasks.len() {
            if !self.make_task(task, events, memory)? {
                stop = StopReason::Stopped;
                break;
            }
        }
        let Self { base, table, grid, runs, left_out, .. } = self;
        let settings = settings(&grid);
        let findings = findings(grid.tasks, grid.methods, &grid.rates, grid.seeds.len(), runs);
        let published = PublishedModel::of(base.config());
        let model = &grid.common.model;
        let context =
            Context { table, findings: &findings, published, model, settings: &settings, left_out: &left_out };
        let made = findings.runs();
        let report = if made > 0 { table.report(&context, &base)? } else { TableReport::default() };
        if made > 0 {
            report.write(&grid.common.out, table)?;
        }
        Ok(FinishedReproduction { report, made, stop })
    }

    /// Makes the runs of a task; false where it is stopped.
    fn make_task(&mut self, task: usize, events: &mut dyn RunEvents, memory: PeakMemory) -> Result<bool> {
        let Self { base, grid, runs, remove_task_files, .. } = self;
        let of = runs.len();
        let of_task = &grid.tasks[task];
        let is_done = |tracked: &Tracked| {
            tracked.result.as_ref().is_some_and(|result| result.missing(&of_task.sets).next().is_none())
        };
        let to_do: Vec<usize> =
            (0..of).filter(|&place| runs[place].run.task == task && !is_done(&runs[place])).collect();
        let Some(&first) = to_do.first() else { return Ok(true) };
        if events.should_stop() {
            return Ok(false);
        }
        let whole = Arc::new(TaskData::read(base, &grid.options(&runs[first].run, 1))?);
        let mut scored = ScoredFiles::default();
        let mut handed_on = (runs[first].run.method, HandedOn::default());
        for place in to_do {
            if events.should_stop() {
                return Ok(false);
            }
            let run = runs[place].run;
            let data = match of_task.texts {
                Some(count) => {
                    // Other texts under the same numbers: nothing is handed on.
                    handed_on.1 = HandedOn::default();
                    let texts = drawn(whole.training_set.examples.len(), count, run.seed);
                    Arc::new(whole.with_training_texts(&texts))
                }
                None => Arc::clone(&whole),
            };
            if handed_on.0 != run.method {
                // Neither outputs of frozen stages nor buffers of an earlier method count as memory of this one.
                handed_on = (run.method, HandedOn::default());
                base.workspace().clear();
            }
            let tracked = &mut runs[place];
            let mut options = grid.options(&run, data.train.len().div_ceil(batch_size(&grid.common)));
            if tracked.result.is_none() {
                if can_resume(&tracked.directory) {
                    options.earlier = EarlierRun::Resume;
                }
                let name = grid.name(&run);
                let number = RunNumber { method: Some(&name), seed: run.seed, number: place + 1, of };
                let made = make(base, &data, options.clone(), &number, &mut handed_on.1, events, memory)?;
                let Some(result) = made else { return Ok(false) };
                // It is recorded before it is scored, so that an interruption does not lose it.
                record(tracked, result)?;
            }
            let result = tracked.result.clone().expect("the run is made");
            for set in result.missing(&of_task.sets) {
                let scores = scored.score(base, &data, &options, set)?;
                let mut result = tracked.result.clone().expect("the run is made");
                result.further.insert(set.name.clone(), scores);
                record(tracked, result)?;
            }
            if *remove_task_files {
                remove(&tracked.directory.join(TASK_FILE))?;
            }
        }
        Ok(true)
    }
}

/// Makes a run; `None` where it is stopped.
fn make<D: Backend>(
    base: &Base<D>,
    data: &Arc<TaskData>,
    options: FinetuneOptions,
    number: &RunNumber<'_>,
    handed_on: &mut HandedOn,
    events: &mut dyn RunEvents,
    memory: PeakMemory,
) -> Result<Option<GridResult>> {
    let (start, peak_is_of_run) = (Instant::now(), (memory.reset)());
    let run = Finetune::over(base, data, options)?;
    let plan = run.plan().clone();
    events.begin(number, &plan);
    let finished = run.run_with(handed_on, events)?;
    if finished.report.stop == StopReason::Stopped {
        return Ok(None);
    }
    let is_head = |kind: &TrainableKind| !matches!(kind, TrainableKind::Bias(_) | TrainableKind::Weight(_));
    let head: usize = plan.parts.iter().filter(|part| is_head(&part.kind)).map(|part| part.scalars).sum();
    let run = RunResult::of(number.seed, &plan, &finished, ((memory.read)(), peak_is_of_run));
    // A run that was resumed spent a part of its time before.
    let wall_seconds = start.elapsed().as_secs_f64().max(run.seconds);
    Ok(Some(GridResult { run, encoder: plan.trainable - head, wall_seconds, further: BTreeMap::new() }))
}

/// Writes the record of a run.
fn record(tracked: &mut Tracked, result: GridResult) -> Result<()> {
    // A run that diverges before the end of an epoch may have written nothing.
    fs::create_dir_all(&tracked.directory).map_err(Error::io(&tracked.directory))?;
    RunRecord::new(tracked.origin.clone(), None, result.clone()).write(&tracked.directory)?;
    tracked.result = Some(result);
    Ok(())
}

/// The number of texts in a batch.
fn batch_size(options: &FinetuneOptions) -> usize {
    match options.training.batch_size {
        BatchSize::Sequences(size) | BatchSize::Tokens(size) => size.max(1),
    }
}

/// So many texts of a training set, by the seed. The texts of a size are among those of every larger size.
fn drawn(texts: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..texts).collect();
    Random::new(seed, STREAM).shuffle(&mut order);
    order.truncate(count);
    order
}

/// The settings of all runs for people.
fn settings(grid: &Grid) -> String {
    let training = &grid.common.training;
    let limit = training.limit.map_or_else(String::new, |limit| format!(", of {limit} rows by the seed"));
    let length = match grid.length {
        Length::Epochs(1) => "one epoch".into(),
        Length::Epochs(epochs) => format!("{epochs} epochs"),
        length @ Length::Steps { .. } => length.text(),
    };
    let batch = batch_size(&grid.common);
    format!("{length}{limit}, batch {batch}, {} rate, {}", training.schedule, grid.common.precision)
}

/// The results of all runs by task, method and rate.
fn findings(
    tasks: Vec<GridTask>,
    methods: Vec<MethodChoice>,
    rates: &[Vec<f32>],
    seeds: usize,
    runs: Vec<Tracked>,
) -> Findings {
    let mut runs = runs.into_iter();
    let mut cells = Vec::new();
    for _ in &tasks {
        for rates in rates {
            let of_rate = |&rate: &f32| {
                let of_seeds = runs.by_ref().take(seeds);
                let made = of_seeds.filter_map(|tracked| Some((tracked.directory, tracked.result?)));
                RateRuns { rate, runs: made.collect() }
            };
            cells.push(Cell { rates: rates.iter().map(of_rate).collect() });
        }
    }
    Findings { tasks, methods, seeds, cells }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_a_size_are_among_those_of_every_larger_one() {
        let (small, large) = (drawn(100, 10, 3), drawn(100, 40, 3));
        assert_eq!((small.len(), large.len()), (10, 40));
        assert!(small.iter().all(|text| large.contains(text)));
        assert_ne!(small, drawn(100, 10, 4));
    }
}
