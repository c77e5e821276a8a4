//! Tokenizers of every model, normalizer, pre-tokenizer and post-processor that the tokenizers library has, with the
//! files beside them; and texts of every kind for those that are accepted.

use std::path::Path;

use bitfit_bert::Tokenizer;
use bitfit_bert::tokenize::Limits;
use bitfit_core::rng::Random;

use crate::mutate::any;
use crate::runner::{Target, check_error, run};
use crate::{text, tokenizer_seeds};

/// What the error of a tokenizer may name: one of its files, or the directory of all.
const FILES: [&str; 6] = [
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "config.json",
];

const LIMITS: Limits = Limits { vocab_size: 90, token_types: Some(2), max_length: 512 };

#[test]
fn fuzz() {
    run(Target {
        name: "tokenizer",
        memory: 1 << 30,
        seeds: tokenizer_seeds::all(),
        fixed: Vec::new(),
        check: Box::new(|dir, random| {
            let directory = dir.to_string_lossy().into_owned();
            let names: Vec<&str> = FILES.into_iter().chain([directory.as_str()]).collect();
            let tokenizer = match Tokenizer::open(dir, LIMITS) {
                Ok(tokenizer) => tokenizer,
                Err(error) => {
                    check_error(&error, &names);
                    return false;
                }
            };
            if random.below(8) == 0 {
                let again = Tokenizer::open(dir, LIMITS).expect("the same files");
                assert_eq!(tokenizer.fingerprint(), again.fingerprint());
            }
            for _ in 0..3 {
                encode(&tokenizer, dir, &names, random);
            }
            true
        }),
    });
}

/// Encodes a text or a pair, twice.
fn encode(tokenizer: &Tokenizer, dir: &Path, names: &[&str], random: &mut Random) {
    let (first, second) = (text::text(random), (random.below(2) == 0).then(|| text::text(random)));
    let max_length = *any(&[0, 1, 2, 3, 4, 5, 8, 9, 64, 511, 512, 513, usize::MAX], random);
    let encode = || tokenizer.encode(&first, second.as_deref(), max_length);
    let encoding = match (encode(), encode()) {
        (Ok(encoding), Ok(again)) => {
            assert_eq!(encoding, again, "the same text has other tokens");
            encoding
        }
        (Err(error), Err(again)) => {
            assert_eq!(error.to_string(), again.to_string());
            check_error(&error, names);
            return;
        }
        (one, other) => panic!("{one:?}, then {other:?} in {}", dir.display()),
    };
    assert!(
        !encoding.ids.is_empty() && encoding.ids.len() <= max_length,
        "{} tokens of {max_length}",
        encoding.ids.len()
    );
    assert_eq!(encoding.ids.len(), encoding.type_ids.len());
    assert!(encoding.ids.iter().all(|id| (*id as usize) < LIMITS.vocab_size), "an id beyond the vocabulary");
    assert!(encoding.type_ids.iter().all(|id| (*id as usize) < LIMITS.token_types.unwrap()), "a type beyond the types");
}
