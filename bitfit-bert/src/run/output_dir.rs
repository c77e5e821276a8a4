//! The directory that a run writes into: one with results of an earlier run is refused unless they may be replaced, and
//! so is one that another run is writing into.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::comparison_report::{COMPARISON_CHART, COMPARISON_CSV, COMPARISON_MARKDOWN};
use super::finetune::MASK_FILE;
use super::folds::FOLD;
use super::log::METRICS_LOG;
use super::options::EarlierRun;
use super::out_of_fold::{OUT_OF_FOLD, SUSPECTS};
use super::reproduce::{PaperTable, TableReport};
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
/// however it ends. Directories that were made for the run and that it has put nothing into are removed then, while no
/// other run can be in them.
#[derive(Debug)]
pub(super) struct OutputDir {
    /// In front of the lock, which is released after it.
    _made: MadeDirectories,
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
        let claimed = Self::lock(claim, out)?;
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

/// Whether a directory of this name is that of a seed or of a fold.
fn is_of_several(name: &OsStr) -> bool {
    let number = |beginning| name.to_str()?.strip_prefix(beginning)?.parse::<u64>().ok();
    [SEED, FOLD].into_iter().any(|beginning| number(beginning).is_some())
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
            "out: it has task.safetensors, metrics.jsonl and state.safetensors of a run that was interrupted: resume it, \
             or choose another directory, or replace its files"
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
