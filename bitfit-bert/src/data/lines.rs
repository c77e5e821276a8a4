//! Lines of a stream with their numbers: the ground that the TSV and JSON readers stand on, and plain texts to predict.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::{Dataset, Example, ReadOptions};
use crate::{Error, Result};

/// The stream's lines, one in memory at a time: without their ends (LF or CR LF), without a byte-order mark, as UTF-8.
pub(super) struct LineReader<R> {
    reader: R,
    path: PathBuf,
    line: usize,
    bytes: Vec<u8>,
}

impl<R: BufRead> LineReader<R> {
    pub(super) fn new(reader: R, path: &Path) -> Self {
        Self { reader, path: path.into(), line: 0, bytes: Vec::new() }
    }

    /// The next line and its number from 1.
    pub(super) fn next(&mut self) -> Result<Option<(usize, &str)>> {
        self.bytes.clear();
        if self.reader.read_until(b'\n', &mut self.bytes).map_err(Error::io(&self.path))? == 0 {
            return Ok(None);
        }
        self.line += 1;
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

/// Holds blank lines back until it is known whether rows follow: at the end of a file they mean nothing.
#[derive(Default)]
pub(super) struct Blanks(Vec<usize>);

impl Blanks {
    /// Whether the line is blank; then it is remembered.
    pub(super) fn holds(&mut self, line: usize, text: &str) -> bool {
        let blank = text.trim().is_empty();
        if blank {
            self.0.push(line);
        }
        blank
    }

    /// The blank lines before the row that has now come.
    pub(super) fn before_row(&mut self) -> std::vec::Drain<'_, usize> {
        self.0.drain(..)
    }
}

/// Texts to predict from a stream: one a line, a tab between the two of a pair. Each is yielded as soon as its line is
/// read, so that a caller can answer while the stream is open. A blank line is an empty text: answers stay in step with lines.
///
/// Yields [`Error::DataRow`] for a line with two tabs or more and for invalid UTF-8, then goes on with the next line;
/// [`Error::Io`] if the stream breaks.
pub fn read_lines<R: BufRead>(reader: R) -> Lines<R> {
    Lines::new(reader, Path::new("<stdin>"))
}

/// The iterator of [`read_lines`].
pub struct Lines<R> {
    lines: LineReader<R>,
    broken: bool,
}

impl<R: BufRead> Lines<R> {
    /// The texts of a stream; `path` names it in errors.
    pub fn new(reader: R, path: &Path) -> Self {
        Self { lines: LineReader::new(reader, path), broken: false }
    }

    fn read(&mut self) -> Result<Option<Example>> {
        let Some((line, text)) = self.lines.next()? else { return Ok(None) };
        let (text, pair) = match text.split_once('\t') {
            Some((_, rest)) if rest.contains('\t') => {
                let tabs = text.matches('\t').count();
                let reason = format!("{tabs} tabs; a line is one text, or two with one tab between them");
                return Err(Error::DataRow { path: self.lines.path.clone(), line, reason });
            }
            Some((text, pair)) => (text, Some(pair.to_owned())),
            None => (text, None),
        };
        Ok(Some(Example { text: text.to_owned(), pair, label: None, line }))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Example>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let item = self.read().transpose();
        // A stream that fails once would fail for ever.
        self.broken = matches!(item, Some(Err(Error::Io { .. })));
        item
    }
}

/// A whole file of plain texts.
pub(super) fn read(reader: impl BufRead, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    if options.require_labels || options.columns.label.is_some() {
        return Err(Error::DataColumn {
            path: path.into(),
            reason: "there is no label column".into(),
            found: "plain lines hold only texts".into(),
            advice: "choose another format with --format".into(),
        });
    }
    let examples = Lines::new(reader, path).collect::<Result<Vec<_>>>()?;
    let columns = if examples.iter().any(|example| example.pair.is_some()) { 2 } else { 1 };
    Dataset::assemble(path, examples, false, (0..columns).map(|i| i.to_string()).collect(), None, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8]) -> Vec<(usize, String, Option<String>)> {
        read_lines(bytes).map(|e| e.unwrap()).map(|e| (e.line, e.text, e.pair)).collect()
    }

    #[test]
    fn a_line_is_a_text_or_a_pair() {
        assert_eq!(
            texts(b"\xef\xbb\xbfone\r\n\n a \"b\tc\nlast"),
            [
                (1, "one".into(), None),
                (2, String::new(), None),
                (3, " a \"b".into(), Some("c".into())),
                (4, "last".into(), None)
            ]
        );
        assert_eq!(texts(b""), []);
        assert_eq!(texts(b"\xef\xbb\xbf"), []);
        assert_eq!(texts(b"\r\n"), [(1, String::new(), None)]);
    }

    #[test]
    fn a_broken_line_is_named_and_the_next_still_read() {
        let results: Vec<_> = read_lines(&b"good\na\tb\tc\nb\xffd\ngood\n"[..]).collect();
        assert_eq!(results.len(), 4);
        let message = |i: usize| results[i].as_ref().unwrap_err().to_string();
        assert!(message(1).starts_with("<stdin>, line 2: 2 tabs"), "{}", message(1));
        assert!(message(2).starts_with("<stdin>, line 3: not valid UTF-8"), "{}", message(2));
        assert_eq!(results[3].as_ref().unwrap().line, 4);
    }

    #[test]
    fn a_stream_that_breaks_ends() {
        struct Broken;
        impl std::io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("cable"))
            }
        }
        let results: Vec<_> = read_lines(std::io::BufReader::new(Broken)).take(3).collect();
        assert!(matches!(results.as_slice(), [Err(Error::Io { .. })]));
    }

    #[test]
    fn a_file_of_lines_has_no_labels() {
        let path = Path::new("x.txt");
        assert!(matches!(read(&b"a\n"[..], path, &ReadOptions::default()), Err(Error::DataColumn { .. })));
        let options = ReadOptions { require_labels: false, ..ReadOptions::default() };
        let set = read(&b"a\nb\tc\n"[..], path, &options).unwrap();
        assert_eq!((set.examples.len(), set.text_columns.len()), (2, 2));
        assert!(matches!(read(&b""[..], path, &options), Err(Error::DataFile { .. })));
    }
}
