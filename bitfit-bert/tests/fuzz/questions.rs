//! Questions with a context: SQuAD's JSON and rows of it, with and without answers.

use std::path::Path;

use bitfit_bert::data::{Contents, Dataset, ReadOptions};

use crate::runner::{Files, Target, check_error, run};

const SEEDS: [(&str, &str); 4] = [
    (
        "d.json",
        "{\"version\": \"v2.0\", \"data\": [{\"title\": \"t\", \"paragraphs\": [{\"context\": \"K\u{f6}ln is old \u{1f3de} too.\", \
         \"qas\": [{\"id\": \"a\", \"question\": \"What?\", \"is_impossible\": false, \"answers\": [{\"text\": \"K\u{f6}ln\", \
         \"answer_start\": 0}, {\"text\": \"too\", \"answer_start\": 14}]}, {\"id\": \"b\", \"question\": \"\", \
         \"is_impossible\": true, \"answers\": [], \"plausible_answers\": []}]}]}]}",
    ),
    (
        "d.json",
        "{\n \"data\": [\n  {\"id\": 1, \"context\": \"a b\", \"question\": \"b?\", \"answers\": {\"text\": [\"b\"], \
         \"answer_start\": [2]}}\n ]\n}\n",
    ),
    (
        "d.jsonl",
        "{\"id\": \"1\", \"context\": \"a \\u00e9\", \"question\": \"?\", \"answers\": {\"text\": [], \"answer_start\": []}}\n\
         {\"context\": \"\", \"question\": \"?\", \"answers\": []}\n",
    ),
    (
        "d.json",
        "[{\"context\": \"a\\nb\", \"question\": \"?\", \"answers\": [{\"text\": \"b\", \"answer_start\": 2}]}]",
    ),
];

#[test]
fn fuzz() {
    run(Target {
        name: "questions",
        memory: 64 << 20,
        seeds: SEEDS.map(|(name, text)| -> Files { vec![(name.into(), text.into())] }).into(),
        fixed: Vec::new(),
        check: Box::new(|dir, _| {
            let Some((name, _)) = SEEDS.iter().find(|(name, _)| dir.join(name).exists()) else { return false };
            let path = dir.join(name);
            let with_answers = read(&path, true);
            // What is accepted with answers is accepted without them.
            read(&path, false) || with_answers
        }),
    });
}

/// Reads a file; whether it is accepted.
fn read(path: &Path, require_labels: bool) -> bool {
    let options = ReadOptions { contents: Contents::Questions, require_labels, ..ReadOptions::default() };
    let set = match Dataset::read(path, &options) {
        Ok(set) => set,
        Err(error) => {
            check_error(&error, &[path.file_name().unwrap().to_str().unwrap()]);
            return false;
        }
    };
    let mut ids: Vec<&str> = Vec::new();
    for example in &set.examples {
        let (Some(question), Some(context)) = (&example.question, &example.pair) else { return true };
        ids.push(&question.id);
        assert!(question.answers.is_some() || !require_labels);
        let ranges = question.answers.iter().flatten();
        assert!(ranges.clone().all(|range| context.get(range.clone()).is_some_and(|text| !text.trim().is_empty())));
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "two questions of one name");
    true
}
