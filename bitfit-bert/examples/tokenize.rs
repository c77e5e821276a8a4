//! Prints the ids that a model directory's tokenizer gives to texts.
//!
//! ```text
//! cargo run -p bitfit-bert --example tokenize -- DIR [MAX_LENGTH] < texts.jsonl
//! ```
//!
//! A line of the input is a JSON string, an array of two for a pair, an object with a list of `words`, or one with a
//! `question`, a `context` and a `stride`. A line of the output has the ids, and behind a bar the token types, or for
//! words the positions of those that are read, or for a context where each of its tokens begins and ends. What is too
//! long in words or a context is so many lines more. `tests/goldens/compare_tokenizers.py` compares them with those of
//! transformers.

use std::io::{self, BufRead, Write};
use std::path::Path;

use bitfit_bert::Tokenizer;
use bitfit_bert::tokenize::Limits;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(untagged)]
enum Row {
    Single(String),
    Pair(String, String),
    Words { words: Vec<String> },
    Question { question: String, context: String, stride: usize },
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("expected a model directory")?;
    let max_length = arguments.next().map_or(Ok(512), |length| length.parse())?;
    let limits = Limits { vocab_size: usize::MAX, token_types: Some(usize::MAX), max_length };
    let tokenizer = Tokenizer::open(Path::new(&dir), limits)?;
    let mut rows: Vec<(String, Option<String>)> = Vec::new();
    let join = |ids: &mut dyn Iterator<Item = u32>| ids.map(|id| id.to_string()).collect::<Vec<_>>().join(" ");
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        rows.push(match serde_json::from_str(&line?)? {
            Row::Single(text) => (text, None),
            Row::Pair(first, second) => (first, Some(second)),
            Row::Words { words } => {
                for encoding in tokenizer.encode_words(&words, max_length)? {
                    let ids = join(&mut encoding.ids.iter().copied());
                    let read = join(&mut encoding.read.iter().map(|read| read.token as u32));
                    writeln!(out, "{ids} | {read}")?;
                }
                continue;
            }
            Row::Question { question, context, stride } => {
                for encoding in tokenizer.encode_windows(&question, &context, max_length, stride)? {
                    let window = encoding.window.unwrap_or_default();
                    let ids = join(&mut encoding.ids.iter().copied());
                    let offsets = window.offsets.iter().flat_map(|range| [range.start, range.end]);
                    writeln!(out, "{ids} | {}", join(&mut std::iter::once(window.first as u32).chain(offsets)))?;
                }
                continue;
            }
        });
    }
    for encoding in tokenizer.encode_all(&rows, max_length)? {
        let [ids, types] = [&encoding.ids, &encoding.type_ids].map(|list| join(&mut list.iter().copied()));
        writeln!(out, "{ids} | {types}")?;
    }
    Ok(out.flush()?)
}
