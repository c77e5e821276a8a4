//! Parquet files of every codec, encoding and layout of pages, read by columns of every type.

use std::fs;
use std::path::Path;

use bitfit_bert::data::{ColumnRef, Columns, Dataset, ReadOptions, SeveralLabels};

use crate::mutate::any;
use crate::runner::{Target, check_error, run};

const FILE: &str = "d.parquet";

#[test]
fn fuzz() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/parquet");
    let seeds = ["snappy", "gzip", "zstd", "checksums", "encodings-1", "encodings-2"];
    let seed = |name: &str| vec![(FILE.into(), fs::read(dir.join(name).with_extension("parquet")).unwrap())];
    run(Target {
        name: "parquet",
        // What SECURITY.md states for the largest file of a case: its pages, its examples, and the file itself.
        memory: (64 << 20) + (512 << 20) + 65 * (512 << 10),
        seeds: seeds.iter().map(|name| seed(name)).collect(),
        fixed: Vec::new(),
        check: Box::new(|dir, random| {
            let path = dir.join(FILE);
            let columns = [
                "text",
                "label",
                "length",
                "plain",
                "dictionary",
                "gaps",
                "integer",
                "float",
                "single",
                "boolean",
                "delta",
                "delta32",
                "unsigned",
                "unsigned64",
                "split",
                "split32",
                "required",
                "bytes",
                "list",
                "group",
            ];
            let some = |random: &mut _| ColumnRef::from(*any(&columns, random));
            let mut accepted = 0;
            for _ in 0..3 {
                let options = ReadOptions {
                    columns: Columns {
                        text: (0..*any(&[0, 1, 1, 2], random)).map(|_| some(random)).collect(),
                        label: (random.below(3) > 0).then(|| some(random)),
                        ..Columns::default()
                    },
                    require_labels: random.below(2) == 0,
                    several: (random.below(4) == 0).then(|| SeveralLabels {
                        separator: *any(&[None, Some(' ')], random),
                        further_columns: (0..*any(&[0, 1, 2], random)).map(|_| some(random)).collect(),
                    }),
                    ..ReadOptions::default()
                };
                accepted += usize::from(path.exists() && read(&path, &options));
            }
            accepted > 0
        }),
    });
}

/// Reads a file; whether it is accepted.
fn read(path: &Path, options: &ReadOptions) -> bool {
    let set = match Dataset::read(path, options) {
        Ok(set) => set,
        Err(error) => {
            check_error(&error, &[FILE]);
            return false;
        }
    };
    assert!(!set.examples.is_empty());
    for (row, example) in set.examples.iter().enumerate() {
        assert_eq!(example.line, row + 1);
        assert!(example.label.is_some() || !options.require_labels);
    }
    true
}
