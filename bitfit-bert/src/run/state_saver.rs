//! When the state of a run is saved, and what of the run is saved with it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::settings::{Setting, check};
use crate::train::{ProbeReport, SavedState};
use crate::{Error, Result};

use super::log::LogPlace;
use super::run_record::Origin;
use super::state_file::{About, RunCommand, RunState};
use super::sweep::Claim;

/// The time between two states is at least this many times as long as writing one takes.
const COST: u32 = 100;

/// When the state of a run is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveEvery {
    /// Never, not even where the run is stopped.
    Never,
    /// After this many steps.
    Steps(usize),
    /// After the first step that ends so long after the state before was saved; or a hundred times as long as saving it
    /// took, if that is more.
    Time(Duration),
}

impl Default for SaveEvery {
    fn default() -> Self {
        Self::Time(Duration::from_secs(300))
    }
}

impl SaveEvery {
    /// Refuses no steps and no time.
    pub(super) fn validate(self) -> Result<()> {
        let reason = "it must be at least one step, or above 0";
        let (value, holds) = match self {
            Self::Never => return Ok(()),
            Self::Steps(steps) => (steps.to_string(), steps > 0),
            Self::Time(time) => (format!("{time:?}"), !time.is_zero()),
        };
        check(Setting::SaveEvery, value, holds, reason)
    }
}

/// Saves the state of a run.
pub(super) struct StateSaver<'a> {
    out: PathBuf,
    every: SaveEvery,
    /// What the run is made from, computed for the first state.
    origin: &'a (dyn Fn() -> Result<Origin> + Sync),
    about: Option<About>,
    command: Option<RunCommand>,
    probe: Option<ProbeReport>,
    steps: usize,
    since: Instant,
    cost: Duration,
    failed: Option<Error>,
    /// What must still be held when a state is written.
    claim: Option<&'a Claim>,
}

impl<'a> StateSaver<'a> {
    pub(super) fn new(out: PathBuf, every: SaveEvery, origin: &'a (dyn Fn() -> Result<Origin> + Sync)) -> Self {
        Self {
            out,
            every,
            origin,
            about: None,
            command: None,
            probe: None,
            steps: 0,
            since: Instant::now(),
            cost: Duration::ZERO,
            failed: None,
            claim: None,
        }
    }

    /// With what is saved beside the state of the trainer.
    pub(super) fn of(self, command: Option<RunCommand>, probe: Option<ProbeReport>) -> Self {
        Self { command, probe, ..self }
    }

    /// For a run of a sweep.
    pub(super) fn under(self, claim: Option<&'a Claim>) -> Self {
        Self { claim, ..self }
    }

    /// Counts a step.
    pub(super) fn step(&mut self) {
        self.steps += 1;
    }

    /// Whether a state could not be saved. The run then ends, with the task file of what it reached.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Returns the error that kept a state from being saved, if there was one.
    pub(super) fn finish(self) -> Result<()> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Saves the state if it is time to, or if the run was stopped; see [`StateSaver::has_failed`].
    pub(super) fn pause(&mut self, is_end: bool, log: LogPlace, read: &dyn Fn() -> Result<SavedState>) {
        if self.failed.is_none() {
            self.failed = self.try_pause(is_end, log, read).err();
        }
    }

    fn try_pause(&mut self, is_end: bool, log: LogPlace, read: &dyn Fn() -> Result<SavedState>) -> Result<()> {
        let is_time = match self.every {
            SaveEvery::Never => return Ok(()),
            SaveEvery::Steps(steps) => self.steps >= steps,
            SaveEvery::Time(time) => self.since.elapsed() >= time.max(self.cost * COST),
        };
        if !is_time && !is_end {
            return Ok(());
        }
        self.claim.map_or(Ok(()), Claim::check)?;
        let begin = Instant::now();
        let about = match self.about.take() {
            Some(about) => About { log, ..about },
            None => About { origin: (self.origin)()?, command: self.command.take(), probe: self.probe.take(), log },
        };
        RunState { about: about.clone(), saved: read()? }.write(&self.out)?;
        self.about = Some(about);
        (self.steps, self.since, self.cost) = (0, Instant::now(), begin.elapsed());
        Ok(())
    }
}
