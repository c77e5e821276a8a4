//! Labelled texts from files: one [`Dataset`] from TSV, CSV, JSON lines or plain lines, with presets for the GLUE tasks.
//!
//! ```text
//! file -> rows (tsv, csv, jsonl, lines) -> which columns (columns, glue) -> Dataset -> class indices (labels) or scores
//! ```
//!
//! A file is refused with its name and line rather than read wrongly: a row of another width than the first, a blank
//! line between rows, an empty label and a score that is no number are errors. A text may be empty. A UTF-8 byte-order
//! mark is skipped, lines may end in CR LF, the last newline is optional, and blank lines at the end are ignored.
//! Files are read one line at a time; what stays in memory is the examples.
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
mod csv;
mod format;
mod glue;
mod jsonl;
mod labels;
mod lines;
mod table;
mod tsv;

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use columns::{ColumnRef, Columns, Header};
pub use format::Format;
pub use glue::{Col, Layout, Preset, Task};
pub use labels::Labels;
pub use lines::{Lines, read_lines};

use crate::{Error, Result};

/// What is predicted for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One of C classes.
    Classify,
    /// A number.
    Regress,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Classify, Self::Regress];

    /// The kind's name, as [`FromStr`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Regress => "regress",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    /// Reads a [`name`](Self::name); the error says which there are.
    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("there is no kind {name:?}; there are classify and regress"))
    }
}

/// A label as the file has it, without the blanks around it; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(String);

impl Label {
    /// The label of a field; `None` if there is nothing in it but blanks.
    pub fn new(field: &str) -> Option<Self> {
        let field = field.trim();
        (!field.is_empty()).then(|| Self(field.to_owned()))
    }

    /// The label's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One text, or a pair of texts, with its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The text, exactly as the file has it.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// The label; `None` where the file has none.
    pub label: Option<Label>,
    /// The line of the file that the example begins on, from 1.
    pub line: usize,
}

/// The texts or pairs of examples, in their order, as a tokenizer takes them.
pub fn texts(examples: &[Example]) -> Vec<(&str, Option<&str>)> {
    examples.iter().map(|example| (example.text.as_str(), example.pair.as_deref())).collect()
}

/// How to read a file. The default reads labelled texts, takes the format from the extension and recognises the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format; by default what the extension says ([`Format::of`]).
    pub format: Option<Format>,
    /// The preset whose columns to expect.
    pub task: Option<Task>,
    /// Columns by name or number. Whatever is given here wins over the preset.
    pub columns: Columns,
    /// Whether every row must have a label, as for training. Otherwise labels are read where they are, and no row is left out
    /// because of its label or its width.
    pub require_labels: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { format: None, task: None, columns: Columns::default(), require_labels: true }
    }
}

impl ReadOptions {
    /// Whether a label that cannot be used is as good as none: no row needs one, and nobody named the column.
    fn labels_are_optional(&self) -> bool {
        !self.require_labels && self.columns.label.is_none()
    }
}

/// Whether a label is one by which the preset says "no label".
fn means_none(preset: Option<&Preset>, label: Option<&Label>) -> bool {
    preset.zip(label).is_some_and(|(preset, label)| preset.skip_labels.contains(&label.as_str()))
}

/// The examples of one file, in the file's order; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// The file's name without its folders.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What was read.
    pub examples: Vec<Example>,
    /// Whether the first row was taken for an example without being told so: columns were chosen by number, and nothing in it
    /// looks like a column's name.
    pub header_is_unsure: bool,
    /// The names of the one or two text columns, or their numbers from 0 where there is no header.
    pub text_columns: Vec<String>,
    /// The name or number of the label column.
    pub label_column: Option<String>,
    /// Lines that were left out because the preset says so: see [`Preset::skip_malformed`] and [`Preset::skip_labels`].
    /// Empty for every other file, and where no labels are required; whoever reads must report them.
    pub skipped: Vec<usize>,
}

impl Dataset {
    /// Reads a file.
    ///
    /// A `.txt` file is tab-separated like `.tsv`; but where no labels are required, no columns are named and its first
    /// line is no header, it is plain texts ([`Format::Lines`]).
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read; [`Error::DataFile`] for an unknown extension or no rows;
    /// [`Error::DataColumn`] for a column that is not there; [`Error::DataRow`] and [`Error::DataField`] for a row that
    /// is broken, with its line.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut options = options.clone();
        if options.format.is_none() && format::is_plain_text(path) && !options.require_labels {
            let start = reader.fill_buf().map_err(Error::io(path))?;
            if columns::is_unnamed(start, &options) {
                options.format = Some(Format::Lines);
            }
        }
        Self::from_reader(reader, path, &options)
    }

    /// Reads a stream. `path` names it in errors, and its extension gives the format where the options give none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_reader(reader: impl Read, path: &Path, options: &ReadOptions) -> Result<Self> {
        let format = match options.format {
            Some(format) => format,
            None => Format::of(path)?,
        };
        let reader = BufReader::with_capacity(1 << 16, reader);
        match format {
            Format::Tsv => tsv::read(reader, path, options),
            Format::Csv => csv::read(reader, path, options),
            Format::Jsonl => jsonl::read(reader, path, options),
            Format::Lines => lines::read(reader, path, options),
        }
    }

    /// Whether its texts are pairs.
    pub fn is_paired(&self) -> bool {
        self.text_columns.len() == 2
    }

    /// The labels as numbers, for a regression.
    ///
    /// # Errors
    /// [`Error::DataField`] with the line of the first label that is missing or is no finite f32.
    pub fn scores(&self) -> Result<Vec<f32>> {
        self.examples
            .iter()
            .map(|example| {
                let label = self.label(example)?;
                match label.as_str().parse::<f32>() {
                    Ok(score) if score.is_finite() => Ok(score),
                    _ if self.may_be_header(example) => {
                        Err(self.header_error(example, format!("{:?} is no finite number", label.as_str())))
                    }
                    _ => Err(self.label_error(example, format!("{:?} is no finite number", label.as_str()))),
                }
            })
            .collect()
    }

    /// The label of an example, or the error that it has none.
    fn label<'a>(&self, example: &'a Example) -> Result<&'a Label> {
        example.label.as_ref().ok_or_else(|| self.label_error(example, "there is no label".into()))
    }

    /// Whether the example is a first row that may as well be a header.
    fn may_be_header(&self, example: &Example) -> bool {
        self.header_is_unsure && self.examples.first().is_some_and(|first| first.line == example.line)
    }

    /// The error of a first row that may as well be a header.
    fn header_error(&self, example: &Example, reason: String) -> Error {
        self.label_error(example, reason + "; say whether this row names the columns: --header or --no-header")
    }

    fn label_error(&self, example: &Example, reason: String) -> Error {
        let column = self.label_column.clone().unwrap_or_else(|| "label".into());
        Error::DataField { path: self.path.clone(), line: example.line, column, reason }
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
                n => format!("none of its rows can be used: all {n} are malformed or without a usable label"),
            };
            return Err(Error::DataFile { path: path.into(), reason });
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, path: path.into(), examples, header_is_unsure, text_columns, label_column, skipped })
    }
}

/// Refuses single texts where pairs are asked for, and the other way round; `path` is where the examples are from.
///
/// # Errors
/// [`Error::DataRow`] with the line of the first that is not as it should be.
pub fn check_pairs(path: &Path, examples: &[Example], paired: bool) -> Result<()> {
    let Some(example) = examples.iter().find(|example| example.pair.is_some() != paired) else { return Ok(()) };
    let reason = match paired {
        true => {
            "a single text, but the task is one of pairs; name the two columns with --text, or put a tab between \
                 the two texts of a line"
        }
        false => {
            "a pair of texts, but the task is one of single texts; name the column with --text, and for a table \
                  on stdin give its --format"
        }
    };
    Err(Error::DataRow { path: path.into(), line: example.line, reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        File::create(&path).unwrap().write_all(bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn the_extension_chooses_the_format() {
        let files: [(&str, &[u8]); 6] = [
            ("a.tsv", b"text\tlabel\nso \"good\t1\n"),
            ("a.TXT", b"text\tlabel\nso \"good\t1\n"),
            ("a.csv", b"text,label\n\"so \"\"good\",1\n"),
            ("a.jsonl", b"{\"text\":\"so \\\"good\",\"label\":1}\n"),
            ("a.ndjson", b"{\"text\":\"so \\\"good\",\"label\":\"1\"}\n"),
            ("a.json", b"{\"label\":\" 1 \",\"text\":\"so \\\"good\"}"),
        ];
        for (name, bytes) in files {
            let (_folder, path) = write(name, bytes);
            let set = Dataset::read(&path, &ReadOptions::default()).unwrap();
            assert_eq!(set.name, name);
            assert_eq!(set.examples.len(), 1, "{name}");
            assert_eq!(set.examples[0].text, "so \"good", "{name}");
            assert_eq!(set.examples[0].label.as_ref().unwrap().as_str(), "1", "{name}");
            assert_eq!((set.text_columns, set.label_column), (vec!["text".into()], Some("label".into())));
        }
    }

    #[test]
    fn a_forced_format_wins_over_the_extension() {
        let (_folder, path) = write("a.data", b"text\tlabel\ngood\t1\n");
        let error = Dataset::read(&path, &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("a.data") && error.contains("--format"), "{error}");
        let options = ReadOptions { format: Some(Format::Tsv), ..ReadOptions::default() };
        assert_eq!(Dataset::read(&path, &options).unwrap().examples.len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let missing = Path::new("no-such-folder/train.tsv");
        let error = Dataset::read(missing, &ReadOptions::default()).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if path == missing), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folder.tsv");
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(Dataset::read(&path, &ReadOptions::default()).unwrap_err(), Error::Io { .. }));
    }

    #[test]
    fn a_file_without_rows_is_refused() {
        let files: [(&str, &[u8]); 7] = [
            ("a.tsv", b""),
            ("a.tsv", b"\xef\xbb\xbf"),
            ("a.tsv", b"\n\n"),
            ("a.tsv", b"text\tlabel\n"),
            ("a.csv", b"text,label\r\n\r\n"),
            ("a.csv", b""),
            ("a.jsonl", b" \n"),
        ];
        for (name, bytes) in files {
            let (_folder, path) = write(name, bytes);
            let error = Dataset::read(&path, &ReadOptions::default()).unwrap_err();
            assert!(matches!(error, Error::DataFile { .. }), "{name} {bytes:?}: {error}");
            assert!(error.to_string().contains("no rows"), "{error}");
        }
    }

    #[test]
    fn plain_text_needs_no_columns_to_predict() {
        let (_folder, path) = write("a.txt", b"\xef\xbb\xbffirst text\nsecond text\r\n");
        let options = ReadOptions { require_labels: false, ..ReadOptions::default() };
        let set = Dataset::read(&path, &options).unwrap();
        let texts: Vec<_> = set.examples.iter().map(|example| example.text.as_str()).collect();
        assert_eq!(texts, ["first text", "second text"]);
        // To train on it, columns must be known; and a header is still a header.
        assert!(matches!(Dataset::read(&path, &ReadOptions::default()).unwrap_err(), Error::DataColumn { .. }));
        let (_folder, path) = write("b.txt", b"\xef\xbb\xbfindex\tsentence\n7\tfirst text\n");
        let set = Dataset::read(&path, &options).unwrap();
        assert_eq!(set.examples[0].text, "first text");
        assert_eq!(set.examples.len(), 1);
    }

    #[test]
    fn scores_are_finite_numbers() {
        let read = |file: &str| {
            let options = ReadOptions { require_labels: false, ..ReadOptions::default() };
            Dataset::from_reader(file.as_bytes(), Path::new("s.tsv"), &options).unwrap().scores()
        };
        assert_eq!(read("text\tscore\na\t5.000\nb\t -2e-1 \n").unwrap(), [5.0, -0.2]);
        for bad in ["high", "nan", "inf", "1e39", "1,5", ""] {
            let error = read(&format!("text\tscore\na\t1\nb\t{bad}\n")).unwrap_err();
            assert!(
                matches!(&error, Error::DataField { line: 3, column, .. } if column == "score"),
                "{bad:?}: {error}"
            );
        }
    }

    /// The real GLUE files, where `BITFIT_GLUE` names the folder that GLUE's download unpacks to.
    #[test]
    fn glues_own_files_have_their_published_row_counts() {
        let Some(root) = std::env::var_os("BITFIT_GLUE").map(PathBuf::from) else {
            // Past the test runner's capture.
            _ = writeln!(std::io::stderr(), "SKIPPED for want of GLUE's files: BITFIT_GLUE names no folder of them");
            return;
        };
        type File = (&'static str, usize);
        let sets: [(&str, Task, [File; 2], &[&str]); 4] = [
            ("CoLA", Task::Cola, [("train.tsv", 8_551), ("dev.tsv", 1_043)], &["0", "1"]),
            ("RTE", Task::Rte, [("train.tsv", 2_490), ("dev.tsv", 277)], &["entailment", "not_entailment"]),
            ("SST-2", Task::Sst2, [("train.tsv", 67_349), ("dev.tsv", 872)], &["0", "1"]),
            ("STS-B", Task::Stsb, [("train.tsv", 5_749), ("dev.tsv", 1_500)], &[]),
        ];
        for (folder, task, [train, dev], classes) in sets {
            let read = |(name, rows): File, task| {
                let options = ReadOptions { task, ..ReadOptions::default() };
                let set = Dataset::read(&root.join(folder).join(name), &options).unwrap();
                assert_eq!((set.examples.len(), set.skipped.len()), (rows, 0), "{folder}/{name}");
                set
            };
            let (train_set, dev_set) = (read(train, Some(task)), read(dev, Some(task)));
            match task.preset().kind {
                Kind::Classify => {
                    let labels = Labels::of_training_set(&train_set).unwrap();
                    assert_eq!(labels.names(), classes, "{folder}");
                    assert_eq!(labels.encode(&dev_set).unwrap().len(), dev.1);
                }
                Kind::Regress => {
                    for set in [&train_set, &dev_set] {
                        assert!(set.scores().unwrap().iter().all(|score| (0.0..=5.0).contains(score)));
                    }
                }
            }
            // All but CoLA have headers that say it all.
            if task != Task::Cola {
                assert_eq!(read(dev, None), dev_set, "{folder}");
            }
        }
    }
}
