//! Plain texts to predict: one per line, or a pair with a tab between its texts, without header and labels.

use std::io::BufRead;
use std::path::Path;

use super::line_reader::{Line, LineReader};
use super::{Dataset, Example, ReadOptions, format};
use crate::{Error, Result, Setting};

/// Texts to predict from a stream: one per line, with a tab between the two of a pair. Each is yielded as soon as its
/// line is read, so that it can be answered while the stream is open. A blank line is an empty text, so that each line
/// has one answer.
///
/// Yields [`Error::DataRow`] for a line with two tabs or more and for invalid UTF-8, then goes on with the next line;
/// for a line of more than 64 MiB, after which it ends; [`Error::Io`] if reading fails. A first line that is JSON or
/// the header of a table is [`Error::Dialect`], and the end: use [`Lines::new`] where such lines are texts for certain.
pub fn read_lines<R: BufRead>(reader: R) -> Lines<R> {
    Lines { is_certain: false, ..Lines::new(reader, Path::new("<stdin>")) }
}

/// The iterator of [`read_lines`].
pub struct Lines<R> {
    lines: LineReader<R>,
    /// Whether the first line is a text whatever it looks like.
    is_certain: bool,
    broken: bool,
}

impl<R: BufRead> Lines<R> {
    /// The texts of a stream that is of lines for certain; `path` names it in errors.
    pub fn new(reader: R, path: &Path) -> Self {
        Self { lines: LineReader::new(reader, path), is_certain: true, broken: false }
    }

    fn read(&mut self) -> Result<Option<Example>> {
        let is_certain = std::mem::replace(&mut self.is_certain, true);
        let Some(Line { number: line, text, .. }) = self.lines.next()? else { return Ok(None) };
        if let Some(what) = format::of_first_line(text).filter(|_| !is_certain) {
            let reason =
                format!("{what}, and not a text; give the format of the texts, or lines where each line is one");
            let path = self.lines.path().into();
            return Err(Error::Dialect { path, line, reason, settings: &[Setting::Format] });
        }
        let (text, pair) = match text.split_once('\t') {
            Some((_, rest)) if rest.contains('\t') => {
                let tabs = text.matches('\t').count();
                let reason = format!("{tabs} tabs; a line is one text, or two with one tab between them");
                return Err(Error::DataRow { path: self.lines.path().into(), line, reason });
            }
            Some((text, pair)) => (text, Some(pair.into())),
            None => (text, None),
        };
        Ok(Some(Example { text: text.to_owned(), pair, label: None, words: Vec::new(), question: None, line }))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Example>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let item = self.read().transpose();
        // A stream that failed once is not read again.
        self.broken = matches!(item, Some(Err(Error::Io { .. } | Error::Dialect { .. })));
        item
    }
}

/// A whole file of plain texts.
pub(in crate::data) fn read(reader: impl BufRead, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    if options.require_labels || options.columns.label.is_some() {
        return Err(Error::DataColumn {
            path: path.into(),
            reason: "there is no label column".into(),
            found: "plain lines hold only texts".into(),
            advice: "choose another format".into(),
            settings: &[Setting::Format],
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
        read_lines(bytes).map(|e| e.unwrap()).map(|e| (e.line, e.text, e.pair.map(|pair| pair.to_string()))).collect()
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
    fn a_first_line_of_another_format_is_refused_unless_the_stream_is_of_lines_for_certain() {
        for first in [
            "{\"text\": \"a\"}",
            " [",
            "[{\"text\": 1}, 2]",
            "{",
            "text,label",
            "\"id\";\"Text\"",
            "text",
            "text\tlabel",
        ] {
            let stream = format!("{first}\nb\n");
            let found: Vec<_> = read_lines(stream.as_bytes()).collect();
            let [Err(error @ Error::Dialect { line: 1, .. })] = &found[..] else { panic!("{first}: {found:?}") };
            assert_eq!(error.settings(), [Setting::Format]);
            let certain: Result<Vec<_>> = Lines::new(stream.as_bytes(), Path::new("x")).collect();
            assert_eq!(certain.unwrap().len(), 2, "{first}");
        }
        for first in [
            "[MASK] is a city",
            "[1] a note",
            "{x",
            "Text, please: me",
            "Class, dismissed",
            "label",
            "my text",
            "a,b",
            "class",
            "",
        ] {
            let stream = format!("{first}\n{{\"text\": \"a\"}}\ntext,label\n");
            assert_eq!(texts(stream.as_bytes()).len(), 3, "{first}");
        }
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
