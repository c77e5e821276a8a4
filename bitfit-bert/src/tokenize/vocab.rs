//! The conversion of a `vocab.txt` to the `tokenizer.json` that transformers makes of it, so that both files are loaded
//! in the same way and give the same tokens. Text is cleaned, split at spaces and punctuation, then greedily into the
//! longest pieces of the vocabulary.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::config::{Class, Config};
use super::wrong;
use crate::Result;

/// A special token of a class: the key of its setting, its default, whether a vocabulary must have it, and whether it
/// includes the spaces before it.
struct Special {
    key: &'static str,
    default: &'static str,
    required: bool,
    lstrip: bool,
}

const fn required(key: &'static str, default: &'static str) -> Special {
    Special { key, default, required: true, lstrip: false }
}

/// A token that is never inserted, but found if it occurs in a text.
const fn optional(key: &'static str, default: &'static str, lstrip: bool) -> Special {
    Special { key, default, required: false, lstrip }
}

const BERT: &[Special] = &[
    required("unk_token", "[UNK]"),
    required("cls_token", "[CLS]"),
    required("sep_token", "[SEP]"),
    optional("pad_token", "[PAD]", false),
    optional("mask_token", "[MASK]", false),
];

const MPNET: &[Special] = &[
    required("unk_token", "[UNK]"),
    required("cls_token", "<s>"),
    required("sep_token", "</s>"),
    optional("pad_token", "<pad>", false),
    optional("mask_token", "<mask>", true),
    optional("bos_token", "<s>", false),
    optional("eos_token", "</s>", false),
];

/// The tokenizer.json of the vocabulary `text`, without a post-processor: that of the class is added for every file.
pub(super) fn to_json(path: &Path, text: &str, config: &Config) -> Result<Value> {
    let specials = match config.class {
        Class::Bert => BERT,
        Class::MPNet => MPNET,
        Class::Roberta | Class::File => {
            let reason = "the \"tokenizer_class\" needs a tokenizer.json; a vocab.txt alone is read for BertTokenizer \
                          and classes of its kind";
            return Err(wrong(path, reason));
        }
    };
    // A token is its line and its id the line's number; of two equal lines the last counts, as in Python.
    let vocab: Map<String, Value> = text.lines().zip(0u32..).map(|(token, id)| (token.to_owned(), id.into())).collect();
    let mut added: Vec<Value> = Vec::new();
    for special in specials {
        let token = config.token(special.key, special.default);
        match vocab.get(&token) {
            Some(id) if added.iter().all(|other| other["id"] != *id) => added.push(json!({
                "id": id, "content": token, "special": true,
                "single_word": false, "lstrip": special.lstrip, "rstrip": false, "normalized": false,
            })),
            None if special.required => {
                return Err(wrong(path, format!("the special token {token:?} is not in the vocabulary")));
            }
            _ => {}
        }
    }
    // The crate requires them in the order of their ids.
    added.sort_by_key(|token| token["id"].as_u64());
    let unknown = config.token("unk_token", "[UNK]");
    Ok(json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    }))
}
