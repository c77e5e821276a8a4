//! A lock for reading a file, changing it and writing it again. It is on a file beside it, because the file itself is
//! another one after each atomic write.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::is_linked;
use super::unfinished::{Unfinished, unfinished};

/// The suffix of the name of the file that is locked.
const SUFFIX: &str = ".lock";

/// The lock on a file, which one process has at a time. The file beside it is removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for the lock on `target`, which need not exist. A file system without locks gives it to everyone.
    pub(crate) fn on(target: &Path) -> io::Result<Self> {
        let mut name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(SUFFIX);
        let path = target.with_file_name(name);
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match file.lock() {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                locked => locked?,
            }
            // Its last owner may have removed it since it was opened.
            if is_linked(&file) {
                unfinished().push(Unfinished::File(path.clone()));
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut unfinished = unfinished();
        // Elsewhere a process that has opened it could not see that it is gone.
        if cfg!(unix) {
            _ = fs::remove_file(&self.path);
        }
        unfinished.retain(|other| !matches!(other, Unfinished::File(path) if *path == self.path));
    }
}
