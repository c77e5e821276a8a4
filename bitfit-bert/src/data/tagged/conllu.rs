//! CoNLL-U, the format of Universal Dependencies: ten fields between tabs, `#` comments, and a blank line behind each
//! sentence. Tags are of the column UPOS unless another is chosen.
//!
//! Rows of several words (`3-4`) and of empty nodes (`5.1`) are no words. Reference: universaldependencies.org/format.

use std::io::BufRead;

use super::{Sentence, checked};
use crate::data::line_reader::{Line, LineReader};
use crate::data::{ColumnRef, Dataset, ReadOptions};
use crate::{Error, Result, Setting};

/// The columns' names.
const NAMES: [&str; 10] = ["ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC"];
/// What stands for an unspecified field.
const UNSPECIFIED: &str = "_";

/// What the first field of a row says it is.
#[derive(PartialEq)]
enum Row {
    Word,
    /// A token of several words, or an empty node.
    Other,
}

/// Whether a line is a row of CoNLL-U.
pub(super) fn is_row(line: &str) -> bool {
    let mut fields = line.split('\t');
    let id = fields.next().unwrap_or_default();
    row(id).is_some() && fields.count() + 1 == NAMES.len()
}

fn row(id: &str) -> Option<Row> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match id.split_once(['-', '.']) {
        None => is_number(id).then_some(Row::Word),
        Some((first, last)) => (is_number(first) && is_number(last)).then_some(Row::Other),
    }
}

/// Reads all sentences.
pub(super) fn read<R: BufRead>(mut lines: LineReader<R>, options: &ReadOptions) -> Result<Dataset> {
    let path = lines.path().to_owned();
    let column = |given: Option<&ColumnRef>, default: usize, settings: &'static [Setting]| {
        let found = match given {
            None => Some(default),
            Some(ColumnRef::Index(number)) => Some(*number).filter(|number| *number < NAMES.len()),
            Some(ColumnRef::Name(name)) => NAMES.iter().position(|known| known.eq_ignore_ascii_case(name.trim())),
        };
        found.ok_or_else(|| Error::DataColumn {
            path: path.clone(),
            reason: "there is no such column in CoNLL-U".into(),
            found: format!("its columns are {}", NAMES.join(", ")),
            advice: "choose by name or by number from 0".into(),
            settings,
        })
    };
    let word_column = column(options.columns.text.first(), 1, &[Setting::TextColumn])?;
    let tag_column = column(options.columns.label.as_ref(), 3, &[Setting::LabelColumn])?;
    let (mut examples, mut sentence) = (Vec::new(), Sentence::default());
    while let Some(Line { number: line, text, .. }) = lines.next()? {
        let refuse = |reason: String| Err(Error::DataRow { path: path.clone(), line, reason });
        if text.trim().is_empty() {
            examples.extend(sentence.take());
            continue;
        }
        if text.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = text.split('\t').collect();
        if fields.len() != NAMES.len() {
            return refuse(format!("{} fields between tabs; a row of CoNLL-U has {}", fields.len(), NAMES.len()));
        }
        match row(fields[0]) {
            Some(Row::Word) => {}
            Some(Row::Other) => continue,
            None => return refuse(format!("the ID {:?} is no number, range or decimal", fields[0])),
        }
        let tag = Some(fields[tag_column]).filter(|tag| *tag != UNSPECIFIED);
        let (word, tag) = checked(&path, line, fields[word_column], tag, options.require_labels)?;
        sentence.push(&word, tag, line);
        sentence.is_attached = fields[9].split('|').any(|value| value == "SpaceAfter=No");
    }
    examples.extend(sentence.take());
    let names = [word_column, tag_column].map(|column| NAMES[column].to_owned());
    let [word, tag] = names;
    Dataset::assemble(&path, examples, false, vec![word], Some(tag), Vec::new())
}
