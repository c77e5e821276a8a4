//! Labelled texts from files: one [`Dataset`] from tables between separators, JSON, exports of labelling tools or plain
//! lines, with presets for the GLUE tasks.
//!
//! ```text
//! file -> bytes, unpacked (source) -> what it is (format) -> rows (delimited, json, lines, parquet)
//!      -> which columns (columns, presets) -> examples (table) -> Dataset
//!      -> class indices (labels), scores, or the labels of each text (several)
//!
//! words with tags: file -> bytes, unpacked (source) -> sentences (tagged) -> Dataset
//! questions with a context: file -> bytes, unpacked (source) -> JSON (questions) -> Dataset
//! ```
//!
//! What a file is, is found by looking at it, and [`Dataset::found`] says what its name does not tell. A file is
//! refused with its name and line rather than read wrongly: a row of another width than the first, a blank line between
//! rows, a quote that is out of place, an empty label where a text has one and a score that is not a number are errors.
//! A text may be empty. A UTF-8 byte-order mark is skipped, lines may end in CR LF, the last newline is optional, and
//! blank lines at the end are ignored. Files are read one record at a time, of at most 64 MiB; what stays in memory is
//! the examples.
//!
//! ```
//! use bitfit_bert::data::{Dataset, Format, Labels, ReadOptions};
//!
//! let file = "text,intent\n\"wake me, please, at six\",alarm\nplay some jazz,music\n";
//! let options = ReadOptions { format: Some(Format::Csv), ..ReadOptions::default() };
//! let train = Dataset::from_reader(file.as_bytes(), "train.csv".as_ref(), &options)?;
//! let labels = Labels::of_training_set(&train)?;
//! assert_eq!(train.examples[0].text, "wake me, please, at six");
//! assert_eq!(labels.names(), ["alarm", "music"]);
//! assert_eq!(labels.encode(&train)?, [0, 1]);
//! # Ok::<(), bitfit_bert::Error>(())
//! ```

mod columns;
mod delimited;
mod example;
mod format;
mod json;
mod labels;
mod line_reader;
mod lines;
#[cfg(feature = "parquet")]
mod parquet;
mod questions;
mod quoted;
mod several;
mod source;
mod table;
mod tagged;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

pub use columns::{ColumnRef, Columns, Header};
pub use example::{Example, Label, Question, Word, texts};
pub use format::Format;
pub use labels::Labels;
pub(crate) use line_reader::LineReader;
pub use lines::{Lines, read_lines};
pub use several::SeveralLabels;
pub use tagged::split_words;

use crate::presets::GlueTask;
use crate::{Error, Result, UnknownName};
use format::Layout;
use source::Source;

/// What is predicted for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase", parse_err_ty = UnknownName, parse_err_fn = unknown_kind)]
pub enum Kind {
    /// One of C classes.
    Classify,
    /// A number.
    Regress,
    /// One of C tags for each of its words.
    Tag,
    /// Any of C labels, or none.
    #[strum(serialize = "multi-label")]
    MultiLabel,
    /// The span of a context that answers a question, or that there is none.
    Span,
    /// The tokens that are masked in it: masked language modelling, which needs no labels.
    #[strum(serialize = "mlm")]
    MaskedLm,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name of the kind, which [`FromStr`](std::str::FromStr) reads.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

fn unknown_kind(name: &str) -> UnknownName {
    UnknownName { what: "kind", name: name.into(), known: Kind::ALL.iter().map(|kind| kind.name()).collect() }
}

/// What the examples of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contents {
    /// Texts or pairs with a label each.
    #[default]
    Texts,
    /// Texts with a tag for each word. The format is found by looking at the file.
    TaggedWords,
    /// Questions with a context that has the answer.
    Questions,
}

impl Contents {
    /// What the examples of a kind of task are.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Classify | Kind::Regress | Kind::MultiLabel | Kind::MaskedLm => Self::Texts,
            Kind::Tag => Self::TaggedWords,
            Kind::Span => Self::Questions,
        }
    }
}

/// How to read a file. The default reads labelled texts, and recognises the format, the separator and the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format; by default that of the extension ([`Format::of`]), unless the file shows another.
    pub format: Option<Format>,
    /// What stands between the fields of a table, an ASCII character; by default recognised from the first rows: tab,
    /// comma, semicolon or vertical bar.
    pub delimiter: Option<u8>,
    /// The preset whose columns to expect.
    pub task: Option<GlueTask>,
    /// Columns by name or number; they override the preset.
    pub columns: Columns,
    /// Whether every row must have a label, as for training. Otherwise labels are optional, and no row is skipped
    /// because of its label or its width.
    pub require_labels: bool,
    /// What the examples are.
    pub contents: Contents,
    /// How several labels a text are written; `None` for one label a text.
    pub several: Option<SeveralLabels>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            format: None,
            delimiter: None,
            task: None,
            columns: Columns::default(),
            require_labels: true,
            contents: Contents::Texts,
            several: None,
        }
    }
}

impl ReadOptions {
    /// Refuses a format and a separator that contradict each other or the contents, whatever the file is.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first of them.
    pub fn validate(&self) -> Result<()> {
        let may_be_table = match self.contents {
            Contents::Texts => true,
            Contents::TaggedWords => false,
            Contents::Questions => !self.require_labels,
        };
        let is_table = may_be_table && matches!(self.format, None | Some(Format::Tsv | Format::Csv));
        format::check_delimiter(self, is_table)?;
        match (self.contents, self.format) {
            (Contents::TaggedWords, Some(format @ (Format::Tsv | Format::Csv | Format::Parquet))) => {
                Err(format::not_of_words(format))
            }
            (Contents::Texts | Contents::Questions, Some(format @ (Format::Conll | Format::Conllu))) => {
                Err(format::not_of_texts(format))
            }
            _ => Ok(()),
        }
    }

    /// Whether a label that cannot be used is ignored: labels are not required, and the caller named no label column.
    fn labels_are_optional(&self) -> bool {
        !self.require_labels && self.columns.label.is_none()
    }
}

/// The examples of one file, in the file's order; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// The name of the file without its directory.
    pub name: String,
    /// The path of the file.
    pub path: PathBuf,
    /// The examples, in the order of the file.
    pub examples: Vec<Example>,
    /// Whether the first row was assumed to be an example, because columns were chosen by number and nothing in it
    /// looks like a column name.
    pub header_is_unsure: bool,
    /// The names of the one or two text columns, or their numbers from 0 where there is no header.
    pub text_columns: Vec<String>,
    /// The name or number of the label column.
    pub label_column: Option<String>,
    /// The numbers of the lines that are skipped: by the preset, see [`Preset::skip_malformed`] and
    /// [`Preset::skip_labels`], and of records that were rejected or not annotated in a labelling tool. Empty for every
    /// other file, and if labels are not required. The caller must report them.
    ///
    /// [`Preset::skip_malformed`]: crate::presets::Preset::skip_malformed
    /// [`Preset::skip_labels`]: crate::presets::Preset::skip_labels
    pub skipped: Vec<usize>,
    /// What was found about the file by looking at it and is not to be expected from its name, such as "separated by
    /// semicolons". The caller should report it.
    pub found: Vec<String>,
    /// What separates the labels of a field, where a text may have several and the separator is known.
    pub label_separator: Option<char>,
    /// The names of the labels that have a column of 0 and 1 each; empty where labels are in one column.
    pub indicators: Vec<String>,
}

impl Dataset {
    /// Reads a file.
    ///
    /// A `.txt` file is tab-separated like `.tsv`; but if labels are not required, no columns are named and its first
    /// line is not a header, it is read as plain texts ([`Format::Lines`]).
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read; [`Error::UnknownFormat`] if neither its name nor its first rows
    /// show what it is, [`Error::DataFile`] for no rows; [`Error::DataColumn`] for a missing column;
    /// [`Error::Dialect`] for separators and quotes that can be read in several ways or in none; [`Error::DataRow`] and
    /// [`Error::DataField`] for a row that is broken, with its line.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self> {
        Self::from_reader(File::open(path).map_err(Error::io(path))?, path, options)
    }

    /// Reads a stream. `path` names it in errors, and its extension is that of the stream.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_reader(reader: impl Read, path: &Path, options: &ReadOptions) -> Result<Self> {
        let source = Source::open(reader, path)?;
        match options.contents {
            Contents::Texts => {}
            Contents::TaggedWords => return tagged::read(source, path, options),
            Contents::Questions if questions::is_json(&source) => return questions::read(source, path, options),
            Contents::Questions if options.require_labels => return Err(questions::refused(path)),
            // Without answers, a question with its context is a pair of texts.
            Contents::Questions => {}
        }
        let (layout, notes) = format::recognise(&source, path, options)?;
        let reader = source.reader();
        let mut set = match layout {
            Layout::Lines => lines::read(reader, path, options)?,
            Layout::Json(shape) => json::read(reader, path, shape, options)?,
            Layout::Table(dialect) => {
                let set = delimited::read(reader, path, dialect, options)?;
                set.check_separators(dialect.separator.into(), options)?;
                set
            }
            #[cfg(feature = "parquet")]
            Layout::Parquet => parquet::read(reader, path, options)?,
            #[cfg(not(feature = "parquet"))]
            Layout::Parquet => {
                let reason = "a Parquet file, which this build does not read: build it with the feature parquet, or save \
                              the file as CSV or JSON lines";
                return Err(Error::DataFile { path: path.into(), reason: reason.into() });
            }
        };
        set.found.splice(0..0, notes);
        set.label_separator = options.several.as_ref().and_then(|several| several.separator);
        Ok(set)
    }

    /// Whether its texts are pairs.
    pub fn is_paired(&self) -> bool {
        self.text_columns.len() == 2
    }

    /// The labels as numbers, for a regression.
    ///
    /// # Errors
    /// [`Error::DataField`] with the line of the first label that is missing or is not a finite f32.
    pub fn scores(&self) -> Result<Vec<f32>> {
        self.examples
            .iter()
            .map(|example| {
                let label = self.label(example)?;
                match label.as_str().parse::<f32>() {
                    Ok(score) if score.is_finite() => Ok(score),
                    _ if self.may_be_header(example) => {
                        Err(self.header_error(example, format!("{:?} is not a finite number", label.as_str())))
                    }
                    _ => Err(self.label_error(example, format!("{:?} is not a finite number", label.as_str()))),
                }
            })
            .collect()
    }

    /// The classes or labels of an example: one, any number where a text may have several, or none.
    pub(crate) fn names_of<'a>(&self, example: &'a Example) -> Vec<&'a str> {
        example.label.as_ref().map_or_else(Vec::new, |label| label.names(self.label_separator))
    }

    /// The label of an example; an error if it has none.
    fn label<'a>(&self, example: &'a Example) -> Result<&'a Label> {
        example.label.as_ref().ok_or_else(|| self.label_error(example, "there is no label".into()))
    }

    /// The tag of a word; an error if it has none.
    fn tag<'a>(&self, word: &'a Word) -> Result<&'a Label> {
        word.tag.as_ref().ok_or_else(|| Error::DataField {
            path: self.path.clone(),
            line: word.line,
            column: self.label_name(),
            reason: "there is no tag".into(),
        })
    }

    /// The first row, if it was assumed to be an example and is unlike all others, as a header is: its text is one word
    /// where every other has several.
    pub fn possible_header(&self) -> Option<&Example> {
        let [first, others @ ..] = &self.examples[..] else { return None };
        let is_word = |example: &Example| example.text.split_whitespace().count() < 2;
        let is_unlike = others.len() > 2 && is_word(first) && !others.iter().any(is_word);
        Some(first).filter(|_| self.header_is_unsure && is_unlike)
    }

    /// Whether the example is a first row that may also be a header.
    fn may_be_header(&self, example: &Example) -> bool {
        self.header_is_unsure && self.examples.first().is_some_and(|first| first.line == example.line)
    }

    /// The error of a first row that may also be a header.
    fn header_error(&self, example: &Example, reason: String) -> Error {
        Error::UnsureHeader { path: self.path.clone(), line: example.line, column: self.label_name(), reason }
    }

    pub(crate) fn label_error(&self, example: &Example, reason: String) -> Error {
        Error::DataField { path: self.path.clone(), line: example.line, column: self.label_name(), reason }
    }

    fn label_name(&self) -> String {
        self.label_column.clone().unwrap_or_else(|| "label".into())
    }

    /// The set of these examples; an error if there are none.
    fn assemble(
        path: &Path,
        examples: Vec<Example>,
        header_is_unsure: bool,
        text_columns: Vec<String>,
        label_column: Option<String>,
        skipped: Vec<usize>,
    ) -> Result<Self> {
        if examples.is_empty() {
            let reason = match skipped.len() {
                0 => "there are no rows in it".into(),
                n => format!("none of its rows can be used: all {n} are malformed, rejected or without a usable label"),
            };
            return Err(Error::DataFile { path: path.into(), reason });
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self {
            name,
            path: path.into(),
            examples,
            header_is_unsure,
            text_columns,
            label_column,
            skipped,
            found: Vec::new(),
            label_separator: None,
            indicators: Vec::new(),
        })
    }
}

/// Refuses single texts where pairs are expected, and the other way round; `path` is where the examples are from.
///
/// # Errors
/// [`Error::WrongTexts`] with the line of the first that is not as expected.
pub fn check_pairs(path: &Path, examples: &[Example], paired: bool) -> Result<()> {
    let Some(example) = examples.iter().find(|example| example.pair.is_some() != paired) else { return Ok(()) };
    Err(Error::WrongTexts { path: path.into(), line: example.line, paired })
}

#[cfg(test)]
mod tests;
