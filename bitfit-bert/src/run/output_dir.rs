//! The directory that a run writes into: one with results of an earlier run is refused unless they may be replaced, and
//! so is one that another run is writing into.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::finetune::MASK_FILE;
use super::folds::FOLD;
use super::log::METRICS_LOG;
use super::options::EarlierRun;
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

/// Refuses a directory that has files of an earlier run, unless they may be replaced or the run goes on from them.
/// Nothing is written.
///
/// # Errors
/// [`Error::Output`] with the files.
pub fn check_output(out: &Path, earlier: EarlierRun) -> Result<()> {
    if earlier != EarlierRun::Refuse {
        return Ok(());
    }
    // Anything but a file cannot be replaced, whatever is allowed.
    let is_file = |name: &&str| fs::symlink_metadata(out.join(name)).is_ok_and(|metadata| metadata.is_file());
    let is_ours = |name: &&str| *name != RUN_RECORD || is_record(out);
    let found: Vec<&str> = RESULTS.into_iter().filter(is_file).filter(is_ours).collect();
    if found.is_empty() {
        return Ok(());
    }
    let (which, way_out, settings): (_, _, &[Setting]) = match can_resume(out) {
        true => ("a run that was interrupted", "resume it, or", &[Setting::Resume, Setting::Overwrite]),
        false => ("an earlier run", "", &[Setting::Overwrite]),
    };
    let (files, blank) = (found.join(" and "), if way_out.is_empty() { "" } else { " " });
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
    /// Creates the directory of several runs if it is missing, and claims it. Where earlier runs are replaced, what
    /// they left is removed: the new ones may be others, or end before they write. A mask file in the directory itself
    /// stays, because it may be what the new runs have their masks from.
    ///
    /// # Errors
    /// [`Error::Output`] if it has files of an earlier run that must not be replaced or another run has claimed it,
    /// [`Error::Io`] if it cannot be created.
    pub(super) fn claim(out: &Path, earlier: EarlierRun) -> Result<Self> {
        let claimed = Self::claim_under(None, out, earlier)?;
        if earlier == EarlierRun::Replace {
            [TASK_FILE, METRICS_LOG].iter().try_for_each(|name| remove(&out.join(name)))?;
        }
        Ok(claimed)
    }

    /// As [`OutputDir::claim`], for a single run, whose task file and log take the place of an earlier run's. One of a
    /// sweep may have been taken over: then a server may still hold the lock of a machine that is gone, and the lock
    /// says nothing.
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
                if is_of_several(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    forget(&entry.path())?;
                    [TASK_FILE, METRICS_LOG, MASK_FILE].iter().try_for_each(|name| remove(&entry.path().join(name)))?;
                }
            }
        }
        Ok(Self { _lock: lock })
    }
}

/// Whether a directory of this name is that of a seed or of a fold.
fn is_of_several(name: &OsStr) -> bool {
    let number = |beginning| name.to_str()?.strip_prefix(beginning)?.parse::<u64>().ok();
    [SEED, FOLD].into_iter().any(|beginning| number(beginning).is_some())
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
            "out: it has task.safetensors and metrics.jsonl and state.safetensors of a run that was interrupted: resume \
             it, or choose another directory, or replace its files"
        ));
        assert_eq!(error.settings(), [Setting::Resume, Setting::Overwrite]);
        assert!(OutputDir::claim(&out, EarlierRun::Resume).is_ok());
        assert!(out.join(STATE_FILE).exists());
        assert!(OutputDir::claim(&out, EarlierRun::Replace).is_ok());
        assert!(!out.join(STATE_FILE).exists() && !out.join("seed-3").join(STATE_FILE).exists());
        assert!(out.join(RUN_RECORD).exists());
    }

    #[test]
    fn nothing_of_replaced_seeds_and_folds_stays_that_could_be_taken_for_the_new_run() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let files = |directory: &str| {
            let entries = fs::read_dir(out.join(directory)).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.retain(|name| RESULTS.contains(&name.as_str()));
            names.sort();
            names
        };
        let begin = || {
            for directory in ["", "seed-2", "fold-4", "seed-bank"] {
                fs::create_dir_all(out.join(directory)).unwrap();
                for name in [TASK_FILE, METRICS_LOG, MASK_FILE] {
                    fs::write(out.join(directory).join(name), "").unwrap();
                }
            }
        };
        let all = [MASK_FILE, METRICS_LOG, TASK_FILE];
        begin();
        drop(OutputDir::claim(&out, EarlierRun::Resume).unwrap());
        assert_eq!(files("seed-2"), all);
        // A single run puts its own files in the place of those beside them.
        drop(OutputDir::claim_under(None, &out, EarlierRun::Replace).unwrap());
        assert_eq!(["", "seed-2", "fold-4", "seed-bank"].map(files), [&all[..], &[], &[], &all]);
        begin();
        drop(OutputDir::claim(&out, EarlierRun::Replace).unwrap());
        assert_eq!(["", "seed-2", "fold-4", "seed-bank"].map(files), [&[MASK_FILE][..], &[], &[], &all]);
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
