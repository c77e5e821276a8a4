//! Reading whole files of any format.

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
    let (_folder, path) = write("a.csv", b"text,label\n\"good,1\n");
    assert!(Dataset::read(&path, &ReadOptions::default()).is_err());
    let options = ReadOptions { format: Some(Format::Tsv), delimiter: Some(b','), ..ReadOptions::default() };
    assert_eq!(Dataset::read(&path, &options).unwrap().examples[0].text, "\"good");
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
        assert!(matches!(&error, Error::DataField { line: 3, column, .. } if column == "score"), "{bad:?}: {error}");
    }
}

/// Reads the real GLUE files if `BITFIT_GLUE` names the directory of GLUE's unpacked download.
#[test]
fn glues_own_files_have_their_published_row_counts() {
    let Some(root) = std::env::var_os("BITFIT_GLUE").map(PathBuf::from) else {
        // Bypasses the capture of the test runner.
        _ = writeln!(std::io::stderr(), "SKIPPED: GLUE's files are missing: BITFIT_GLUE does not name their directory");
        return;
    };
    type File = (&'static str, usize);
    let sets: [(&str, GlueTask, [File; 2], &[&str]); 4] = [
        ("CoLA", GlueTask::Cola, [("train.tsv", 8_551), ("dev.tsv", 1_043)], &["0", "1"]),
        ("RTE", GlueTask::Rte, [("train.tsv", 2_490), ("dev.tsv", 277)], &["entailment", "not_entailment"]),
        ("SST-2", GlueTask::Sst2, [("train.tsv", 67_349), ("dev.tsv", 872)], &["0", "1"]),
        ("STS-B", GlueTask::Stsb, [("train.tsv", 5_749), ("dev.tsv", 1_500)], &[]),
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
            Kind::Tag | Kind::MultiLabel | Kind::Span | Kind::MaskedLm => unreachable!("no task of GLUE"),
            Kind::Regress => {
                for set in [&train_set, &dev_set] {
                    assert!(set.scores().unwrap().iter().all(|score| (0.0..=5.0).contains(score)));
                }
            }
        }
        // All files but CoLA's have headers that identify the columns.
        if task != GlueTask::Cola {
            assert_eq!(read(dev, None), dev_set, "{folder}");
        }
    }
}
