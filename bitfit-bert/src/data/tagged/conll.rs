//! CoNLL columns, as of the shared task of 2003: a word a line, its fields between blanks or tabs, the tag the last of
//! them, and a blank line behind each sentence.
//!
//! Rows of `-DOCSTART-` part documents and are no words. A line that begins with `#` before a sentence is a comment,
//! unless it has as many fields as the rows, between tabs where theirs are.

use std::io::BufRead;
use std::path::Path;

use super::{Sentence, checked};
use crate::data::line_reader::{Line, LineReader};
use crate::data::{ColumnRef, Dataset, Example, ReadOptions};
use crate::{Error, Result, Setting};

/// The word of a row that parts two documents.
pub(super) const DOCUMENT: &str = "-DOCSTART-";

/// The fields of a row: between tabs where it has some, otherwise between blanks.
pub(super) fn fields(line: &str) -> Vec<&str> {
    if line.contains('\t') {
        line.split('\t').map(str::trim).collect()
    } else {
        line.split_ascii_whitespace().collect()
    }
}

/// Whether a line is between sentences: it is blank, or parts two documents.
fn is_boundary(text: &str) -> bool {
    text.trim().is_empty() || fields(text)[0] == DOCUMENT
}

/// Reads all sentences.
pub(super) fn read<R: BufRead>(mut lines: LineReader<R>, options: &ReadOptions) -> Result<Dataset> {
    let path = lines.path().to_owned();
    let mut rows: Option<Rows> = None;
    // The lines before the first that must be a row, by which those that begin with `#` are told from comments.
    let mut held = Vec::new();
    while let Some(Line { number: line, text, .. }) = lines.next()? {
        if rows.is_none() && (text.starts_with('#') || is_boundary(text)) {
            held.push((line, text.to_owned()));
            continue;
        }
        let rows = match &mut rows {
            Some(rows) => rows,
            None => rows.insert(Rows::new(&path, text, options)?),
        };
        for (line, text) in held.drain(..) {
            rows.add(line, &text)?;
        }
        rows.add(line, text)?;
    }
    let (examples, columns) = rows.map_or_else(Default::default, Rows::finish);
    let (word, tag) = columns.map_or((0, None), |columns| (columns.word, columns.tag));
    let tag = tag.map(|tag| tag.to_string());
    Dataset::assemble(&path, examples, false, vec![word.to_string()], tag, Vec::new())
}

/// The sentences so far, and how to read the next row.
struct Rows<'a> {
    path: &'a Path,
    columns: Columns,
    requires_tags: bool,
    sentence: Sentence,
    examples: Vec<Example>,
}

impl<'a> Rows<'a> {
    /// The rows of a file of which `first` is one.
    fn new(path: &'a Path, first: &str, options: &ReadOptions) -> Result<Self> {
        let columns = Columns::new(path, first, options)?;
        let (sentence, examples) = (Sentence::default(), Vec::new());
        Ok(Self { path, columns, requires_tags: options.require_labels, sentence, examples })
    }

    /// Adds a line.
    fn add(&mut self, line: usize, text: &str) -> Result<()> {
        if is_boundary(text) {
            self.examples.extend(self.sentence.take());
            return Ok(());
        }
        let (fields, columns) = (fields(text), &self.columns);
        let is_alike = fields.len() == columns.width && text.contains('\t') == columns.have_tabs;
        if text.starts_with('#') && self.sentence.words.is_empty() && !is_alike {
            return Ok(());
        }
        if fields.len() != columns.width {
            let reason = format!("{} fields, but the first row has {}", fields.len(), columns.width);
            return Err(Error::DataRow { path: self.path.into(), line, reason });
        }
        let tag = columns.tag.map(|tag| fields[tag]);
        let (word, tag) = checked(self.path, line, fields[columns.word], tag, self.requires_tags)?;
        self.sentence.push(&word, tag, line);
        Ok(())
    }

    /// All sentences, and their columns.
    fn finish(mut self) -> (Vec<Example>, Option<Columns>) {
        self.examples.extend(self.sentence.take());
        (self.examples, Some(self.columns))
    }
}

/// Where words and tags stand.
struct Columns {
    width: usize,
    /// Whether fields are between tabs.
    have_tabs: bool,
    word: usize,
    tag: Option<usize>,
}

impl Columns {
    /// The columns of a row.
    fn new(path: &Path, row: &str, options: &ReadOptions) -> Result<Self> {
        let (width, have_tabs) = (fields(row).len(), row.contains('\t'));
        let number = |column: &ColumnRef, setting: &'static [Setting]| match column {
            ColumnRef::Index(number) if *number < width => Ok(*number),
            ColumnRef::Index(number) => Err((format!("there is no column number {number}"), setting)),
            ColumnRef::Name(name) => Err((format!("there is no column {name:?}, for columns have no names"), setting)),
        };
        let given = &options.columns;
        let found = || {
            let word = given.text.first().map_or(Ok(0), |column| number(column, &[Setting::TextColumn]))?;
            let tag = match &given.label {
                Some(column) => Some(number(column, &[Setting::LabelColumn])?),
                None => (width > 1).then(|| width - 1),
            };
            if tag.is_none() && options.require_labels {
                return Err(("a row has one field, so there are no tags".into(), &[Setting::LabelColumn][..]));
            }
            Ok(Self { width, have_tabs, word, tag })
        };
        found().map_err(|(reason, settings)| Error::DataColumn {
            path: path.into(),
            reason,
            found: format!("a row has {width} fields"),
            advice: "choose by its number from 0".into(),
            settings,
        })
    }
}
