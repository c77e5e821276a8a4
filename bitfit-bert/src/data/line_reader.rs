//! Lines of a stream with their numbers, for the readers of tables, JSON lines and plain lines.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The longest line, in bytes, and the longest record of a table and value of JSON that stretches over several lines. A
/// stream without line ends would otherwise fill the memory.
pub(super) const MAX_LINE: usize = 64 << 20;

/// A line of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// Its text without its end.
    pub(crate) text: &'a str,
    /// LF or CR LF, at the end of the stream CR or nothing.
    pub(crate) end: &'static str,
}

/// The lines of a stream, one in memory at a time: without their ends (LF or CR LF), without a byte-order mark, as
/// UTF-8.
pub(crate) struct LineReader<R> {
    reader: R,
    path: PathBuf,
    line: usize,
    bytes: Vec<u8>,
    /// Whether a line was too long to be read to its end, so the next one cannot be found.
    ended: bool,
}

impl<R: BufRead> LineReader<R> {
    /// The lines of a stream; `path` names it in errors.
    pub(crate) fn new(reader: R, path: &Path) -> Self {
        Self { reader, path: path.into(), line: 0, bytes: Vec::new(), ended: false }
    }

    /// The name of the stream in errors.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next line. One that is too long ends the stream.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>> {
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
        let end = match bytes {
            [.., b'\r', b'\n'] => "\r\n",
            [.., b'\n'] => "\n",
            [.., b'\r'] => "\r",
            _ => "",
        };
        match std::str::from_utf8(&bytes[..bytes.len() - end.len()]) {
            Ok(text) => Ok(Some(Line { number: self.line, text, end })),
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
#[derive(Clone, Default)]
pub(super) struct Blanks {
    first: usize,
    count: usize,
}

impl Blanks {
    /// Records a blank line.
    pub(super) fn add(&mut self, line: usize) {
        if self.count == 0 {
            self.first = line;
        }
        self.count += 1;
    }

    /// Takes the recorded blank lines, which come before the current row.
    pub(super) fn before_row(&mut self) -> std::ops::Range<usize> {
        let count = std::mem::take(&mut self.count);
        self.first..self.first + count
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Read};

    use super::*;

    #[test]
    fn a_stream_without_line_ends_is_refused_before_it_fills_the_memory() {
        let mut lines = LineReader::new(BufReader::new(b"one\n".chain(io::repeat(b'x'))), Path::new("<stdin>"));
        assert_eq!(lines.next().unwrap(), Some(Line { number: 1, text: "one", end: "\n" }));
        let message = lines.next().unwrap_err().to_string();
        assert_eq!(message, "<stdin>, line 2: a line of more than 64 MiB, the longest that is read");
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn the_longest_line_is_read() {
        let longest = io::repeat(b'x').take(MAX_LINE as u64).chain(&b"\nnext"[..]);
        let mut lines = LineReader::new(BufReader::new(longest), Path::new("<stdin>"));
        assert_eq!(lines.next().unwrap().unwrap().text.len(), MAX_LINE);
        assert_eq!(lines.next().unwrap(), Some(Line { number: 2, text: "next", end: "" }));
    }
}
