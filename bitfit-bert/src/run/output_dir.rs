//! The directory that a run writes into: one with results of an earlier run is refused unless they may be replaced, and
//! so is one that another run is writing into.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::finetune::MASK_FILE;
use super::log::METRICS_LOG;
use super::save::TASK_FILE;
use crate::settings::Setting;
use crate::{Error, Result};

/// What a run leaves in its directory.
const RESULTS: [&str; 3] = [TASK_FILE, METRICS_LOG, MASK_FILE];

/// Refuses a directory that has files of an earlier run, unless they may be replaced. Nothing is written.
///
/// # Errors
/// [`Error::Output`] with the files.
pub fn check_output(out: &Path, overwrite: bool) -> Result<()> {
    // Anything but a file cannot be replaced, whatever is allowed.
    let is_file = |name: &&str| fs::symlink_metadata(out.join(name)).is_ok_and(|metadata| metadata.is_file());
    let found: Vec<&str> = RESULTS.into_iter().filter(is_file).collect();
    if overwrite || found.is_empty() {
        return Ok(());
    }
    let reason =
        format!("it has {} of an earlier run: choose another directory, or replace its files", found.join(" and "));
    Err(Error::Output { path: out.into(), reason, settings: &[Setting::Overwrite] })
}

/// A directory while a run writes into it. No other run can claim it until this value is dropped or its process ends,
/// however it ends.
#[derive(Debug)]
pub(super) struct OutputDir {
    _lock: File,
}

impl OutputDir {
    /// Creates the directory if it is missing, and claims it.
    ///
    /// # Errors
    /// [`Error::Output`] if it has files of an earlier run that must not be replaced or another run has claimed it,
    /// [`Error::Io`] if it cannot be created.
    pub(super) fn claim(out: &Path, overwrite: bool) -> Result<Self> {
        fs::create_dir_all(out).map_err(Error::io(out))?;
        let lock = open(out).map_err(Error::io(out))?;
        match lock.try_lock() {
            Ok(()) => {}
            // A file system without locks cannot tell.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(Error::io(out)(error)),
            Err(TryLockError::WouldBlock) => {
                let reason = "another run is writing into it: wait for its end, or choose another directory".into();
                return Err(Error::Output { path: out.into(), reason, settings: &[] });
            }
        }
        check_output(out, overwrite)?;
        Ok(Self { _lock: lock })
    }
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
        assert!(check_output(&out, false).is_ok());
        drop(OutputDir::claim(&out, false).unwrap());
        fs::write(out.join("notes.txt"), "").unwrap();
        assert!(check_output(&out, false).is_ok());
        fs::write(out.join(METRICS_LOG), "").unwrap();
        fs::write(out.join(TASK_FILE), "").unwrap();
        for error in [check_output(&out, false).unwrap_err(), OutputDir::claim(&out, false).unwrap_err()] {
            let message = error.to_string();
            assert!(message.ends_with(
                "out: it has task.safetensors and metrics.jsonl of an earlier run: choose another directory, or replace \
                 its files"
            ));
            assert_eq!(error.settings(), [Setting::Overwrite]);
        }
        assert!(OutputDir::claim(&out, true).is_ok());
    }

    #[test]
    fn a_directory_has_one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let claimed = OutputDir::claim(dir.path(), true).unwrap();
        let message = OutputDir::claim(dir.path(), true).unwrap_err().to_string();
        assert!(message.ends_with("another run is writing into it: wait for its end, or choose another directory"));
        drop(claimed);
        assert!(OutputDir::claim(dir.path(), true).is_ok());
    }
}
