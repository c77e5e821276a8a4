//! A directory that is complete or not there: it is filled beside its target under a temporary name, and renamed at the
//! end.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, TempDir};

use super::unfinished::{Unfinished, unfinished};
use super::{SUFFIX, directory};
use crate::{Error, Result};

/// A directory that does not exist yet. Dropping the value without [`NewDirectory::finish`] removes what was written.
#[derive(Debug)]
pub(crate) struct NewDirectory {
    target: PathBuf,
    /// `None` when it was renamed.
    temporary: Option<TempDir>,
}

impl NewDirectory {
    /// Refuses a directory that is there already, or that cannot be made.
    ///
    /// # Errors
    /// [`Error::Io`] with the directory.
    pub(crate) fn check(target: &Path) -> Result<()> {
        Self::create(target).map(drop)
    }

    /// Starts a directory with the permissions of any new one.
    ///
    /// # Errors
    /// As [`NewDirectory::check`].
    pub(crate) fn create(target: &Path) -> Result<Self> {
        refuse_existing(target)?;
        let mut prefix = target.file_name().map(OsStr::to_owned).unwrap_or_default();
        prefix.push(".");
        let make = || {
            let new = Builder::new().prefix(&prefix).suffix(SUFFIX).tempdir_in(directory(target));
            let new = new.map_err(without_path)?;
            // A temporary directory is its owner's alone.
            let plain = new.path().join("new");
            fs::create_dir(&plain)?;
            fs::set_permissions(new.path(), fs::metadata(&plain)?.permissions())?;
            fs::remove_dir(&plain)?;
            Ok(new)
        };
        let mut unfinished = unfinished();
        let temporary = make().map_err(Error::io(target))?;
        unfinished.push(Unfinished::Directory(temporary.path().into()));
        Ok(Self { target: target.into(), temporary: Some(temporary) })
    }

    /// The directory while it is filled.
    pub(crate) fn path(&self) -> &Path {
        self.temporary.as_ref().expect("taken by finish and drop alone").path()
    }

    /// Writes a file, whose name may have directories in front of it.
    ///
    /// # Errors
    /// [`Error::Io`] with the file.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path().join(name);
        let write = || create_file(&path)?.write_all(bytes);
        write().map_err(Error::io(&path)).and_then(|()| sync(&path)).map_err(self.renamed())
    }

    /// For `map_err`: an error of a file in the directory by the name that it is going to have.
    pub(crate) fn renamed(&self) -> impl Fn(Error) -> Error {
        |error| match error {
            Error::Io { path, source } => match path.strip_prefix(self.path()) {
                Ok(name) => Error::Io { path: self.target.join(name), source },
                Err(_) => Error::Io { path, source },
            },
            error => error,
        }
    }

    /// Copies those of these files that a directory has.
    ///
    /// # Errors
    /// [`Error::Io`] with the file.
    pub(crate) fn copy<'a>(&self, from: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for name in names {
            let path = from.join(name);
            if path.is_file() {
                self.write(name, &fs::read(&path).map_err(Error::io(&path))?)?;
            }
        }
        Ok(())
    }

    /// Gives the directory its name.
    ///
    /// # Errors
    /// [`Error::Io`], also where another program has made the directory since.
    pub(crate) fn finish(mut self) -> Result<()> {
        refuse_existing(&self.target)?;
        let mut unfinished = unfinished();
        fs::rename(self.path(), &self.target).map_err(Error::io(&self.target))?;
        if let Some(temporary) = self.temporary.take() {
            forget(&mut unfinished, temporary.path());
            // It has another name now, and nothing is to be removed.
            _ = temporary.keep();
        }
        drop(unfinished);
        _ = File::open(directory(&self.target)).and_then(|parent| parent.sync_all());
        Ok(())
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            let mut unfinished = unfinished();
            forget(&mut unfinished, temporary.path());
            drop(temporary);
        }
    }
}

/// Creates a file and the directories in front of it, which must not be made again when they are abandoned.
fn create_file(path: &Path) -> io::Result<File> {
    let _unfinished = unfinished();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create(path)
}

/// Removes a directory from the registry.
fn forget(unfinished: &mut Vec<Unfinished>, directory: &Path) {
    unfinished.retain(|other| !matches!(other, Unfinished::Directory(path) if path == directory));
}

/// Waits until a file is on the disk.
///
/// # Errors
/// [`Error::Io`] with the file.
pub(crate) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path))
}

/// The system's reason, without the temporary path that is put behind it.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((reason, _)) => io::Error::new(error.kind(), reason.to_owned()),
        None => error,
    }
}

fn refuse_existing(dir: &Path) -> Result<()> {
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::Io { path: dir.into(), source: error }),
        Ok(_) => {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "it is there already: choose a new directory");
            Err(Error::Io { path: dir.into(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_can_be_abandoned_until_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("new");
        let begin = || {
            let new = NewDirectory::create(&target).unwrap();
            new.write("inner/file", b"text").unwrap();
            let entry = Unfinished::Directory(new.path().into());
            assert!(unfinished().contains(&entry));
            (new, entry)
        };
        let (new, entry) = begin();
        drop(new);
        assert!(!unfinished().contains(&entry));
        let (new, entry) = begin();
        entry.remove();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        drop(new);
        let (new, entry) = begin();
        new.finish().unwrap();
        assert!(!unfinished().contains(&entry));
        assert_eq!(fs::read(target.join("inner/file")).unwrap(), b"text");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
