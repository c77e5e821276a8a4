//! Prints the ids that a model directory's tokenizer gives to texts.
//!
//! ```text
//! cargo run -p bitfit-bert --example tokenize -- DIR [MAX_LENGTH] < texts.jsonl
//! ```
//!
//! A line of the input is a JSON string, or an array of two for a pair; a line of the output has the ids, and behind a
//! bar the token types. `tests/goldens/compare_tokenizers.py` compares them with those of transformers.

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
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("expected a model directory")?;
    let max_length = arguments.next().map_or(Ok(512), |length| length.parse())?;
    let limits = Limits { vocab_size: usize::MAX, token_types: Some(usize::MAX), max_length };
    let tokenizer = Tokenizer::open(Path::new(&dir), limits)?;
    let mut rows: Vec<(String, Option<String>)> = Vec::new();
    for line in io::stdin().lock().lines() {
        rows.push(match serde_json::from_str(&line?)? {
            Row::Single(text) => (text, None),
            Row::Pair(first, second) => (first, Some(second)),
        });
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    for encoding in tokenizer.encode_all(&rows, max_length)? {
        let join = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        writeln!(out, "{} | {}", join(&encoding.ids), join(&encoding.type_ids))?;
    }
    Ok(out.flush()?)
}
