//! An event file of TensorBoard, with the numbers of `metrics.jsonl`: each line's scalars at its step, written during
//! the run.
//!
//! Format: records of TensorFlow (length, its checksum, the message, its checksum), each an `Event` of
//! `tensorflow/core/util/event.proto` with a `Summary` of simple values.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::proto::{Message, Part};
use crate::{Error, Result};

/// The directory of the event files in the output directory.
pub const TENSORBOARD_DIR: &str = "tensorboard";

/// The end of the names of files that this module writes.
const SUFFIX: &str = ".bitfit";

/// The numbers of fields of `Event`, `SessionLog` and `Summary`.
mod field {
    pub const WALL_TIME: u64 = 1;
    pub const STEP: u64 = 2;
    pub const FILE_VERSION: u64 = 3;
    pub const SUMMARY: u64 = 5;
    pub const SESSION_LOG: u64 = 7;
    pub const SESSION_STATUS: u64 = 1;
    pub const SUMMARY_VALUE: u64 = 1;
    pub const VALUE_TAG: u64 = 1;
    pub const VALUE_SIMPLE: u64 = 2;
}

/// The status of a session that begins: readers forget what an earlier file says of its step and later ones.
const SESSION_START: i64 = 1;

/// A file that a run appends events to.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file for a run that begins, which replaces those of an earlier run in `out`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn begin(out: &Path) -> Result<Self> {
        remove_event_files(out)?;
        let dir = out.join(TENSORBOARD_DIR);
        fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        Self::create(&dir)
    }

    /// Begins a further file for a run that is resumed: the events of earlier files from `step` on do not count.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn resume(out: &Path, step: usize) -> Result<Self> {
        let dir = out.join(TENSORBOARD_DIR);
        fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
        let mut file = Self::create(&dir)?;
        let mut session = Message::new();
        session.int(field::SESSION_STATUS, SESSION_START);
        let mut event = event();
        event.int(field::STEP, step as i64).message(field::SESSION_LOG, session);
        file.write(event)?;
        Ok(file)
    }

    fn create(dir: &Path) -> Result<Self> {
        // Readers take the files of a directory in the order of their names.
        let name = format!("events.out.tfevents.{:.3}.{}{SUFFIX}", seconds(), std::process::id());
        let path = dir.join(name);
        let file = File::options().create_new(true).append(true).open(&path).map_err(Error::io(&path))?;
        let mut created = Self { path, file };
        let mut event = event();
        event.text(field::FILE_VERSION, "brain.Event:2");
        created.write(event)?;
        Ok(created)
    }

    /// Appends the numbers of a line of the log: those of an evaluation as `eval/…`, the others as `train/…`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn line(&mut self, line: &Value) -> Result<()> {
        let mut summary = Message::new();
        let mut add = |group: &str, values: &Map<String, Value>| {
            for (name, value) in values {
                let (false, Some(number)) = (matches!(name.as_str(), "step" | "epoch"), value.as_f64()) else {
                    continue;
                };
                let mut scalar = Message::new();
                scalar.text(field::VALUE_TAG, &format!("{group}/{name}")).float(field::VALUE_SIMPLE, number as f32);
                summary.message(field::SUMMARY_VALUE, scalar);
            }
        };
        match (line.as_object(), line["eval"].as_object()) {
            (_, Some(scores)) => add("eval", scores),
            (Some(values), None) => add("train", values),
            (None, None) => return Ok(()),
        }
        let mut event = event();
        event.int(field::STEP, line["step"].as_i64().unwrap_or(0)).message(field::SUMMARY, summary);
        self.write(event)
    }

    /// Appends one record, in one write, so that killing the process does not leave a part of it.
    fn write(&mut self, event: Message<Never>) -> Result<()> {
        let bytes: Vec<u8> = event.into_parts().into_iter().flat_map(|Part::Bytes(bytes)| bytes).collect();
        let len = (bytes.len() as u64).to_le_bytes();
        let record = [&len[..], &masked(&len), &bytes, &masked(&bytes)].concat();
        self.file.write_all(&record).map_err(Error::io(&self.path))
    }
}

/// Removes the event files of earlier runs in the output directory `out`.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn remove_event_files(out: &Path) -> Result<()> {
    let dir = out.join(TENSORBOARD_DIR);
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&dir).map_err(Error::io(&dir))? {
        let path = entry.map_err(Error::io(&dir))?.path();
        if path.to_string_lossy().ends_with(SUFFIX) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

/// The payload of messages that have none.
type Never = std::convert::Infallible;

/// An event of this moment.
fn event() -> Message<Never> {
    let mut event = Message::new();
    event.double(field::WALL_TIME, seconds());
    event
}

/// The seconds since 1970.
fn seconds() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The checksum of a record's part: CRC-32C, rotated and shifted, because records may hold checksums.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// The cyclic redundancy check of Castagnoli's polynomial (RFC 3720, section 12.1).
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // Section B.4, and the check value of the catalogue of CRCs.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// The messages of all files in their order, each checked against its checksums.
    fn records(out: &Path) -> Vec<Vec<u8>> {
        let mut paths: Vec<_> = fs::read_dir(out.join(TENSORBOARD_DIR)).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        let mut records = Vec::new();
        for path in paths {
            let bytes = fs::read(path).unwrap();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
                assert_eq!(rest[8..12], masked(&rest[..8]));
                assert_eq!(rest[12 + len..16 + len], masked(&rest[12..12 + len]));
                records.push(rest[12..12 + len].to_vec());
                rest = &rest[16 + len..];
            }
        }
        records
    }

    /// An event behind its time: nine bytes.
    fn behind_time(record: &[u8]) -> &[u8] {
        assert_eq!(record[0], 0x09);
        &record[9..]
    }

    #[test]
    fn a_line_is_an_event_with_its_numbers() {
        let out = tempfile::tempdir().unwrap();
        let mut file = EventFile::begin(out.path()).unwrap();
        file.line(&json!({"step": 3, "epoch": 1, "loss": 0.5})).unwrap();
        file.line(&json!({"epoch": 1, "step": 3, "eval": {"f1": 1.0}})).unwrap();
        let records = records(out.path());
        assert_eq!(behind_time(&records[0]), b"\x1a\x0dbrain.Event:2");
        assert_eq!(behind_time(&records[1]), b"\x10\x03\x2a\x13\x0a\x11\x0a\x0atrain/loss\x15\0\0\0\x3f");
        assert_eq!(behind_time(&records[2]), b"\x10\x03\x2a\x10\x0a\x0e\x0a\x07eval/f1\x15\0\0\x80\x3f");
        assert_eq!(records.len(), 3);
    }

    #[test]
    fn a_run_that_begins_replaces_its_files_and_one_that_is_resumed_adds_to_them() {
        let out = tempfile::tempdir().unwrap();
        drop(EventFile::begin(out.path()).unwrap());
        fs::write(out.path().join(TENSORBOARD_DIR).join("notes.txt"), "").unwrap();
        drop(EventFile::begin(out.path()).unwrap());
        let mut names: Vec<_> =
            fs::read_dir(out.path().join(TENSORBOARD_DIR)).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "another's file is left alone: {names:?}");
        fs::remove_file(out.path().join(TENSORBOARD_DIR).join("notes.txt")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        EventFile::resume(out.path(), 7).unwrap();
        names = fs::read_dir(out.path().join(TENSORBOARD_DIR)).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2);
        let records = records(out.path());
        assert_eq!(behind_time(&records[2]), b"\x10\x07\x3a\x02\x08\x01");
    }
}
