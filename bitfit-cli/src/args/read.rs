//! The flags that say how a data file is read.

use anyhow::{Result, bail};
use bitfit_bert::data::{Columns, Contents, Format, Header, Kind, ReadOptions, SeveralLabels};
use bitfit_bert::presets::GlueTask;
use clap::Args;

use super::{unreadable, values};

/// How to read a data file.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Column of the text, or the two columns of a pair, each by name or by number from 0 [default: by common names]
    ///
    /// The common names are text and sentence, and for pairs sentence1 and sentence2, question1 and question2, premise
    /// and hypothesis, question and sentence, question and context.
    #[arg(long, value_name = "COL[,COL2]", value_delimiter = ',', help_heading = "Model and data")]
    pub text: Vec<String>,

    /// Format of the data [default: by the file's extension and its first bytes]
    ///
    /// In tsv, fields are separated by tabs and quotes have no special meaning, as in GLUE's files. csv is RFC 4180.
    /// Where neither is given, quotes between tabs enclose fields if the whole file is consistent with that. jsonl is
    /// JSON objects, one per line, over several lines, in an array, or in the one array of an object, and exports of
    /// Label Studio, doccano, Argilla and Prodigy. lines is one text per line, with a tab between the two texts of a
    /// pair, and has no labels. Words with tags are in conll (one word with its tag per line, a blank line after each
    /// sentence), conllu or jsonl (a list of words and one of tags, or a text with labelled spans of characters, as the
    /// same tools export it), which is found by looking at the file. Questions with a context and answers are in jsonl:
    /// SQuAD's files, or rows with id, question, context and answers. From parquet, columns of strings are read, and
    /// for the labels also integers, floats and booleans. Files packed with gzip are unpacked.
    #[arg(long, value_name = "FORMAT", value_parser = values::format(), help_heading = "Model and data")]
    pub format: Option<Format>,

    /// Character between the fields of a table, or tab [default: found in the first rows: tab , ; or |]
    #[arg(long, value_name = "CHAR", value_parser = values::delimiter, help_heading = "Model and data")]
    pub delimiter: Option<u8>,

    /// Read the first row as column names, even if columns are chosen by number
    #[arg(long, conflicts_with = "no_header", help_heading = "Model and data")]
    pub header: bool,

    /// Read the first row as data; columns must be chosen by number
    #[arg(long, help_heading = "Model and data")]
    pub no_header: bool,
}

impl ReadArgs {
    /// The first flag that is given of those that choose columns, or where the first row begins.
    pub fn of_columns(&self) -> Option<&'static str> {
        let flags = [
            ("--text", !self.text.is_empty()),
            ("--delimiter", self.delimiter.is_some()),
            ("--header", self.header),
            ("--no-header", self.no_header),
        ];
        flags.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }

    /// Refuses a `--delimiter` that cannot separate fields, or whose format has none, whatever the file holds.
    ///
    /// # Errors
    /// [`Unreadable`](super::Unreadable).
    pub fn check(&self) -> Result<()> {
        // Which formats there may be is the task's, but none without fields has a separator.
        match self.delimiter {
            Some(_) => self.options(None, None, false).validate().map_err(|error| unreadable(error.into())),
            None => Ok(()),
        }
    }

    /// The library's options, with the command's `--task` and `--label`.
    pub fn options(&self, task: Option<GlueTask>, label: Option<&str>, require_labels: bool) -> ReadOptions {
        let header = match (self.header, self.no_header) {
            (true, _) => Header::Yes,
            (_, true) => Header::No,
            _ => Header::Auto,
        };
        let text = self.text.iter().map(|column| column.as_str().into()).collect();
        let columns = Columns { text, label: label.map(Into::into), header };
        ReadOptions {
            format: self.format,
            delimiter: self.delimiter,
            task,
            columns,
            require_labels,
            several: None,
            contents: Contents::Texts,
        }
    }

    /// The options for labels of this kind: those of several labels a text may be in several columns, or in one with a
    /// separator.
    ///
    /// # Errors
    /// For a separator where a text has one label, and for a column of labels where it has none.
    pub fn labelled(
        &self,
        kind: Kind,
        task: Option<GlueTask>,
        label: Option<&str>,
        separator: Option<char>,
    ) -> Result<ReadOptions> {
        if kind == Kind::MaskedLm {
            let flags = [("--label", label.is_some()), ("--label-separator", separator.is_some())];
            return match flags.into_iter().find(|(_, is_given)| *is_given) {
                Some((flag, _)) => {
                    bail!("{flag}: texts of kind {kind} need no labels, and those there are are ignored")
                }
                None => Ok(self.options(task, None, false)),
            };
        }
        if kind != Kind::MultiLabel {
            if separator.is_some() {
                bail!("--label-separator: a text of kind {kind} has one label; choose --kind multi-label for several");
            }
            return Ok(ReadOptions { contents: Contents::of(kind), ..self.options(task, label, true) });
        }
        let mut columns = label.into_iter().flat_map(|columns| columns.split(','));
        let options = self.options(task, columns.next(), true);
        let further_columns = columns.map(Into::into).collect();
        Ok(ReadOptions { several: Some(SeveralLabels { separator, further_columns }), ..options })
    }
}

/// How to read a data file with the labels of a task file.
#[derive(Debug, Args)]
pub struct LabelledArgs {
    #[command(flatten)]
    pub file: ReadArgs,

    /// Column of the label, by name or by number from 0 [default: by common names]
    ///
    /// For a task of several labels it may be a list of columns with commas, one of 0 and 1 for each label.
    #[arg(long, value_name = "COL", help_heading = "Model and data")]
    label: Option<String>,

    /// Character between the labels of a field, where a text has several, such as ; , or | [default: the one under
    /// which the task has every label]
    #[arg(
        long, value_name = "CHAR", value_parser = values::separator, allow_hyphen_values = true,
        help_heading = "Model and data"
    )]
    label_separator: Option<char>,
}

impl LabelledArgs {
    /// As [`ReadArgs::labelled`].
    pub fn options(&self, kind: Kind, task: Option<GlueTask>) -> Result<ReadOptions> {
        self.file.labelled(kind, task, self.label.as_deref(), self.label_separator)
    }
}
