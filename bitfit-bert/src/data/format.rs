//! The file formats of labelled texts, and which extension means which.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::{Error, Result};

/// How rows and fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Fields between tabs, one row a line; a double quote is a character like any other, as in GLUE's files.
    Tsv,
    /// RFC 4180: fields between commas, quoted where they hold commas, quotes or line breaks.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// One text a line, or a pair of texts with a tab between them; no labels, no header.
    Lines,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Tsv, Self::Csv, Self::Jsonl, Self::Lines];

    /// The format's name, as [`FromStr`] reads it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tsv => "tsv",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Lines => "lines",
        }
    }

    /// The format that a file's extension says: `.tsv` and `.txt`, `.csv`, `.jsonl`, `.ndjson` and `.json`, in any case.
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
                    other => format!("the extension .{other} tells no format"),
                };
                let reason = format!("{what}; give the format with --format tsv, csv, jsonl or lines");
                Err(Error::DataFile { path: path.into(), reason })
            }
        }
    }
}

/// Whether the file may be texts without columns.
pub(super) fn is_plain_text(path: &Path) -> bool {
    extension(path) == "txt"
}

fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    /// Reads a [`name`](Self::name); the error says which there are.
    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| format!("there is no format {name:?}; there are tsv, csv, jsonl and lines"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("parquet".parse::<Format>().unwrap_err().contains("jsonl"));
    }

    #[test]
    fn an_extension_in_any_case() {
        assert_eq!(Format::of(Path::new("x/Train.TSV")).unwrap(), Format::Tsv);
        assert_eq!(Format::of(Path::new("train.tsv.json")).unwrap(), Format::Jsonl);
        for unknown in ["train", "train.tsv.gz", ".tsv", "<stdin>"] {
            let error = Format::of(Path::new(unknown)).unwrap_err().to_string();
            assert!(error.starts_with(unknown) && error.contains("--format"), "{error}");
        }
    }
}
