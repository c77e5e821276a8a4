//! Words with tags in every format: CoNLL columns, CoNLL-U, JSON lines and exports with spans of characters, with every
//! kind of columns.

use std::path::Path;

use bitfit_bert::data::{ColumnRef, Columns, Contents, Dataset, Format, Header, Labels, ReadOptions};
use bitfit_core::rng::Random;

use crate::mutate::any;
use crate::runner::{Files, Target, check_error, run};

const SEEDS: [(&str, &str); 17] = [
    ("d.conll", "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP B-PER\n"),
    ("d.conll", "# a comment\na\tX\nb\tY\r\n\r\n# of a sentence\n#\tZ\n"),
    (
        "d.conllu",
        "# sent_id = 1\n1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\tSpaceAfter=No\n",
    ),
    (
        "d.conllu",
        "1\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_\n1.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\n\n1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n",
    ),
    (
        "d.jsonl",
        "{\"tokens\": [\"a\", \"b c\"], \"ner_tags\": [0, \"X\"]}\n{\"ner_tags\": [null], \"tokens\": [\"\\u0000\"]}\n",
    ),
    ("d.txt", "EU rejects.\nBlair \u{2014} left\n"),
    ("d.txt", "EU\nrejects\n\nPeter\n"),
    (
        "d.json",
        r#"[{"id": 1, "data": {"text": "\ud83d\ude00 a-b"}, "annotations": [{"result": [{"from_name": "ner", "type": "labels",
        "value": {"start": 3, "end": 6, "text": "a-b", "labels": ["X"]}}], "was_cancelled": false}]}]"#,
    ),
    (
        "d.json",
        r#"[{"text": "\u00e9 b", "ner": [{"start": 0, "end": 1, "text": "\u00e9", "labels": ["X"]}], "id": 1,
        "annotation_id": 1, "lead_time": 2}]"#,
    ),
    ("d.jsonl", "{\"text\": \"a b.\", \"label\": [[0, 1, \"X\"], [2, 4, \"Y\"]]}\n{\"text\": \"b\", \"label\": []}\n"),
    ("d.jsonl", "{\"text\": \"a b\", \"labels\": [[0, 2, \"X\"]]}\n{\"text\": \"b\", \"labels\": null}\n"),
    (
        "d.jsonl",
        r#"{"text": "a b", "entities": [{"label": "X", "start_offset": 0, "end_offset": 3}], "relations": []}"#,
    ),
    (
        "d.json",
        r#"[{"fields": {"text": "a b"}, "responses": {"ner": [{"value": [{"start": 2, "end": 3, "label": "X"}]},
        {"value": [{"start": 2, "end": 3, "label": "X"}]}]}}]"#,
    ),
    ("d.json", r#"[{"text": "a b", "tokens": ["a"], "annotation": [["X", 0, 1]], "status": "Validated"}]"#),
    (
        "d.jsonl",
        "{\"text\": \"a\u{a0}b\", \"spans\": [{\"start\": 0, \"end\": 2, \"label\": \"X\"}], \"answer\": \"accept\"}\n\
         {\"text\": \"b\", \"answer\": \"reject\"}\n",
    ),
    ("d.json", "{\"text\": \"(ab) c\",\n\"entities\": [[0, 2, 7]]}\n{\"text\": \"d\",\n\"entities\": []}\n"),
    ("d.jsonl", "{\"text\": \"a b\"}\n{\"text\": \"\"}\n"),
];

#[test]
fn fuzz() {
    run(Target {
        name: "tagged",
        memory: 64 << 20,
        seeds: SEEDS.map(|(name, text)| -> Files { vec![(name.into(), text.into())] }).into(),
        fixed: Vec::new(),
        check: Box::new(|dir, random| {
            let Some((name, _)) = SEEDS.iter().find(|(name, _)| dir.join(name).exists()) else { return false };
            let required = ReadOptions { contents: Contents::TaggedWords, ..ReadOptions::default() };
            let some = [ReadOptions { require_labels: false, ..required.clone() }, required];
            let options = some.into_iter().chain((0..3).map(|_| options(random))).collect::<Vec<_>>();
            options.iter().filter(|options| read(&dir.join(name), options)).count() > 0
        }),
    });
}

/// Reads a file and all that follows from it; whether it is accepted.
fn read(path: &Path, options: &ReadOptions) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let set = match Dataset::read(path, options) {
        Ok(set) => set,
        Err(error) => {
            // A format that holds no tags is a setting and not the matter of a file.
            if !matches!(error, bitfit_bert::Error::Setting { .. }) {
                check_error(&error, &[name]);
            }
            return false;
        }
    };
    let is_plain = |format| matches!(format, Some(Format::Lines | Format::Jsonl) | None);
    for example in &set.examples {
        assert!(!example.words.is_empty() || (is_plain(options.format) && !options.require_labels));
        let (words, texts) = (&example.words, example.words());
        assert_eq!(words.len(), texts.len());
        assert!(texts.iter().all(|text| !text.trim().is_empty()), "a blank word");
        assert!(words.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start && pair[0].line <= pair[1].line));
        assert!(words.iter().all(|word| word.tag.is_some() || !options.require_labels));
    }
    match Labels::of_words(&set) {
        Ok(labels) => assert_eq!(labels.encode_words(&set).unwrap().len(), set.examples.len()),
        Err(error) => check_error(&error, &[name]),
    }
    true
}

fn options(random: &mut Random) -> ReadOptions {
    let column =
        |random: &mut Random| ColumnRef::from(*any(&["tokens", "ner_tags", "XPOS", "0", "1", "9", ""], random));
    let text = (0..*any(&[0, 0, 1, 2], random)).map(|_| column(random)).collect();
    ReadOptions {
        format: (random.below(2) > 0).then(|| *any(Format::ALL, random)),
        delimiter: None,
        task: None,
        columns: Columns { text, label: (random.below(3) == 0).then(|| column(random)), header: Header::Auto },
        require_labels: random.below(2) == 0,
        contents: Contents::TaggedWords,
        several: None,
    }
}
