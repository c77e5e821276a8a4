//! Places to write: whether a directory takes files, answers to stdout or to a file, and which failures of stdout are
//! none.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Result, anyhow};
use bitfit_bert::files::AtomicFile;

/// Refuses a directory that cannot be written, or could not be made, before any work is done for it. Nothing is left
/// behind, and a directory that is not there is not made.
pub fn check_directory(directory: &Path) -> Result<()> {
    let refuse = |error: io::Error| anyhow!("--out {}: {error}", directory.display());
    // The nearest that exists; what is missing below it will be made there.
    let mut existing = directory;
    let metadata = loop {
        match fs::metadata(if existing.as_os_str().is_empty() { Path::new(".") } else { existing }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A symbolic link to nothing exists, and no directory can be made in its place.
                if existing.is_symlink() {
                    return Err(refuse(error));
                }
                existing = existing.parent().ok_or_else(|| refuse(error))?;
            }
            found => break found.map_err(refuse)?,
        }
    };
    if !metadata.is_dir() {
        return Err(anyhow!("--out {}: {} is not a directory", directory.display(), existing.display()));
    }
    // Permission bits do not decide on every file system, or for every user. Creating a file does.
    let probe = existing.join(format!(".bitfit-{}", std::process::id()));
    File::create_new(&probe).map_err(refuse)?;
    fs::remove_file(&probe).map_err(refuse)
}

/// The destination of answers.
pub enum Sink {
    /// Stdout, which gets each answer as it comes.
    Stdout(io::Stdout),
    /// A file that replaces its target when the last answer is written.
    File(AtomicFile),
}

impl Sink {
    /// Opens the file at `path`, or stdout without one.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        Ok(match path {
            Some(path) => Self::File(AtomicFile::create(path).map_err(refuse)?),
            None => Self::Stdout(io::stdout()),
        })
    }

    /// Writes lines; stdout is flushed after them.
    pub fn write(&mut self, lines: &[u8]) -> Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(lines).and_then(|()| stdout.flush()).map_err(stdout_error),
            Self::File(file) => file.write(lines).map_err(refuse),
        }
    }

    /// Completes the output, which puts a file in its place.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Stdout(_) => Ok(()),
            Self::File(file) => file.finish().map_err(refuse),
        }
    }
}

/// For `map_err`: adds the flag to the library's message, which names the file.
fn refuse(error: bitfit_bert::Error) -> anyhow::Error {
    anyhow!("--out {error}")
}

/// For `map_err`: a closed pipe stays recognisable for [`is_closed_pipe`].
pub fn stdout_error(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { error.into() } else { anyhow!("stdout: {error}") }
}

/// Whether an error says that stdout's reader is gone, which is how `| head` ends a program.
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
}
