//! What runs of several seeds and of several folds have in common: each is made, or taken from the record of an earlier
//! call; how they ended together; and the means of their scores.

use std::fs;
use std::path::{Path, PathBuf};

use bitfit_core::Backend;

use crate::train::{Score, StopReason, TrainReport};
use crate::{Error, Result};

use super::finetune::{Finetune, Finished, HandedOn};
use super::options::{EarlierRun, FinetuneOptions};
use super::run_record::{EndedRun, RUN_RECORD, RunRecord};
use super::save::{TASK_FILE, WrittenTask};
use super::seeds::{RunEvents, RunNumber};
use super::state_file::can_resume;
use super::statistics::{MeanScore, mean_scores};

/// The options of a run among several, with a directory of its own.
pub(super) fn options_in(options: &FinetuneOptions, out: PathBuf) -> FinetuneOptions {
    let mut of_run = FinetuneOptions { out, ..options.clone() };
    if options.earlier == EarlierRun::Resume && !can_resume(&of_run.out) {
        // It was not begun, or was interrupted before it saved a state.
        of_run.earlier = EarlierRun::Replace;
    }
    of_run
}

/// Makes a run among those of `options`, into its directory, or takes what its record there says. One that came to its
/// end leaves a record.
pub(super) fn make<D: Backend>(
    run: Finetune<D>,
    options: &FinetuneOptions,
    directory: &Path,
    number: &RunNumber<'_>,
    handed_on: &mut HandedOn,
    events: &mut dyn RunEvents,
) -> Result<Finished> {
    let origin = run.origin()?;
    if options.earlier == EarlierRun::Resume
        && let Some(ended) = RunRecord::<EndedRun>::find(directory, &origin)?
    {
        return Ok(ended.finished(directory));
    }
    events.begin(number, run.plan());
    let finished = run.run_with(handed_on, events)?;
    if finished.report.stop != StopReason::Stopped {
        fs::create_dir_all(directory).map_err(Error::io(directory))?;
        RunRecord::new(origin, options.command.clone(), EndedRun::of(&finished)).write(directory)?;
    }
    Ok(finished)
}

/// Refuses to resume runs of which none has saved a state or come to its end.
pub(super) fn check_begun(options: &FinetuneOptions, directories: &[PathBuf]) -> Result<()> {
    let is_begun = |directory: &PathBuf| can_resume(directory) || directory.join(RUN_RECORD).exists();
    if options.earlier != EarlierRun::Resume || directories.iter().any(is_begun) {
        return Ok(());
    }
    let reason = "there is nothing to resume: none of its runs has saved a state or come to its end".into();
    Err(Error::Output { path: options.out.clone(), reason, settings: &[] })
}

/// The means of the scores over the runs that came to their end.
pub(super) fn means<'a>(runs: impl Iterator<Item = &'a Finished>) -> Vec<MeanScore> {
    let ended = runs.filter(|run| run.report.stop.is_end());
    let scores: Vec<&[Score]> = ended.filter_map(|run| Some(&run.report.state.best.as_ref()?.scores[..])).collect();
    mean_scores(&scores)
}

/// How the last of the runs ended, or else the first one that diverged.
pub(super) fn stop<'a>(runs: impl Iterator<Item = &'a Finished> + Clone) -> StopReason {
    let stops = || runs.clone().map(|run| &run.report.stop);
    let stopped = stops().find(|stop| **stop == StopReason::Stopped);
    stopped.or_else(|| stops().find(|stop| !stop.is_end())).cloned().unwrap_or(StopReason::Finished)
}

impl EndedRun {
    fn of(finished: &Finished) -> Self {
        let Finished { probe, report, task } = finished;
        let (stop, state) = (report.stop.clone(), report.state.clone());
        Self { stop, state, probe: probe.clone(), task_bytes: task.as_ref().map(|task| task.bytes) }
    }

    /// What the run of a directory reached.
    fn finished(self, directory: &Path) -> Finished {
        let Self { stop, state, probe, task_bytes } = self;
        let task = task_bytes.map(|bytes| WrittenTask { path: directory.join(TASK_FILE), bytes });
        Finished { probe, report: TrainReport { stop, state }, task }
    }
}
