//! Files that are whole or not there: written beside their place, and renamed when the last byte is on the disk.
//!
//! What a process has under way is on a list, so that one that quits in the middle can take it away first.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// How many names are tried. One is taken only by what a killed process of the same number left, or by another machine's.
const NAMES: u32 = 1000;

/// The files that are under way, by the names they have until they are finished.
static UNDER_WAY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The list, for as long as no name may come to be or go.
fn under_way() -> MutexGuard<'static, Vec<PathBuf>> {
    // A path is pushed or removed whole, so the list is sound whoever panicked.
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file on its way: in its place is the old one, then the new one, and never half of either. Dropped before
/// [`AtomicFile::finish`], it vanishes.
///
/// The name it has until then is its own, so that two processes, or two of one, can write to one place: it has the whole of
/// what the last to finish wrote.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    /// `None` where the path itself is written: a device or a pipe cannot be replaced.
    partial: Option<PathBuf>,
    writer: BufWriter<File>,
}

impl AtomicFile {
    /// Starts an empty file for `path`. A device or a pipe is written as it is.
    ///
    /// # Errors
    /// [`Error::Io`] with `path` when its directory cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let is_replaceable = fs::metadata(path).map_or(true, |metadata| metadata.is_file());
        let (file, partial) = if is_replaceable {
            let mut under_way = under_way();
            let (file, partial) = create_beside(path).map_err(Error::io(path))?;
            under_way.push(partial.clone());
            (file, Some(partial))
        } else {
            (File::create(path).map_err(Error::io(path))?, None)
        };
        Ok(Self { path: path.into(), partial, writer: BufWriter::new(file) })
    }

    /// Writes all of `bytes`, buffered.
    ///
    /// # Errors
    /// [`Error::Io`] with the file's path, as when the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(Error::io(&self.path))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`] with the file's path; nothing is left behind then.
    pub fn finish(mut self) -> Result<()> {
        self.put_in_place().map_err(Error::io(&self.path))
    }

    /// Takes every file of this process away that is under way, for a process that is about to exit: whoever would begin or
    /// finish another one from now on waits until it has.
    pub fn abandon_all() {
        let mut under_way = under_way();
        for partial in under_way.drain(..) {
            _ = fs::remove_file(partial);
        }
        std::mem::forget(under_way);
    }

    fn put_in_place(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        let Some(partial) = &self.partial else { return Ok(()) };
        // A full disk may show only when the data has to leave the cache.
        self.writer.get_ref().sync_all()?;
        let mut under_way = under_way();
        fs::rename(partial, &self.path)?;
        under_way.retain(|path| path != partial);
        self.partial = None;
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            let mut under_way = under_way();
            // The error that led here is the one to report.
            _ = fs::remove_file(partial);
            under_way.retain(|path| path != partial);
        }
    }
}

/// A new file in the directory of `path`, by a name that nothing had.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut number = 0;
    loop {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{number}.partial", process::id()));
        let partial = path.with_file_name(name);
        match File::create_new(&partial) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < NAMES => number += 1,
            file => return Ok((file?, partial)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_file_appears_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers");
        fs::write(&path, "old").unwrap();
        for (finishes, content) in [(false, "old"), (true, "new")] {
            let mut file = AtomicFile::create(&path).unwrap();
            file.write(b"new").unwrap();
            assert_eq!((fs::read_to_string(&path).unwrap(), names(dir.path()).len()), ("old".into(), 2));
            if finishes {
                file.finish().unwrap();
            } else {
                drop(file);
            }
            assert_eq!(
                (fs::read_to_string(&path).unwrap(), names(dir.path())),
                (content.into(), vec!["answers".into()])
            );
        }
    }

    #[test]
    fn two_writers_of_one_place_do_not_meet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers");
        let mut files = [(); 2].map(|()| AtomicFile::create(&path).unwrap());
        for _ in 0..3 {
            files[0].write(b"one ").unwrap();
            files[1].write(b"another ").unwrap();
        }
        let [first, second] = files;
        first.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one one one ");
        second.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "another another another ");
        assert_eq!(names(dir.path()), ["answers"]);
    }

    #[test]
    fn what_cannot_take_its_place_leaves_nothing_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write(b"new").unwrap();
        // No file can be renamed to a directory.
        fs::create_dir(&path).unwrap();
        let message = file.finish().unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        assert_eq!(names(dir.path()), ["answers"]);
        assert!(AtomicFile::create(&path).is_err() && AtomicFile::create(&path.join("gone/a")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let mut file = AtomicFile::create(Path::new("/dev/null")).unwrap();
        file.write(b"gone").unwrap();
        file.finish().unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
