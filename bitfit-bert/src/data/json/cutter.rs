//! Cuts JSON values out of a stream without parsing them, so that an array of any length is read one element at a time,
//! each with its line.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::parse;
use crate::data::line_reader::{MAX_LINE, not_utf8, too_long};
use crate::{Error, Result};

/// The values of a stream, one in memory at a time.
pub(in crate::data) struct Cutter<R> {
    reader: R,
    path: PathBuf,
    line: usize,
    /// The number of bytes of the current line that were passed.
    column: usize,
    text: Vec<u8>,
    is_inner: bool,
}

impl<R: BufRead> Cutter<R> {
    /// A stream that begins on `line`; `path` names it in errors.
    pub(super) fn new(reader: R, path: &Path, line: usize) -> Self {
        Self { reader, path: path.into(), line, column: 0, text: Vec::new(), is_inner: false }
    }

    /// The text of the last value.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether the array is inside of an object, whose rest is known to be sound.
    pub(super) fn is_inner(&self) -> bool {
        self.is_inner
    }

    /// An error at the current place.
    pub(super) fn error(&self, reason: &str) -> Error {
        Error::DataRow { path: self.path.clone(), line: self.line, reason: reason.into() }
    }

    /// The next character that is not blank.
    pub(super) fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            let bytes = self.reader.fill_buf().map_err(Error::io(&self.path))?;
            let blanks = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let (next, is_end) = (bytes.get(blanks).copied(), bytes.is_empty());
            (self.line, self.column) = after(&bytes[..blanks], self.line, self.column);
            self.reader.consume(blanks);
            if next.is_some() || is_end {
                return Ok(next);
            }
        }
    }

    /// Passes the character that [`peek`](Self::peek) returned.
    pub(super) fn skip(&mut self) {
        self.column += 1;
        self.reader.consume(1);
    }

    /// The next value, which must be an object, and the line that it begins on.
    pub(super) fn object(&mut self) -> Result<(usize, Map<String, Value>)> {
        self.peek()?;
        let column = self.column;
        let line = self.value()?;
        if let Err(error) = std::str::from_utf8(&self.text) {
            let before = self.text[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            return Err(not_utf8(&self.path, line + before));
        }
        parse(&self.path, (line, column), &self.text).map(|object| (line, object))
    }

    /// Enters an object, up to the value of `key`.
    pub(super) fn enter(&mut self, key: &str) -> Result<()> {
        self.is_inner = true;
        while self.peek()?.is_some_and(|byte| matches!(byte, b'{' | b',')) {
            self.skip();
            self.value()?;
            let found = serde_json::from_slice::<String>(&self.text).is_ok_and(|found| found == key);
            if self.peek()? == Some(b':') {
                self.skip();
            }
            if found && self.peek()? == Some(b'[') {
                return Ok(());
            }
            self.value()?;
        }
        Err(self.error("the array is gone"))
    }

    /// Takes the next value into `text`. Returns the line that it begins on.
    fn value(&mut self) -> Result<usize> {
        self.text.clear();
        if self.peek()?.is_none() {
            return Err(self.error("a value is missing: the file may be cut short"));
        }
        let line = self.line;
        let mut scan = Scan::default();
        loop {
            let bytes = self.reader.fill_buf().map_err(Error::io(&self.path))?;
            if bytes.is_empty() {
                let is_scalar = scan.depth == 0 && !scan.in_string;
                let reason = "the value that begins here does not end: the file may be cut short";
                let error = || Error::DataRow { path: self.path.clone(), line, reason: reason.into() };
                return if is_scalar { Ok(line) } else { Err(error()) };
            }
            let end = bytes.iter().position(|&byte| scan.ends_before(byte));
            let count = end.unwrap_or(bytes.len());
            self.text.extend(&bytes[..count]);
            (self.line, self.column) = after(&bytes[..count], self.line, self.column);
            self.reader.consume(count);
            if self.text.len() > MAX_LINE {
                return Err(too_long(&self.path, line, "JSON value"));
            }
            if end.is_some() {
                return Ok(line);
            }
        }
    }
}

/// The line and the column after some bytes.
fn after(bytes: &[u8], line: usize, column: usize) -> (usize, usize) {
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    match bytes.iter().rposition(|&byte| byte == b'\n') {
        Some(last) => (line + lines, bytes.len() - last - 1),
        None => (line, column + bytes.len()),
    }
}

/// The structure of a value as far as it was read.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    is_complete: bool,
    has_begun: bool,
}

impl Scan {
    /// Takes the next character; whether the value ended before it.
    fn ends_before(&mut self, byte: u8) -> bool {
        if self.is_complete {
            return true;
        }
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => {
                    self.in_string = false;
                    self.is_complete = self.depth == 0;
                }
                _ => {}
            }
            return false;
        }
        let is_end = self.depth == 0 && self.has_begun && (byte.is_ascii_whitespace() || b",:]}".contains(&byte));
        self.has_begun = true;
        match byte {
            _ if is_end => {}
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.is_complete = self.depth == 0;
            }
            _ => {}
        }
        is_end
    }
}
