//! The work of one process of a sweep: it makes the runs of its shard that no other process has, one after the other,
//! waits for those that others have, and writes the table where it sees the results of all.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::Result;
use crate::run::run_record::Origin;
use crate::run::seeds::RunEvents;
use crate::train::StopReason;

use super::{Claim, Sweep, SweepOptions, look_anew};

/// The time between two looks at the runs of others.
const POLL: Duration = Duration::from_millis(250);
/// The time between two looks at the events, and between two tries to write the table.
const TICK: Duration = Duration::from_millis(50);
/// How often another process that writes the table is waited for.
const TRIES: usize = 200;
/// What stands for the table among the claims.
const TABLE: &str = "table";

/// The runs of a grid and their results.
pub(in crate::run) trait GridRuns {
    /// The directory of each run.
    fn directories(&self) -> Vec<PathBuf>;

    /// Whether a run is done. One that is not known to be is looked for on the disk.
    fn is_done(&mut self, place: usize) -> Result<bool>;

    /// Makes what is missing of a run; false where it was stopped.
    fn make(&mut self, place: usize, claim: &mut Claim, events: &mut dyn RunEvents) -> Result<bool>;

    /// Writes the table of what is done into the output directory.
    fn write(&mut self) -> Result<()>;
}

/// How the work of a process ended.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::run) struct Worked {
    /// [`StopReason::Finished`] or [`StopReason::Stopped`].
    pub(in crate::run) stop: StopReason,
    /// The number of runs of the grid that are not done. The table is not written while there are any, unless this
    /// process was stopped.
    pub(in crate::run) remaining: usize,
}

/// What a grid is made from: of each name the values of all its runs.
pub(in crate::run) fn merged<'a>(origins: impl Iterator<Item = &'a Origin>) -> Origin {
    let mut merged = std::collections::BTreeMap::<String, Vec<&str>>::new();
    for (name, value) in origins.flatten() {
        let values = merged.entry(name.clone()).or_default();
        if !values.contains(&value.as_str()) {
            values.push(value);
        }
    }
    merged.into_iter().map(|(name, values)| (name, values.join(", "))).collect()
}

/// Works through the runs of the grid in `out`, which is made from `origin`.
///
/// # Errors
/// As [`Sweep::join`], and every error of the runs.
pub(in crate::run) fn work_through(
    runs: &mut dyn GridRuns,
    out: &Path,
    origin: Origin,
    options: &SweepOptions,
    events: &mut dyn RunEvents,
) -> Result<Worked> {
    let mut sweep = Sweep::join(out, origin, options)?;
    let directories = runs.directories();
    let stop = make_all(runs, &directories, &mut sweep, options, events)?;
    let mut remaining = count(runs, out, &directories)?;
    if remaining > 0 && stop != StopReason::Stopped {
        return Ok(Worked { stop, remaining });
    }
    let claim = claim_table(&mut sweep)?;
    loop {
        runs.write()?;
        // Another process may have written a complete table meanwhile, in whose place there is now one that is not.
        let before = std::mem::replace(&mut remaining, count(runs, out, &directories)?);
        if before == remaining {
            break;
        }
    }
    claim.map_or(Ok(()), Claim::release)?;
    Ok(Worked { stop, remaining })
}

/// Makes the runs of the shard that no other process has, until all are done or it is stopped.
fn make_all(
    runs: &mut dyn GridRuns,
    directories: &[PathBuf],
    sweep: &mut Sweep,
    options: &SweepOptions,
    events: &mut dyn RunEvents,
) -> Result<StopReason> {
    let places = options.shard.places(directories.len());
    let mut waited_for = 0;
    loop {
        let mut held = 0;
        for &place in &places {
            if runs.is_done(place)? {
                continue;
            }
            if events.should_stop() {
                return Ok(StopReason::Stopped);
            }
            let Some(mut claim) = sweep.claim(&directories[place])? else {
                held += 1;
                continue;
            };
            // Another process may have recorded it since.
            let is_done = runs.is_done(place)?;
            let made = if is_done { Ok(true) } else { runs.make(place, &mut claim, events) };
            if let (Err(_), Err(taken_over)) = (&made, claim.check()) {
                // Whatever failed may have been caused by the other process.
                events.taken_over(&taken_over);
                held += 1;
                continue;
            }
            let released = claim.release();
            if !made? {
                return Ok(StopReason::Stopped);
            }
            released?;
        }
        if held == 0 || !options.wait {
            return Ok(StopReason::Finished);
        }
        if held != waited_for {
            events.waiting(held);
            waited_for = held;
        }
        let poll = POLL.min(options.heartbeat);
        let mut waited = Duration::ZERO;
        while waited < poll && !events.should_stop() {
            sleep(TICK);
            waited += TICK;
        }
    }
}

/// The number of runs that are not done.
fn count(runs: &mut dyn GridRuns, out: &Path, directories: &[PathBuf]) -> Result<usize> {
    let mut missing = Vec::new();
    for place in 0..directories.len() {
        if !runs.is_done(place)? {
            missing.push(place);
        }
    }
    look_anew(out, missing.iter().map(|&place| directories[place].as_path()));
    let mut remaining = 0;
    for place in missing {
        remaining += usize::from(!runs.is_done(place)?);
    }
    Ok(remaining)
}

/// Claims the table, so that two processes that end at the same time write it one after the other; `None` where the
/// other one takes too long.
fn claim_table(sweep: &mut Sweep) -> Result<Option<Claim>> {
    let table = sweep.out.join(TABLE);
    for _ in 0..TRIES {
        if let Some(claim) = sweep.claim(&table)? {
            return Ok(Some(claim));
        }
        sleep(TICK);
    }
    Ok(None)
}
