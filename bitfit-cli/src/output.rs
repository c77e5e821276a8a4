//! Output: checks whether a run can write its files, answers to stdout or to a file, and closed pipes, which are not
//! errors.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Result, anyhow, bail};
use bitfit_bert::TaskFile;
use bitfit_bert::artefacts::{CARD_FILE, ModelCard};
use bitfit_bert::files::AtomicFile;
use bitfit_bert::run::{
    COMPARISON_CHART, COMPARISON_COSTS, COMPARISON_CSV, COMPARISON_MARKDOWN, RESULTS, TASK_FILE, TENSORBOARD_DIR,
};

use crate::last_resort;

/// The files of a comparison.
const COMPARISON: [&str; 4] = [COMPARISON_MARKDOWN, COMPARISON_CSV, COMPARISON_COSTS, COMPARISON_CHART];

/// The files that a run or a comparison writes into its directory.
pub const FILES: [&str; RESULTS.len() + COMPARISON.len()] = {
    let mut files = [""; RESULTS.len() + COMPARISON.len()];
    let (of_run, of_comparison) = files.split_at_mut(RESULTS.len());
    of_run.copy_from_slice(&RESULTS);
    of_comparison.copy_from_slice(&COMPARISON);
    files
};

/// Refuses a directory that cannot be written or created, and one in which a name that the run writes is taken by
/// something other than a file. Nothing is created yet. The first is that of `--out`, and the others are in it: of
/// those a symbolic link is refused, because it leads out of it.
pub fn check_directories(directories: &[PathBuf]) -> Result<()> {
    let events = directories.iter().map(|directory| directory.join(TENSORBOARD_DIR));
    if let Some(inner) = directories.iter().skip(1).cloned().chain(events).find(|inner| inner.is_symlink()) {
        bail!("--out {}: it is a symbolic link; remove it or choose another directory", inner.display());
    }
    directories.iter().try_for_each(|directory| {
        check_writable(directory)?;
        FILES.iter().try_for_each(|name| check_file(directory, name))
    })
}

/// Refuses a directory that cannot be written or created.
fn check_writable(directory: &Path) -> Result<()> {
    let refuse = |error: io::Error| anyhow!("--out {}: {error}", directory.display());
    let mut existing = directory;
    let metadata = loop {
        match fs::metadata(if existing.as_os_str().is_empty() { Path::new(".") } else { existing }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // No directory can be created in place of a broken symbolic link.
                if existing.is_symlink() {
                    return Err(refuse(error));
                }
                existing = existing.parent().ok_or_else(|| refuse(error))?;
            }
            found => break found.map_err(refuse)?,
        }
    };
    if !metadata.is_dir() {
        bail!("--out {}: {} is not a directory", directory.display(), existing.display());
    }
    // Permissions are not reliable on every file system and for every user, so this creates a file.
    // Processes on other machines may have the same number.
    let time = UNIX_EPOCH.elapsed().map_or(0, |time| time.subsec_nanos());
    let probe = existing.join(format!(".bitfit-{}-{time}", std::process::id()));
    File::create_new(&probe).map_err(refuse)?;
    fs::remove_file(&probe).map_err(refuse)
}

/// Refuses a name in a directory that is taken by something other than a file of its own.
pub fn check_file(directory: &Path, name: &str) -> Result<()> {
    let what = match fs::symlink_metadata(directory.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => bail!("--out {}: {name}: {error}", directory.display()),
        Ok(metadata) if metadata.is_symlink() => "a symbolic link",
        Ok(metadata) if metadata.is_dir() => "a directory",
        Ok(metadata) if !metadata.is_file() => "not a regular file",
        Ok(_) => return Ok(()),
    };
    bail!("--out {}: {name} in it is {what}; remove it or choose another directory", directory.display())
}

/// The place of a task file: a file whose name ends with `.safetensors`, or a directory, in which a model card goes
/// beside it.
#[derive(Clone, Debug)]
pub struct TaskTarget {
    file: PathBuf,
    directory: Option<PathBuf>,
}

impl TaskTarget {
    /// Refuses a place that cannot be written, or in which there is a task file already.
    pub fn check(out: &Path) -> Result<Self> {
        let is_file = out.extension().is_some_and(|extension| extension == "safetensors");
        let (file, directory) =
            if is_file { (out.to_owned(), None) } else { (out.join(TASK_FILE), Some(out.to_owned())) };
        let taken = std::iter::once(file.clone()).chain(directory.iter().map(|directory| directory.join(CARD_FILE)));
        if let Some(taken) = taken.into_iter().find(|path| path.symlink_metadata().is_ok()) {
            bail!("--out {}: it is there already; remove it or choose another place", taken.display());
        }
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        check_writable(parent.unwrap_or(Path::new(".")))?;
        Ok(Self { file, directory })
    }

    /// Writes the task file, and a model card in a directory. Returns the path of the file.
    pub fn write(&self, task: &TaskFile) -> Result<PathBuf> {
        let Self { file, directory } = self;
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).map_err(|error| anyhow!("--out {}: {error}", parent.display()))?;
        }
        task.write(file)?;
        if let Some(directory) = directory {
            let card = ModelCard::of_task_file(&task.info, TASK_FILE, directory).text();
            let mut written = AtomicFile::create(&directory.join(CARD_FILE)).map_err(refuse)?;
            written.write(card.as_bytes()).map_err(refuse)?;
            written.finish().map_err(refuse)?;
        }
        Ok(file.clone())
    }
}

/// Whether two paths lead to one existing file; a terminal may be both read and written.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other && one.is_file())
}

/// A file that a command reads, and what it is, for a message.
pub type Input<'a> = (&'a str, &'a Path);

/// Refuses to write the file of a flag in the place of a directory, into a directory that is not there or cannot be
/// written, and over one of the `inputs`.
pub fn check_target(flag: &str, out: &Path, inputs: &[Input<'_>]) -> Result<()> {
    if out.is_dir() {
        bail!("{flag} {}: it is a directory; name a file in it", out.display());
    }
    if let Some((what, _)) = inputs.iter().find(|(_, input)| is_same_file(out, input)) {
        return refuse_overwriting(flag, out, what);
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        bail!("{flag} {}: its directory does not exist", out.display());
    }
    // Not a device or a pipe: a reader of a pipe would see its end.
    if out.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Ok(());
    }
    AtomicFile::create(out).map(drop).map_err(|error| anyhow!("{flag} {error}"))
}

/// Refuses to write the file of a flag over a file of the base model in a directory.
pub fn spare_model(flag: &str, out: &Path, model: &Path) -> Result<()> {
    let entries = fs::read_dir(model).into_iter().flatten().flatten().map(|entry| entry.path());
    // The modules of a sentence encoder have a directory each, with a configuration.
    let mut files = entries.flat_map(|entry| [entry.join("config.json"), entry]);
    match files.any(|file| is_same_file(out, &file)) {
        true => refuse_overwriting(flag, out, "a file of the base model"),
        false => Ok(()),
    }
}

fn refuse_overwriting(flag: &str, out: &Path, what: &str) -> Result<()> {
    bail!("{flag} {}: it is {what}, which would be overwritten; choose another file", out.display())
}

/// The destination of answers.
pub enum Sink {
    /// Stdout, which gets each answer at once.
    Stdout(io::Stdout),
    /// A file that gets its name when it is complete.
    File(AtomicFile),
}

impl Sink {
    /// Stdout, or the file of this path.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        Ok(match path {
            Some(path) => Self::File(AtomicFile::create(path).map_err(refuse)?),
            None => {
                last_resort::check_stdout()?;
                Self::Stdout(io::stdout())
            }
        })
    }

    /// Writes lines. Stdout gets them at once.
    pub fn write(&mut self, lines: &[u8]) -> Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(lines).and_then(|()| stdout.flush()).map_err(stdout_error),
            Self::File(file) => file.write(lines).map_err(refuse),
        }
    }

    /// Gives the file its name.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Stdout(_) => Ok(()),
            Self::File(file) => file.finish().map_err(refuse),
        }
    }
}

/// For `map_err`: puts the flag before the library's message, which begins with the file.
pub fn refuse(error: bitfit_bert::Error) -> anyhow::Error {
    anyhow!("--out {error}")
}

/// For `map_err`: an error of stdout that [`is_closed_pipe`] can recognise.
pub fn stdout_error(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { error.into() } else { anyhow!("stdout: {error}") }
}

/// Whether the reader of stdout has closed it, as `| head` does.
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
    fn a_directory_that_can_be_created_is_accepted_and_not_created() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("a"), dir.path().join("a/b/c")] {
            check_directories(&[path]).unwrap();
        }
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for below in ["file", "file/a"] {
            let message = check_directories(&[dir.path().join(below)]).unwrap_err().to_string();
            assert!(message.starts_with("--out ") && message.contains(below), "{message}");
        }
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_task_file_asks_for_no_name_but_its_own_and_that_of_its_card() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join(TASK_FILE)).unwrap();
        fs::create_dir(dir.path().join("metrics.jsonl")).unwrap();
        TaskTarget::check(&dir.path().join("mean.safetensors")).unwrap();
        for out in [dir.path().to_owned(), dir.path().join(TASK_FILE)] {
            let message = TaskTarget::check(&out).unwrap_err().to_string();
            assert!(message.ends_with("task.safetensors: it is there already; remove it or choose another place"));
        }
        fs::remove_file(dir.path().join(TASK_FILE)).unwrap();
        TaskTarget::check(dir.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_place_of_an_inner_directory_is_refused() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let inner = dir.path().join("seed-0");
        std::os::unix::fs::symlink(elsewhere.path(), &inner).unwrap();
        let message = check_directories(&[dir.path().to_owned(), inner.clone()]).unwrap_err().to_string();
        assert!(message.contains("seed-0: it is a symbolic link"), "{message}");
        check_directories(std::slice::from_ref(&inner)).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), elsewhere.path().join(TENSORBOARD_DIR)).unwrap();
        let message = check_directories(&[inner]).unwrap_err().to_string();
        assert!(message.contains("seed-0/tensorboard: it is a symbolic link"), "{message}");
    }
}
