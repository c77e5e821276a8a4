//! Records as defined by RFC 4180, with any separator, cut out of the lines of a file.
//!
//! A field that begins with a double quote ends at the next quote that is not doubled, and may hold separators and line
//! breaks; only a separator or the end of the line may follow it. Every other field ends at the next separator. What
//! does not keep to this is refused, because programs differ in how they read it.

use std::path::Path;

use super::line_reader::{Line, MAX_LINE, too_long};
use crate::{Error, Result, Setting};

/// The fields of a row.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    text: &'a str,
    /// Where each field begins and ends in the text.
    bounds: &'a [(usize, usize)],
}

impl<'a> Cells<'a> {
    /// The fields with these bounds.
    pub(super) fn new(text: &'a str, bounds: &'a [(usize, usize)]) -> Self {
        Self { text, bounds }
    }

    /// The number of fields.
    pub(super) fn len(self) -> usize {
        self.bounds.len()
    }

    /// One field.
    pub(super) fn get(self, position: usize) -> &'a str {
        let (start, end) = self.bounds[position];
        &self.text[start..end]
    }

    /// Every field.
    pub(super) fn to_vec(self) -> Vec<&'a str> {
        (0..self.len()).map(|position| self.get(position)).collect()
    }
}

/// What the quotes of the records so far show about who wrote them.
#[derive(Clone, Default)]
pub(super) struct Evidence {
    /// The line of the first record with a field in quotes.
    pub(super) first_quoted: Option<usize>,
    /// Whether a field in quotes held what only quotes allow: a doubled quote, a separator or a line break.
    pub(super) is_needed: bool,
    /// Whether a field that is neither a number nor empty stands without quotes.
    pub(super) bare_text: bool,
}

/// Collects records from lines.
#[derive(Clone)]
pub(super) struct Records<'p> {
    path: &'p Path,
    separator: u8,
    /// Whether a quote inside a field without quotes is an error, as in RFC 4180, or a character like any other, as
    /// most programs read it.
    strict: bool,
    /// The fields of the current record, without their quotes, one after the other.
    text: String,
    bounds: Vec<(usize, usize)>,
    /// Whether a quote is open.
    open: bool,
    /// The line that the current record begins on.
    begins: usize,
    pub(super) evidence: Evidence,
}

impl<'p> Records<'p> {
    /// No records yet; `path` names the file in errors.
    pub(super) fn new(path: &'p Path, separator: u8, strict: bool) -> Self {
        let (text, bounds, evidence) = (String::new(), Vec::new(), Evidence::default());
        Self { path, separator, strict, text, bounds, open: false, begins: 0, evidence }
    }

    /// What stands between fields.
    pub(super) fn separator(&self) -> u8 {
        self.separator
    }

    /// Whether the last line ended inside quotes.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Takes the next line. Returns the record that it completes, with the line that the record begins
    /// on.
    pub(super) fn line(&mut self, line: Line<'_>) -> Result<Option<(usize, Cells<'_>)>> {
        let Line { number, text: line, end } = line;
        let bytes = line.as_bytes();
        let mut at = 0;
        let mut start = 0;
        if self.open {
            start = self.bounds.pop().map_or(0, |(start, _)| start);
        } else {
            self.text.clear();
            self.bounds.clear();
            self.begins = number;
        }
        loop {
            if !self.open {
                start = self.text.len();
                if bytes.get(at) == Some(&b'"') {
                    (self.open, at) = (true, at + 1);
                    self.evidence.first_quoted.get_or_insert(self.begins);
                } else {
                    let rest = &bytes[at..];
                    let length = rest.iter().position(|&byte| byte == self.separator).unwrap_or(rest.len());
                    self.plain(number, &line[at..at + length])?;
                    at += length;
                }
            }
            if self.open {
                at += self.quoted(number, &line[at..])?;
                if self.open {
                    self.text.push_str(end);
                    self.bounds.push((start, start));
                    if self.text.len() > MAX_LINE {
                        return Err(too_long(self.path, self.begins, "record"));
                    }
                    return Ok(None);
                }
            }
            self.bounds.push((start, self.text.len()));
            if at == bytes.len() {
                return Ok(Some((self.begins, Cells::new(&self.text, &self.bounds))));
            }
            // A separator.
            at += 1;
        }
    }

    /// A field without quotes.
    fn plain(&mut self, number: usize, field: &str) -> Result<()> {
        if field.contains('\r') {
            let reason = "a carriage return inside a field without quotes; convert the line ends to line feeds";
            return Err(Error::DataRow { path: self.path.into(), line: number, reason: reason.into() });
        }
        if field.contains('"') {
            if field.trim_start().starts_with('"') {
                return Err(self.error(number, "a blank stands before the quote that opens a field"));
            }
            if self.strict {
                return Err(self.error(number, "a quote stands inside a field without quotes"));
            }
        }
        self.evidence.bare_text = self.evidence.bare_text || !is_no_text(field);
        self.text.push_str(field);
        Ok(())
    }

    /// The part of a field in quotes up to the closing quote, or the end of the line. Returns the number of bytes that
    /// it takes.
    fn quoted(&mut self, number: usize, rest: &str) -> Result<usize> {
        let bytes = rest.as_bytes();
        let mut at = 0;
        loop {
            let Some(length) = bytes[at..].iter().position(|&byte| byte == b'"') else {
                self.text.push_str(&rest[at..]);
                self.evidence.is_needed = true;
                return Ok(bytes.len());
            };
            let part = &rest[at..at + length];
            self.evidence.is_needed |= part.as_bytes().contains(&self.separator);
            self.text.push_str(part);
            at += length + 1;
            match bytes.get(at) {
                Some(b'"') => {
                    self.text.push('"');
                    self.evidence.is_needed = true;
                    at += 1;
                }
                Some(&byte) if byte != self.separator => {
                    let next = rest[at..].chars().next().unwrap_or_default();
                    let reason = format!(
                        "{next:?} follows the quote that closes a field, where only a separator or the end of the line \
                         may; a quote inside such a field is written twice"
                    );
                    return Err(self.error(number, &reason));
                }
                _ => {
                    self.open = false;
                    return Ok(at);
                }
            }
        }
    }

    /// The error of a quote that is still open where the file ends.
    pub(super) fn finish(&self) -> Result<()> {
        match self.open {
            true => Err(self.error(self.begins, "a quote is opened here and never closed")),
            false => Ok(()),
        }
    }

    fn error(&self, line: usize, reason: &str) -> Error {
        let reason = format!("{reason}; where quotes are characters like any other, choose the format tsv");
        Error::Dialect { path: self.path.into(), line, reason, settings: &[Setting::Format, Setting::Delimiter] }
    }
}

/// Whether a program that quotes every text may have left this field without quotes: it is empty, a number, or one of
/// the words that stand for missing and logical values.
fn is_no_text(field: &str) -> bool {
    let field = field.trim();
    field.is_empty()
        || field.parse::<f64>().is_ok()
        || ["NA", "null", "None", "true", "false"].iter().any(|word| field.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a text, each with its line, or the message of the error.
    fn records(text: &str, separator: u8, strict: bool) -> Result<Vec<(usize, Vec<String>)>, String> {
        let mut records = Records::new(Path::new("in.csv"), separator, strict);
        let mut all = Vec::new();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let end = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
            let line = Line { number: number + 1, text: line.strip_suffix(end).unwrap_or(line), end };
            if let Some((begins, cells)) = records.line(line).map_err(|error| error.to_string())? {
                all.push((begins, cells.to_vec().into_iter().map(str::to_owned).collect()));
            }
        }
        records.finish().map_err(|error| error.to_string())?;
        Ok(all)
    }

    fn row(line: usize, cells: &[&str]) -> (usize, Vec<String>) {
        (line, cells.iter().map(|cell| (*cell).to_owned()).collect())
    }

    #[test]
    fn fields_end_where_they_should() {
        let text = "a,\"b, \"\"c\"\"\",\n\"\",\"\"\"\"\n\"x\ny\r\nz\",1\n,\n";
        let expected =
            [row(1, &["a", "b, \"c\"", ""]), row(2, &["", "\""]), row(3, &["x\ny\r\nz", "1"]), row(6, &["", ""])];
        assert_eq!(records(text, b',', true).unwrap(), expected);
        assert_eq!(records("a;\"b;c\"", b';', true).unwrap(), [row(1, &["a", "b;c"])]);
    }

    #[test]
    fn what_breaks_the_quoting_is_refused_with_its_line() {
        for (text, reason) in [
            ("a\n\"2\\\" seam\",x\n", "in.csv, line 2: ' ' follows the quote"),
            ("a\n\"b\nc\"d,x\n", "in.csv, line 3: 'd' follows the quote"),
            ("a\nb, \"c\"\n", "in.csv, line 2: a blank stands before the quote"),
            ("a\n\"b\nc\n", "in.csv, line 2: a quote is opened here and never closed"),
            ("a\nb\rc\n", "in.csv, line 2: a carriage return"),
        ] {
            for strict in [true, false] {
                let message = records(text, b',', strict).unwrap_err();
                assert!(message.starts_with(reason), "{message}");
            }
        }
        assert!(records("5\" pipe,1\n", b',', true).unwrap_err().starts_with("in.csv, line 1: a quote stands inside"));
        assert_eq!(records("5\" pipe,1\n", b',', false).unwrap(), [row(1, &["5\" pipe", "1"])]);
    }
}
