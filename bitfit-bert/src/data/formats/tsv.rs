//! Tab-separated values, without quoting, because GLUE's files contain double quotes that are never closed.

use std::io::BufRead;
use std::path::Path;

use crate::Result;
use crate::data::line_reader::{Blanks, LineReader};
use crate::data::table::Table;
use crate::data::{Dataset, ReadOptions};

/// Reads the rows of a file: fields are the text between tabs.
pub(super) fn read(reader: impl BufRead, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    let mut lines = LineReader::new(reader, path);
    let mut table = Table::new(path, options);
    let mut blanks = Blanks::default();
    while let Some((line, text)) = lines.next()? {
        if blanks.holds(line, text) {
            continue;
        }
        for blank in blanks.before_row() {
            table.blank(blank)?;
        }
        table.row(line, &text.split('\t').collect::<Vec<_>>())?;
    }
    table.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::presets::GlueTask;

    fn tsv(bytes: &[u8]) -> Result<Dataset> {
        read(bytes, Path::new("in.tsv"), &ReadOptions::default())
    }

    fn message(bytes: &[u8]) -> String {
        tsv(bytes).unwrap_err().to_string()
    }

    #[test]
    fn quotes_are_characters() {
        let set = tsv(b"text\tlabel\n\"open\t1\na \"b\" c\"\t0\n").unwrap();
        let texts: Vec<_> = set.examples.iter().map(|e| e.text.as_str()).collect();
        assert_eq!(texts, ["\"open", "a \"b\" c\""]);
    }

    #[test]
    fn line_ends_marks_and_blank_lines_at_the_end_do_not_matter() {
        let plain = tsv(b"text\tlabel\nmoi\t1\nhei \t0\n").unwrap();
        assert_eq!(plain.examples[1].text, "hei ");
        for same in [
            &b"\xef\xbb\xbftext\tlabel\r\nmoi\t1\r\nhei \t0\r\n"[..],
            b"text\tlabel\nmoi\t1\nhei \t0",
            b"text\tlabel\nmoi\t 1\nhei \t0\r\n\n\t\n  \r\n\r\n",
        ] {
            assert_eq!(tsv(same).unwrap(), plain);
        }
    }

    #[test]
    fn a_text_may_be_empty_and_a_label_may_not() {
        assert_eq!(tsv(b"text\tlabel\n\t1\n").unwrap().examples[0].text, "");
        let error = tsv(b"text\tlabel\na\t1\nb\t \n").unwrap_err();
        assert!(matches!(&error, Error::DataField { line: 3, column, .. } if column == "label"), "{error}");
        assert_eq!(error.to_string(), "in.tsv, line 3, column label: the label is empty");
    }

    #[test]
    fn a_row_of_another_width_is_refused_with_its_line() {
        assert_eq!(
            message(b"text\tlabel\na\t1\nb\n"),
            "in.tsv, line 3: expected 2 columns as in the first row, found 1 column"
        );
        assert_eq!(
            message(b"text\tlabel\na\tb\t1\n"),
            "in.tsv, line 2: expected 2 columns as in the first row, found 3 columns"
        );
    }

    #[test]
    fn a_blank_line_between_rows_is_refused() {
        assert_eq!(message(b"text\tlabel\na\t1\n\n\nb\t0\n"), "in.tsv, line 3: a blank line between rows");
        assert_eq!(message(b"\ntext\tlabel\na\t1\n"), "in.tsv, line 1: a blank line between rows");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_line() {
        assert!(message(b"text\tlabel\na\t1\ncaf\xe9\t1\n").starts_with("in.tsv, line 3: not valid UTF-8"));
        let utf16: Vec<u8> = "\u{feff}text\tlabel\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(message(&utf16).starts_with("in.tsv, line 1: not valid UTF-8"));
    }

    #[test]
    fn quora_rows_that_are_cut_in_two_are_left_out_and_reported() {
        let file = b"id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n\
            1\t3\t4\tWhy?\tWhy not?\t0\n\
            2\t5\t6\tHow do I\n\
            \n\
            do it?\tHow?\t1\n\
            3\t7\t8\tWho?\tWho is it?\t1\n";
        let qqp = ReadOptions { task: Some(GlueTask::Qqp), ..ReadOptions::default() };
        let set = read(&file[..], Path::new("train.tsv"), &qqp).unwrap();
        assert_eq!(set.skipped, [3, 4, 5]);
        assert_eq!(set.examples.iter().map(|e| e.line).collect::<Vec<_>>(), [2, 6]);
        // If labels are not required, the line is refused, because answers must correspond to the rows.
        let answered = ReadOptions { require_labels: false, ..qqp };
        let error = read(&file[..], Path::new("train.tsv"), &answered).unwrap_err();
        assert!(matches!(error, Error::DataRow { line: 3, .. }), "{error}");
        // Only this preset skips such rows.
        let mut plain = ReadOptions::default();
        plain.columns.label = Some("is_duplicate".into());
        let error = read(&file[..], Path::new("train.tsv"), &plain).unwrap_err();
        assert!(matches!(error, Error::DataRow { line: 3, .. }), "{error}");
    }

    #[test]
    fn a_file_of_nothing_but_broken_rows_says_so() {
        let file = b"id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\n3\n";
        let qqp = ReadOptions { task: Some(GlueTask::Qqp), ..ReadOptions::default() };
        let error = read(&file[..], Path::new("train.tsv"), &qqp).unwrap_err().to_string();
        assert!(error.contains("all 2 are malformed"), "{error}");
    }

    #[test]
    fn old_macintosh_line_ends_are_not_lines() {
        assert!(tsv(b"text\tlabel\ra\t1\rb\t0\r").is_err());
    }
}
