//! JSON in every shape, exports of labelling tools, and packed files, with every kind of options.

use bitfit_bert::data::ReadOptions;

use crate::data::{options, read};
use crate::runner::{Files, Target, run};

const SEEDS: [(&str, &str); 11] = [
    ("d.json", "[\n{\"text\": \"a\", \"label\": 1},\n{\"label\": true, \"text\": \"b\", \"n\": [null, {}]}\n]\n"),
    ("d.json", "{\n\"text\": \"a }]\",\n\"label\": \"x\"\n}\n{\n\"text\": \"b\",\n\"label\": \"y\"\n}\n"),
    (
        "d.json",
        "{\"version\": 1, \"data\": [{\"text\": \"a\", \"label\": \"x\"}, {\"text\": \"b\", \"label\": \"y\"}]}",
    ),
    (
        "d.json",
        r#"[{"id": 1, "data": {"text": "a"}, "annotations": [{"result": [{"from_name": "mood", "type": "choices",
        "value": {"choices": ["x"]}}], "was_cancelled": false}]}, {"data": {"text": "b"}, "annotations": []}]"#,
    ),
    ("d.json", r#"[{"text": "a", "mood": "x", "annotation_id": 1, "lead_time": 2}]"#),
    ("d.json", r#"[{"text": "a", "mood": {"choices": ["x"]}, "id": 1, "annotation_id": 1, "lead_time": 2}]"#),
    ("d.jsonl", "{\"text\": \"a\", \"label\": [\"x\"]}\n{\"text\": \"b\", \"label\": []}\n"),
    (
        "d.jsonl",
        "{\"text\": \"a\", \"accept\": [\"x\"], \"answer\": \"accept\"}\n\
         {\"text\": \"b\", \"label\": \"y\", \"answer\": \"reject\"}\n",
    ),
    ("d.json", r#"[{"fields": {"text": "a"}, "responses": {"mood": [{"value": "x", "user_id": "u"}]}}]"#),
    ("d.json", r#"[{"fields": {"a": "b"}, "responses": [{"values": {"m": {"value": 1}}, "status": "submitted"}]}]"#),
    ("d.json", r#"[{"inputs": {"text": "a"}, "annotation": "x", "status": "Validated"}]"#),
];

/// `text,label` and two rows, packed with gzip.
const PACKED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x2b\x49\xad\x28\xd1\xc9\x49\x4c\x4a\xcd\xe1\
    \x4a\xd4\xa9\xe0\x4a\xd2\xa9\xe4\x02\x00\x3a\x51\xc3\xc5\x13\x00\x00\x00";

#[test]
fn fuzz() {
    let mut seeds: Vec<Files> = SEEDS.map(|(name, text)| vec![(name.into(), text.into())]).into();
    seeds.push(vec![("d.csv.gz".into(), PACKED.into())]);
    run(Target {
        name: "exports",
        // A file of one object is parsed whole.
        memory: 160 << 20,
        seeds,
        fixed: Vec::new(),
        check: Box::new(|dir, random| {
            let names = ["d.json", "d.jsonl", "d.csv.gz"];
            let Some(path) = names.map(|name| dir.join(name)).into_iter().find(|path| path.exists()) else {
                return false;
            };
            let some = [ReadOptions::default(), ReadOptions { require_labels: false, ..ReadOptions::default() }];
            let options = some.into_iter().chain((0..3).map(|_| options(random))).collect::<Vec<_>>();
            options.iter().filter(|options| read(&path, options, random)).count() > 0
        }),
    });
}
