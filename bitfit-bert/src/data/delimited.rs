//! Tables of fields between separators: quoted as RFC 4180 says, or literal, where a double quote is a character like
//! any other, as in GLUE's files.
//!
//! A table between tabs may be either, and one that is read in the wrong way has marks in its texts that are not there,
//! or lacks some that are. It is therefore read in both ways from its first field in quotes on, until one of them
//! fails. Where neither does, the quotes are those of a program that quotes fields if
//!
//! - every field with a quote in it is in quotes, and nothing follows the closing quote; and
//! - some field holds what only quotes allow, or every text of the file is in quotes.
//!
//! Where the first holds and the second does not, the file is refused with a question.

use std::io::BufRead;
use std::path::Path;

use super::format::{Dialect, Quoting};
use super::line_reader::{Blanks, Line, LineReader};
use super::quoted::{Cells, Records};
use super::table::{Count, Table};
use super::{Dataset, ReadOptions};
use crate::{Error, Result, Setting};

/// Reads a table.
pub(super) fn read(reader: impl BufRead, path: &Path, dialect: Dialect, options: &ReadOptions) -> Result<Dataset> {
    let Dialect { separator, quoting, is_declared } = dialect;
    let mut lines = LineReader::new(reader, path);
    if is_declared {
        lines.next()?;
    }
    let table = Table::new(path, options);
    match quoting {
        Quoting::Literal => {
            let mut literal = Literal::new(table, separator);
            while let Some(line) = lines.next()? {
                literal.line(line)?;
            }
            literal.table.finish()
        }
        Quoting::Rfc4180 => {
            let mut quoted = Quoted::new(table, Records::new(path, separator, false), Blanks::default());
            while let Some(line) = lines.next()? {
                quoted.line(line)?;
            }
            quoted.records.finish()?;
            quoted.table.finish()
        }
        Quoting::Unknown => {
            let mut both = Both::new(path, Literal::new(table, separator));
            while let Some(line) = lines.next()? {
                both.line(line)?;
            }
            both.finish()
        }
    }
}

/// The literal reading.
struct Literal<'a> {
    table: Table<'a>,
    separator: u8,
    blanks: Blanks,
    bounds: Vec<(usize, usize)>,
}

impl<'a> Literal<'a> {
    fn new(table: Table<'a>, separator: u8) -> Self {
        Self { table, separator, blanks: Blanks::default(), bounds: Vec::new() }
    }

    fn line(&mut self, line: Line<'_>) -> Result<()> {
        if line.text.trim().is_empty() {
            self.blanks.add(line.number);
            return Ok(());
        }
        self.table.blanks(self.blanks.before_row())?;
        split(line.text, self.separator, &mut self.bounds);
        self.table.row(line.number, Cells::new(line.text, &self.bounds))
    }
}

/// Where the fields between separators begin and end.
pub(super) fn split(line: &str, separator: u8, bounds: &mut Vec<(usize, usize)>) {
    bounds.clear();
    let mut start = 0;
    for (at, &byte) in line.as_bytes().iter().enumerate() {
        if byte == separator {
            bounds.push((start, at));
            start = at + 1;
        }
    }
    bounds.push((start, line.len()));
}

/// The reading by RFC 4180.
struct Quoted<'a> {
    table: Table<'a>,
    records: Records<'a>,
    blanks: Blanks,
}

impl<'a> Quoted<'a> {
    fn new(table: Table<'a>, records: Records<'a>, blanks: Blanks) -> Self {
        Self { table, records, blanks }
    }

    fn line(&mut self, line: Line<'_>) -> Result<()> {
        // Only between tabs is a line of blanks not a row: it is what is left of an empty one.
        let is_blank = line.text.is_empty() || self.records.separator() == b'\t' && line.text.trim().is_empty();
        if is_blank && !self.records.is_open() {
            self.blanks.add(line.number);
            return Ok(());
        }
        self.table.blanks(self.blanks.before_row())?;
        match self.records.line(line)? {
            Some((begins, cells)) => self.table.row(begins, cells),
            None => Ok(()),
        }
    }
}

/// Both readings of a table, as long as the second may be the right one.
struct Both<'a> {
    path: &'a Path,
    literal: Literal<'a>,
    /// Why the literal reading has ended.
    failed: Option<Error>,
    fork: Option<Fork<'a>>,
    /// Whether the reading by RFC 4180 has failed.
    is_literal: bool,
}

/// The reading by RFC 4180, from the first field in quotes on.
struct Fork<'a> {
    /// What the literal reading had before.
    before: Count,
    /// Whether the first row says that fields are in quotes: it has two or more, and all are.
    is_declared: bool,
    quoted: Quoted<'a>,
}

impl<'a> Both<'a> {
    fn new(path: &'a Path, literal: Literal<'a>) -> Self {
        Self { path, literal, failed: None, fork: None, is_literal: false }
    }

    fn line(&mut self, line: Line<'_>) -> Result<()> {
        if self.fork.is_none() && !self.is_literal && line.text.contains('"') {
            self.fork = self.fork_at(line.text);
        }
        if self.failed.is_none()
            && let Err(error) = self.literal.line(line)
        {
            match &self.fork {
                Some(fork) => self.literal.table.truncate(&fork.before),
                None => return Err(error),
            }
            self.failed = Some(error);
        }
        if let Some(fork) = &mut self.fork
            && let Err(error) = fork.quoted.line(line)
        {
            match self.failed.take() {
                _ if fork.is_declared => return Err(error),
                Some(failed) => return Err(failed),
                None => (self.fork, self.is_literal) = (None, true),
            }
        }
        Ok(())
    }

    /// The second reading, if the line has a field that begins with a quote.
    fn fork_at(&self, line: &str) -> Option<Fork<'a>> {
        let Literal { table, separator, blanks, .. } = &self.literal;
        let cells: Vec<&str> = line.split(char::from(*separator)).collect();
        if !cells.iter().any(|cell| cell.starts_with('"')) {
            return None;
        }
        let is_quoted = |cell: &&str| cell.len() > 1 && cell.starts_with('"') && cell.ends_with('"');
        let is_declared = table.is_new() && cells.len() > 1 && cells.iter().all(is_quoted);
        let quoted = Quoted::new(table.fork(), Records::new(self.path, *separator, true), blanks.clone());
        Some(Fork { before: table.count(), is_declared, quoted })
    }

    fn finish(self) -> Result<Dataset> {
        let Self { path, literal, failed, fork, .. } = self;
        let Some(Fork { before, is_declared, quoted }) = fork else { return literal.table.finish() };
        if let Err(error) = quoted.records.finish() {
            return match failed {
                _ if is_declared => Err(error),
                Some(failed) => Err(failed),
                None => literal.table.finish(),
            };
        }
        let evidence = &quoted.records.evidence;
        let all_texts = !evidence.bare_text && before.examples == 0;
        if failed.is_none() && !evidence.is_needed && !all_texts {
            if literal.table.is_same_since(&before, &quoted.table) {
                return literal.table.finish();
            }
            let line = evidence.first_quoted.unwrap_or(1);
            let reason = "a field is in quotes, which may be part of the text or only enclose it: choose the format tsv if \
                          they are part of it, or csv with a tab for the separator if they enclose it";
            let settings = &[Setting::Format, Setting::Delimiter];
            return Err(Error::Dialect { path: path.into(), line, reason: reason.into(), settings });
        }
        let mut set = quoted.table.after(literal.table, &before).finish()?;
        set.found.push("fields in quotes".into());
        Ok(set)
    }
}

/// The first row of these lines and its width, if all have it; `None` where they do not, or break the quoting.
pub(super) fn first_of_even(lines: &str, path: &Path, separator: u8, quoting: Quoting) -> Option<Vec<String>> {
    let mut first: Option<Vec<String>> = None;
    let mut check = |cells: Cells<'_>| match &first {
        Some(first) => first.len() == cells.len(),
        None => {
            first = Some(cells.to_vec().into_iter().map(str::to_owned).collect());
            true
        }
    };
    let (mut records, mut bounds) = (Records::new(path, separator, false), Vec::new());
    for (number, line) in lines.split_inclusive('\n').enumerate() {
        let text = line.strip_suffix('\n').unwrap_or(line);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.trim().is_empty() && !records.is_open() {
            continue;
        }
        let is_even = match quoting {
            Quoting::Literal | Quoting::Unknown => {
                split(text, separator, &mut bounds);
                check(Cells::new(text, &bounds))
            }
            Quoting::Rfc4180 => match records.line(Line { number, text, end: "\n" }) {
                Ok(Some((_, cells))) => check(cells),
                Ok(None) => true,
                Err(_) => false,
            },
        };
        if !is_even {
            return None;
        }
    }
    first
}

#[cfg(test)]
mod tests;
