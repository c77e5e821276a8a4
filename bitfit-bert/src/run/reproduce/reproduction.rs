//! The runs of a table: [`Reproduction::prepare`] reads and checks everything, and [`Reproduction::run`] makes what is
//! not on disk yet.

use std::path::PathBuf;

use bitfit_core::Backend;

use crate::Result;
use crate::model::Base;
use crate::run::compare::PeakMemory;
use crate::run::finetune::check_options;
use crate::run::options::FinetuneOptions;
use crate::run::run_record::{Origin, RunRecord};
use crate::run::seeds::RunEvents;
use crate::run::state_file::can_resume;
use crate::run::sweep::{SweepOptions, Worked, merged, work_through};
use crate::train::{BatchSize, StopReason};

use super::files::LeftOut;
use super::findings::{Cell, Findings, RateRuns};
use super::grid::{Grid, GridResult, GridRun, Length};
use super::making::Making;
use super::plan::{GridPlan, PlannedRun, RunState};
use super::prepare::{check_scored, length, origin, read, sized, tasks};
use super::report::TableReport;
use super::{Data, PaperTable, ReproduceOptions};

/// A reproduction that is ready to start: everything is read, but nothing is written yet.
#[derive(Debug)]
pub struct Reproduction<D: Backend> {
    pub(super) base: Base<D>,
    pub(super) table: PaperTable,
    pub(super) grid: Grid,
    pub(super) runs: Vec<Tracked>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) remove_task_files: bool,
}

/// A run with what is on disk of it.
#[derive(Debug)]
pub(super) struct Tracked {
    pub(super) run: GridRun,
    pub(super) directory: PathBuf,
    /// What it is made from.
    pub(super) origin: Origin,
    /// The number of its steps, if no text is several sequences.
    steps: usize,
    pub(super) result: Option<GridResult>,
}

/// What a reproduction found.
#[derive(Clone, Debug)]
pub struct FinishedReproduction {
    /// The table; empty where none was written.
    pub report: TableReport,
    /// The number of runs that are made.
    pub made: usize,
    /// Whether it came to its end: [`StopReason::Finished`] or [`StopReason::Stopped`].
    pub stop: StopReason,
    /// The number of runs that are not made or not scored. While there are any, no table is written unless it was
    /// stopped.
    pub remaining: usize,
}

impl<D: Backend> Reproduction<D> {
    /// Finds the tasks of a table in the data directory, reads their files, and what an earlier call left in the output
    /// directory.
    ///
    /// # Errors
    /// [`crate::Error::DataFile`] for a directory without the table's files; every error of reading a file;
    /// [`crate::Error::Setting`] for settings that are impossible or not the table's; [`crate::Error::RunRecord`] where
    /// the output directory has a run of another base, data or setting.
    pub fn prepare(base: &Base<D>, table: PaperTable, options: &ReproduceOptions) -> Result<Self> {
        options.validate(table)?;
        let (length, methods) = (length(table, options)?, options.methods(table));
        let rates: Vec<Vec<f32>> = methods.iter().map(|choice| options.rates.of(choice)).collect();
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

    /// Makes the runs that are not on disk and that no other process makes, each into its own directory, which gets its
    /// record when the run has come to its end, scores those that are not scored yet, and writes the table into the
    /// output directory once it sees the results of all.
    ///
    /// A run that diverges is part of the result. One that is stopped is the last, and goes on in the next call; the
    /// table is then of what is made.
    ///
    /// # Errors
    /// As [`Finetune::run`](crate::run::Finetune::run); [`crate::Error::TaskFile`] where a finished run is to be scored
    /// and its task file is gone; [`crate::Error::Output`] where another process works in the output directory with
    /// another grid.
    pub fn run(
        self,
        sweep: &SweepOptions,
        events: &mut dyn RunEvents,
        memory: PeakMemory,
    ) -> Result<FinishedReproduction> {
        let (origin, out) = (self.origin(), self.grid.common.out.clone());
        let mut making = Making::new(self, memory);
        let Worked { stop, remaining } = work_through(&mut making, &out, origin, sweep, events)?;
        let made = making.reproduction.runs.iter().filter(|tracked| tracked.result.is_some()).count();
        Ok(FinishedReproduction { report: making.report, made, stop, remaining })
    }

    /// What the grid is made from.
    fn origin(&self) -> Origin {
        let mut origin = merged(self.runs.iter().map(|tracked| &tracked.origin));
        let tasks = self.tasks().join(", ");
        let rates = |rates: &[f32]| rates.iter().map(|rate| format!("{rate:e}")).collect::<Vec<_>>().join(" ");
        let methods = self.methods().into_iter().map(|(name, of)| format!("{name} {}", rates(of)));
        origin.extend([
            ("command".to_owned(), format!("reproduce {}", self.table)),
            ("bitfit's version".into(), env!("CARGO_PKG_VERSION").into()),
            ("arithmetic".into(), self.base.device().arithmetic()),
            ("rates of methods".into(), methods.collect::<Vec<_>>().join(", ")),
            ("tasks".into(), tasks),
        ]);
        origin
    }

    /// Whether a run is made and scored on all sets.
    pub(super) fn is_complete(&self, place: usize) -> bool {
        let Tracked { run, result, .. } = &self.runs[place];
        let sets = &self.grid.tasks[run.task].sets;
        result.as_ref().is_some_and(|result| result.missing(sets).next().is_none())
    }
}

/// The number of texts in a batch.
pub(super) fn batch_size(options: &FinetuneOptions) -> usize {
    match options.training.batch_size {
        BatchSize::Sequences(size) | BatchSize::Tokens(size) => size.max(1),
    }
}

/// The settings of all runs for people.
pub(super) fn settings(grid: &Grid) -> String {
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
pub(super) fn findings(grid: &Grid, runs: &[Tracked]) -> Findings {
    let (tasks, methods, seeds) = (grid.tasks.clone(), grid.methods.clone(), grid.seeds.len());
    let mut runs = runs.iter();
    let mut cells = Vec::new();
    for _ in &tasks {
        for rates in &grid.rates {
            let of_rate = |&rate: &f32| {
                let of_seeds = runs.by_ref().take(seeds);
                let made = of_seeds.filter_map(|tracked| Some((tracked.directory.clone(), tracked.result.clone()?)));
                RateRuns { rate, runs: made.collect() }
            };
            cells.push(Cell { rates: rates.iter().map(of_rate).collect() });
        }
    }
    Findings { tasks, methods, seeds, cells }
}
