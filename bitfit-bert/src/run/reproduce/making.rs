//! The runs of a reproduction while they are made: each is trained, recorded, and scored on further sets.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bitfit_core::{Backend, Random};

use crate::files::remove;
use crate::model::TrainableKind;
use crate::run::compare::PeakMemory;
use crate::run::finetune::{Finetune, HandedOn};
use crate::run::options::{EarlierRun, FinetuneOptions};
use crate::run::run_record::{RunRecord, RunResult};
use crate::run::save::TASK_FILE;
use crate::run::seeds::{RunEvents, RunNumber};
use crate::run::state_file::can_resume;
use crate::run::sweep::{Claim, GridRuns};
use crate::run::task_data::TaskData;
use crate::train::StopReason;
use crate::{Error, Result};

use super::figures::PublishedModel;
use super::grid::{GridResult, GridRun};
use super::report::{Context, TableReport};
use super::reproduction::{Reproduction, Tracked, batch_size, findings, settings};
use super::scoring::ScoredFiles;

/// The stream of the seed that draws the texts of a smaller training set.
const STREAM: u32 = u32::MAX - 2;

/// A reproduction whose runs are being made.
pub(super) struct Making<D: Backend> {
    pub(super) reproduction: Reproduction<D>,
    memory: PeakMemory,
    /// What was read for the task of the last run.
    task: Option<TaskFiles>,
    /// The place of the method of the last run, with what the run handed on.
    handed_on: (usize, HandedOn),
    /// The table that was written.
    pub(super) report: TableReport,
}

/// What is read for the runs of a task.
struct TaskFiles {
    task: usize,
    data: Arc<TaskData>,
    scored: ScoredFiles,
}

impl<D: Backend> Making<D> {
    pub(super) fn new(reproduction: Reproduction<D>, memory: PeakMemory) -> Self {
        let (task, handed_on, report) = (None, (0, HandedOn::default()), TableReport::default());
        Self { reproduction, memory, task, handed_on, report }
    }

    /// The data of a run, for which that of its task is read unless it was read last.
    fn data(&mut self, run: &GridRun) -> Result<Arc<TaskData>> {
        let Self { reproduction: Reproduction { base, grid, .. }, task, handed_on, .. } = self;
        if task.as_ref().is_none_or(|files| files.task != run.task) {
            // What was read for another task, and what it handed on, is dropped first.
            (*task, *handed_on) = (None, (run.method, HandedOn::default()));
        }
        let whole = match task {
            Some(files) => Arc::clone(&files.data),
            none => {
                let data = Arc::new(TaskData::read(base, &grid.options(run, 1))?);
                *none = Some(TaskFiles { task: run.task, data: Arc::clone(&data), scored: ScoredFiles::default() });
                data
            }
        };
        let Some(count) = grid.tasks[run.task].texts else { return Ok(whole) };
        // Other texts under the same numbers: nothing is handed on.
        handed_on.1 = HandedOn::default();
        let texts = drawn(whole.training_set.examples.len(), count, run.seed);
        Ok(Arc::new(whole.with_training_texts(&texts)))
    }

    /// Trains a run; `None` where it is stopped.
    fn train(
        &mut self,
        place: usize,
        data: &Arc<TaskData>,
        mut options: FinetuneOptions,
        claim: &Claim,
        events: &mut dyn RunEvents,
    ) -> Result<Option<GridResult>> {
        let Reproduction { base, grid, runs, .. } = &self.reproduction;
        let Tracked { run, directory, .. } = &runs[place];
        if self.handed_on.0 != run.method {
            // Neither outputs of frozen stages nor buffers of an earlier method count as memory of this one.
            self.handed_on = (run.method, HandedOn::default());
            base.workspace().clear();
        }
        if can_resume(directory) {
            options.earlier = EarlierRun::Resume;
        }
        let (start, peak_is_of_run) = (Instant::now(), (self.memory.reset)());
        let training = Finetune::over(base, data, options)?;
        let plan = training.plan().clone();
        let name = grid.name(run);
        let number = RunNumber { method: Some(&name), seed: run.seed, number: place + 1, of: runs.len() };
        events.begin(&number, &plan);
        let finished = training.run_under(Some(claim), &mut self.handed_on.1, events)?;
        if finished.report.stop == StopReason::Stopped {
            return Ok(None);
        }
        let is_head = |kind: &TrainableKind| !matches!(kind, TrainableKind::Bias(_) | TrainableKind::Weight(_));
        let head: usize = plan.parts.iter().filter(|part| is_head(&part.kind)).map(|part| part.scalars).sum();
        let result = RunResult::of(run.seed, &plan, &finished, ((self.memory.read)(), peak_is_of_run));
        // A run that was resumed spent a part of its time before.
        let wall_seconds = start.elapsed().as_secs_f64().max(result.seconds);
        let encoder = plan.trainable - head;
        Ok(Some(GridResult { run: result, encoder, wall_seconds, further: BTreeMap::new() }))
    }
}

impl<D: Backend> GridRuns for Making<D> {
    fn directories(&self) -> Vec<PathBuf> {
        self.reproduction.runs.iter().map(|tracked| tracked.directory.clone()).collect()
    }

    fn is_done(&mut self, place: usize) -> Result<bool> {
        if !self.reproduction.is_complete(place) {
            let tracked = &mut self.reproduction.runs[place];
            tracked.result = RunRecord::find(&tracked.directory, &tracked.origin)?;
        }
        Ok(self.reproduction.is_complete(place))
    }

    fn make(&mut self, place: usize, claim: &mut Claim, events: &mut dyn RunEvents) -> Result<bool> {
        let run = self.reproduction.runs[place].run;
        let data = self.data(&run)?;
        let grid = &self.reproduction.grid;
        let options = grid.options(&run, data.train.len().div_ceil(batch_size(&grid.common)));
        if self.reproduction.runs[place].result.is_none() {
            let trained = self.train(place, &data, options.clone(), claim, events)?;
            let Some(result) = trained else { return Ok(false) };
            // It is recorded before it is scored, so that an interruption does not lose it.
            record(&mut self.reproduction.runs[place], claim, result)?;
        }
        let Self { reproduction: Reproduction { base, grid, runs, remove_task_files, .. }, task, .. } = self;
        let tracked = &mut runs[place];
        let scored = &mut task.as_mut().expect("its data was read").scored;
        let result = tracked.result.clone().expect("the run is made");
        for set in result.missing(&grid.tasks[run.task].sets) {
            let scores = scored.score(base, &data, &options, set)?;
            let mut result = tracked.result.clone().expect("the run is made");
            result.further.insert(set.name.clone(), scores);
            record(tracked, claim, result)?;
        }
        if *remove_task_files {
            remove(&tracked.directory.join(TASK_FILE))?;
        }
        Ok(true)
    }

    fn write(&mut self) -> Result<()> {
        let Reproduction { base, table, grid, runs, left_out, .. } = &self.reproduction;
        let settings = settings(grid);
        let findings = findings(grid, runs);
        if findings.runs() == 0 {
            return Ok(());
        }
        let published = PublishedModel::of(base.config());
        let model = &grid.common.model;
        let context = Context { table: *table, findings: &findings, published, model, settings: &settings, left_out };
        self.report = table.report(&context, base)?;
        self.report.write(&grid.common.out, *table)
    }
}

/// Writes the record of a run that this process still has.
fn record(tracked: &mut Tracked, claim: &mut Claim, result: GridResult) -> Result<()> {
    claim.renew()?;
    // A run that diverges before the end of an epoch may have written nothing.
    fs::create_dir_all(&tracked.directory).map_err(Error::io(&tracked.directory))?;
    RunRecord::new(tracked.origin.clone(), None, result.clone()).write(&tracked.directory)?;
    tracked.result = Some(result);
    Ok(())
}

/// So many texts of a training set, by the seed. The texts of a size are among those of every larger size.
fn drawn(texts: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..texts).collect();
    Random::new(seed, STREAM).shuffle(&mut order);
    order.truncate(count);
    order
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
