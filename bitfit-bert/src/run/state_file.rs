//! The state file of a run: what it needs to go on with the same bits after it was interrupted, as safetensors with a
//! checksum over every bit of the file.
//!
//! Each state replaces the one before as a whole, and that one stays under another name. A run that comes to its end
//! removes both.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use blake3::Hasher;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::files::{AtomicFile, MAX_CONFIG, parse_json, remove};
use crate::train::{Place, ProbeReport, SavedState, State};
use crate::{Error, Result};

use super::folds::FOLD;
use super::log::LogPlace;
use super::run_record::{EndedRun, Origin, RunRecord, difference};
use super::seeds::SEED;

/// The name of the state file in the output directory.
pub const STATE_FILE: &str = "state.safetensors";
/// The name of the state before it.
pub const EARLIER_STATE_FILE: &str = "state.earlier.safetensors";

const FORMAT: &str = "bitfit-state";
const VERSION: &str = "1";

/// The names of the tensors, all of which are vectors of the arena's length. The last is missing before the first
/// evaluation.
const TENSORS: [&str; 5] = ["values", "good", "first_moment", "second_moment", "kept"];

/// The checksum while it is computed: as many zeros as it has digits.
const NO_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The command of a run, with which a program can resume it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunCommand {
    /// The directory in which it was given.
    pub directory: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A state, as it is in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunState {
    pub(super) about: About,
    pub(super) saved: SavedState,
}

/// What a state is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    /// What the run is made from.
    pub(super) origin: Origin,
    pub(super) command: Option<RunCommand>,
    /// What a probe reached before the first step.
    pub(super) probe: Option<ProbeReport>,
    /// Where in its log the run was.
    pub(super) log: LogPlace,
}

/// What the metadata holds as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    about: About,
    counters: State,
    place: Place,
}

impl RunState {
    /// Replaces the state in the output directory, and keeps the one before under [`EARLIER_STATE_FILE`].
    ///
    /// # Errors
    /// [`Error::StateFile`] when it cannot be written; the one before is then as it was.
    pub(super) fn write(&self, out: &Path) -> Result<()> {
        let path = out.join(STATE_FILE);
        let kept = path.exists();
        self.replace(&path, &out.join(EARLIER_STATE_FILE)).map_err(|error| {
            let kept = if kept { "; the state before it is kept there" } else { "" };
            let cause = match error {
                Error::Io { source, .. } => source.to_string(),
                other => other.to_string(),
            };
            Error::StateFile { path, reason: format!("{cause}{kept}") }
        })
    }

    fn replace(&self, path: &Path, earlier: &Path) -> Result<()> {
        let SavedState { counters, place, values, good, moments: [first, second], kept } = &self.saved;
        let all = [Some(values), Some(good), Some(first), Some(second), kept.as_ref()];
        let tensors: Vec<(&str, &[u8])> = TENSORS
            .into_iter()
            .zip(all)
            .filter_map(|(name, values)| Some((name, bytemuck::cast_slice(values?.as_slice()))))
            .collect();
        let described = Described { about: self.about.clone(), counters: counters.clone(), place: *place };
        let header = header(&described, &tensors);
        let mut hasher = Hasher::new();
        hasher.update(&(header.len() as u64).to_le_bytes()).update(header.as_bytes());
        tensors.iter().for_each(|(_, bytes)| _ = hasher.update_rayon(bytes));
        let header = header.replacen(NO_CHECKSUM, &hasher.finalize().to_hex(), 1);
        let mut file = AtomicFile::create(path)?;
        file.write(&(header.len() as u64).to_le_bytes())?;
        file.write(header.as_bytes())?;
        tensors.iter().try_for_each(|(_, bytes)| file.write(bytes))?;
        // Only a state that is on the disk as a whole may take the place of another.
        file.sync()?;
        keep(path, earlier)?;
        file.finish()
    }

    /// The state of the run in an output directory, which must have been made from `origin`.
    ///
    /// # Errors
    /// [`Error::StateFile`] for a file that is not whole, and for the state of another run, with the first difference;
    /// [`Error::Output`] where there is none.
    pub(super) fn find(out: &Path, origin: &Origin) -> Result<Self> {
        let (path, state) = Self::read(out)?;
        match difference(&state.about.origin, origin) {
            None => Ok(state),
            Some(difference) => {
                let reason = format!(
                    "the run there was begun with another setting: {difference}; give the same, or choose another \
                     directory for a new run"
                );
                Err(Error::StateFile { path, reason })
            }
        }
    }

    /// The state in an output directory and its file: the one before, where the last is missing.
    fn read(out: &Path) -> Result<(PathBuf, Self)> {
        let [path, earlier] = [STATE_FILE, EARLIER_STATE_FILE].map(|name| out.join(name));
        let (path, has_other) = match (path.exists(), earlier.exists()) {
            (true, has_other) => (path, has_other),
            (false, true) => (earlier, false),
            (false, false) => {
                let reason = if out.join(super::TASK_FILE).exists() {
                    "there is nothing to resume: the run in it came to its end, or was interrupted before it saved a state"
                } else {
                    "there is nothing to resume: no run has saved a state in it"
                };
                return Err(Error::Output { path: out.into(), reason: reason.into(), settings: &[] });
            }
        };
        match read(&path) {
            Ok(state) => Ok((path, state)),
            Err(reason) => {
                let way_out = match has_other {
                    true => format!("; remove it to go on from the state before, {EARLIER_STATE_FILE}"),
                    false => "; begin the run anew".into(),
                };
                Err(Error::StateFile { path, reason: reason + &way_out })
            }
        }
    }

    /// Removes the states in an output directory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn remove(out: &Path) -> Result<()> {
        // The older one first, so that a process that is killed between the two leaves the newer.
        [EARLIER_STATE_FILE, STATE_FILE].iter().try_for_each(|name| remove(&out.join(name)))
    }
}

/// The command of the run, or of the runs of several seeds or folds, that can be resumed in an output directory; `None`
/// if the program that began it gave none.
///
/// # Errors
/// [`Error::StateFile`] for a state that is not whole, [`Error::RunRecord`] for a record; [`Error::Output`] where there
/// is neither.
pub fn saved_command(out: &Path) -> Result<Option<RunCommand>> {
    if can_resume(out) {
        return Ok(RunState::read(out)?.1.about.command);
    }
    // Several seeds and the folds of a cross-validation have a directory each.
    for entry in fs::read_dir(out).into_iter().flatten().flatten() {
        let directory = entry.path();
        let name = entry.file_name();
        if [SEED, FOLD].iter().any(|beginning| name.to_string_lossy().starts_with(beginning)) {
            if let Some(record) = RunRecord::<EndedRun>::read(&directory)? {
                return Ok(record.command);
            } else if can_resume(&directory) {
                return Ok(RunState::read(&directory)?.1.about.command);
            }
        }
    }
    RunState::read(out).map(|(_, state)| state.about.command)
}

/// Whether an output directory has a state to resume from, whole or not.
pub fn can_resume(out: &Path) -> bool {
    [STATE_FILE, EARLIER_STATE_FILE].iter().any(|name| out.join(name).exists())
}

/// Gives a file a second name, which may be taken by an older one.
fn keep(path: &Path, earlier: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    remove(earlier)?;
    // Not every file system has links.
    fs::hard_link(path, earlier).or_else(|_| fs::rename(path, earlier)).map_err(Error::io(earlier))
}

/// The header of the file, without its checksum.
fn header(described: &Described, tensors: &[(&str, &[u8])]) -> String {
    let run = serde_json::to_string(described).expect("names, texts and numbers");
    let metadata = json!({ "format": FORMAT, "version": VERSION, "checksum": NO_CHECKSUM, "run": run });
    let mut header = Map::from_iter([("__metadata__".to_owned(), metadata)]);
    let mut offset = 0;
    for (name, bytes) in tensors {
        let end = offset + bytes.len();
        let entry = json!({ "dtype": "F32", "shape": [bytes.len() / size_of::<f32>()], "data_offsets": [offset, end] });
        header.insert((*name).to_owned(), entry);
        offset = end;
    }
    let header = Value::Object(header).to_string();
    // The tensors begin at a multiple of eight bytes.
    let padded = header.len().next_multiple_of(8);
    format!("{header:padded$}")
}

/// A tensor of the file, as its header describes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: [usize; 1],
    data_offsets: [usize; 2],
}

/// Reads a state file.
///
/// # Errors
/// What is wrong with it.
fn read(path: &Path) -> Result<RunState, String> {
    let text = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is cut short".to_owned(),
        _ => error.to_string(),
    };
    let file = File::open(path).map_err(text)?;
    let size = file.metadata().map_err(text)?.len();
    let mut file = BufReader::new(file);
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(text)?;
    let header_length = u64::from_le_bytes(length);
    if header_length > MAX_CONFIG {
        return Err("not a state file".into());
    }
    if 8 + header_length > size {
        return Err("it is cut short".into());
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header).map_err(text)?;
    let mut entries: Map<String, Value> = parse_json(&header).map_err(|_| "its header is damaged".to_owned())?;
    let metadata = entries.shift_remove("__metadata__").unwrap_or_default();
    let metadata: HashMap<String, String> = serde_json::from_value(metadata).map_err(|_| "its header is damaged")?;
    let field = |name: &str| metadata.get(name).map_or("", String::as_str);
    match (field("format"), field("version")) {
        (FORMAT, VERSION) => {}
        (FORMAT, version) => {
            return Err(format!("a state of version {version:?}, expected {VERSION:?}: use the bitfit that wrote it"));
        }
        _ => return Err("not a state file".into()),
    }
    let (tensors, hash) = tensors(&mut file, entries, (&length, &header), field("checksum"), size)?;
    if hash != field("checksum") {
        return Err("it is damaged: its checksum is another".into());
    }
    let described: Described = parse_json(field("run").as_bytes()).map_err(|error| format!("its header: {error}"))?;
    let Described { about, counters, place } = described;
    let mut tensors = tensors.into_iter();
    let mut next = || tensors.next().ok_or("a tensor is missing");
    let (values, good, moments) = (next()?, next()?, [next()?, next()?]);
    let kept = tensors.next();
    Ok(RunState { about, saved: SavedState { counters, place, values, good, moments, kept } })
}

/// The tensors of a file in their order, and its checksum.
fn tensors(
    file: &mut impl Read,
    entries: Map<String, Value>,
    (length, header): (&[u8], &[u8]),
    checksum: &str,
    size: u64,
) -> Result<(Vec<Vec<f32>>, String), String> {
    let header = std::str::from_utf8(header).map_err(|_| "its header is damaged")?;
    let mut hasher = Hasher::new();
    hasher.update(length).update(header.replacen(checksum, NO_CHECKSUM, 1).as_bytes());
    let mut left = size - 8 - header.len() as u64;
    let mut tensors = Vec::new();
    for ((name, entry), expected) in entries.into_iter().zip(TENSORS) {
        let entry: Entry = serde_json::from_value(entry).map_err(|_| "its header is damaged")?;
        let ([len], [begin, end]) = (entry.shape, entry.data_offsets);
        let bytes = len.checked_mul(size_of::<f32>()).filter(|bytes| begin.checked_add(*bytes) == Some(end));
        if name != expected || entry.dtype != "F32" || bytes.is_none() {
            return Err("its header is damaged".into());
        }
        // What a header claims is believed only where the file has it.
        left = left.checked_sub(bytes.unwrap_or(0) as u64).ok_or("it is cut short")?;
        let mut values = vec![0.0; len];
        file.read_exact(bytemuck::cast_slice_mut(&mut values)).map_err(|error| error.to_string())?;
        // On this thread alone: a program may not have started its threads yet.
        hasher.update(bytemuck::cast_slice(&values));
        tensors.push(values);
    }
    if left > 0 {
        return Err("it is damaged: there are bytes behind its tensors".into());
    }
    Ok((tensors, hasher.finalize().to_hex().to_string()))
}

#[cfg(test)]
mod tests;
