//! Compiled kernels on disk, so that only the first run on a machine compiles them.
//!
//! The name of an entry is a hash of everything that determines its contents: the source, the options, the target and
//! the version of the compiler. No entry is ever out of date, and any can be deleted at any time. Failures are not
//! reported: what cannot be read is compiled, and what cannot be written is compiled again the next time.

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use sha2::{Digest, Sha256};

use crate::{
    compile::{OPTIONS, Target, text},
    launch::Source,
};

/// The number of entries that this process has started to write.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// The size of the checksum in front of the code, in bytes.
const CHECKSUM: usize = 32;

/// A cache directory.
#[derive(Debug)]
pub(crate) struct Cache {
    /// `None` without a usable path.
    directory: Option<PathBuf>,
}

impl Cache {
    /// The cache at `BITFIT_CUDA_CACHE`, or in `bitfit/cuda` of the user's cache directory.
    pub fn of_user() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = variable("BITFIT_CUDA_CACHE").or_else(|| {
            let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
            Some(caches.join("bitfit").join("cuda"))
        });
        Self { directory }
    }

    #[cfg(test)]
    fn at(directory: &Path) -> Self {
        Self { directory: Some(directory.to_path_buf()) }
    }

    /// The path of the entry of a source, a target and a version of the compiler.
    fn entry(&self, source: &Source, target: Target, version: &str) -> Option<PathBuf> {
        let mut hash = Sha256::new();
        for part in [&text(source), &OPTIONS.join(" "), &target.to_string(), version] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let name: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Some(self.directory.as_ref()?.join(format!("{}-{target}-{name}", source.name)))
    }

    /// Reads the code of a source, if there is an intact entry.
    pub fn read(&self, source: &Source, target: Target, version: &str) -> Option<Vec<u8>> {
        let mut entry = fs::read(self.entry(source, target, version)?).ok()?;
        let code = entry.split_off(entry.len().min(CHECKSUM));
        (Sha256::digest(&code)[..] == entry[..]).then_some(code)
    }

    /// Writes the code of a source.
    pub fn write(&self, source: &Source, target: Target, version: &str, code: &[u8]) {
        if let Some(entry) = self.entry(source, target, version) {
            // Everything works without a cache.
            let _ = write_whole(&entry, code);
        }
    }
}

/// Writes a temporary file and renames it to the entry, so that readers find the complete entry or none. The name of
/// the temporary file is unique to this call: it contains the process and a number within the process.
fn write_whole(entry: &Path, code: &[u8]) -> io::Result<()> {
    let directory = entry.parent().ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(directory)?;
    let name = entry.file_name().ok_or(io::ErrorKind::NotFound)?.to_string_lossy();
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let partial = directory.join(format!(".{name}.{}.{number}", process::id()));
    let mut file = File::create_new(&partial)?;
    let written = file.write_all(&Sha256::digest(code)).and_then(|()| file.write_all(code));
    drop(file);
    let written = written.and_then(|()| fs::rename(&partial, entry));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source = Source { name: "probe", code: "// nothing" };
    const TARGET: Target = Target::Machine(90);

    fn files(directory: &Path) -> Vec<PathBuf> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn code_comes_back_for_the_same_source_target_and_compiler_alone() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(&directory.path().join("not/there/yet"));
        assert_eq!(cache.read(&SOURCE, TARGET, "13.0"), None);
        cache.write(&SOURCE, TARGET, "13.0", b"code");
        assert_eq!(cache.read(&SOURCE, TARGET, "13.0").as_deref(), Some(&b"code"[..]));
        let other = Source { name: "probe", code: "// something" };
        assert_eq!(cache.read(&other, TARGET, "13.0"), None);
        assert_eq!(cache.read(&SOURCE, Target::Virtual(90), "13.0"), None);
        assert_eq!(cache.read(&SOURCE, Target::Machine(80), "13.0"), None);
        assert_eq!(cache.read(&SOURCE, TARGET, "13.1"), None);
    }

    #[test]
    fn a_damaged_or_cut_entry_is_none_and_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        cache.write(&SOURCE, TARGET, "13.0", b"code");
        let [entry] = files(directory.path()).try_into().unwrap();
        let whole = fs::read(&entry).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for damaged in [&flipped[..], &whole[..whole.len() - 1], &whole[..CHECKSUM - 1], &[]] {
            fs::write(&entry, damaged).unwrap();
            assert_eq!(cache.read(&SOURCE, TARGET, "13.0"), None);
        }
        cache.write(&SOURCE, TARGET, "13.0", b"code");
        assert_eq!(cache.read(&SOURCE, TARGET, "13.0").as_deref(), Some(&b"code"[..]));
        assert_eq!(files(directory.path()), [entry], "nothing else is left behind");
    }

    #[test]
    fn threads_that_write_one_entry_leave_a_whole_one() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        // With lengths that reveal two writers of one file.
        let codes: Vec<_> = (1..9u8).map(|byte| vec![byte; 20_000 * usize::from(byte)]).collect();
        std::thread::scope(|scope| {
            for code in &codes {
                let cache = &cache;
                scope.spawn(move || {
                    for _ in 0..20 {
                        cache.write(&SOURCE, TARGET, "13.0", code);
                        let found = cache.read(&SOURCE, TARGET, "13.0").expect("an intact entry");
                        assert!(found.iter().all(|&byte| byte == found[0]), "parts of two entries");
                    }
                });
            }
        });
        assert_eq!(files(directory.path()).len(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        for cache in [Cache::at(&file.join("below a file")), Cache { directory: None }] {
            cache.write(&SOURCE, TARGET, "13.0", b"code");
            assert_eq!(cache.read(&SOURCE, TARGET, "13.0"), None);
        }
    }
}
