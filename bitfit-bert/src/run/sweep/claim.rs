//! A claim on a run: a file that names its worker, with a number that is higher than those of all earlier claims.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::files::remove;
use crate::{Error, Result};

/// What stands between the name of a run and the number of a claim.
const CLAIM: &str = ".claim-";

/// A claim of this process.
#[derive(Debug)]
pub(in crate::run) struct Claim {
    directory: PathBuf,
    /// The directory of the run.
    run: PathBuf,
    name: String,
    number: u64,
    worker: PathBuf,
}

/// The name of a run in the names of its claims, from its directory in the output directory.
pub(super) fn name(out: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(out).unwrap_or(path).iter();
    parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(",")
}

/// The path of a claim.
pub(super) fn path(directory: &Path, name: &str, number: u64) -> PathBuf {
    directory.join(format!("{name}{CLAIM}{number}"))
}

/// The numbers of the claims on a run.
pub(super) fn numbers(directory: &Path, name: &str) -> Result<Vec<u64>> {
    let entries = fs::read_dir(directory).map_err(Error::io(directory))?;
    let number = |entry: fs::DirEntry| {
        let file = entry.file_name();
        file.to_str()?.strip_prefix(name)?.strip_prefix(CLAIM)?.parse().ok()
    };
    Ok(entries.flatten().filter_map(number).collect())
}

/// Creates the file of a claim; false where it exists.
fn create(path: &Path, worker: &Path) -> Result<bool> {
    let mut file = match File::create_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let worker = worker.file_name().unwrap_or_default().to_string_lossy();
    file.write_all(format!("{worker}\n").as_bytes()).and_then(|()| file.sync_data()).map_err(Error::io(path))?;
    Ok(true)
}

impl Claim {
    /// Makes the claim of a number; `None` where there is one.
    pub(super) fn make(directory: &Path, run: &Path, name: String, number: u64, worker: &Path) -> Result<Option<Self>> {
        let is_made = create(&path(directory, &name, number), worker)?;
        let [directory, run, worker] = [directory, run, worker].map(Path::to_owned);
        Ok(is_made.then_some(Self { directory, run, name, number, worker }))
    }

    /// Whether an earlier claim on the run was taken over.
    pub(in crate::run) fn is_taken_over(&self) -> bool {
        self.number > 1
    }

    /// Refuses to go on with a run that another process has taken over, or whose worker was taken for dead.
    ///
    /// # Errors
    /// [`Error::TakenOver`].
    pub(in crate::run) fn check(&self) -> Result<()> {
        let next = path(&self.directory, &self.name, self.number + 1);
        if next.exists() || !self.worker.exists() { Err(self.taken_over()) } else { Ok(()) }
    }

    /// Claims the run once more, which no cache of the file system can keep from being true.
    ///
    /// # Errors
    /// [`Error::TakenOver`] where another process was faster; [`Error::Io`].
    pub(in crate::run) fn renew(&mut self) -> Result<()> {
        if !create(&path(&self.directory, &self.name, self.number + 1), &self.worker)? {
            return Err(self.taken_over());
        }
        self.number += 1;
        Ok(())
    }

    /// Removes the claims on a run that has its record or is left to the next process that claims it, the highest last.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(in crate::run) fn release(self) -> Result<()> {
        let mut numbers = numbers(&self.directory, &self.name)?;
        numbers.retain(|number| *number <= self.number);
        numbers.sort_unstable();
        numbers.into_iter().try_for_each(|number| remove(&path(&self.directory, &self.name, number)))
    }

    fn taken_over(&self) -> Error {
        Error::TakenOver { path: self.run.clone() }
    }
}
