//! The layout of huggingface_hub's cache.
//!
//! ```text
//! models--organisation--name/refs/main                   the commit that the main branch had
//! models--organisation--name/blobs/ETAG                  a file's content; while it is fetched, ETAG.incomplete
//! models--organisation--name/snapshots/COMMIT/FILE       a link to ../../blobs/ETAG, or a copy
//! models--organisation--name/.no_exist/COMMIT/FILE       empty: the commit is known not to have the file
//! .locks/models--organisation--name/ETAG.lock            locked while the blob is fetched
//! ```

use std::path::{Path, PathBuf};

use super::names;
use crate::files::read_bounded;

/// The directory of the files that commits are known not to have.
const ABSENT: &str = ".no_exist";

/// One model's part of the cache.
pub(super) struct Repository {
    /// The directory `models--organisation--name`.
    root: PathBuf,
    /// The directory of its locks.
    #[cfg(feature = "hub")]
    locks: PathBuf,
}

impl Repository {
    /// The part of the model with the hub id `model`.
    pub(super) fn new(cache: &Path, model: &str) -> Self {
        let folder = format!("models--{}", model.replace('/', "--"));
        Self {
            root: cache.join(&folder),
            #[cfg(feature = "hub")]
            locks: cache.join(".locks").join(folder),
        }
    }

    /// The cached snapshot of the main branch, complete or not.
    pub(super) fn snapshot(&self) -> Option<PathBuf> {
        let commit = String::from_utf8(read_bounded(&self.root.join("refs/main"), 1 << 10).ok()?).ok()?;
        // Whatever else the file holds must not lead out of the cache.
        let commit = Some(commit.trim()).filter(|commit| names::is_commit(commit))?;
        Some(self.root.join("snapshots").join(commit)).filter(|dir| dir.is_dir())
    }

    /// Whether the commit of a snapshot is known not to have a file.
    pub(super) fn is_absent(&self, snapshot: &Path, file: &str) -> bool {
        snapshot.file_name().is_some_and(|commit| self.root.join(ABSENT).join(commit).join(file).exists())
    }
}

#[cfg(feature = "hub")]
mod write {
    use std::fs::{self, File, TryLockError};
    use std::io;
    use std::path::{Path, PathBuf};

    use super::Repository;
    use crate::files::AtomicFile;

    impl Repository {
        /// The directory of the snapshot of a commit, which need not exist.
        pub(in crate::hub) fn snapshot_of(&self, commit: &str) -> PathBuf {
            self.root.join("snapshots").join(commit)
        }

        /// Records that a commit does not have a file.
        pub(in crate::hub) fn set_absent(&self, commit: &str, file: &str) -> crate::Result<()> {
            let path = self.root.join(super::ABSENT).join(commit).join(file);
            create_parent(&path).map_err(crate::Error::io(&path))?;
            AtomicFile::create(&path)?.finish()
        }

        /// The path of a blob, which need not exist.
        pub(in crate::hub) fn blob(&self, name: &str) -> PathBuf {
            self.root.join("blobs").join(name)
        }

        /// Records that the main branch has this commit.
        pub(in crate::hub) fn set_main(&self, commit: &str) -> crate::Result<()> {
            let path = self.root.join("refs/main");
            create_parent(&path).map_err(crate::Error::io(&path))?;
            let mut file = AtomicFile::create(&path)?;
            file.write(commit.as_bytes())?;
            file.finish()
        }

        /// Locks a blob against other threads and processes, Python's too, until the file is dropped or its process
        /// ends. Calls `waits` before it has to wait.
        ///
        /// The lock only avoids a second download, so a file system without locks is not an error: `None`.
        pub(in crate::hub) fn lock(&self, blob: &str, waits: impl FnOnce()) -> io::Result<Option<File>> {
            let path = self.locks.join(format!("{blob}.lock"));
            create_parent(&path)?;
            let mut waits = Some(waits);
            loop {
                // A lock file of another user may be read-only, but can be locked nevertheless.
                let writable = File::options().write(true).create(true).truncate(false).open(&path);
                let file = writable.or_else(|error| File::open(&path).map_err(|_| error))?;
                match file.try_lock() {
                    Ok(()) => {}
                    Err(TryLockError::WouldBlock) => {
                        if let Some(waits) = waits.take() {
                            waits();
                        }
                        match file.lock() {
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                            locked => locked?,
                        }
                    }
                    Err(TryLockError::Error(_)) => return Ok(None),
                }
                // Some versions of the Python library delete a lock file that they release. The next process that opens
                // the path would get another file.
                if crate::files::is_linked(&file) {
                    return Ok(Some(file));
                }
            }
        }
    }

    /// Makes `file`, which is `depth` directories inside its snapshot, the name of a blob: a relative link, or a copy
    /// where links cannot be made.
    pub(in crate::hub) fn link(blob: &Path, file: &Path, depth: usize, symlinks: bool) -> io::Result<()> {
        create_parent(file)?;
        let blobs: PathBuf = std::iter::repeat_n("..", depth + 2).chain(["blobs"]).collect();
        let temporary = tempfile::Builder::new().prefix(".link-").make_in(file.parent().unwrap_or(file), |path| {
            let target = blobs.join(blob.file_name().unwrap_or_default());
            match if symlinks { symlink(&target, path) } else { Err(io::ErrorKind::Unsupported.into()) } {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    io::copy(&mut File::open(blob)?, &mut File::create_new(path)?).map(drop)
                }
                linked => linked,
            }
        })?;
        temporary.into_temp_path().persist(file).map_err(|error| error.error)
    }

    /// Creates the directory that `path` is in.
    pub(in crate::hub) fn create_parent(path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), fs::create_dir_all)
    }

    #[cfg(unix)]
    fn symlink(target: &Path, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, path)
    }

    #[cfg(windows)]
    fn symlink(target: &Path, path: &Path) -> io::Result<()> {
        std::os::windows::fs::symlink_file(target, path)
    }

    #[cfg(not(any(unix, windows)))]
    fn symlink(_: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(feature = "hub")]
pub(super) use write::{create_parent, link};
