//! CoNLL columns, as of the shared task of 2003: a word a line, its fields between blanks or tabs, the tag the last of
//! them, and a blank line behind each sentence.
//!
//! Rows of `-DOCSTART-` part documents and are no words. A line that begins with `#` before a sentence is a comment,
//! unless it has as many fields as the rows.

use std::io::BufRead;

use super::{Sentence, checked};
use crate::data::line_reader::{Line, LineReader};
use crate::data::{ColumnRef, Dataset, ReadOptions};
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

/// Reads all sentences.
pub(super) fn read<R: BufRead>(mut lines: LineReader<R>, options: &ReadOptions) -> Result<Dataset> {
    let path = lines.path().to_owned();
    let (mut examples, mut sentence) = (Vec::new(), Sentence::default());
    let mut columns: Option<Columns> = None;
    while let Some(Line { number: line, text, .. }) = lines.next()? {
        let fields = fields(text);
        if text.trim().is_empty() || fields[0] == DOCUMENT {
            examples.extend(sentence.take());
            continue;
        }
        let is_comment = text.starts_with('#') && sentence.words.is_empty();
        if is_comment && columns.as_ref().is_none_or(|columns| columns.width != fields.len()) {
            continue;
        }
        let columns = match &mut columns {
            Some(columns) => columns,
            None => columns.insert(Columns::new(&path, fields.len(), options)?),
        };
        if fields.len() != columns.width {
            let reason = format!("{} fields, but the first row has {}", fields.len(), columns.width);
            return Err(Error::DataRow { path, line, reason });
        }
        let tag = columns.tag.map(|tag| fields[tag]);
        let (word, tag) = checked(&path, line, fields[columns.word], tag, options.require_labels)?;
        sentence.push(&word, tag, line);
    }
    examples.extend(sentence.take());
    let (word, tag) = columns.map_or((0, None), |columns| (columns.word, columns.tag));
    let tag = tag.map(|tag| tag.to_string());
    Dataset::assemble(&path, examples, false, vec![word.to_string()], tag, Vec::new())
}

/// Where words and tags stand.
struct Columns {
    width: usize,
    word: usize,
    tag: Option<usize>,
}

impl Columns {
    fn new(path: &std::path::Path, width: usize, options: &ReadOptions) -> Result<Self> {
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
            Ok(Self { width, word, tag })
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
