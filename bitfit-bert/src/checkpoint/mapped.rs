//! A weight file in memory: mapped, with a check that it was not changed in place; and the tensors that lie in it.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use memmap2::Mmap;
use safetensors::Dtype;

use super::to_f32::{is_supported, to_f32};
use crate::{Error, Result};

/// One tensor of a mapped file.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The file that holds it.
    pub path: Arc<Path>,
    /// Its name in the file.
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// The strides, in elements, of a tensor that does not lie row by row without gaps. Such a tensor is not read.
    pub strides: Option<Vec<usize>>,
    pub bytes: Arc<Mmap>,
    /// Its bytes' place in `bytes`; the header is checked, so the range is inside.
    pub range: Range<usize>,
}

impl Entry {
    /// The values as f32, copied; `None` where the type is not one that is read.
    pub(crate) fn to_f32(&self) -> Option<Vec<f32>> {
        is_supported(self.dtype).then(|| to_f32(self.dtype, &self.bytes[self.range.clone()]))
    }

    /// Gives the memory of the tensor's pages back to the system; the next read loads them from the file again. This is
    /// a hint, which a system may ignore.
    pub(super) fn release(&self) {
        #[cfg(unix)]
        {
            use memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the map is read-only and of a file, so that a page that is dropped is loaded again with the same
            // bytes (as long as the file is not rewritten, which is the condition of the map itself). A failure does no
            // harm: the pages stay.
            _ = unsafe { self.bytes.unchecked_advise_range(DontNeed, self.range.start, self.range.len()) };
        }
    }
}

/// A mapped file, held open to find out whether it is changed in place.
#[derive(Debug)]
pub(crate) struct MappedFile {
    pub path: Arc<Path>,
    pub bytes: Arc<Mmap>,
    file: File,
    len: u64,
    modified: Option<SystemTime>,
}

impl MappedFile {
    /// Maps a file that is not empty.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Weights`] for what is not a file, an empty one, and the pointer that Git LFS leaves in a
    /// file's place.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let weights = |reason: &str| Error::Weights { path: path.into(), reason: reason.into() };
        let file = File::open(path).map_err(Error::io(path))?;
        let about = file.metadata().map_err(Error::io(path))?;
        if !about.is_file() {
            return Err(weights("not a regular file"));
        }
        if about.len() == 0 {
            return Err(weights("the file is empty"));
        }
        // SAFETY: the map is read-only and nothing here writes to the file, so that the one condition is that no other
        // program truncates or rewrites it in place while it is mapped (a read past its end is a bus error, changed
        // bytes are changed weights). That cannot be ruled out here, but weight files are written once, and hub clients
        // and safetensors replace them by renaming, which leaves the mapped file alone. `Checkpoint` documents the
        // condition for its users, and `MappedFile::check_unchanged` finds a breach of it before anything is saved.
        let bytes = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
        if bytes.starts_with(b"version https://git-lfs") {
            return Err(weights("a Git LFS pointer instead of the weights: run `git lfs pull` in its directory"));
        }
        Ok(Self { path: path.into(), bytes: Arc::new(bytes), file, len: about.len(), modified: about.modified().ok() })
    }

    /// Refuses a file that was truncated or rewritten in place since it was mapped. A file that was replaced by another
    /// of its name is not affected: the map keeps the old one.
    ///
    /// # Errors
    /// [`Error::Weights`] with the file; [`Error::Io`] when the system does not answer.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        let now = self.file.metadata().map_err(Error::io(&self.path))?;
        if (now.len(), now.modified().ok()) == (self.len, self.modified) {
            return Ok(());
        }
        Err(self.wrong(
            "the file was changed while it was in use, so the weights are no longer those that were read: run again"
                .into(),
        ))
    }

    /// The refusal of this file.
    pub(super) fn wrong(&self, reason: String) -> Error {
        Error::Weights { path: self.path.to_path_buf(), reason }
    }
}
