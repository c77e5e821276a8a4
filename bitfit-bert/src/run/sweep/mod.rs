//! Sweeps: the runs of one output directory, worked through by any number of processes on any number of machines that
//! share a file system.
//!
//! ```text
//! OUT/sweep/worker-<random>.json   a process at work: where it runs, the settings of its grid, a byte more with each
//!                                  heartbeat; locked where the file system has locks, removed at its end
//! OUT/sweep/<run>.claim-<n>        the n-th claim on a run: the name of the file of its worker
//! ```
//!
//! **Claims.** A run belongs to the worker of its claim with the highest number. A claim is made by creating its file,
//! which must not exist (`O_EXCL`): of several processes that try, one succeeds. A claim can be taken over, by the next
//! number, where its worker is dead. No claim is renamed, and only its own worker removes it, where the run has its
//! record or was stopped: the numbers of a run that is taken over only grow, and a process that acts on what it saw a
//! while ago creates a number that exists already, and fails.
//!
//! **Who is dead.** A worker whose file is gone; on the same machine and mount one whose file can be locked, because
//! the lock dies with its process; anywhere else one whose file was of the same length in [`silence::LOOKS`] looks
//! after the first, each at least a heartbeat after the one before by the clock of the process that looks. No time of
//! another machine is read, and a file system that hangs for a while delays one look.
//!
//! **Who comes back.** A worker that was taken for dead, such as one that was suspended, finds a higher claim before it
//! writes a state or a task file, and lets the run go. Before a result is recorded its worker claims the run once more,
//! by the next number, which fails where another one was faster; this does not depend on what a client of the file
//! system has cached. A run is the same bits wherever it is made on the same kind of processor, and files are written
//! beside their target and renamed, so that a mistake about who is dead costs time and no result.

mod claim;
mod grid;
mod shard;
mod silence;
mod worker;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) use claim::Claim;
pub(super) use grid::{GridRuns, Worked, merged, work_through};
pub use shard::Shard;

use tempfile::Builder;

use crate::files::{MadeDirectories, make_directories};
use crate::settings::{Setting, check};
use crate::{Error, Result};

use super::run_record::{Origin, difference};
use silence::Silence;
use worker::{About, HEARTBEAT, Machine, Worker, is_worker};

/// The directory of workers and claims in the output directory.
pub const SWEEP_DIR: &str = "sweep";

/// How a process takes part in a sweep.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// The runs that it makes.
    pub shard: Shard,
    /// Whether it waits for runs that other processes make, to take over those of a process that dies.
    pub wait: bool,
    /// The time between two heartbeats.
    pub heartbeat: Duration,
    /// The name of its job, for people.
    pub job: Option<String>,
}

impl Default for SweepOptions {
    fn default() -> Self {
        Self { shard: Shard::ALL, wait: true, heartbeat: HEARTBEAT, job: None }
    }
}

impl SweepOptions {
    fn validate(&self) -> Result<()> {
        let reason = "it must be above 0";
        check(Setting::Heartbeat, format!("{:?}", self.heartbeat), !self.heartbeat.is_zero(), reason)?;
        let Shard { index, of } = self.shard;
        check(Setting::Shard, self.shard, (1..=of).contains(&index), "shards are counted from 1")
    }
}

/// A process among those that work through the runs of an output directory.
#[derive(Debug)]
pub(super) struct Sweep {
    out: PathBuf,
    directory: PathBuf,
    about: About,
    worker: Worker,
    silence: Silence,
    now: fn() -> Instant,
    /// The output directory and those above it, where this process has made them.
    _made: MadeDirectories,
}

impl Sweep {
    /// Takes part in the sweep of an output directory with a grid of this origin.
    ///
    /// # Errors
    /// [`Error::Output`] where another process that may be alive works through it with another grid, with the first
    /// difference; [`Error::Setting`]; [`Error::Io`].
    pub(super) fn join(out: &Path, origin: Origin, options: &SweepOptions) -> Result<Self> {
        options.validate()?;
        let directory = out.join(SWEEP_DIR);
        if directory.is_symlink() {
            let reason = format!("{SWEEP_DIR} in it is a symbolic link; remove it or choose another directory");
            return Err(Error::Output { path: out.into(), reason, settings: &[] });
        }
        let made = MadeDirectories::own(make_directories(out).map_err(Error::io(out))?);
        let machine = Machine::this(&directory)?;
        let about = About::new(origin, options, machine);
        let mut sweep = Self::join_as(out, about, Instant::now)?;
        sweep._made = made;
        Ok(sweep)
    }

    fn join_as(out: &Path, about: About, now: fn() -> Instant) -> Result<Self> {
        let directory = out.join(SWEEP_DIR);
        let worker = Worker::register(&directory, &about)?;
        let (out, silence) = (out.into(), Silence::default());
        let sweep = Self { out, directory, about, worker, silence, now, _made: MadeDirectories::default() };
        // Of two that come at the same time, at least one sees the other.
        sweep.check_others()?;
        Ok(sweep)
    }

    /// Refuses a grid that is not that of the others, and removes the files of workers that died on this machine.
    fn check_others(&self) -> Result<()> {
        for entry in fs::read_dir(&self.directory).map_err(Error::io(&self.directory))?.flatten() {
            let path = entry.path();
            if !is_worker(&entry.file_name()) || path == self.worker.path() {
                continue;
            }
            let Some(other) = About::read(&path) else {
                // What is not complete is of a process that comes now, and that will find this one.
                if fs::read(&path).is_ok_and(|content| content.ends_with(b"\n")) {
                    let path = path.display();
                    let reason =
                        format!("another version of bitfit works in it; if that process is gone, remove {path}");
                    return Err(Error::Output { path: self.out.clone(), reason, settings: &[] });
                }
                continue;
            };
            if other.is_dead_here(&path, &self.about.machine) == Some(true) {
                worker::bury(&path);
                continue;
            }
            if let Some(difference) = difference(&other.origin, &self.about.origin) {
                let reason = format!(
                    "{} works through its runs with another setting: {difference}; give the same, or choose another \
                     directory; if that process is gone, remove {}",
                    other.name(),
                    path.display()
                );
                return Err(Error::Output { path: self.out.clone(), reason, settings: &[] });
            }
        }
        Ok(())
    }

    /// Claims a run, whose directory is `path`; `None` where another process has it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn claim(&mut self, path: &Path) -> Result<Option<Claim>> {
        if !self.worker.is_registered() {
            // It was taken for dead.
            self.worker = Worker::register(&self.directory, &self.about)?;
        }
        let name = claim::name(&self.out, path);
        let highest = claim::numbers(&self.directory, &name)?.into_iter().max();
        if let Some(highest) = highest
            && !self.is_abandoned(&claim::path(&self.directory, &name, highest))?
        {
            return Ok(None);
        }
        let claim =
            Claim::make(&self.directory, path, name, highest.map_or(1, |highest| highest + 1), self.worker.path())?;
        if claim.is_some() {
            look_anew(&self.out, std::iter::once(path));
        }
        Ok(claim)
    }

    /// Whether the worker of a claim is dead.
    fn is_abandoned(&mut self, claim: &Path) -> Result<bool> {
        let owner = match fs::read_to_string(claim) {
            Ok(owner) => owner,
            // The run has its record.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(Error::io(claim)(error)),
        };
        let owner = owner.trim_end();
        if owner.is_empty() {
            // Its worker is about to write its name, or died before.
            return Ok(self.silence.is_dead(claim, 0, HEARTBEAT, (self.now)()));
        }
        if !is_worker(owner.as_ref()) {
            return Err(Error::Output {
                path: self.out.clone(),
                reason: format!("{} is not a claim on a run; remove it or choose another directory", claim.display()),
                settings: &[],
            });
        }
        let worker = self.directory.join(owner);
        if worker == self.worker.path() {
            return Ok(true);
        }
        let length = match fs::metadata(&worker) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(Error::io(&worker)(error)),
        };
        let about = About::read(&worker);
        let is_dead = match about.as_ref().and_then(|about| about.is_dead_here(&worker, &self.about.machine)) {
            Some(is_dead) => is_dead,
            None => {
                let heartbeat = about.map_or(HEARTBEAT, |about| about.heartbeat());
                self.silence.is_dead(&worker, length, heartbeat, (self.now)())
            }
        };
        if is_dead {
            worker::bury(&worker);
        }
        Ok(is_dead)
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.worker.leave();
        // It is kept while others are at work, and where a run was begun and has no record.
        _ = fs::remove_dir(&self.directory);
    }
}

/// Makes this machine look anew what is in directories below `out`. A client of a network file system answers for up to
/// a minute from its cache that a name is not there; a change of the directory that it makes itself has it ask the
/// server.
fn look_anew<'a>(out: &Path, paths: impl Iterator<Item = &'a Path>) {
    let above = |path: &'a Path| path.ancestors().take_while(|directory| directory.starts_with(out));
    // A directory is in front of those that are in it.
    for directory in paths.flat_map(above).collect::<BTreeSet<_>>() {
        _ = Builder::new().prefix(".look-").tempfile_in(directory);
    }
}

#[cfg(test)]
mod tests;
