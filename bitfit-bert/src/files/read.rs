//! Files that are read whole, with a bound on each: a path may lead to a stream without an end, and a file from a
//! stranger may claim any size.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::{Error, Result};

/// The largest `config.json` that is read, far above any configuration: parsed JSON takes up to 150 times its size.
pub(crate) const MAX_CONFIG: u64 = 4 << 20;
/// The largest index of shards that is read: one of a thousand tensors has 100 kB.
pub(crate) const MAX_INDEX: u64 = 4 << 20;
/// The largest task file, and the largest file of a head, that is read.
pub(crate) const MAX_TASK: u64 = 2 << 30;

/// All bytes of a file that has at most `max` of them.
///
/// # Errors
/// [`Error::Io`] when it cannot be read or has more.
pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>> {
    let read = || {
        let file = File::open(path)?;
        // A regular file that is too large is refused before it is read.
        if file.metadata()?.len() > max {
            return Err(too_large(max));
        }
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max { Err(too_large(max)) } else { Ok(bytes) }
    };
    read().map_err(Error::io(path))
}

fn too_large(max: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {} MiB, the most that is read", max >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 1 << 20]).unwrap();
        assert_eq!(read_bounded(&path, 1 << 20).unwrap().len(), 1 << 20);
        let message = read_bounded(&path, (1 << 20) - 1).unwrap_err().to_string();
        assert!(message.ends_with("file: more than 0 MiB, the most that is read"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn a_stream_without_an_end_is_refused() {
        let message = read_bounded(Path::new("/dev/zero"), 1 << 20).unwrap_err().to_string();
        assert_eq!(message, "/dev/zero: more than 1 MiB, the most that is read");
    }
}
