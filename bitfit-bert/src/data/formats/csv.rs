//! Comma-separated values as defined by RFC 4180, read by the `csv` crate, and three checks that it does not make: a
//! quote that is never closed, which would put the rest of the file into one field; blank lines between rows; and
//! records without end.

use std::io::{self, BufRead, Cursor, Read};
use std::path::Path;

use crate::data::line_reader::{MAX_LINE, blank, not_utf8, too_long, without_bom};
use crate::data::table::Table;
use crate::data::{Dataset, ReadOptions};
use crate::{Error, Result};

/// Reads the records of a file.
pub(super) fn read(mut reader: impl BufRead, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    // The crate skips a byte-order mark as well, and takes one that it is given alone for the end of the file: it must
    // not see any.
    let mut start = Vec::new();
    loop {
        reader.by_ref().take(3).read_to_end(&mut start).map_err(Error::io(path))?;
        if without_bom(&start).len() == start.len() {
            break;
        }
        start.clear();
    }
    let watch = Watch { reader: Cursor::new(start).chain(reader), state: State::default() };
    let mut records = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(watch);
    let mut table = Table::new(path, options);
    let mut record = csv::ByteRecord::new();
    // Counted here, because the crate takes the LF of a CR LF for part of the next record.
    let (mut line, mut height, mut count) = (1, 0, 0);
    let outcome = loop {
        match records.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(_) if records.get_ref().state.record > MAX_LINE => return Err(too_long(path, line + height, "record")),
            Err(error) => return Err(csv_error(path, line + height, error)),
        }
        (line, count) = (line + height, count + 1);
        height = 1 + record.as_slice().iter().filter(|&&byte| byte == b'\n').count();
        let cells: Result<Vec<&str>, _> = record.iter().map(std::str::from_utf8).collect();
        let result = match cells {
            Ok(cells) => table.row(line, &cells),
            Err(_) => Err(not_utf8(path, line)),
        };
        if result.is_err() {
            break result;
        }
    };
    let state = &records.get_ref().state;
    // The crate skips blank lines, so that the count is off from there on: one before the record that is refused goes
    // first. What comes after it may have been read already or not, and must make no difference.
    if let Some((line, before)) = state.blank_between
        && (outcome.is_ok() || before < count)
    {
        return Err(blank(path, line));
    }
    if state.ended && state.place == Place::Quoted {
        let reason = "a quote is opened here and never closed; a quote inside a quoted field is written twice".into();
        return Err(Error::DataRow { path: path.into(), line, reason });
    }
    outcome?;
    table.finish()
}

fn csv_error(path: &Path, line: usize, error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::Io { path: path.into(), source },
        other => Error::DataRow { path: path.into(), line, reason: format!("{other:?}") },
    }
}

/// A reader that passes bytes through and tracks the structure of the records.
struct Watch<R> {
    reader: R,
    state: State,
}

/// The position of the next byte within a field.
#[derive(Default, PartialEq)]
enum Place {
    #[default]
    Start,
    /// Inside quotes.
    Quoted,
    /// After a quote that either ends the field or is the first of two that stand for one.
    Closed,
    /// In a field without quotes, where a quote is a character like any other.
    Plain,
}

/// The state after the bytes read so far.
#[derive(Default)]
struct State {
    place: Place,
    ended: bool,
    lines: usize,
    /// The number of bytes of the current record.
    record: usize,
    /// The records that have ended, and whether another has begun.
    records: usize,
    in_record: bool,
    /// Whether the current line holds anything.
    filled: bool,
    /// The first blank line since the last that was not, and the number of records before it.
    blank: Option<(usize, usize)>,
    /// The first blank line that another line followed.
    blank_between: Option<(usize, usize)>,
}

impl State {
    fn byte(&mut self, byte: u8) {
        let quoted = self.place == Place::Quoted;
        self.place = match (&self.place, byte) {
            (Place::Quoted, b'"') => Place::Closed,
            (Place::Quoted, _) | (Place::Start | Place::Closed, b'"') => Place::Quoted,
            (_, b',' | b'\n' | b'\r') => Place::Start,
            _ => Place::Plain,
        };
        self.record += 1;
        let is_end = matches!(byte, b'\n' | b'\r') && !quoted;
        self.records += usize::from(is_end && self.in_record);
        self.in_record = !is_end;
        match byte {
            b'\n' => {
                self.lines += 1;
                if !quoted {
                    self.record = 0;
                }
                if !self.filled && !quoted {
                    self.blank.get_or_insert((self.lines, self.records));
                }
                self.filled = false;
            }
            b'\r' => {}
            _ => {
                self.filled = true;
                if let Some(blank) = self.blank.take() {
                    self.blank_between.get_or_insert(blank);
                }
            }
        }
    }
}

impl<R: Read> Read for Watch<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.state.ended |= count == 0 && !buffer.is_empty();
        for &byte in &buffer[..count] {
            self.state.byte(byte);
        }
        if self.state.record > MAX_LINE {
            return Err(io::Error::other("the record is too long"));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(bytes: &[u8]) -> Result<Dataset> {
        read(bytes, Path::new("in.csv"), &ReadOptions::default())
    }

    fn message(bytes: &[u8]) -> String {
        csv(bytes).unwrap_err().to_string()
    }

    #[test]
    fn quoted_fields_hold_commas_quotes_and_line_breaks() {
        let set = csv(b"text,label\n\"a, \"\"b\"\"\n\nc\",1\nplain,0\n\"\",1\n").unwrap();
        let read: Vec<_> = set.examples.iter().map(|e| (e.text.as_str(), e.line)).collect();
        assert_eq!(read, [("a, \"b\"\n\nc", 2), ("plain", 5), ("", 6)]);
    }

    #[test]
    fn marks_and_line_ends_do_not_matter() {
        let plain = csv(b"text,label\na,1\nb,0\n").unwrap();
        for same in [
            &b"\xef\xbb\xbftext,label\r\na,1\r\nb,0\r\n"[..],
            b"\xef\xbb\xbf\"text\",\"label\"\r\n\"a\",1\r\nb,0",
            b"\xef\xbb\xbf\xef\xbb\xbftext,label\na,1\nb,0",
            b"text,label\na,1\nb,0\n\n\r\n\n",
        ] {
            assert_eq!(csv(same).unwrap(), plain);
            for most in 1..4 {
                let pieces = io::BufReader::with_capacity(most, same);
                let set = read(pieces, Path::new("in.csv"), &ReadOptions::default()).unwrap();
                assert_eq!(set, plain, "{most} bytes at a time");
            }
        }
    }

    #[test]
    fn lines_are_counted_through_line_breaks_in_fields() {
        assert_eq!(
            message(b"text,label\r\n\"a\r\nb\",1\r\nc\r\n"),
            "in.csv, line 4: expected 2 columns as in the first row, found 1 column"
        );
        assert_eq!(
            message(b"text,label\na,b,1\n"),
            "in.csv, line 2: expected 2 columns as in the first row, found 3 columns"
        );
        assert_eq!(message(b"text,label\n\"a\nb\",1\nc,\n"), "in.csv, line 4, column label: the label is empty");
        assert!(message(b"text,label\na,1\ncaf\xe9,1\n").starts_with("in.csv, line 3: not valid UTF-8"));
    }

    #[test]
    fn a_quote_that_is_never_closed_is_refused() {
        let message = message(b"text,label\na,1\nb,\"0\nc,1\nd,0\n");
        assert!(message.starts_with("in.csv, line 3: a quote is opened here"), "{message}");
        assert!(csv(b"text,label\na,1\nb,\"0").unwrap_err().to_string().contains("line 3: a quote"));
        // A lone quote inside an unquoted field is a character, whatever is quoted after it.
        let set = csv(b"text,label\n5\" pipe,1\n\"b\n\nc\",0\n").unwrap();
        assert_eq!((set.examples[0].text.as_str(), set.examples[1].text.as_str()), ("5\" pipe", "b\n\nc"));
    }

    #[test]
    fn what_is_refused_does_not_depend_on_how_much_was_read_before() {
        for (file, expected) in [
            (&b"one\n\nlabel\n"[..], "in.csv: no text column is recognised"),
            (b"text,label\na\n\nb,1\n", "in.csv, line 2: expected 2 columns"),
            (b"text,label\n\na\nb,1\n", "in.csv, line 2: a blank line"),
            (b"text,label\na,1\n\n\nb\n", "in.csv, line 3: a blank line"),
            (b"text,label\na,1\rb,1\rc\n\nd,1\n", "in.csv, line 4: expected 2 columns"),
            (b"text,label\n\"\na\",1\r\n\r\nc\n", "in.csv, line 4: a blank line"),
        ] {
            for most in [1, 2, 3, 1_000] {
                let pieces = io::BufReader::with_capacity(most, file);
                let message = read(pieces, Path::new("in.csv"), &ReadOptions::default()).unwrap_err().to_string();
                assert!(message.starts_with(expected), "{most} bytes at a time: {message}");
            }
        }
    }

    #[test]
    fn a_broken_record_is_reported_whatever_follows_it() {
        // The reader has seen bytes far beyond the record that it returns, up to the middle of a quoted field.
        let file = format!("text,label\n\"a\nb\"\n\"{}\",1\n", "x".repeat(20_000));
        assert_eq!(message(file.as_bytes()), "in.csv, line 2: expected 2 columns as in the first row, found 1 column");
    }

    #[test]
    fn a_blank_line_between_records_is_refused() {
        assert_eq!(message(b"text,label\na,1\n\nb,0\n"), "in.csv, line 3: a blank line between rows");
        assert_eq!(message(b"text,label\r\n\r\nb,0,7\r\n"), "in.csv, line 2: a blank line between rows");
    }

    #[test]
    fn a_record_longer_than_any_buffer_is_read() {
        let long = "x, ".repeat(100_000);
        let file = format!("text,label\n\"{long}\",1\nshort,0\n");
        let set = csv(file.as_bytes()).unwrap();
        assert_eq!((set.examples[0].text.len(), set.examples[1].line), (300_000, 3));
    }

    #[test]
    fn a_record_without_end_is_refused_before_it_fills_the_memory() {
        let endless = b"text,label\na,1\n\"b".chain(io::repeat(b'x'));
        let error = read(io::BufReader::new(endless), Path::new("in.csv"), &ReadOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), "in.csv, line 3: a record of more than 64 MiB, the longest that is read");
        let lines = b"text,label\n\"".chain(io::repeat(b'\n'));
        let error = read(io::BufReader::new(lines), Path::new("in.csv"), &ReadOptions::default()).unwrap_err();
        assert!(error.to_string().starts_with("in.csv, line 2: a record of more than 64 MiB"), "{error}");
    }
}
