//! Tables between separators of every kind, quoted and literal.

use std::io::{self, Read};
use std::path::Path;

use super::*;
use crate::data::{Columns, Format, Header};
use crate::presets::GlueTask;

fn from(reader: impl Read, name: &str, options: &ReadOptions) -> Result<Dataset> {
    Dataset::from_reader(reader, Path::new(name), options)
}

fn tsv(bytes: &[u8]) -> Result<Dataset> {
    from(bytes, "in.tsv", &ReadOptions::default())
}

fn tsv_message(bytes: &[u8]) -> String {
    tsv(bytes).unwrap_err().to_string()
}

fn csv(bytes: &[u8]) -> Result<Dataset> {
    from(bytes, "in.csv", &ReadOptions::default())
}

fn csv_message(bytes: &[u8]) -> String {
    csv(bytes).unwrap_err().to_string()
}

/// The texts of a set.
fn texts(set: &Dataset) -> Vec<&str> {
    set.examples.iter().map(|example| example.text.as_str()).collect()
}

/// The labels of a set.
fn labels(set: &Dataset) -> Vec<&str> {
    set.examples.iter().map(|example| example.label.as_ref().map_or("", |label| label.as_str())).collect()
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
        tsv_message(b"text\tlabel\na\t1\nb\n"),
        "in.tsv, line 3: expected 2 columns as in the first row, found 1 column"
    );
    assert_eq!(
        tsv_message(b"text\tlabel\na\tb\t1\n"),
        "in.tsv, line 2: expected 2 columns as in the first row, found 3 columns"
    );
}

#[test]
fn a_blank_line_between_rows_is_refused() {
    assert_eq!(tsv_message(b"text\tlabel\na\t1\n\n\nb\t0\n"), "in.tsv, line 3: a blank line between rows");
    assert_eq!(tsv_message(b"\ntext\tlabel\na\t1\n"), "in.tsv, line 1: a blank line between rows");
}

#[test]
fn bytes_that_are_not_utf8_are_refused_with_their_line() {
    assert!(tsv_message(b"text\tlabel\na\t1\ncaf\xe9\t1\n").starts_with("in.tsv, line 3: not valid UTF-8"));
    let utf16: Vec<u8> = "\u{feff}text\tlabel\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(tsv_message(&utf16).starts_with("in.tsv, line 1: not valid UTF-8"));
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
    let set = from(&file[..], "train.tsv", &qqp).unwrap();
    assert_eq!(set.skipped, [3, 4, 5]);
    assert_eq!(set.examples.iter().map(|e| e.line).collect::<Vec<_>>(), [2, 6]);
    // If labels are not required, the line is refused, because answers must correspond to the rows.
    let answered = ReadOptions { require_labels: false, ..qqp };
    let error = from(&file[..], "train.tsv", &answered).unwrap_err();
    assert!(matches!(error, Error::DataRow { line: 3, .. }), "{error}");
    // Only this preset skips such rows.
    let mut plain = ReadOptions::default();
    plain.columns.label = Some("is_duplicate".into());
    let error = from(&file[..], "train.tsv", &plain).unwrap_err();
    assert!(matches!(error, Error::DataRow { line: 3, .. }), "{error}");
}

#[test]
fn a_file_of_nothing_but_broken_rows_says_so() {
    let file = b"id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\n3\n";
    let qqp = ReadOptions { task: Some(GlueTask::Qqp), ..ReadOptions::default() };
    let error = from(&file[..], "train.tsv", &qqp).unwrap_err().to_string();
    assert!(error.contains("all 2 are malformed"), "{error}");
}

#[test]
fn old_macintosh_line_ends_are_line_ends_where_there_are_no_others() {
    assert_eq!(texts(&tsv(b"text\tlabel\ra\t1\rb\t0\r").unwrap()), ["a", "b"]);
    assert_eq!(texts(&csv(b"text,label\r\"a\rb\",1\rc,0\r").unwrap()), ["a\nb", "c"]);
    assert_eq!(texts(&tsv(b"text\tlabel\na\rb\t1\n").unwrap()), ["a\rb"]);
}

#[test]
fn quoted_fields_hold_commas_quotes_and_line_breaks() {
    let set = csv(b"text,label\n\"a, \"\"b\"\"\n\nc\",1\nplain,0\n\"\",1\n").unwrap();
    let read: Vec<_> = set.examples.iter().map(|e| (e.text.as_str(), e.line)).collect();
    assert_eq!(read, [("a, \"b\"\n\nc", 2), ("plain", 5), ("", 6)]);
}

#[test]
fn marks_and_line_ends_do_not_matter() {
    let plain = csv(b"text,label\na,1\nb,0\n").unwrap();
    for same in [
        &b"\xef\xbb\xbftext,label\r\na,1\r\nb,0\r\n"[..],
        b"\xef\xbb\xbf\"text\",\"label\"\r\n\"a\",1\r\nb,0",
        b"\xef\xbb\xbf\xef\xbb\xbftext,label\na,1\nb,0",
        b"text,label\na,1\nb,0\n\n\r\n\n",
    ] {
        assert_eq!(csv(same).unwrap(), plain);
        for most in 1..4 {
            let pieces = io::BufReader::with_capacity(most, same);
            let set = from(pieces, "in.csv", &ReadOptions::default()).unwrap();
            assert_eq!(set, plain, "{most} bytes at a time");
        }
    }
}

#[test]
fn lines_are_counted_through_line_breaks_in_fields() {
    assert_eq!(
        csv_message(b"text,label\r\n\"a\r\nb\",1\r\nc\r\n"),
        "in.csv, line 4: expected 2 columns as in the first row, found 1 column"
    );
    assert_eq!(
        csv_message(b"text,label\na,b,1\n"),
        "in.csv, line 2: expected 2 columns as in the first row, found 3 columns"
    );
    assert_eq!(csv_message(b"text,label\n\"a\nb\",1\nc,\n"), "in.csv, line 4, column label: the label is empty");
    assert!(csv_message(b"text,label\na,1\ncaf\xe9,1\n").starts_with("in.csv, line 3: not valid UTF-8"));
}

#[test]
fn a_quote_that_is_never_closed_is_refused() {
    let message = csv_message(b"text,label\na,1\nb,\"0\nc,1\nd,0\n");
    assert!(message.starts_with("in.csv, line 3: a quote is opened here"), "{message}");
    assert!(csv(b"text,label\na,1\nb,\"0").unwrap_err().to_string().contains("line 3: a quote"));
    // A lone quote inside an unquoted field is a character, whatever is quoted after it.
    let set = csv(b"text,label\n5\" pipe,1\n\"b\n\nc\",0\n").unwrap();
    assert_eq!((set.examples[0].text.as_str(), set.examples[1].text.as_str()), ("5\" pipe", "b\n\nc"));
}

#[test]
fn what_is_refused_does_not_depend_on_how_much_was_read_before() {
    for (file, expected) in [
        (&b"one\n\nlabel\n"[..], "in.csv: no text column is recognised"),
        (b"text,label\na\n\nb,1\n", "in.csv, line 2: expected 2 columns"),
        (b"text,label\n\na\nb,1\n", "in.csv, line 2: a blank line"),
        (b"text,label\na,1\n\n\nb\n", "in.csv, line 3: a blank line"),
        (b"text,label\na,1\rb,1\rc\n\nd,1\n", "in.csv, line 2: a carriage return"),
        (b"text,label\n\"\na\",1\r\n\r\nc\n", "in.csv, line 4: a blank line"),
    ] {
        for most in [1, 2, 3, 1_000] {
            let pieces = io::BufReader::with_capacity(most, file);
            let message = from(pieces, "in.csv", &ReadOptions::default()).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{most} bytes at a time: {message}");
        }
    }
}

#[test]
fn a_broken_record_is_reported_whatever_follows_it() {
    // The reader has seen bytes far beyond the record that it returns, up to the middle of a quoted field.
    let file = format!("text,label\n\"a\nb\"\n\"{}\",1\n", "x".repeat(20_000));
    assert_eq!(csv_message(file.as_bytes()), "in.csv, line 2: expected 2 columns as in the first row, found 1 column");
}

#[test]
fn a_blank_line_between_records_is_refused() {
    assert_eq!(csv_message(b"text,label\na,1\n\nb,0\n"), "in.csv, line 3: a blank line between rows");
    assert_eq!(csv_message(b"text,label\r\n\r\nb,0,7\r\n"), "in.csv, line 2: a blank line between rows");
}

#[test]
fn a_record_longer_than_any_buffer_is_read() {
    let long = "x, ".repeat(100_000);
    let file = format!("text,label\n\"{long}\",1\nshort,0\n");
    let set = csv(file.as_bytes()).unwrap();
    assert_eq!((set.examples[0].text.len(), set.examples[1].line), (300_000, 3));
}

#[test]
fn a_record_without_end_is_refused_before_it_fills_the_memory() {
    let endless = b"text,label\na,1\n\"b".chain(io::repeat(b'x'));
    let error = from(endless, "in.csv", &ReadOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "in.csv, line 3: a line of more than 64 MiB, the longest that is read");
    let lines = b"text,label\n\"".chain(io::repeat(b'\n'));
    let error = from(lines, "in.csv", &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("in.csv, line 2: a record of more than 64 MiB"), "{error}");
}

#[test]
fn quotes_of_a_program_that_quotes_fields_are_taken_off_between_tabs() {
    // As DataFrame.to_csv(sep="\t") writes them: by need, and with quoting=csv.QUOTE_ALL and QUOTE_NONNUMERIC.
    for (file, expected) in [
        ("text\tlabel\nplain\tb\n\"He said \"\"never\"\"\"\ta\n", ["plain", "He said \"never\""]),
        ("text\tlabel\n\"first\nsecond\"\tb\nplain\ta\n", ["first\nsecond", "plain"]),
        ("text\tlabel\n\"left\tright\"\tb\nplain\ta\n", ["left\tright", "plain"]),
        ("\"text\"\t\"label\"\n\"one, two\"\t\"b\"\n\"three\"\t\"a\"\n", ["one, two", "three"]),
        ("text\tlabel\n\"one\"\t\"b\"\n\"two\"\t\"a\"\n", ["one", "two"]),
        ("\"text\"\t\"n\"\t\"label\"\n\"one\"\t0.5\t\"b\"\n\"two\"\t\t\"a\"\n", ["one", "two"]),
    ] {
        let set = tsv(file.as_bytes()).unwrap();
        assert_eq!((texts(&set), labels(&set)), (expected.into(), vec!["b", "a"]), "{file}");
        assert!(set.found.contains(&"fields in quotes".to_owned()), "{:?}", set.found);
    }
}

#[test]
fn quotes_that_are_not_those_of_a_program_are_characters_between_tabs() {
    for (file, expected) in [
        // A quote inside a field without quotes, after a field that would be a quoted one.
        ("text\tlabel\n\"all of it\"\tb\nit is \"so\"\ta\n", ["\"all of it\"", "it is \"so\""]),
        // Something after the closing quote.
        ("text\tlabel\n\"so\" he said\tb\n\"all\"\ta\n", ["\"so\" he said", "\"all\""]),
        // A quote that is never closed.
        ("text\tlabel\nplain\tb\n\"open\ta\n", ["plain", "\"open"]),
    ] {
        let set = tsv(file.as_bytes()).unwrap();
        assert_eq!((texts(&set), labels(&set)), (expected.into(), vec!["b", "a"]), "{file}");
        assert!(set.found.is_empty());
    }
    // A quoted field in a column that is not read decides nothing and asks nothing.
    let set = tsv(b"text\tlabel\tid\nplain\tb\t\"x\"\nmore\ta\ty\n").unwrap();
    assert_eq!(texts(&set), ["plain", "more"]);
}

#[test]
fn quotes_that_may_be_either_are_asked_about() {
    let file = b"text\tlabel\nplain\tb\n\"all of it\"\ta\n";
    let error = tsv(file).unwrap_err();
    assert_eq!(error.settings(), [Setting::Format, Setting::Delimiter]);
    assert!(error.to_string().starts_with("in.tsv, line 3: a field is in quotes"), "{error}");
    let read = |format, delimiter| {
        let options = ReadOptions { format: Some(format), delimiter, ..ReadOptions::default() };
        from(&file[..], "in.tsv", &options).unwrap()
    };
    assert_eq!(texts(&read(Format::Tsv, None)), ["plain", "\"all of it\""]);
    assert_eq!(texts(&read(Format::Csv, Some(b'\t'))), ["plain", "all of it"]);
}

#[test]
fn a_first_row_in_quotes_holds_the_others_to_it() {
    // R's write.table escapes quotes by a backslash.
    let message = tsv_message(b"\"text\"\t\"label\"\n\"2\\\" seam\"\t\"b\"\nplain\t\"a\"\n");
    assert!(message.starts_with("in.tsv, line 2: ' ' follows the quote"), "{message}");
    let message = tsv_message(b"\"text\"\t\"label\"\n\"one\"\t\"b\"\n\"two\t\"a\"\n");
    assert!(message.starts_with("in.tsv, line 3: 'a' follows the quote"), "{message}");
}

#[test]
fn a_table_that_fails_in_both_ways_is_refused_by_its_literal_reading() {
    assert_eq!(
        tsv_message(b"text\tlabel\n\"a\"\t1\nb\n"),
        "in.tsv, line 3: expected 2 columns as in the first row, found 1 column"
    );
    assert_eq!(
        tsv_message(b"text\tlabel\n\"a\tb\t1\nc\t0\n"),
        "in.tsv, line 2: expected 2 columns as in the first row, found 3 columns"
    );
}

#[test]
fn separators_are_recognised_by_the_names_that_they_separate() {
    for (name, file, note) in [
        ("in.csv", "text;label\nguter Tag, alle;b\n\"a;\nb\";a\n", "separated by ;"),
        ("in.csv", "text|label\nguter Tag, alle|b\n\"a;\nb\"|a\n", "separated by |"),
        ("in.csv", "text\tlabel\nguter Tag, alle\tb\n\"a;\nb\"\ta\n", "separated by tabs"),
        ("in.csv", "sep=;\r\ntext;label\r\nguter Tag, alle;b\r\n\"a;\nb\";a\r\n", "separated by ;"),
        ("in.tsv", "text,label\n\"guter Tag, alle\",b\n\"a;\nb\",a\n", "separated by ,"),
        ("in.data", "label;text\nb;guter Tag, alle\na;\"a;\nb\"\n", "separated by ;"),
        ("in", "label\ttext\nb\tguter Tag, alle\na\t\"a;\nb\"\n", "separated by tabs"),
    ] {
        let set = from(file.as_bytes(), name, &ReadOptions::default()).unwrap();
        assert_eq!((texts(&set), labels(&set)), (vec!["guter Tag, alle", "a;\nb"], vec!["b", "a"]), "{file}");
        assert_eq!(set.found[0], note, "{file}");
        // A file that is longer than what is looked at.
        let separator = note.trim_start_matches("separated by ").replace("tabs", "\t");
        let long = format!("{file}{}", format!("\"z\"{separator}z\n").repeat(20_000));
        assert_eq!(from(long.as_bytes(), name, &ReadOptions::default()).unwrap().examples.len(), 20_002, "{file}");
    }
}

#[test]
fn separators_are_recognised_between_columns_by_number() {
    let by_number = |file: &str| {
        let columns = Columns { text: vec!["0".into()], label: Some("1".into()), ..Columns::default() };
        from(file.as_bytes(), "in.csv", &ReadOptions { columns, ..ReadOptions::default() })
    };
    // The first row alone might as well be separated by a comma.
    let set = by_number("good, nice;b\nbad;a\n").unwrap();
    assert_eq!((texts(&set), set.found.clone()), (vec!["good, nice", "bad"], vec!["separated by ;".to_owned()]));
    let error = by_number("good, nice;b\nbad, ugly;a\n").unwrap_err();
    assert_eq!(error.to_string(), "in.csv, line 1: its rows may be separated by , or by ;; say which");
    assert_eq!(error.settings(), [Setting::Delimiter]);
}

#[test]
fn columns_that_are_not_found_are_those_of_the_separator_in_the_rows() {
    let message = csv_message(b"Beitrag;Klasse\nguter Tag;b\n");
    assert!(message.contains("the first row has 0 \"Beitrag\", 1 \"Klasse\""), "{message}");
    let message = csv_message(b"Beitrag\nguter; Tag;b\n");
    assert!(message.contains("the first row has 0 \"Beitrag\";"), "{message}");
}

#[test]
fn a_separator_that_is_given_is_the_separator() {
    let read = |delimiter, format, file: &str| {
        from(file.as_bytes(), "in.csv", &ReadOptions { delimiter: Some(delimiter), format, ..ReadOptions::default() })
    };
    let set = read(b'^', None, "text^label\n\"a^\"^b\n").unwrap();
    assert_eq!((texts(&set), labels(&set), set.found.len()), (vec!["a^"], vec!["b"], 0));
    let set = read(b',', Some(Format::Tsv), "text,label\n\"2\\\" seam,b\n").unwrap();
    assert_eq!(texts(&set), ["\"2\\\" seam"]);
    for (delimiter, format) in [(b'"', None), (b'\n', None), (0xe9, None), (b';', Some(Format::Jsonl))] {
        assert_eq!(read(delimiter, format, "text;label\n").unwrap_err().settings(), [Setting::Delimiter]);
    }
}

#[test]
fn broken_quoting_is_refused_with_its_line_and_the_way_out() {
    for file in ["text,label\n\"2\\\" seam\",b\n", "text,label\n\"2\\\" seam, blue\",b\n", "text, label\na, \"b\"\n"] {
        let error = csv(file.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("in.csv, line 2: ") && error.to_string().contains("quote"), "{error}");
        assert_eq!(error.settings(), [Setting::Format, Setting::Delimiter]);
    }
}

#[test]
fn a_header_that_numbers_the_columns_is_one() {
    let by_number = |file: &str, header| {
        let columns = Columns { text: vec!["0".into()], label: Some("1".into()), header };
        from(file.as_bytes(), "in.csv", &ReadOptions { columns, ..ReadOptions::default() })
    };
    let set = by_number("0,1\ngood,1\nbad,0\n", Header::Auto).unwrap();
    assert_eq!((texts(&set), set.found.len(), set.header_is_unsure), (vec!["good", "bad"], 1, false));
    assert!(set.found[0].contains("header"), "{:?}", set.found);
    assert_eq!(by_number("0,1\ngood,1\nbad,0\n", Header::No).unwrap().examples.len(), 3);
    // Beside pandas' index, 0 may be the index or the column called so.
    let error = by_number(",0,1\n0,good,1\n1,bad,0\n", Header::Auto).unwrap_err();
    assert_eq!(error.settings(), [Setting::Header]);
    assert_eq!(texts(&by_number(",0,1\n0,good,1\n1,bad,0\n", Header::Yes).unwrap()), ["0", "1"]);
}
