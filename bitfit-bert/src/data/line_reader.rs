//! Lines of a stream with their numbers, for the readers of TSV, JSON lines and plain lines.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The longest line, in bytes, and the longest record of a CSV file. A stream without line ends would otherwise fill
/// the memory.
pub(super) const MAX_LINE: usize = 64 << 20;

/// The lines of a stream, one in memory at a time: without their ends (LF or CR LF), without a byte-order mark, as
/// UTF-8.
pub(super) struct LineReader<R> {
    reader: R,
    path: PathBuf,
    line: usize,
    bytes: Vec<u8>,
    /// Whether a line was too long to be read to its end, so the next one cannot be found.
    ended: bool,
}

impl<R: BufRead> LineReader<R> {
    /// The lines of a stream; `path` names it in errors.
    pub(super) fn new(reader: R, path: &Path) -> Self {
        Self { reader, path: path.into(), line: 0, bytes: Vec::new(), ended: false }
    }

    /// The name of the stream in errors.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next line and its number from 1. A line that is too long ends the stream.
    pub(super) fn next(&mut self) -> Result<Option<(usize, &str)>> {
        self.bytes.clear();
        let mut reader = self.reader.by_ref().take(MAX_LINE as u64 + 2);
        if self.ended || reader.read_until(b'\n', &mut self.bytes).map_err(Error::io(&self.path))? == 0 {
            return Ok(None);
        }
        self.line += 1;
        if self.bytes.len() > MAX_LINE + 1 {
            self.ended = true;
            return Err(too_long(&self.path, self.line, "line"));
        }
        let mut bytes = self.bytes.as_slice();
        if self.line == 1 {
            bytes = without_bom(bytes);
            if bytes.is_empty() {
                return Ok(None);
            }
        }
        bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some((self.line, text))),
            Err(_) => Err(not_utf8(&self.path, self.line)),
        }
    }
}

/// What follows a UTF-8 byte-order mark, or everything.
pub(super) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The error of a line, or of a record of lines, that is longer than [`MAX_LINE`].
pub(super) fn too_long(path: &Path, line: usize, what: &str) -> Error {
    let reason = format!("a {what} of more than {} MiB, the longest that is read", MAX_LINE >> 20);
    Error::DataRow { path: path.into(), line, reason }
}

pub(super) fn not_utf8(path: &Path, line: usize) -> Error {
    Error::DataRow {
        path: path.into(),
        line,
        reason: "not valid UTF-8; convert the file, for instance with iconv".into(),
    }
}

pub(super) fn blank(path: &Path, line: usize) -> Error {
    Error::DataRow { path: path.into(), line, reason: "a blank line between rows".into() }
}

/// Blank lines that are an error if a row follows; at the end of a file they are ignored.
#[derive(Default)]
pub(super) struct Blanks(Vec<usize>);

impl Blanks {
    /// Whether the line is blank; a blank line is recorded.
    pub(super) fn holds(&mut self, line: usize, text: &str) -> bool {
        let blank = text.trim().is_empty();
        if blank {
            self.0.push(line);
        }
        blank
    }

    /// Takes the recorded blank lines, which come before the current row.
    pub(super) fn before_row(&mut self) -> std::vec::Drain<'_, usize> {
        self.0.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Read};

    use super::*;

    #[test]
    fn a_stream_without_line_ends_is_refused_before_it_fills_the_memory() {
        let mut lines = LineReader::new(BufReader::new(b"one\n".chain(io::repeat(b'x'))), Path::new("<stdin>"));
        assert_eq!(lines.next().unwrap(), Some((1, "one")));
        let message = lines.next().unwrap_err().to_string();
        assert_eq!(message, "<stdin>, line 2: a line of more than 64 MiB, the longest that is read");
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn the_longest_line_is_read() {
        let longest = io::repeat(b'x').take(MAX_LINE as u64).chain(&b"\nnext"[..]);
        let mut lines = LineReader::new(BufReader::new(longest), Path::new("<stdin>"));
        assert_eq!(lines.next().unwrap().unwrap().1.len(), MAX_LINE);
        assert_eq!(lines.next().unwrap(), Some((2, "next")));
    }
}
