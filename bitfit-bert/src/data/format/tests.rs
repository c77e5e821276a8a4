//! Names of formats, extensions, and what is found by looking.

use super::*;
use crate::data::Dataset;

#[test]
fn names_round_trip() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(*format));
    }
    let error = "xml".parse::<Format>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no format \"xml\"; expected tsv, csv, jsonl, lines, conll, conllu or parquet"
    );
}

#[test]
fn an_extension_in_any_case() {
    assert_eq!(Format::of(Path::new("x/Train.TSV")).unwrap(), Format::Tsv);
    assert_eq!(Format::of(Path::new("train.tsv.json")).unwrap(), Format::Jsonl);
    assert_eq!(Format::of(Path::new("train.CSV.gz")).unwrap(), Format::Csv);
    for unknown in ["train", "train.gz", ".tsv", "<stdin>"] {
        let error = Format::of(Path::new(unknown)).unwrap_err().to_string();
        assert!(error.starts_with(unknown) && error.contains("give the format"), "{error}");
    }
}

#[test]
fn json_is_recognised_under_another_name() {
    for name in ["in.csv", "in.data", "in"] {
        for file in ["{\"text\": \"a\", \"label\": 1}\n", "[\n {\"text\": \"a\", \"label\": 1}\n]\n"] {
            let set = Dataset::from_reader(file.as_bytes(), Path::new(name), &ReadOptions::default()).unwrap();
            assert_eq!((set.examples[0].text.as_str(), &set.found[..]), ("a", &["JSON".to_owned()][..]), "{name}");
        }
    }
}

#[test]
fn what_cannot_be_known_is_asked_for() {
    let file = "good day, all\nbad day, all, or most\n";
    let error = Dataset::from_reader(file.as_bytes(), Path::new("in.data"), &ReadOptions::default()).unwrap_err();
    assert_eq!(error.settings(), [Setting::Format]);
    assert!(error.to_string().contains("neither a table nor JSON"), "{error}");
}

#[test]
fn data_of_other_programs_is_refused_by_name() {
    for (bytes, what) in [(&b"PK\x03\x04\x14"[..], "zip"), (b"BZh91AY&SY\0", "bzip2"), (b"ARROW1\0\0", "Arrow")] {
        let error = Dataset::from_reader(bytes, Path::new("in.csv"), &ReadOptions::default()).unwrap_err();
        assert!(error.to_string().starts_with("in.csv: it is ") && error.to_string().contains(what), "{error}");
    }
}
