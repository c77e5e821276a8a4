//! Every form of tokenizer files against transformers, on the texts and ids of `goldens/make_tokenizers.py`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bitfit_bert::Tokenizer;
use bitfit_bert::tokenize::{Encoding, Limits};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    texts: Vec<String>,
    core: Vec<String>,
    pairs: Vec<(String, String)>,
    lengths: Vec<usize>,
    bodies: HashMap<String, String>,
    directories: Vec<Directory>,
}

#[derive(Deserialize)]
struct Directory {
    name: String,
    files: HashMap<String, Content>,
    singles: Vec<String>,
    pairs: Vec<Vec<String>>,
    cut: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Body { body: String },
}

const LIMITS: Limits = Limits { vocab_size: 10_000, token_types: Some(3), max_length: 10_000 };

fn goldens() -> Goldens {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/tokenizers.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn open(directory: &Directory, bodies: &HashMap<String, String>) -> bitfit_bert::Result<Tokenizer> {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in &directory.files {
        let text = match content {
            Content::Text(text) => text,
            Content::Body { body } => &bodies[body],
        };
        fs::write(dir.path().join(name), text).unwrap();
    }
    Tokenizer::open(dir.path(), LIMITS)
}

fn numbers(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

/// Ids and types as the goldens write them.
fn both(encoding: &Encoding) -> String {
    let types: String = encoding.type_ids.iter().map(u32::to_string).collect();
    format!("{} | {types}", numbers(&encoding.ids))
}

#[test]
fn every_form_of_files_gives_the_ids_of_transformers() {
    let goldens = goldens();
    let mut differences = Vec::new();
    let mut compared = 0;
    for directory in &goldens.directories {
        let name = &directory.name;
        let tokenizer = match open(directory, &goldens.bodies) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                differences.push(format!("{name}: {error}"));
                continue;
            }
        };
        let mut compare = |what: String, found: bitfit_bert::Result<String>, expected: &str| {
            compared += 1;
            // transformers gives a text without a token no ids; a model has nothing to read in it.
            let expected = if ["", " | "].contains(&expected) { "a text without a single token" } else { expected };
            let found = found.unwrap_or_else(|error| match error.to_string() {
                error if error.contains("a text without a single token") => "a text without a single token".into(),
                error => error,
            });
            if found != expected {
                differences.push(format!("{name}: {what}: expected {expected}, found {found}"));
            }
        };
        let is_core = name.starts_with("core");
        let texts = if is_core { &goldens.core } else { &goldens.texts };
        assert_eq!(texts.len(), directory.singles.len(), "{name}");
        for (text, expected) in texts.iter().zip(&directory.singles) {
            let found = tokenizer.encode(text, None, LIMITS.max_length).map(|encoding| numbers(&encoding.ids));
            compare(format!("{text:?}"), found, expected);
        }
        for ((length, expected), cut) in goldens.lengths.iter().zip(&directory.pairs).zip(&directory.cut) {
            for ((first, second), expected) in goldens.pairs.iter().zip(expected) {
                let found = tokenizer.encode(first, Some(second), *length);
                compare(format!("{first:?}, {second:?} at {length}"), found.map(|found| both(&found)), expected);
            }
            let found = tokenizer.encode(&goldens.core[2], None, *length).map(|found| numbers(&found.ids));
            compare(format!("a text at {length}"), found, cut);
        }
    }
    let shown = differences.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {compared} differ:\n{shown}", differences.len());
    assert!(goldens.directories.len() > 80 && compared > 3_000, "{compared}");
}

#[test]
fn directories_that_make_other_ids_have_other_fingerprints() {
    let goldens = goldens();
    let mut seen: HashMap<String, (&str, Vec<String>)> = HashMap::new();
    for directory in &goldens.directories {
        let Ok(tokenizer) = open(directory, &goldens.bodies) else { continue };
        let texts = goldens.core.iter().map(|text| {
            tokenizer.encode(text, None, LIMITS.max_length).map_or(String::new(), |encoding| numbers(&encoding.ids))
        });
        let pairs = goldens.pairs.iter().map(|(first, second)| {
            tokenizer.encode(first, Some(second), 11).map_or(String::new(), |encoding| both(&encoding))
        });
        let ids: Vec<String> = texts.chain(pairs).collect();
        let (name, same) = seen.entry(tokenizer.fingerprint()).or_insert((&directory.name, ids.clone()));
        assert_eq!(*same, ids, "{name} and {}", directory.name);
    }
    assert!(seen.len() > 40, "{}", seen.len());
}
