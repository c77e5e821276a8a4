//! Labelled texts in every format, with every kind of options, read whole and as a stream in pieces of any size.

use std::io::{BufReader, Read};
use std::path::Path;

use bitfit_bert::data::{
    ColumnRef, Columns, Contents, Dataset, Example, Format, Header, Labels, ReadOptions, SeveralLabels, read_lines,
};
use bitfit_bert::presets::GlueTask;
use bitfit_core::rng::Random;

use crate::mutate::any;
use crate::runner::{Files, Target, check_error, run};

const SEEDS: [(&str, &str); 22] = [
    ("d.tsv", "text\tlabel\na good day\tyes\na \"bad\" day\tno\n"),
    ("d.tsv", "\u{feff}sentence1\tsentence2\tscore\r\na\tb\t1.5\r\nc\td\t4\r\n\r\n"),
    ("d.tsv", "gj04\t1\t\tThey drank.\ngj04\t0\t*\tThey drank the pub.\n"),
    ("d.tsv", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t3\t4\tWhy?\tWhy not?\t0\n2\t5\t6\tHow do I\n"),
    ("d.tsv", "index\tpremise\thypothesis\tgold_label\n0\ta\tb\tneutral\n1\tc\td\t-\n"),
    ("d.csv", "text,intent\n\"wake me, please,\nat \"\"six\"\"\",alarm\nplay some jazz,music\n"),
    ("d.csv", "\u{feff}question,sentence,label\r\na,b,1\r\n\"\",\"\",2\r\n"),
    ("d.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"label\": true, \"text\": \"b\", \"other\": [null, {}]}\n"),
    ("d.jsonl", "{\"sentence1\": \"a\", \"sentence2\": \"b\\u0000\", \"label\": \"x\"}\n"),
    ("d.jsonl", "{\"text\": \"a\", \"labels\": [\"a\", \"b\"]}\n{\"text\": \"b\", \"labels\": []}\n"),
    ("d.tsv", "text\tlabels\nx\ta; b\ny\tb\nz\t\n"),
    ("d.csv", "text,label,a\nx,0,1\ny,1,1.0\n"),
    ("d.txt", "one text\nanother\n\na third\twith a pair\n"),
    ("d.txt", "text\tlabel\na\t1\nb\t0\n"),
    ("d.tsv", "0\t0\t0\t0\t0\t0\t0\ta\tb\t5.0\n0\t0\t0\t0\t0\t0\t0\tc\td\t3.8\n"),
    ("d.tsv", "text\tlabel\nplain\tyes\n\"a \"\"quote\"\", a\ttab\nand a line\"\tno\n"),
    ("d.tsv", "\"text\"\t\"n\"\t\"label\"\n\"one\"\t0.5\t\"yes\"\n\"two\"\t\t\"no\"\n"),
    ("d.csv", "text;label\n\"a; \"\"b\"\"\r\nc\";yes\nplain, text;no\n"),
    ("d.csv", "sep=|\r\nlabel|text\r\nyes|a, b\r\nno|\"c|d\"\r\n"),
    ("d.csv", "0,1\na,1\nb,0\n"),
    ("d.csv", ",text,label\r0,\"a\rb\",yes\r1,c,no\r"),
    ("d.data", "id\ttext\tlabel\n1\ta\tyes\n2\t\"b\"\tno\n"),
];

#[test]
fn fuzz() {
    run(Target {
        name: "data",
        memory: 64 << 20,
        seeds: SEEDS.map(|(name, text)| -> Files { vec![(name.into(), text.into())] }).into(),
        fixed: Vec::new(),
        check: Box::new(|dir, random| {
            let Some((name, _)) = SEEDS.iter().find(|(name, _)| dir.join(name).exists()) else { return false };
            let path = dir.join(name);
            // The options that need nothing but the file, and some of any kind.
            let some = [ReadOptions::default(), ReadOptions { require_labels: false, ..ReadOptions::default() }];
            let options = some.into_iter().chain((0..3).map(|_| options(random))).collect::<Vec<_>>();
            let accepted = options.iter().filter(|options| read(&path, options, random)).count();
            stream(&path, random);
            accepted > 0
        }),
    });
}

/// Reads a file and all that follows from it; whether it is accepted.
pub fn read(path: &Path, options: &ReadOptions, random: &mut Random) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let whole = Dataset::read(path, options);
    let pieces = Dataset::from_reader(Pieces { bytes: &bytes, most: 1 + random.below(9) as usize }, path, options);
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"), "read in pieces");
    let set = match whole {
        Ok(set) => set,
        Err(error) => {
            check_error(&error, &[name, "the separator is ", "the format is "]);
            return false;
        }
    };
    // A file whose only line ends are CR has lines too, and one that is packed has more than can be seen.
    let is_packed = bytes.starts_with(b"\x1f\x8b");
    let lines = 1 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    assert!(!set.examples.is_empty());
    // An array has several objects in a line.
    let rises = |pair: &[Example]| pair[0].line < pair[1].line || pair[0].line == pair[1].line && bytes.contains(&b'{');
    assert!(is_packed || set.examples.windows(2).all(rises), "lines that do not rise");
    for example in &set.examples {
        assert!(is_packed || (1..=lines).contains(&example.line), "line {} of {lines}", example.line);
        assert!(example.label.is_some() || !options.require_labels);
    }
    if options.several.is_some() {
        match Labels::of_several(&set) {
            Ok((labels, separator)) => {
                let set = Dataset { label_separator: separator, ..set.clone() };
                assert_eq!(labels.encode_several(&set).unwrap().len(), set.examples.len());
            }
            Err(error) => check_error(&error, &[name]),
        }
        let known = Labels::from_names(vec!["a".into(), "b".into()]).unwrap();
        if let Err(error) = known.encode_several(&set) {
            check_error(&error, &[name]);
        }
        return true;
    }
    if let Err(error) = set.scores() {
        check_error(&error, &[name]);
    }
    match Labels::of_training_set(&set) {
        Ok(labels) => assert_eq!(labels.encode(&set).unwrap().len(), set.examples.len()),
        Err(error) => check_error(&error, &[name]),
    }
    if let Err(error) = Labels::from_names(vec!["no".into(), "yes".into()]).unwrap().encode(&set) {
        check_error(&error, &[name]);
    }
    true
}

/// Reads a file as the lines of stdin.
fn stream(path: &Path, random: &mut Random) {
    let bytes = std::fs::read(path).unwrap();
    let mut last = 0;
    for line in read_lines(BufReader::new(Pieces { bytes: &bytes, most: 1 + random.below(9) as usize })) {
        match line {
            Ok(example) => {
                assert!(example.line > last, "lines that do not rise");
                last = example.line;
            }
            Err(error) => check_error(&error, &["<stdin>"]),
        }
    }
}

pub fn options(random: &mut Random) -> ReadOptions {
    let column = |random: &mut Random| {
        let names =
            ["text", "label", "sentence1", "sentence2", "LABEL", "0", "1", "2", "9", "", "4294967296", "\u{1b}"];
        ColumnRef::from(*any(&names, random))
    };
    let text = (0..*any(&[0, 0, 1, 1, 2, 3], random)).map(|_| column(random)).collect();
    ReadOptions {
        format: (random.below(3) > 0).then(|| *any(Format::ALL, random)),
        delimiter: (random.below(4) == 0).then(|| *any(b"\t,;| \"x\xff", random)),
        task: (random.below(3) == 0).then(|| *any(GlueTask::ALL, random)),
        columns: Columns {
            text,
            label: (random.below(3) == 0).then(|| column(random)),
            header: *any(&[Header::Auto, Header::Auto, Header::Yes, Header::No], random),
        },
        require_labels: random.below(2) == 0,
        contents: Contents::Texts,
        several: (random.below(4) == 0).then(|| SeveralLabels {
            separator: *any(&[None, None, Some(';'), Some(','), Some(' ')], random),
            further_columns: (0..*any(&[0, 0, 1, 2], random)).map(|_| column(random)).collect(),
        }),
    }
}

/// Bytes that arrive a few at a time.
struct Pieces<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // Few where there are few, so that long files do not take long.
        let most = if self.bytes.len() < 4_096 { self.most } else { self.most * 1_000 };
        let (part, rest) = self.bytes.split_at(self.bytes.len().min(buffer.len()).min(most));
        buffer[..part.len()].copy_from_slice(part);
        self.bytes = rest;
        Ok(part.len())
    }
}
