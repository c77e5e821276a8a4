//! The file formats of labelled texts, one per module, and their file extensions.

use std::path::Path;

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::{Dataset, ReadOptions};
use crate::{Error, Result, Setting, UnknownName};

mod csv;
mod jsonl;
mod lines;
mod tsv;

pub(in crate::data) use lines::read as read_plain;
pub use lines::{Lines, read_lines};

/// How rows and fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase", parse_err_ty = UnknownName, parse_err_fn = unknown)]
pub enum Format {
    /// Fields between tabs, one row per line; a double quote is an ordinary character, as in GLUE's files.
    Tsv,
    /// RFC 4180: fields between commas, quoted if they contain commas, quotes or line breaks.
    Csv,
    /// One JSON object per line.
    Jsonl,
    /// One text per line, or a pair of texts with a tab between them; no labels, no header.
    Lines,
    /// A word and its tag per line, between blanks or tabs, and a blank line behind each sentence.
    Conll,
    /// CoNLL-U, the ten columns of Universal Dependencies.
    Conllu,
}

impl Format {
    /// Every format.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name of the format, which [`FromStr`](std::str::FromStr) reads.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The format that a file's extension stands for: `.tsv` and `.txt`, `.csv`, `.jsonl`, `.ndjson` and `.json`, in
    /// any case.
    ///
    /// # Errors
    /// [`Error::DataFile`] for any other.
    pub fn of(path: &Path) -> Result<Self> {
        match extension(path).as_str() {
            "tsv" | "txt" => Ok(Self::Tsv),
            "csv" => Ok(Self::Csv),
            "jsonl" | "ndjson" | "json" => Ok(Self::Jsonl),
            other => {
                let what = match other {
                    "" => "the name has no extension".into(),
                    other => format!("the extension .{other} is that of no known format"),
                };
                Err(Error::UnknownFormat { path: path.into(), reason: what })
            }
        }
    }

    /// Reads a whole stream; `path` names it in errors.
    pub(super) fn read(self, reader: impl std::io::BufRead, path: &Path, options: &ReadOptions) -> Result<Dataset> {
        match self {
            Self::Tsv => tsv::read(reader, path, options),
            Self::Csv => csv::read(reader, path, options),
            Self::Jsonl => jsonl::read(reader, path, options),
            Self::Lines => lines::read(reader, path, options),
            Self::Conll | Self::Conllu => Err(Error::Setting {
                setting: Setting::Format,
                value: self.to_string(),
                reason: "it holds words with tags, which a task of the kind tag reads",
            }),
        }
    }
}

fn unknown(name: &str) -> UnknownName {
    UnknownName { what: "format", name: name.into(), known: Format::ALL.iter().map(|format| format.name()).collect() }
}

/// Whether the file may be texts without columns.
pub(super) fn is_plain_text(path: &Path) -> bool {
    extension(path) == "txt"
}

fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(*format));
        }
        let error = "parquet".parse::<Format>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no format \"parquet\"; expected tsv, csv, jsonl, lines, conll or conllu"
        );
    }

    #[test]
    fn an_extension_in_any_case() {
        assert_eq!(Format::of(Path::new("x/Train.TSV")).unwrap(), Format::Tsv);
        assert_eq!(Format::of(Path::new("train.tsv.json")).unwrap(), Format::Jsonl);
        for unknown in ["train", "train.tsv.gz", ".tsv", "<stdin>"] {
            let error = Format::of(Path::new(unknown)).unwrap_err().to_string();
            assert!(error.starts_with(unknown) && error.contains("give the format"), "{error}");
        }
    }
}
