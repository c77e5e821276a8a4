//! Places to write: whether a directory takes files, answers to stdout or to a file that is whole or not there, and which
//! failures of stdout are none.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

/// Refuses a directory that cannot be written, or could not be made, before any work is done for it. Nothing is left
/// behind, and a directory that is not there is not made.
pub fn check_directory(directory: &Path) -> Result<()> {
    let refuse = |error: io::Error| anyhow!("--out {}: {error}", directory.display());
    // The nearest that exists; what is missing below it will be made there.
    let mut existing = directory;
    let metadata = loop {
        match fs::metadata(if existing.as_os_str().is_empty() { Path::new(".") } else { existing }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A symbolic link to nowhere is there, and no directory can be made in its place.
                if existing.is_symlink() {
                    return Err(refuse(error));
                }
                existing = existing.parent().ok_or_else(|| refuse(error))?;
            }
            found => break found.map_err(refuse)?,
        }
    };
    if !metadata.is_dir() {
        return Err(anyhow!("--out {}: {} is no directory", directory.display(), existing.display()));
    }
    // Permissions do not tell on every file system, or for every user; a file does.
    let probe = existing.join(format!(".bitfit-{}", std::process::id()));
    File::create_new(&probe).map_err(refuse)?;
    fs::remove_file(&probe).map_err(refuse)
}

/// Where answers go.
pub enum Sink {
    /// Each as it comes.
    Stdout(io::Stdout),
    /// Into a file that takes its name when the last is written.
    File(PartialFile),
}

impl Sink {
    /// Stdout, or the file of this path.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        Ok(match path {
            Some(path) => Self::File(PartialFile::create(path)?),
            None => Self::Stdout(io::stdout()),
        })
    }

    /// Writes lines, and to stdout at once.
    pub fn write(&mut self, lines: &[u8]) -> Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(lines).and_then(|()| stdout.flush()).map_err(stdout_error),
            Self::File(file) => file.write(lines),
        }
    }

    /// Gives the file its name.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Stdout(_) => Ok(()),
            Self::File(file) => file.finish(),
        }
    }
}

/// A file that is written beside its place and renamed when whole; dropped before, it vanishes.
pub struct PartialFile {
    path: PathBuf,
    /// `None` where the path itself is written: a device or a pipe cannot be replaced.
    partial: Option<PathBuf>,
    writer: BufWriter<File>,
}

impl PartialFile {
    fn create(path: &Path) -> Result<Self> {
        let replaceable = fs::metadata(path).map_or(true, |metadata| metadata.is_file());
        let partial = replaceable.then(|| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".partial");
            path.with_file_name(name)
        });
        let file = File::create(partial.as_deref().unwrap_or(path)).map_err(refuse(path))?;
        Ok(Self { path: path.into(), partial, writer: BufWriter::new(file) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(refuse(&self.path))
    }

    fn finish(mut self) -> Result<()> {
        self.writer.flush().map_err(refuse(&self.path))?;
        if let Some(partial) = &self.partial {
            // A full disk may show only when the data has to leave the cache.
            self.writer
                .get_ref()
                .sync_all()
                .and_then(|()| fs::rename(partial, &self.path))
                .map_err(refuse(&self.path))?;
        }
        self.partial = None;
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // The error that led here is the one to report.
            _ = fs::remove_file(partial);
        }
    }
}

fn refuse(path: &Path) -> impl FnOnce(io::Error) -> anyhow::Error {
    move |error| anyhow!("--out {}: {error}", path.display())
}

/// For `map_err`: a closed pipe stays recognisable for [`is_closed_pipe`].
pub fn stdout_error(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { error.into() } else { anyhow!("stdout: {error}") }
}

/// Whether stdout's reader has gone, which is how `| head` ends a program.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
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
    fn a_directory_that_can_be_made_is_accepted_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("a"), dir.path().join("a/b/c")] {
            check_directory(&path).unwrap();
        }
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for below in ["file", "file/a"] {
            let message = check_directory(&dir.path().join(below)).unwrap_err().to_string();
            assert!(message.starts_with("--out ") && message.contains(below), "{message}");
        }
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn a_file_appears_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers");
        fs::write(&path, "old").unwrap();
        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.write(b"new").unwrap();
        drop(sink);
        assert_eq!((fs::read_to_string(&path).unwrap(), names(dir.path())), ("old".into(), vec!["answers".into()]));
        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.write(b"new").unwrap();
        sink.finish().unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap(), names(dir.path())), ("new".into(), vec!["answers".into()]));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let mut sink = Sink::open(Some(Path::new("/dev/null"))).unwrap();
        sink.write(b"gone").unwrap();
        sink.finish().unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
