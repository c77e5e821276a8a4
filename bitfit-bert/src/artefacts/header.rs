//! The header of a task file beside merged weights, by which the task file can be had back as it was.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use bitfit_core::Mask;

use crate::arch::Architecture;
use crate::files::{MAX_CONFIG, NewDirectory, parse_json, read_bounded};
use crate::methods::{MaskFile, Method};
use crate::model::TrainedTensors;
use crate::task_file::TaskInfo;
use crate::{Error, Result, TaskFile};

/// The file of a merged directory that holds the header of the task file: its metadata, as one JSON object of strings.
pub const HEADER_FILE: &str = "bitfit.json";

/// The file of a merged directory that holds the index lists of a task whose method was a mask file, as a
/// [`MaskFile`].
pub const MASKS_FILE: &str = "bitfit-masks.safetensors";

/// Writes the header of a task, and its index lists where the method does not determine them.
pub(super) fn write(task: &TaskFile, architecture: &Architecture, dir: &NewDirectory) -> Result<()> {
    let path = dir.path().join(HEADER_FILE);
    let refuse = |error: serde_json::Error| Error::TaskFile { path: path.clone(), reason: error.to_string() };
    let metadata: BTreeMap<_, _> = task.info.to_metadata().map_err(refuse)?.into_iter().collect();
    dir.write(HEADER_FILE, &serde_json::to_vec_pretty(&metadata).map_err(refuse)?)?;
    if has_mask_file(&task.info.method) {
        let TrainedTensors { whole, partial } = &task.tensors;
        let whole = whole.keys().filter(|name| architecture.role(name).is_some());
        let masks = whole.map(|name| (name.clone(), Mask::All));
        let masks = masks.chain(partial.iter().map(|(name, partial)| (name.clone(), partial.mask.clone()))).collect();
        MaskFile::new(dir.path().join(MASKS_FILE), masks).write()?;
    }
    Ok(())
}

/// The header that a directory holds, and the method by which its masks can be made; `None` where another program wrote
/// the directory.
///
/// # Errors
/// [`Error::Io`], and [`Error::TaskFile`] for a header that is not sound; the errors of [`MaskFile::read`].
pub(super) fn read(dir: &Path) -> Result<Option<(TaskInfo, Method)>> {
    let path = dir.join(HEADER_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let refuse = |reason: String| Error::TaskFile { path: path.clone(), reason };
    let metadata: HashMap<String, String> =
        parse_json(&read_bounded(&path, MAX_CONFIG)?).map_err(|error| refuse(format!("not JSON: {error}")))?;
    let info = TaskInfo::from_metadata(&metadata).map_err(refuse)?;
    let method = match has_mask_file(&info.method) {
        // The lists are of all that trained, also by the methods beside the mask file.
        true => Method::Mask(Some(Arc::new(MaskFile::read(&dir.join(MASKS_FILE))?))),
        false => info.method.clone(),
    };
    Ok(Some((info, method)))
}

fn has_mask_file(method: &Method) -> bool {
    match method {
        Method::Mask(_) => true,
        Method::Union(methods) => methods.iter().any(has_mask_file),
        _ => false,
    }
}
