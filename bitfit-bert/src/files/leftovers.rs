//! Temporary files of processes that were killed. A process holds a lock on each of its temporary files while it lives,
//! so a file that can be locked has no owner.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use super::{RANDOM, SUFFIX};

/// Deletes the temporary files for the target `name` in `directory` that no process holds. Files that cannot be
/// examined or locked are kept.
pub(super) fn delete(directory: &Path, name: &OsStr) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        // A link or a pipe with such a name is not a temporary file, and opening it could block.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || !is_temporary(&entry.file_name(), name) {
            continue;
        }
        let path = entry.path();
        // Some systems lock only files that are open for writing.
        if let Ok(file) = File::options().write(true).open(&path)
            && file.try_lock().is_ok()
        {
            _ = fs::remove_file(&path);
        }
    }
}

/// Whether `file` is the name of a temporary file for the target `name`.
fn is_temporary(file: &OsStr, name: &OsStr) -> bool {
    let middle = file
        .as_encoded_bytes()
        .strip_prefix(name.as_encoded_bytes())
        .and_then(|rest| rest.strip_prefix(b"."))
        .and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
    middle.is_some_and(|middle| middle.len() == RANDOM && middle.iter().all(u8::is_ascii_alphanumeric))
}

/// Whether an open file still has a name.
#[cfg(unix)]
pub(crate) fn is_linked(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}

/// Whether an open file still has a name, which is always the case on systems other than Unix.
#[cfg(not(unix))]
pub(crate) fn is_linked(_: &File) -> bool {
    true
}
