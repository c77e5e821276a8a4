//! JSON objects with the text and the label under their keys: one per line, one after the other, in an array, or in the
//! one array of an object. A label may be a string, a number or a boolean, or an array of one of these. Exports of
//! labelling tools are recognised by their first record.

mod cutter;
mod exports;

use std::io::BufRead;
use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use self::cutter::Cutter;
use self::exports::Export;
pub(in crate::data) use self::exports::{BOOKKEEPING, argilla_responses, list, text};
use super::columns;
use super::line_reader::{Blanks, Line, LineReader, blank};
use super::table::{Table, kind};
use super::{Dataset, ReadOptions};
use crate::files::parse_json;
use crate::{Error, Result};

/// How the objects of a file follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::data) enum Shape {
    /// One in each line.
    Lines,
    /// One after the other, each over several lines.
    Sequence,
    /// In an array.
    Array,
}

impl Shape {
    /// The shape of a file that begins so; `is_whole` if there is nothing more.
    pub(super) fn of(start: &[u8], is_whole: bool) -> Self {
        let start = start.trim_ascii_start();
        let first_line = match start.iter().position(|&byte| byte == b'\n') {
            Some(end) => &start[..end],
            None if is_whole => start,
            None => return if start.starts_with(b"[") { Self::Array } else { Self::Lines },
        };
        let goes_on = || serde_json::from_slice::<IgnoredAny>(first_line).is_err_and(|error| error.is_eof());
        match start.first() {
            Some(b'[') => Self::Array,
            Some(b'{') if goes_on() => Self::Sequence,
            _ => Self::Lines,
        }
    }
}

/// Reads the objects of a file.
pub(super) fn read(reader: impl BufRead, path: &Path, shape: Shape, options: &ReadOptions) -> Result<Dataset> {
    let mut objects = Objects::new(reader, path, shape);
    let mut rows = Rows { table: Table::new(path, options), options, export: None, count: 0, last_line: 0 };
    let Some((line, first)) = objects.next()? else { return rows.table.finish() };
    let arrays = if shape == Shape::Array { Vec::new() } else { rows.inner_arrays(path, &first) };
    let text = if arrays.is_empty() { Vec::new() } else { objects.text().to_vec() };
    let second = objects.next()?;
    match arrays.as_slice() {
        [key] if second.is_none() => {
            let mut cutter = Cutter::new(&text[..], path, line);
            cutter.enter(key)?;
            return rows.all(Objects::Array { cutter, place: Place::Start }, Some(key));
        }
        [key, ..] if second.is_none() => {
            let keys: Vec<String> = arrays.iter().map(|key| format!("{key:?}")).collect();
            let reason = format!(
                "it is an object with several arrays, {}; make a file of one of them, for instance with jq -c '.{key}[]'",
                keys.join(", ")
            );
            return Err(Error::DataFile { path: path.into(), reason });
        }
        _ => {}
    }
    rows.add(line, first)?;
    if let Some((line, object)) = second {
        rows.add(line, object)?;
    }
    rows.all(objects, None)
}

/// The objects so far as rows.
struct Rows<'a> {
    table: Table<'a>,
    options: &'a ReadOptions,
    export: Option<Export>,
    count: usize,
    /// The line of the last object.
    last_line: usize,
}

impl Rows<'_> {
    /// The keys of an object that hold arrays of objects, if it is not a row itself.
    fn inner_arrays(&self, path: &Path, object: &Map<String, Value>) -> Vec<String> {
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        if Export::recognise(object, self.options).is_some() || columns::find(path, &keys, true, self.options).is_ok() {
            return Vec::new();
        }
        let holds = |value: &Value| matches!(value, Value::Array(items) if matches!(items[..], [Value::Object(_), ..]));
        object.iter().filter(|(_, value)| holds(value)).map(|(key, _)| key.clone()).collect()
    }

    /// Adds a row.
    fn add(&mut self, line: usize, object: Map<String, Value>) -> Result<()> {
        if self.table.is_new() {
            self.export = Export::recognise(&object, self.options);
        }
        let added = match &mut self.export {
            Some(export) => export.add(&mut self.table, line, object),
            None => self.table.object(line, &object),
        };
        self.count += 1;
        let shares_line = std::mem::replace(&mut self.last_line, line) == line;
        added.map_err(|error| match error {
            // Of several objects in a line, only the number tells which it is.
            Error::DataField { path, line, column, reason } if shares_line => {
                Error::DataField { path, line, column, reason: format!("{reason} (object {})", self.count) }
            }
            error => error,
        })
    }

    /// Adds all objects that are left; `key` is the one that holds them.
    fn all(mut self, mut objects: Objects<impl BufRead>, key: Option<&String>) -> Result<Dataset> {
        while let Some((line, object)) = objects.next()? {
            self.add(line, object)?;
        }
        let mut set = self.table.finish()?;
        set.found.extend(key.map(|key| format!("the rows are those of the key {key:?}")));
        set.found.extend(self.export.map(|export| format!("an export of {}", export.tool())));
        Ok(set)
    }
}

/// Where a reader of an array is.
pub(in crate::data) enum Place {
    /// Before its bracket.
    Start,
    /// After an element.
    Inside,
    /// After its end.
    End,
}

/// The objects of a stream, each with the line that it begins on.
pub(in crate::data) enum Objects<R> {
    Lines { lines: LineReader<R>, blanks: Blanks, text: Vec<u8> },
    Sequence(Cutter<R>),
    Array { cutter: Cutter<R>, place: Place },
}

impl<R: BufRead> Objects<R> {
    pub(in crate::data) fn new(reader: R, path: &Path, shape: Shape) -> Self {
        match shape {
            Shape::Lines => {
                Self::Lines { lines: LineReader::new(reader, path), blanks: Blanks::default(), text: Vec::new() }
            }
            Shape::Sequence => Self::Sequence(Cutter::new(reader, path, 1)),
            Shape::Array => Self::Array { cutter: Cutter::new(reader, path, 1), place: Place::Start },
        }
    }

    /// The text of the first object, where only that has been read.
    fn text(&self) -> &[u8] {
        match self {
            Self::Lines { text, .. } => text,
            Self::Sequence(cutter) | Self::Array { cutter, .. } => cutter.text(),
        }
    }

    /// The next object.
    pub(in crate::data) fn next(&mut self) -> Result<Option<(usize, Map<String, Value>)>> {
        match self {
            Self::Lines { lines, blanks, text: first } => {
                let path = lines.path().to_path_buf();
                while let Some(Line { number, text, .. }) = lines.next()? {
                    if text.trim().is_empty() {
                        blanks.add(number);
                        continue;
                    }
                    if let Some(line) = blanks.before_row().next() {
                        return Err(blank(&path, line));
                    }
                    if first.is_empty() {
                        first.extend(text.as_bytes());
                    }
                    return parse(&path, (number, 0), text.as_bytes()).map(|object| Some((number, object)));
                }
                Ok(None)
            }
            Self::Sequence(cutter) => match cutter.peek()? {
                None => Ok(None),
                Some(_) => cutter.object().map(Some),
            },
            Self::Array { cutter, place } => match (&place, cutter.peek()?) {
                (Place::Start, Some(b'[')) => {
                    cutter.skip();
                    if cutter.peek()? == Some(b']') {
                        cutter.skip();
                        *place = Place::End;
                        return self.next();
                    }
                    *place = Place::Inside;
                    cutter.object().map(Some)
                }
                (Place::Inside, Some(b',')) => {
                    cutter.skip();
                    cutter.object().map(Some)
                }
                (Place::Inside, Some(b']')) => {
                    cutter.skip();
                    *place = Place::End;
                    self.next()
                }
                (Place::Inside, None) => Err(cutter.error("the array does not end: the file may be cut short")),
                (Place::Inside, Some(_)) => Err(cutter.error("expected a comma or the end of the array")),
                (Place::End, None) => Ok(None),
                (Place::End, Some(_)) if cutter.is_inner() => Ok(None),
                (Place::End, Some(_)) => Err(cutter.error("something follows the end of the array")),
                (Place::Start, _) => Err(cutter.error("expected an array")),
            },
        }
    }
}

/// The object of a text that begins on a line after so many bytes of it.
fn parse(path: &Path, (line, before): (usize, usize), text: &[u8]) -> Result<Map<String, Value>> {
    let error = |line, reason| Error::DataRow { path: path.into(), line, reason };
    match parse_json(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(error(line, format!("expected an object, found {}", kind(&other)))),
        Err(cause) => {
            let message = cause.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            let (line, column) = match cause.line() {
                0 => return Err(error(line, message.into())),
                1 => (line, before + cause.column()),
                later => (line + later - 1, cause.column()),
            };
            Err(error(line, format!("not a JSON object: {message} at column {column}")))
        }
    }
}

#[cfg(test)]
mod tests;
