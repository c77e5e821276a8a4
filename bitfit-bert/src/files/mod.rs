//! Bounded reads of whole files and of JSON, and atomic writes: a file is written beside its target under a temporary
//! name, and renamed when its last byte is on the disk.
//!
//! What a process has not finished is registered, so that one that quits in the middle can remove it first
//! ([`abandon_all`]). Temporary files of a process that was killed are deleted by the next write to the same target.

mod json;
mod leftovers;
mod lock;
mod new_directory;
mod read;
mod unfinished;

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub(crate) use json::parse_json;
pub(crate) use leftovers::is_linked;
pub(crate) use lock::Lock;
pub(crate) use new_directory::{NewDirectory, sync};
pub(crate) use read::{MAX_CONFIG, MAX_INDEX, MAX_TASK, read_bounded};
use tempfile::{Builder, NamedTempFile};
pub use unfinished::abandon_all;
pub(crate) use unfinished::{MadeDirectories, make_directories};
use unfinished::{Unfinished, unfinished};

use crate::{Error, Result};

/// The suffix of the name of a temporary file.
const SUFFIX: &str = ".partial";
/// The number of random letters and digits between the target's name and [`SUFFIX`].
const RANDOM: usize = 6;

/// A file that replaces its target in one step: a reader finds the old content or the new one, never a part of either.
///
/// Until [`AtomicFile::finish`] the bytes are in a temporary file in the same directory, whose name is unique, so that
/// several threads or processes can write to one target: it has the content of the last that finished. Dropping the
/// value without finishing deletes the temporary file and does not change the target.
///
/// - The permission bits of the file that a reader found at the target are kept; a new file has those of the umask.
/// - A symbolic link is itself replaced, and what it points to is left alone, as rename(2) does: a link planted in the
///   output directory must not lead a write to a file outside of it. The same holds for a hard link.
/// - A device or a pipe, or a link to one, cannot be replaced and is written directly. So is the file behind one of the
///   system's links to open files, such as `/dev/stdout`.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    writer: BufWriter<Destination>,
}

/// The destination of the bytes until the file is finished.
#[derive(Debug)]
enum Destination {
    /// A temporary file that will replace the target.
    Temporary(TemporaryFile),
    /// The target itself, which is a device or a pipe.
    Target(File),
}

impl AtomicFile {
    /// Starts an empty file that will replace `path`.
    ///
    /// # Errors
    /// [`Error::Io`] with `path` when it is a directory or its directory cannot be written. Nothing is written then.
    pub fn create(path: &Path) -> Result<Self> {
        let destination = open(path).map_err(Error::io(path))?;
        Ok(Self { path: path.into(), writer: BufWriter::new(destination) })
    }

    /// Writes all of `bytes`, buffered.
    ///
    /// # Errors
    /// [`Error::Io`] with the target's path, for example when the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(Error::io(&self.path))
    }

    /// Waits until what was written is on the disk.
    ///
    /// # Errors
    /// As [`AtomicFile::write`]: a full disk may be reported only here.
    pub fn sync(&mut self) -> Result<()> {
        let flushed = self.writer.flush();
        let synced = flushed.and_then(|()| match self.writer.get_ref() {
            Destination::Temporary(file) => file.file().as_file().sync_all(),
            Destination::Target(_) => Ok(()),
        });
        synced.map_err(Error::io(&self.path))
    }

    /// Replaces the target with what was written, after both the file and, where the system can, its new name are on
    /// the disk.
    ///
    /// # Errors
    /// [`Error::Io`] with the target's path; the temporary file is deleted then.
    pub fn finish(self) -> Result<()> {
        let Self { path, writer } = self;
        let replace = || match writer.into_inner().map_err(io::IntoInnerError::into_error)? {
            Destination::Temporary(file) => file.persist(&path),
            Destination::Target(mut file) => file.flush(),
        };
        replace().map_err(Error::io(&path))
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Temporary(file) => file.file().as_file().write(bytes),
            Self::Target(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Destination> {
    let existing = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(metadata) if metadata.is_file() && !is_open_file(path) => Some(metadata.permissions()),
        Ok(_) => return Ok(Destination::Target(File::options().write(true).open(path)?)),
        // Also a symbolic link to nothing, which is replaced. Any other reason will prevent the creation beside it.
        Err(_) => None,
    };
    Ok(Destination::Temporary(TemporaryFile::beside(path, existing)?))
}

/// A registered temporary file, locked for as long as it is open. `None` when it was renamed.
#[derive(Debug)]
struct TemporaryFile(Option<NamedTempFile>);

impl TemporaryFile {
    fn file(&self) -> &NamedTempFile {
        self.0.as_ref().expect("taken by persist and drop alone")
    }

    /// Creates an empty file beside `path`, with these permissions or, without, those of the umask.
    fn beside(path: &Path, permissions: Option<Permissions>) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = directory(path);
        leftovers::delete(directory, name);
        let mut prefix = name.to_owned();
        prefix.push(".");
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM);
        let mut unfinished = unfinished();
        let file = loop {
            let file = builder.make_in(directory, |path| create_new(path, permissions.is_some()))?;
            // The lock shows other processes that this one is alive. One of them may already have locked the file.
            _ = file.as_file().try_lock();
            if is_linked(file.as_file()) {
                break file;
            }
        };
        if let Some(permissions) = permissions {
            file.as_file().set_permissions(permissions)?;
        }
        unfinished.push(Unfinished::File(file.path().into()));
        Ok(Self(Some(file)))
    }

    /// Renames the file to `path`.
    fn persist(mut self, path: &Path) -> io::Result<()> {
        let file = self.0.take().expect("taken once");
        let temporary = Unfinished::File(file.path().into());
        // A full disk may be reported only when the data is flushed from the cache.
        let synced = file.as_file().sync_all();
        let mut unfinished = unfinished();
        let persisted = synced.and_then(|()| file.persist(path).map_err(|error| error.error));
        unfinished.retain(|other| *other != temporary);
        drop(unfinished);
        persisted?;
        // The rename is done even if the system cannot flush a directory.
        _ = File::open(directory(path)).and_then(|directory| directory.sync_all());
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            let mut unfinished = unfinished();
            unfinished.retain(|other| *other != Unfinished::File(file.path().into()));
            drop(file);
        }
    }
}

/// Removes a file, if there is one.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Whether a path is one of the system's links to open files, such as `/dev/stdout` or `/proc/self/fd/1`.
fn is_open_file(path: &Path) -> bool {
    ["/dev", "/proc"].iter().any(|system| path.starts_with(system)) && path.is_symlink()
}

/// Creates a file that did not exist: with the permissions of the umask, or readable by its owner alone.
fn create_new(path: &Path, is_private: bool) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if is_private { 0o600 } else { 0o666 });
    }
    options.open(path)
}

/// The directory that `path` is in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
