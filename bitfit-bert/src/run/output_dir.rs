//! The directory that a run writes into: one with results of an earlier run is refused unless they may be replaced, and
//! so is one that another run is writing into.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::finetune::MASK_FILE;
use super::folds::FOLD;
use super::log::METRICS_LOG;
use super::options::EarlierRun;
use super::out_of_fold::{OUT_OF_FOLD, SUSPECTS};
use super::run_record::{RUN_RECORD, RunRecord};
use super::save::TASK_FILE;
use super::seeds::SEED;
use super::state_file::{EARLIER_STATE_FILE, RunState, STATE_FILE, can_resume};
use super::sweep::Claim;
use super::tensorboard::remove_event_files;
use crate::files::{MadeDirectories, is_linked, make_directories, remove};
use crate::settings::Setting;
use crate::{Error, Result};

/// The files that a run leaves in its directory.
pub const RESULTS: [&str; 8] =
    [TASK_FILE, METRICS_LOG, MASK_FILE, STATE_FILE, EARLIER_STATE_FILE, RUN_RECORD, OUT_OF_FOLD, SUSPECTS];

/// How often a directory that another run removes is made again.
const TRIES: usize = 10;

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
/// however it ends. Directories that were made for the run and that it has put nothing into are removed then, while no
/// other run can be in them.
#[derive(Debug)]
pub(super) struct OutputDir {
    /// In front of the lock, which is released after it.
    _made: MadeDirectories,
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
        let claimed = Self::lock(claim, out)?;
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
        Ok(claimed)
    }

    /// Creates the directory if it is missing, and locks it.
    fn lock(claim: Option<&Claim>, out: &Path) -> Result<Self> {
        let mut made = Vec::new();
        for _ in 0..TRIES {
            made.extend(make_directories(out).map_err(Error::io(out))?);
            let lock = match open(out) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(Error::io(out))?,
            };
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
            // Another run may have removed it since, because it had made it and put nothing into it.
            if is_linked(&lock) {
                return Ok(Self { _made: MadeDirectories::own(made), _lock: lock });
            }
        }
        Err(Error::io(out)(io::ErrorKind::NotFound.into()))
    }
}

/// Removes the state, the record and the out-of-fold answers of a run that is replaced: the new run may be interrupted
/// before it writes its own, or write none, and must not be taken for the old one.
fn forget(directory: &Path) -> Result<()> {
    RunState::remove(directory)?;
    remove_event_files(directory)?;
    [OUT_OF_FOLD, SUSPECTS].iter().try_for_each(|name| remove(&directory.join(name)))?;
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
        fs::create_dir(&out).unwrap();
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
        let old = [STATE_FILE, OUT_OF_FOLD, SUSPECTS];
        old.iter().for_each(|name| fs::write(out.join(name), "").unwrap());
        assert!(OutputDir::claim(&out, EarlierRun::Replace).is_ok());
        assert!(old.iter().all(|name| !out.join(name).exists()) && !out.join("seed-3").join(STATE_FILE).exists());
        assert!(out.join(RUN_RECORD).exists());
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

    #[test]
    fn a_run_that_is_refused_leaves_the_directory_of_the_one_that_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("outer/out");
        let claimed = OutputDir::claim(&out, EarlierRun::Refuse).unwrap();
        OutputDir::claim(&out, EarlierRun::Refuse).unwrap_err();
        fs::write(out.join("kept"), "").unwrap();
        drop(claimed);
        assert!(out.join("kept").exists());
    }

    #[test]
    fn only_directories_that_were_made_and_are_empty_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, out) = (dir.path().join("outer"), dir.path().join("outer/inner/out"));
        drop(OutputDir::claim(&out, EarlierRun::Refuse).unwrap());
        assert!(!outer.exists());
        let claimed = OutputDir::claim(&out, EarlierRun::Refuse).unwrap();
        fs::write(outer.join("kept"), "").unwrap();
        drop(claimed);
        assert!(outer.join("kept").exists() && !outer.join("inner").exists());
        drop(OutputDir::claim(&outer, EarlierRun::Refuse).unwrap());
        fs::remove_file(outer.join("kept")).unwrap();
        drop(OutputDir::claim(&outer, EarlierRun::Refuse).unwrap());
        assert!(outer.is_dir(), "it was there before");
        fs::write(outer.join(TASK_FILE), "").unwrap();
        OutputDir::claim(&outer, EarlierRun::Refuse).unwrap_err();
        assert!(outer.join(TASK_FILE).exists());
    }
}
