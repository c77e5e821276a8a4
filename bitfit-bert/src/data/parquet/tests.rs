//! Files of `tests/goldens/parquet_files.py`, and files that are broken.

use super::*;
use crate::data::{Columns, Label};

/// Files of tests/goldens/parquet_files.py.
const SNAPPY: &[u8] = include_bytes!("../../../tests/goldens/parquet/snappy.parquet");
const ZSTD: &[u8] = include_bytes!("../../../tests/goldens/parquet/zstd.parquet");
const GZIP: &[u8] = include_bytes!("../../../tests/goldens/parquet/gzip.parquet");
const CHECKSUMS: &[u8] = include_bytes!("../../../tests/goldens/parquet/checksums.parquet");
const CONSTANT: &[u8] = include_bytes!("../../../tests/goldens/parquet/constant.parquet");
const ENCODINGS: [&[u8]; 2] = [
    include_bytes!("../../../tests/goldens/parquet/encodings-1.parquet"),
    include_bytes!("../../../tests/goldens/parquet/encodings-2.parquet"),
];

fn set(bytes: &[u8], text: &str, label: &str) -> Result<Dataset> {
    let columns = Columns { text: vec![text.into()], label: Some(label.into()), ..Columns::default() };
    Dataset::from_reader(bytes, Path::new("in.parquet"), &ReadOptions { columns, ..ReadOptions::default() })
}

fn labels(set: &Dataset) -> Vec<&str> {
    set.examples.iter().map(|example| example.label.as_ref().map_or("", |label| label.as_str())).collect()
}

#[test]
fn every_codec_is_read() {
    for bytes in [SNAPPY, ZSTD, GZIP, CHECKSUMS] {
        let set = Dataset::from_reader(bytes, Path::new("in.parquet"), &ReadOptions::default()).unwrap();
        assert_eq!(set.examples.len(), 300);
        let first: Vec<_> = set.examples[..2].iter().map(|e| (e.text.as_str(), e.line)).collect();
        assert_eq!(first, [("text 0, \"é\"\n", 1), ("text 1, \"é\"\n", 2)]);
        assert_eq!(labels(&set)[..3], ["neg", "pos", "neg"]);
    }
}

#[test]
fn labels_of_every_plain_type_are_read() {
    for (column, expected) in
        [("integer", ["0", "1", "2"]), ("float", ["0.0", "0.1", "0.2"]), ("single", ["0.0", "0.1", "0.2"])]
    {
        assert_eq!(labels(&set(SNAPPY, "text", column).unwrap())[..3], expected, "{column}");
    }
    assert_eq!(labels(&set(SNAPPY, "text", "boolean").unwrap())[..2], ["true", "false"]);
    let error = set(SNAPPY, "text", "gap").unwrap_err();
    assert_eq!(error.to_string(), "in.parquet, line 2, column gap: the label is null");
}

#[test]
fn a_column_of_another_type_is_refused_by_name_and_type() {
    for (text, label, parts, setting) in [
        ("integer", "label", ["\"integer\"", "INT64"], Setting::TextColumn),
        ("bytes", "label", ["\"bytes\"", "BYTE_ARRAY"], Setting::TextColumn),
        ("text", "list", ["\"list\"", "its type is LIST"], Setting::LabelColumn),
        ("text", "time", ["\"time\"", "its type is INT64 (TIMESTAMP)"], Setting::LabelColumn),
    ] {
        let error = set(SNAPPY, text, label).unwrap_err();
        assert_eq!(error.settings(), [setting]);
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
    }
}

#[test]
fn a_file_that_is_cut_or_changed_is_refused() {
    for cut in [4, 100, SNAPPY.len() - 1] {
        let error = set(&SNAPPY[..cut], "text", "label").unwrap_err().to_string();
        assert!(error.starts_with("in.parquet: not a sound Parquet file: "), "{error}");
    }
    let mut read = 0;
    for at in (0..SNAPPY.len()).step_by(7) {
        let mut bytes = SNAPPY.to_vec();
        bytes[at] ^= 0x55;
        read += usize::from(set(&bytes, "text", "label").is_ok());
    }
    assert!(read < SNAPPY.len() / 7);
}

#[test]
fn every_encoding_is_read_in_both_layouts_of_pages() {
    let text = |row: usize| format!("text {row:04}, \"é\"\n").repeat(row % 5);
    for file in ENCODINGS {
        for column in ["text", "length"] {
            let set = set(file, column, "required").unwrap();
            assert_eq!(set.examples.len(), 700);
            for (row, example) in set.examples.iter().enumerate() {
                let label = example.label.as_ref().map(Label::as_str);
                assert_eq!((&example.text, label), (&text(row), Some(["0", "1"][row % 2])), "{column}, row {row}");
            }
        }
        let expected: [(&str, &dyn Fn(usize) -> String); 9] = [
            ("dictionary", &|row| format!("text {}", row % 41)),
            ("plain", &|row| format!("text {row}")),
            ("delta", &|row| ((row as i64 * 7919 % 1000 - 500) * 10_i64.pow(row as u32 % 14)).to_string()),
            ("delta32", &|row| if row % 3 > 0 { i32::MAX } else { i32::MIN }.to_string()),
            ("unsigned", &|row| (u32::MAX - row as u32).to_string()),
            ("unsigned64", &|row| (u64::MAX - row as u64).to_string()),
            ("split", &|row| format!("{:?}", row as f64 / 8.0)),
            ("split32", &|row| format!("{:?}", row as f32 / 8.0)),
            ("boolean", &|row| (row % 50 < 25 || row % 2 == 0).to_string()),
        ];
        for (column, expected) in expected {
            let set = set(file, "text", column).unwrap();
            for (row, label) in labels(&set).into_iter().enumerate() {
                assert_eq!(label, expected(row), "{column}, row {row}");
            }
        }
        let error = set(file, "text", "gaps").unwrap_err();
        assert_eq!(error.to_string(), "in.parquet, line 4, column gaps: the label is null");
        let columns = Columns { text: vec!["text".into()], label: Some("gaps".into()), ..Columns::default() };
        let options = ReadOptions { columns, require_labels: false, ..ReadOptions::default() };
        let set = Dataset::from_reader(file, Path::new("in.parquet"), &options).unwrap();
        for (row, example) in set.examples.iter().enumerate() {
            let expected = (row % 7 != 3).then(|| format!("label {}", row % 3));
            assert_eq!(example.label.as_ref().map(Label::as_str), expected.as_deref(), "row {row}");
        }
    }
}

#[test]
fn a_million_equal_rows_are_read() {
    let set = set(CONSTANT, "text", "label").unwrap();
    assert_eq!(set.examples.len(), 1_000_000);
    assert!(set.examples.iter().all(|example| example.text == "the same text"));
}

#[test]
fn a_checksum_finds_a_changed_text() {
    // Without a codec it would be another text.
    let at = CHECKSUMS.windows(6).position(|bytes| bytes == b"text 2").unwrap();
    let mut bytes = CHECKSUMS.to_vec();
    bytes[at] = b'n';
    let error = set(&bytes, "text", "label").unwrap_err().to_string();
    assert!(
        error.contains("the checksum of a page does not match its bytes; at the column \"text\", row 1"),
        "{error}"
    );
}

#[test]
fn carriage_returns_of_a_binary_file_are_no_line_ends() {
    let page = [&[3, 0, 0, 0][..], b"a\rb"].concat();
    let file = plain(&page, 1);
    assert!(!file.contains(&b'\n'));
    assert_eq!(read(&file).unwrap().examples[0].text, "a\rb");
}

/// A number in Thrift's compact protocol.
fn number(value: i64) -> Vec<u8> {
    let mut value = (value << 1 ^ value >> 63) as u64;
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A structure of fields by their numbers, each with its type and bytes.
fn structure(fields: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut last = 0;
    for (id, kind, value) in fields {
        bytes.push((id - last) << 4 | kind);
        bytes.extend(value);
        last = *id;
    }
    bytes.push(0);
    bytes
}

/// A list of structures.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [vec![(items.len() as u8) << 4 | 12], items.concat()].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&[text.len() as u8][..], text.as_bytes()].concat()
}

/// A file with a column of texts that must be there, whose pages are `pages`.
fn file(pages: &[u8], codec: i64, rows: i64) -> Vec<u8> {
    let top = structure(&[(4, 8, string("schema")), (5, 5, number(1))]);
    let text = [(1, 5, number(6)), (3, 5, number(0)), (4, 8, string("text")), (6, 5, number(0))];
    let chunk = structure(&[
        (1, 5, number(6)),
        (4, 5, number(codec)),
        (5, 6, number(rows)),
        (7, 6, number(pages.len() as i64)),
        (9, 6, number(4)),
    ]);
    let group = structure(&[(1, 9, list(&[structure(&[(3, 12, chunk)])])), (3, 6, number(rows))]);
    with_footer(pages, &structure(&[(2, 9, list(&[top, structure(&text)])), (4, 9, list(&[group]))]))
}

fn with_footer(pages: &[u8], footer: &[u8]) -> Vec<u8> {
    [b"PAR1", pages, footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

/// A page: its kind (0 or 2), the number of its values, its encoding, the size that it states, and its bytes.
fn page(kind: u8, values: i64, encoding: i64, size: i64, bytes: &[u8]) -> Vec<u8> {
    let inner = structure(&[(1, 5, number(values)), (2, 5, number(encoding))]);
    let header = structure(&[
        (1, 5, number(kind.into())),
        (2, 5, number(size)),
        (3, 5, number(bytes.len() as i64)),
        (5 + kind, 12, inner),
    ]);
    [&header, bytes].concat()
}

/// A file with one page of texts as they are.
fn plain(bytes: &[u8], rows: i64) -> Vec<u8> {
    file(&page(0, rows, 0, bytes.len() as i64, bytes), 0, rows)
}

fn read(bytes: &[u8]) -> Result<Dataset> {
    let options = ReadOptions { require_labels: false, ..ReadOptions::default() };
    Dataset::from_reader(bytes, Path::new("in.parquet"), &options)
}

#[test]
fn what_a_file_states_takes_no_memory() {
    let text = [1, 0, 0, 0, b'a'];
    assert_eq!(read(&plain(&text, 1)).unwrap().examples[0].text, "a");
    let dictionary = page(2, 1, 0, 5, &text);
    let runs = |runs: &[u8]| [&dictionary[..], &page(0, 1, 8, runs.len() as i64, runs)].concat();
    assert_eq!(read(&file(&runs(&[1, 2, 0]), 0, 1)).unwrap().examples[0].text, "a");
    let deltas = |count: u8| [&[128, 1, 1, count, 2][..], &[0, 64]].concat();
    let huge = i64::from(i32::MAX);
    let nested = [vec![0x5c], [0x1c].repeat(100)].concat();
    let cases: [(Vec<u8>, &str); 16] = [
        (file(&page(0, 1, 0, huge, &[0xff; 9]), 1, 1), "a page of 9 bytes cannot unpack to 2147483647"),
        (file(&page(0, 1, 0, 100, &[0xff, 0xff, 3, 0, 0, 0, 0]), 1, 1), "unpacks to more than the 100 bytes"),
        (file(&page(0, 1, 0, huge, &[0xff; 9]), 2, 1), "a page of 9 bytes cannot unpack to 2147483647"),
        (file(&page(0, 1, 0, huge, &[0xff; 9]), 6, 1), "its pages unpack to more than 1024 MiB in all"),
        (file(&page(0, 1, 0, 1 << 26, &[0xff; 9]), 6, 1), "its pages unpack to more than 64 MiB at a time"),
        (file(&page(0, 1, 0, 9, &[0xff; 9]), 6, 1), "broken zstd data"),
        (file(&page(0, 1, 0, 10, &text), 0, 1), "a page unpacks to 5 bytes, its header says 10"),
        (plain(&text, 2), "a page has fewer values than its header says; at the column \"text\", row 2"),
        (file(&page(0, 3, 0, 5, &text), 0, 2), "its pages have more values than there are rows"),
        (file(&page(0, 1, 0, 5, &text), 0, 2), "its pages end before the rows do"),
        (plain(&text, 1 << 40), "its rows take more than 512 MiB of memory"),
        (file(&page(2, huge, 0, 5, &text), 0, 1), "a page has fewer values"),
        (file(&runs(&[1, 2, 1]), 0, 1), "value 1 of a dictionary of 1"),
        (file(&page(0, 1, 5, 7, &deltas(1)), 0, 1), "values in the encoding 5"),
        (file(&page(0, 1, 6, 7, &deltas(99)), 0, 1), "a page of 1 values has 99 integers"),
        (with_footer(b"", &nested), "nested more than 32 deep"),
    ];
    for (file, expected) in cases {
        let error = read(&file).unwrap_err().to_string();
        assert!(error.starts_with("in.parquet: ") && error.contains(expected), "{error}\n{expected}");
    }
    // A list that is longer than the file: of columns, and of something that is not read.
    for field in [0x29, 0x79] {
        let error = read(&with_footer(b"", &[field, 0xfc, 0xff, 0xff, 0xff, 0x7f])).unwrap_err().to_string();
        assert!(error.contains("ends in the middle of a field"), "{error}");
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    for (codec, name) in [(3, "LZO"), (4, "Brotli"), (5, "LZ4"), (7, "LZ4")] {
        let error = read(&file(&[], codec, 1)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("; at the column \"text\", row 1"), "{error}");
    }
    let encrypted = [&SNAPPY[..SNAPPY.len() - 1], b"E"].concat();
    assert!(set(&encrypted, "text", "label").unwrap_err().to_string().contains("with encryption"));
}
