//! A process at work: its file in the directory of the sweep, which is locked where the file system has locks, and
//! grows by a byte with each heartbeat.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder as ThreadBuilder, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::Builder;

use crate::files::{MAX_CONFIG, is_linked, parse_json, read_bounded};
use crate::run::run_record::Origin;
use crate::{Error, Result};

use super::SweepOptions;

/// The time between two heartbeats.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);

const PREFIX: &str = "worker-";
const SUFFIX: &str = ".json";
/// The number of random letters and digits between the two.
const RANDOM: usize = 12;

/// The version of the file.
const VERSION: u32 = 1;

/// The bytes of the stack of the thread of the heartbeats.
const STACK: usize = 1 << 16;

/// How often a directory that was removed is made again.
const TRIES: usize = 100;

/// What the file of a process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    version: u32,
    /// The name of the machine, for people.
    host: String,
    /// The number of the process, for people.
    process: u32,
    /// The job, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    pub(super) machine: Machine,
    /// Whether the file is locked.
    locked: bool,
    /// The time between two heartbeats in milliseconds.
    heartbeat_ms: u64,
    /// What the grid is made from.
    pub(super) origin: Origin,
}

/// Where a process runs: two of the same machine and mount see each other's locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Machine {
    /// The random number of the running system; `None` where it has none.
    boot: Option<String>,
    /// The number of the mount that the directory is on.
    mount: Option<u64>,
}

impl Machine {
    /// This machine, and the mount of the directory, which is created if it is missing.
    pub(super) fn this(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(Error::io(directory))?;
        // Containers on one kernel have it in common, and their locks too.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|boot| boot.trim().to_owned());
        #[cfg(unix)]
        let mount = {
            use std::os::unix::fs::MetadataExt;
            Some(fs::metadata(directory).map_err(Error::io(directory))?.dev())
        };
        #[cfg(not(unix))]
        let mount = None;
        Ok(Self { boot, mount })
    }

    #[cfg(test)]
    pub(super) fn named(boot: &str) -> Self {
        Self { boot: Some(boot.into()), mount: Some(1) }
    }

    /// Whether the locks of a process there are seen here.
    fn shares_locks(&self, other: &Self) -> bool {
        self.boot.is_some() && self.mount.is_some() && self == other
    }
}

impl About {
    pub(super) fn new(origin: Origin, options: &SweepOptions, machine: Machine) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|host| host.trim().to_owned());
        let host = host.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "another machine".into());
        let heartbeat_ms = options.heartbeat.as_millis() as u64;
        let (process, job) = (process::id(), options.job.clone());
        Self { version: VERSION, host, process, job, machine, locked: false, heartbeat_ms, origin }
    }

    /// What a file says; `None` while it is not complete.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let about: Self = parse_json(&read_bounded(path, MAX_CONFIG).ok()?).ok()?;
        (about.version == VERSION).then_some(about)
    }

    /// The process for people.
    pub(super) fn name(&self) -> String {
        let job = self.job.as_ref().map_or_else(String::new, |job| format!(", job {job}"));
        format!("process {} on {}{job}", self.process, self.host)
    }

    pub(super) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    /// Whether the process of a file is dead, where its lock is seen on this machine.
    pub(super) fn is_dead_here(&self, path: &Path, here: &Machine) -> Option<bool> {
        if !self.locked || !self.machine.shares_locks(here) {
            return None;
        }
        // Some systems lock only files that are open for writing.
        match File::options().write(true).open(path).map(|file| file.try_lock()) {
            Ok(Ok(())) => Some(true),
            Ok(Err(TryLockError::WouldBlock)) => Some(false),
            Ok(Err(TryLockError::Error(_))) => None,
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(true),
        }
    }
}

/// This process. Its file is removed by [`Worker::leave`], or when it is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    path: PathBuf,
    heart: Option<Heart>,
}

/// The thread of the heartbeats. It ends when its channel is closed.
#[derive(Debug)]
struct Heart {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Whether a name is that of the file of a process.
pub(super) fn is_worker(name: &OsStr) -> bool {
    let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Removes the file of a process that is dead.
pub(super) fn bury(path: &Path) {
    // Another process may have removed it; one that is left is recognised again.
    _ = fs::remove_file(path);
}

impl Worker {
    /// Creates the file of this process, in a directory that is created if it is missing, and begins its heartbeats.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn register(directory: &Path, about: &About) -> Result<Self> {
        let (file, path, locked) = create(directory).map_err(Error::io(directory))?;
        let mut worker = Self { path, heart: None };
        let json = serde_json::to_string(&About { locked, ..about.clone() }).expect("strings and numbers");
        let written = (&file).write_all(format!("{json}\n").as_bytes()).and_then(|()| file.sync_data());
        written.map_err(Error::io(&worker.path))?;
        let ((stop, stopped), heartbeat) = (channel(), about.heartbeat());
        let beat = move || beat(&file, heartbeat, &stopped);
        let thread = ThreadBuilder::new().name("heartbeat".into()).stack_size(STACK).spawn(beat);
        worker.heart = Some(Heart { stop, thread: thread.map_err(Error::io(&worker.path))? });
        Ok(worker)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether no other process has taken this one for dead.
    pub(super) fn is_registered(&self) -> bool {
        self.path.exists()
    }

    /// Removes the file, so that what the process has claimed is free.
    pub(super) fn leave(&mut self) {
        if let Some(Heart { stop, thread }) = self.heart.take() {
            drop(stop);
            _ = thread.join();
        }
        _ = fs::remove_file(&self.path);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Creates a file of a name that is not taken, and locks it; whether it could.
fn create(directory: &Path) -> io::Result<(File, PathBuf, bool)> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM);
    for _ in 0..TRIES {
        // The last process that leaves removes the directory.
        fs::create_dir_all(directory)?;
        let created = builder.make_in(directory, |path| File::options().append(true).create_new(true).open(path));
        let (file, path) = match created {
            Ok(created) => created.keep().map_err(|error| error.error)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let locked = match file.lock() {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => false,
            Err(error) => {
                _ = fs::remove_file(&path);
                return Err(error);
            }
        };
        // Another process may have locked it first, and have taken this one for dead.
        if is_linked(&file) {
            return Ok((file, path, locked));
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Makes the file a byte longer with each heartbeat until the channel is closed. JSON may end with blank lines.
fn beat(mut file: &File, heartbeat: Duration, stopped: &Receiver<()>) {
    while stopped.recv_timeout(heartbeat) == Err(RecvTimeoutError::Timeout) {
        // Where it fails for so long that the process is taken for dead, its run finds out before it writes.
        _ = file.write_all(b"\n").and_then(|()| file.sync_data());
    }
}
