//! Small tokenizers of every kind: four models, and of all other parts each at least once.

use serde_json::{Map, Value, json};

use crate::runner::Files;

/// Words, pieces and special tokens of all models.
const VOCAB: [&str; 50] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>", "<unk>", "<mask>", "a", "b", "c", "##a", "##b", "##c",
    "hello", "world", "##s", "he", "##llo", "un", "##able", "!", ",", ".", "'", "-", "中", "é", "1", "##2", "ß", "x",
    "##x", "ab", "abab", "Ġ", "Ġa", "▁", "▁a", "▁hello", "<0x00>", "<0xE4>", "<0xC3>", "Ã", "©", "Ċ", "b</w>",
    "ab</w>", "text",
];

/// Directories with a tokenizer each.
pub fn all() -> Vec<Files> {
    let (models, normalizers, pre, post) = (models(), normalizers(), pre_tokenizers(), post_processors());
    let parts = normalizers.len().max(pre.len()).max(post.len());
    let mut seeds: Vec<Files> = (0..parts)
        .map(|i| {
            let [normalizer, pre] = [&normalizers, &pre].map(|parts| &parts[i % parts.len()]);
            let json = tokenizer(&models[i % models.len()], normalizer, pre, &post[i % post.len()]);
            let class = ["BertTokenizer", "PreTrainedTokenizerFast", "RobertaTokenizer", "XLMRobertaTokenizer"][i % 4];
            vec![
                ("tokenizer.json".into(), json.to_string().into()),
                (
                    "tokenizer_config.json".into(),
                    json!({"tokenizer_class": class, "truncation_side": "right"}).to_string().into(),
                ),
            ]
        })
        .collect();
    seeds.extend(vocabularies());
    seeds
}

/// Directories with a `vocab.txt` and the files that are read beside one.
fn vocabularies() -> Vec<Files> {
    let vocab = || ("vocab.txt".to_owned(), VOCAB.join("\n").into_bytes());
    let file = |name: &str, json: Value| (name.to_owned(), json.to_string().into_bytes());
    let token =
        json!({"content": "[SEP]", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false});
    vec![
        vec![vocab()],
        vec![
            vocab(),
            file(
                "tokenizer_config.json",
                json!({
                    "tokenizer_class": "BertTokenizer", "do_lower_case": true, "strip_accents": null,
                    "tokenize_chinese_chars": true, "truncation_side": "left", "cls_token": "[CLS]", "sep_token": token,
                    "added_tokens_decoder": {
                        "50": {"content": "<x>", "special": true, "lstrip": true, "rstrip": false, "single_word": true},
                        "51": {"content": "ab c", "special": false, "normalized": true},
                    },
                }),
            ),
            file("special_tokens_map.json", json!({"unk_token": "[UNK]", "mask_token": {"content": "[MASK]"}})),
            file("config.json", json!({"tokenizer_class": "BertTokenizer"})),
        ],
        vec![
            vocab(),
            file("tokenizer_config.json", json!({"tokenizer_class": "MPNetTokenizer", "unk_token": "[UNK]"})),
            file("special_tokens_map.json", json!({"cls_token": "<s>", "extra_special_tokens": ["<new>"]})),
            file("added_tokens.json", json!({"<new>": 50, "[tag]": 51})),
        ],
    ]
}

fn tokenizer(model: &Value, normalizer: &Value, pre: &Value, post: &Value) -> Value {
    let added = |id: usize| {
        json!({
            "id": id, "content": VOCAB[id], "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    json!({
        "version": "1.0",
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {
            "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [added(0), added(1), added(2), added(3), added(4), added(8)],
        "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post, "decoder": null, "model": model,
    })
}

fn models() -> Vec<Value> {
    let vocab: Map<String, Value> = VOCAB.iter().zip(0..).map(|(token, id)| ((*token).into(), id.into())).collect();
    let scored: Vec<Value> = VOCAB.iter().enumerate().map(|(id, token)| json!([token, -(id as f64) / 7.0])).collect();
    vec![
        json!({
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        }),
        json!({
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": true, "vocab": vocab,
            "merges": ["a b", ["ab", "ab"], "Ġ a"],
        }),
        json!({
            "type": "BPE", "dropout": 0.5, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": [["a", "b</w>"], ["a", "b"]],
        }),
        json!({"type": "Unigram", "unk_id": 7, "vocab": scored, "byte_fallback": false}),
        json!({"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}),
    ]
}

fn normalizers() -> Vec<Value> {
    let plain = |kind: &str| json!({"type": kind});
    let bert = json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
        "lowercase": true,
    });
    let spaces = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"});
    let letters = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "ab"});
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let precompiled = json!({"type": "Precompiled", "precompiled_charsmap": characters()});
    let sequence = |parts: Vec<Value>| json!({"type": "Sequence", "normalizers": parts});
    vec![
        bert,
        Value::Null,
        sequence(vec![plain("NFD"), plain("Lowercase"), plain("StripAccents")]),
        precompiled.clone(),
        sequence(vec![precompiled, spaces, prepend]),
        sequence(vec![plain("Nmt"), plain("NFKC"), letters.clone()]),
        plain("ByteLevel"),
        sequence(vec![json!({"type": "Strip", "strip_left": true, "strip_right": true}), plain("NFC"), plain("NFKD")]),
        letters,
    ]
}

/// The character map of a trie that turns "a" into "x".
fn characters() -> String {
    let place = 256 ^ usize::from(b'a');
    let mut units = vec![0_u32; 768];
    units[0] = 256 << 10;
    units[place] = u32::from(b'a') | 1 << 8 | ((place as u32 ^ 512) << 10);
    units[512] = 0x8000_0000;
    let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend(b"x\0");
    base64::encode(bytes)
}

fn pre_tokenizers() -> Vec<Value> {
    let plain = |kind: &str| json!({"type": kind});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let words = r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    let split = |pattern: Value, behavior: &str, invert: bool| json!({"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert});
    let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let sequence = |parts: Vec<Value>| json!({"type": "Sequence", "pretokenizers": parts});
    vec![
        plain("BertPreTokenizer"),
        bytes.clone(),
        plain("Whitespace"),
        metaspace,
        plain("WhitespaceSplit"),
        sequence(vec![split(json!({"Regex": words}), "Removed", true), bytes]),
        json!({"type": "CharDelimiterSplit", "delimiter": "-"}),
        sequence(vec![plain("UnicodeScripts"), json!({"type": "Digits", "individual_digits": true})]),
        json!({"type": "Punctuation", "behavior": "MergedWithPrevious"}),
        json!({"type": "FixedLength", "length": 3}),
        split(json!({"String": "ab"}), "Contiguous", false),
        sequence(vec![plain("WhitespaceSplit"), json!({"type": "Punctuation", "behavior": "Isolated"})]),
        Value::Null,
    ]
}

fn post_processors() -> Vec<Value> {
    let special = |id: &str, type_id: u32| json!({"SpecialToken": {"id": id, "type_id": type_id}});
    let text = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)],
        "pair": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0), text("B", 1), special("[SEP]", 1)],
        "special_tokens": {
            "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
            "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
        },
    });
    let bert = json!({"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]});
    let roberta = json!({
        "type": "RobertaProcessing", "cls": ["<s>", 5], "sep": ["</s>", 6], "trim_offsets": true, "add_prefix_space": false,
    });
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let sequence = json!({"type": "Sequence", "processors": [bytes, template]});
    vec![template, bert, roberta, sequence, Value::Null, bytes]
}
