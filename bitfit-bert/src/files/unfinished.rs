//! What a process has begun and not finished, so that one that quits in the middle can remove it: temporary files and
//! directories, and directories that were made for files to come.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How often a directory that another process removes at the same time is made again, and one that another thread fills
/// is removed again.
const TRIES: usize = 10;

/// Something that is not finished.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// A temporary file.
    File(PathBuf),
    /// A temporary directory, with what is in it.
    Directory(PathBuf),
    /// A directory, which is removed only if it is empty.
    Empty(PathBuf),
}

/// All of this process, in the order in which they were made.
static UNFINISHED: Mutex<Vec<Unfinished>> = Mutex::new(Vec::new());

/// The registry. While it is locked, nothing in it is created, renamed or deleted.
pub(super) fn unfinished() -> MutexGuard<'static, Vec<Unfinished>> {
    // An entry is pushed or removed whole, so the list is sound even if another thread panicked.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes everything that this process, which is about to exit, has not finished: its temporary files and directories,
/// and directories that it made for an output if they are empty. A thread that begins or ends one after this call waits
/// for the exit.
pub fn abandon_all() {
    let mut unfinished = unfinished();
    // What is in a directory goes before it, and inner directories before outer ones.
    let (outer, inner): (Vec<_>, Vec<_>) = unfinished.drain(..).partition(|one| matches!(one, Unfinished::Empty(_)));
    inner.iter().chain(outer.iter().rev()).for_each(Unfinished::remove);
    std::mem::forget(unfinished);
}

impl Unfinished {
    pub(super) fn remove(&self) {
        _ = match self {
            Self::File(path) => fs::remove_file(path),
            Self::Directory(path) => {
                // Another thread may be writing into it, though it makes no directory in it any more.
                (0..TRIES).map(|_| fs::remove_dir_all(path)).find(|_| !path.exists()).unwrap_or(Ok(()))
            }
            Self::Empty(path) => fs::remove_dir(path),
        };
    }
}

/// Directories that this process made for files to come. Those that are empty are removed when the value is dropped,
/// and by [`abandon_all`].
#[derive(Debug, Default)]
pub(crate) struct MadeDirectories(Vec<PathBuf>);

impl MadeDirectories {
    /// Takes the directories that [`make_directories`] has made.
    pub(crate) fn own(made: Vec<PathBuf>) -> Self {
        unfinished().extend(made.iter().cloned().map(Unfinished::Empty));
        Self(made)
    }
}

impl Drop for MadeDirectories {
    fn drop(&mut self) {
        let mut unfinished = unfinished();
        for path in self.0.drain(..).rev() {
            let one = Unfinished::Empty(path);
            one.remove();
            unfinished.retain(|other| *other != one);
        }
    }
}

/// Makes a directory and those above it that are missing. Returns the ones that were made, the outermost first, without
/// those that another process made at the same time.
pub(crate) fn make_directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    // A directory above may be one that another process made, and removes because it is empty.
    for _ in 0..TRIES {
        match fs::create_dir(path) {
            Ok(()) => {
                made.push(path.to_owned());
                return Ok(made);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(parent) => made.extend(make_directories(parent)?),
                None => return Err(error),
            },
            Err(_) if path.is_dir() => return Ok(made),
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}
