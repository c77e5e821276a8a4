//! What a file is: its format by its name and its first bytes, and for a table the separator by its first rows.

use std::path::Path;

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::columns;
use super::delimited::first_of_even;
use super::json::Shape;
use super::source::Source;
use super::{Columns, ReadOptions};
use crate::settings::check;
use crate::{Error, Result, Setting, UnknownName};

/// How rows and fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase", parse_err_ty = UnknownName, parse_err_fn = unknown)]
pub enum Format {
    /// Fields between tabs or another separator, one row per line; a double quote is an ordinary character, as in
    /// GLUE's files.
    Tsv,
    /// RFC 4180: fields between commas or another separator, quoted if they contain separators, quotes or line breaks.
    Csv,
    /// JSON objects: one per line, one after the other, in an array, or in the one array of an object; and exports of
    /// labelling tools.
    Jsonl,
    /// One text per line, or a pair of texts with a tab between them; no labels, no header.
    Lines,
    /// A word and its tag per line, between blanks or tabs, and a blank line behind each sentence.
    Conll,
    /// CoNLL-U, the ten columns of Universal Dependencies.
    Conllu,
    /// Columns with types, if the crate is built with its feature `parquet`.
    Parquet,
}

impl Format {
    /// Every format.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name of the format, which [`FromStr`](std::str::FromStr) reads.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The format that a file's extension stands for: `.tsv` and `.txt`, `.csv`, `.jsonl`, `.ndjson` and `.json`,
    /// `.parquet`, in any case, with `.gz` after it or without.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`] for any other.
    pub fn of(path: &Path) -> Result<Self> {
        match extension(path).as_str() {
            "tsv" | "txt" => Ok(Self::Tsv),
            "csv" => Ok(Self::Csv),
            "jsonl" | "ndjson" | "json" => Ok(Self::Jsonl),
            "parquet" => Ok(Self::Parquet),
            other => {
                let what = match other {
                    "" => "the name has no extension".into(),
                    other => format!("the extension .{other} is that of no known format"),
                };
                Err(Error::UnknownFormat { path: path.into(), reason: what })
            }
        }
    }
}

fn unknown(name: &str) -> UnknownName {
    UnknownName { what: "format", name: name.into(), known: Format::ALL.iter().map(|format| format.name()).collect() }
}

/// The extension in lower case, before a `.gz`.
pub(super) fn extension(path: &Path) -> String {
    let of = |path: &Path| path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match of(path).as_str() {
        "gz" => of(&path.with_extension("")),
        other => other.into(),
    }
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Lines,
    Json(Shape),
    Table(Dialect),
    Parquet,
}

/// How the fields of a table are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) separator: u8,
    pub(super) quoting: Quoting,
    /// Whether the first line is Excel's `sep=;`, which names the separator.
    pub(super) is_declared: bool,
}

/// What a double quote means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    /// What every other character means.
    Literal,
    /// That a field begins or ends.
    Rfc4180,
    /// One of the two, as the file shows.
    Unknown,
}

/// The separators that are recognised.
const SEPARATORS: [u8; 4] = *b"\t,;|";

/// How data begins that is not read, and what it is.
const FOREIGN: [(&[u8], &str); 7] = [
    (b"PK\x03\x04", "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook; save the sheet as CSV"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd; unpack it, or pack it with gzip"),
    (b"BZh91AY&SY", "packed with bzip2; unpack it, or pack it with gzip"),
    (b"\xfd7zXZ", "packed with xz; unpack it, or pack it with gzip"),
    (b"\x1f\x8b", "packed with gzip twice; unpack it"),
    (b"ARROW1\0\0", "an Arrow file; save it as CSV or JSON lines"),
];

/// What a file is, with notes on what its name does not tell.
pub(super) fn recognise(source: &Source<'_>, path: &Path, options: &ReadOptions) -> Result<(Layout, Vec<String>)> {
    options.validate()?;
    let start = source.start.as_slice();
    let mut notes = Vec::from_iter(packing(source, path));
    let json = || Layout::Json(Shape::of(start, source.is_whole));
    let by_name = Format::of(path);
    let layout = match (options.format, &by_name) {
        (Some(Format::Lines), _) => Layout::Lines,
        (Some(format @ (Format::Conll | Format::Conllu)), _) => {
            return Err(not_of_texts(format));
        }
        (Some(Format::Jsonl), _) => json(),
        (Some(Format::Parquet), _) | (None, Ok(Format::Parquet)) => Layout::Parquet,
        (None, _) if start.starts_with(b"PAR1") => {
            notes.push("Parquet".into());
            Layout::Parquet
        }
        (None, Ok(Format::Jsonl)) if options.delimiter.is_none() => json(),
        (format, _) => {
            refuse_foreign(start, path)?;
            let is_text = extension(path) == "txt";
            if format.is_none() && options.delimiter.is_none() && !is_text && begins_like_json(start) {
                notes.push("JSON".into());
                return Ok((json(), notes));
            }
            let table = Sample::new(source, path, options).dialect(by_name, &mut notes);
            let is_unnamed = options.columns == Columns::default() && options.task.is_none();
            match table {
                Ok((dialect, true)) => Layout::Table(dialect),
                // Nothing names the columns of a text file, so it may be texts without columns.
                _ if is_text
                    && format.is_none()
                    && options.delimiter.is_none()
                    && is_unnamed
                    && !options.require_labels =>
                {
                    Layout::Lines
                }
                table => Layout::Table(table?.0),
            }
        }
    };
    Ok((layout, notes))
}

/// The error for a format of tagged words, where texts are read.
pub(super) fn not_of_texts(format: Format) -> Error {
    let reason = "it holds words with tags, which a task of the kind tag reads".into();
    Error::Setting { setting: Setting::Format, value: format.to_string(), reason }
}

/// The error for a format of texts with a label each, where tagged words are read.
pub(super) fn not_of_words(format: Format) -> Error {
    let reason = "a row has one text and one label; words with tags are read from conll, conllu or jsonl".into();
    Error::Setting { setting: Setting::Format, value: format.to_string(), reason }
}

/// Refuses a separator of fields that is none, and one where nothing has fields.
pub(super) fn check_delimiter(options: &ReadOptions, is_table: bool) -> Result<()> {
    let Some(delimiter) = options.delimiter else { return Ok(()) };
    let shown = || char::from(delimiter).escape_default();
    let is_sound = delimiter.is_ascii() && !b"\"\r\n".contains(&delimiter);
    check(Setting::Delimiter, shown(), is_sound, "it is one ASCII character, and neither a quote nor a line end")?;
    check(Setting::Delimiter, shown(), is_table, "only tables, tsv and csv, have one")
}

/// Refuses data of which the first bytes show that it is not text.
pub(super) fn refuse_foreign(start: &[u8], path: &Path) -> Result<()> {
    match FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, what)) => Err(Error::DataFile { path: path.into(), reason: format!("it is {what}") }),
        None => Ok(()),
    }
}

/// That a file is packed, where its name does not say so.
pub(super) fn packing(source: &Source<'_>, path: &Path) -> Option<String> {
    let named_gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    (source.is_gzip && !named_gzip).then(|| "packed with gzip".into())
}

/// Whether the first characters are those of an object with a key, or of an array of objects.
fn begins_like_json(start: &[u8]) -> bool {
    let mut characters = start.iter().filter(|byte| !byte.is_ascii_whitespace());
    matches!((characters.next(), characters.next()), (Some(b'{'), Some(b'"' | b'}')) | (Some(b'['), Some(b'{')))
}

/// What a first line shows the stream to be other than plain texts.
pub(super) fn of_first_line(line: &str) -> Option<&'static str> {
    let text = line.trim();
    let is_value = || text.starts_with(['{', '[']) && serde_json::from_str::<serde_json::Value>(text).is_ok();
    if matches!(text, "{" | "[") || begins_like_json(text.as_bytes()) || is_value() {
        return Some("it is JSON");
    }
    let names_columns = |separator: &u8| columns::are_names(&text.split(char::from(*separator)).collect::<Vec<_>>());
    SEPARATORS.iter().any(names_columns).then_some("it is the header of a table")
}

/// The first rows of a table, by which its separator is recognised.
struct Sample<'a> {
    path: &'a Path,
    options: &'a ReadOptions,
    /// Complete lines.
    lines: &'a str,
}

/// A separator that the first rows may have.
struct Candidate {
    separator: u8,
    /// The number of columns.
    width: usize,
    /// Whether they are the columns that are looked for, and whether a header says so.
    fits: Option<bool>,
}

impl<'a> Sample<'a> {
    fn new(source: &'a Source<'_>, path: &'a Path, options: &'a ReadOptions) -> Self {
        let lines = match source.start.iter().rposition(|&byte| byte == b'\n') {
            _ if source.is_whole => &source.start[..],
            Some(end) => &source.start[..=end],
            None => &[],
        };
        // The reader reports what is not UTF-8 with its line.
        Self { path, options, lines: std::str::from_utf8(lines).unwrap_or_default() }
    }

    /// How the fields are told apart, and whether the columns that are looked for are there.
    fn dialect(&self, by_name: Result<Format>, notes: &mut Vec<String>) -> Result<(Dialect, bool)> {
        let Self { options, lines, .. } = *self;
        let first_line = lines.lines().next().unwrap_or_default();
        let declared = match first_line.strip_prefix("sep=").map(str::as_bytes) {
            Some(&[separator]) if separator.is_ascii() && options.format != Some(Format::Tsv) => Some(separator),
            _ => None,
        };
        let expected = match (options.format, &by_name) {
            (Some(Format::Tsv), _) => Some(b'\t'),
            (Some(Format::Csv), _) | (None, Ok(Format::Csv)) => Some(b','),
            (_, Ok(_)) => Some(b'\t'),
            (_, Err(_)) => None,
        };
        let (separator, fits) = match (options.delimiter, declared, options.format) {
            (Some(separator), ..) => (separator, self.fits(separator)),
            (None, Some(separator), _) => (separator, true),
            (None, None, Some(Format::Tsv)) => (b'\t', self.fits(b'\t')),
            (None, None, _) => self.recognise(expected, by_name)?,
        };
        if options.delimiter.is_none() && expected != Some(separator) {
            notes.push(format!("separated by {}", name(separator)));
        }
        // Rows that a preset skips would pass for rows that only one of two readings can read.
        let skips = options.task.is_some_and(|task| task.preset().skip_malformed);
        let quoting = match options.format {
            Some(Format::Tsv) => Quoting::Literal,
            Some(_) => Quoting::Rfc4180,
            None if separator == b'\t' && skips => Quoting::Literal,
            None if separator == b'\t' => Quoting::Unknown,
            None => Quoting::Rfc4180,
        };
        Ok((Dialect { separator, quoting, is_declared: declared.is_some() }, fits))
    }

    /// The separator that the first rows show, with whether the columns that are looked for are there.
    fn recognise(&self, expected: Option<u8>, by_name: Result<Format>) -> Result<(u8, bool)> {
        // Names of columns in the first row are proof enough; a row of another width is then an error.
        if let Some(separator) = expected
            && let Some(first) = self.first_row(separator)
            && self.fit(&first) == Some(true)
        {
            return Ok((separator, true));
        }
        let candidates: Vec<Candidate> = SEPARATORS.iter().filter_map(|&separator| self.candidate(separator)).collect();
        let is_expected = |candidate: &&Candidate| expected == Some(candidate.separator);
        let fitting: Vec<&Candidate> = candidates
            .iter()
            .filter(|candidate| candidate.fits.is_some() && (candidate.width > 1 || is_expected(candidate)))
            .collect();
        match fitting.as_slice() {
            [one] => return Ok((one.separator, true)),
            [] => {}
            several => {
                let named: Vec<_> = several.iter().filter(|candidate| candidate.fits == Some(true)).collect();
                if let [one] = named.as_slice() {
                    return Ok((one.separator, true));
                }
                let names: Vec<_> = several.iter().map(|candidate| name(candidate.separator)).collect();
                let reason = format!("its rows may be separated by {}; say which", names.join(" or by "));
                return Err(Error::Dialect {
                    path: self.path.into(),
                    line: 1,
                    reason,
                    settings: &[Setting::Delimiter],
                });
            }
        }
        // A header says which columns there are, even if rows do not keep to it: the message is then about the row.
        let is_header = |&separator: &u8| {
            self.first_row(separator).is_some_and(|first| first.len() > 1 && self.fit(&first) == Some(true))
        };
        if let [one] = SEPARATORS.into_iter().filter(is_header).collect::<Vec<_>>()[..] {
            return Ok((one, true));
        }
        // Nothing is found in the rows as they are expected, but in all of them another separator: the message about
        // the columns should list those that it separates.
        let wide: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.width > 1).collect();
        let expected_is_absent = |separator| !self.lines.as_bytes().contains(&separator);
        match (expected, wide.as_slice()) {
            (Some(expected), [one]) if expected_is_absent(expected) => Ok((one.separator, false)),
            (Some(expected), _) => Ok((expected, false)),
            (None, [one]) => Ok((one.separator, false)),
            (None, _) => Err(match by_name {
                Err(Error::UnknownFormat { path, reason }) => {
                    let reason = format!("{reason}, and its first rows show neither a table nor JSON");
                    Error::UnknownFormat { path, reason }
                }
                Err(error) => error,
                Ok(_) => return Ok((b'\t', false)),
            }),
        }
    }

    /// A separator, if all of the first rows have the same number of it between fields.
    fn candidate(&self, separator: u8) -> Option<Candidate> {
        let ways: &[Quoting] = match separator {
            b'\t' => &[Quoting::Literal, Quoting::Rfc4180],
            _ => &[Quoting::Rfc4180],
        };
        let rows = ways.iter().find_map(|&quoting| first_of_even(self.lines, self.path, separator, quoting));
        rows.map(|first| Candidate { separator, width: first.len(), fits: self.fit(&first) })
    }

    /// The first row, whatever the others are.
    fn first_row(&self, separator: u8) -> Option<Vec<String>> {
        let line = self.lines.split_inclusive('\n').find(|line| !line.trim().is_empty())?;
        let quoting = if line.contains('"') { Quoting::Rfc4180 } else { Quoting::Literal };
        first_of_even(line, self.path, separator, quoting)
    }

    fn fits(&self, separator: u8) -> bool {
        self.first_row(separator).is_some_and(|first| self.fit(&first).is_some())
    }

    /// Whether a first row has the columns that are looked for, and whether it names them.
    fn fit(&self, first: &[String]) -> Option<bool> {
        let cells: Vec<&str> = first.iter().map(String::as_str).collect();
        columns::find(self.path, &cells, false, self.options).ok().map(|plan| plan.header)
    }
}

/// A separator in a message.
fn name(separator: u8) -> String {
    match separator {
        b'\t' => "tabs".into(),
        other => char::from(other).escape_default().to_string(),
    }
}

#[cfg(test)]
mod tests;
