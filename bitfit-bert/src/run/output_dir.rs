//! The directory that a run writes into: one with results of an earlier run is refused unless they may be replaced, and
//! so is one that another run is writing into.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::comparison_report::{COMPARISON_CHART, COMPARISON_CSV, COMPARISON_MARKDOWN};
use super::finetune::MASK_FILE;
use super::folds::FOLD;
use super::log::METRICS_LOG;
use super::options::EarlierRun;
use super::reproduce::{PaperTable, TableReport};
use super::run_record::{RUN_RECORD, RunRecord};
use super::save::TASK_FILE;
use super::seeds::SEED;
use super::state_file::{EARLIER_STATE_FILE, RunState, STATE_FILE, can_resume};
use super::sweep::Claim;
use super::tensorboard::remove_event_files;
use crate::files::remove;
use crate::settings::Setting;
use crate::{Error, Result};

/// What a run leaves in its directory.
const RESULTS: [&str; 6] = [TASK_FILE, METRICS_LOG, MASK_FILE, STATE_FILE, EARLIER_STATE_FILE, RUN_RECORD];

/// What a directory of results is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultsOf {
    /// A run, or runs of several seeds or folds.
    Run,
    /// A [`Comparison`](super::Comparison).
    Comparison,
    /// A [`Reproduction`](super::Reproduction).
    Reproduction,
}

/// Refuses a directory that has results of another kind, which would be mixed with the new ones.
///
/// # Errors
/// [`Error::Output`] with the files.
pub fn check_results(out: &Path, of: ResultsOf) -> Result<()> {
    let comparison = [COMPARISON_MARKDOWN, COMPARISON_CSV, COMPARISON_CHART].map(str::to_owned);
    let run = RESULTS.into_iter().filter(|name| has(out, name)).map(str::to_owned).collect();
    // One of the names alone, such as glue.csv, may be that of a user's file.
    let whole = |names: [String; 3]| if names.iter().all(|name| has(out, name)) { names.to_vec() } else { Vec::new() };
    let tables = PaperTable::ALL.iter().flat_map(|table| whole(TableReport::files(*table))).collect();
    let found: [(_, _, Vec<String>); 3] = [
        (ResultsOf::Run, "a run", run),
        (ResultsOf::Comparison, "a comparison", whole(comparison)),
        (ResultsOf::Reproduction, "a table of the paper", tables),
    ];
    match found.iter().find(|(other, _, names)| *other != of && !names.is_empty()) {
        Some((_, what, names)) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let reason = format!("it has {} of {what}: choose another directory", listed(&names));
            Err(Error::Output { path: out.into(), reason, settings: &[] })
        }
        None => Ok(()),
    }
}

/// Whether a directory has a file of this name that a command may have written.
fn has(out: &Path, name: &str) -> bool {
    // Anything but a file cannot be replaced, whatever is allowed.
    let is_file = fs::symlink_metadata(out.join(name)).is_ok_and(|metadata| metadata.is_file());
    is_file && (name != RUN_RECORD || is_record(out))
}

/// Names for a message: "a", "a and b", "a, b and c".
fn listed(names: &[&str]) -> String {
    match names {
        [names @ .., last] if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        names => names.concat(),
    }
}

/// Refuses a directory that has files of an earlier run, unless they may be replaced or the run goes on from them.
/// Nothing is written.
///
/// # Errors
/// [`Error::Output`] with the files.
pub fn check_output(out: &Path, earlier: EarlierRun) -> Result<()> {
    if earlier != EarlierRun::Refuse {
        return Ok(());
    }
    let found: Vec<&str> = RESULTS.into_iter().filter(|name| has(out, name)).collect();
    if found.is_empty() {
        return Ok(());
    }
    let (which, way_out, settings): (_, _, &[Setting]) = match can_resume(out) {
        true => ("a run that was interrupted", "resume it, or", &[Setting::Resume, Setting::Overwrite]),
        false => ("an earlier run", "", &[Setting::Overwrite]),
    };
    let (files, blank) = (listed(&found), if way_out.is_empty() { "" } else { " " });
    let reason = format!("it has {files} of {which}: {way_out}{blank}choose another directory, or replace its files");
    Err(Error::Output { path: out.into(), reason, settings })
}

/// A directory while a run writes into it. No other run can claim it until this value is dropped or its process ends,
/// however it ends.
#[derive(Debug)]
pub(super) struct OutputDir {
    _lock: File,
}

impl OutputDir {
    /// Creates the directory if it is missing, and claims it. The states, records and event files of runs that are
    /// replaced are removed, those of seeds and folds too.
    ///
    /// # Errors
    /// [`Error::Output`] if it has files of an earlier run that must not be replaced or another run has claimed it,
    /// [`Error::Io`] if it cannot be created.
    pub(super) fn claim(out: &Path, earlier: EarlierRun) -> Result<Self> {
        Self::claim_under(None, out, earlier)
    }

    /// As [`OutputDir::claim`], for a run of a sweep. Where it was taken over, a server may still hold the lock of a
    /// machine that is gone, and the lock says nothing.
    pub(super) fn claim_under(claim: Option<&Claim>, out: &Path, earlier: EarlierRun) -> Result<Self> {
        fs::create_dir_all(out).map_err(Error::io(out))?;
        let lock = open(out).map_err(Error::io(out))?;
        match lock.try_lock() {
            Ok(()) => {}
            // A file system without locks cannot tell.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(Error::io(out)(error)),
            Err(TryLockError::WouldBlock) if claim.is_some_and(Claim::is_taken_over) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = "another run is writing into it: wait for its end, or choose another directory".into();
                return Err(Error::Output { path: out.into(), reason, settings: &[] });
            }
        }
        check_output(out, earlier)?;
        if earlier == EarlierRun::Replace {
            forget(out)?;
            for entry in fs::read_dir(out).map_err(Error::io(out))?.flatten() {
                let name = entry.file_name();
                let is_of_run = [SEED, FOLD].iter().any(|beginning| name.to_string_lossy().starts_with(beginning));
                if is_of_run && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    forget(&entry.path())?;
                }
            }
        }
        Ok(Self { _lock: lock })
    }
}

/// Removes the state and the record of a run that is replaced: the new run may be interrupted before it writes its own,
/// and must not be taken for the old one.
fn forget(directory: &Path) -> Result<()> {
    RunState::remove(directory)?;
    remove_event_files(directory)?;
    if is_record(directory) { remove(&directory.join(RUN_RECORD)) } else { Ok(()) }
}

/// Whether a directory has the record of a run, and not another file of that name.
fn is_record(directory: &Path) -> bool {
    matches!(RunRecord::<serde_json::Value>::read(directory), Ok(Some(_)))
}

/// What is locked: the directory itself, or a file in it where the system opens files alone.
fn open(out: &Path) -> io::Result<File> {
    if cfg!(unix) {
        File::open(out)
    } else {
        File::options().create(true).truncate(false).write(true).open(out.join(".lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_an_earlier_run_are_replaced_on_request_alone() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        assert!(check_output(&out, EarlierRun::Refuse).is_ok());
        drop(OutputDir::claim(&out, EarlierRun::Refuse).unwrap());
        fs::write(out.join("notes.txt"), "").unwrap();
        assert!(check_output(&out, EarlierRun::Refuse).is_ok());
        fs::write(out.join(METRICS_LOG), "").unwrap();
        fs::write(out.join(TASK_FILE), "").unwrap();
        for error in [
            check_output(&out, EarlierRun::Refuse).unwrap_err(),
            OutputDir::claim(&out, EarlierRun::Refuse).unwrap_err(),
        ] {
            let message = error.to_string();
            assert!(message.ends_with(
                "out: it has task.safetensors and metrics.jsonl of an earlier run: choose another directory, or replace \
                 its files"
            ));
            assert_eq!(error.settings(), [Setting::Overwrite]);
        }
        // What a shell has put there is not a record.
        fs::write(out.join(RUN_RECORD), "{}").unwrap();
        fs::create_dir_all(out.join("seed-3")).unwrap();
        fs::write(out.join("seed-3").join(STATE_FILE), "").unwrap();
        fs::write(out.join(STATE_FILE), "").unwrap();
        let error = check_output(&out, EarlierRun::Refuse).unwrap_err();
        assert!(error.to_string().ends_with(
            "out: it has task.safetensors, metrics.jsonl and state.safetensors of a run that was interrupted: resume it, \
             or choose another directory, or replace its files"
        ));
        assert_eq!(error.settings(), [Setting::Resume, Setting::Overwrite]);
        assert!(OutputDir::claim(&out, EarlierRun::Resume).is_ok());
        assert!(out.join(STATE_FILE).exists());
        assert!(OutputDir::claim(&out, EarlierRun::Replace).is_ok());
        assert!(!out.join(STATE_FILE).exists() && !out.join("seed-3").join(STATE_FILE).exists());
        assert!(out.join(RUN_RECORD).exists());
    }

    #[test]
    fn results_of_one_kind_are_not_mixed_with_those_of_another() {
        use ResultsOf::{Comparison, Reproduction, Run};
        let kinds = [Run, Comparison, Reproduction];
        for (of, files, what) in [
            (Run, &["task.safetensors"][..], "task.safetensors of a run"),
            (
                Comparison,
                &["comparison.md", "comparison.csv", "comparison.svg"],
                "comparison.md, comparison.csv and comparison.svg of a comparison",
            ),
            (
                Reproduction,
                &["glue.md", "glue.csv", "glue.svg"],
                "glue.md, glue.csv and glue.svg of a table of the paper",
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("tagging.csv"), "a user's").unwrap();
            assert!(kinds.iter().all(|kind| check_results(dir.path(), *kind).is_ok()));
            files.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
            assert!(check_results(dir.path(), of).is_ok());
            for other in kinds.into_iter().filter(|kind| *kind != of) {
                let message = check_results(dir.path(), other).unwrap_err().to_string();
                assert!(message.ends_with(&format!(": it has {what}: choose another directory")), "{message}");
            }
        }
    }

    #[test]
    fn a_directory_has_one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let claimed = OutputDir::claim(dir.path(), EarlierRun::Replace).unwrap();
        let message = OutputDir::claim(dir.path(), EarlierRun::Replace).unwrap_err().to_string();
        assert!(message.ends_with("another run is writing into it: wait for its end, or choose another directory"));
        drop(claimed);
        assert!(OutputDir::claim(dir.path(), EarlierRun::Replace).is_ok());
    }
}
