//! Ids, refusals and fingerprints, over a vocabulary of 45 tokens.

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};

use super::encode::longest_first;
use super::*;

const VOCAB: [&str; 45] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##a", "##b", "##c", "hello", "world", "##s", "he",
    "##llo", "un", "##able", "!", ",", ".", "'", "-", "$", "中", "国", "e", "é", "##é", "cafe", "café", "Hello", "1",
    "##2", "İ", "i", "ß", "ss", "##n", "[", "]", "sep", "##p", "x", "##x",
];

/// A directory with these files, which is removed at the end of the test.
fn directory(files: &[(&str, String)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
    dir
}

fn model(vocab_size: usize, type_vocab_size: usize) -> ModelConfig {
    let config = json!({
        "vocab_size": vocab_size, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "intermediate_size": 8, "max_position_embeddings": 128, "type_vocab_size": type_vocab_size
    });
    ModelConfig::from_json(Path::new("config.json"), config.to_string().as_bytes()).unwrap()
}

fn open(files: &[(&str, String)]) -> Result<Tokenizer> {
    Tokenizer::open(directory(files).path(), &model(VOCAB.len(), 2))
}

/// The tokenizer of a vocab.txt.
fn from_vocab(config: Value) -> Tokenizer {
    open(&[("vocab.txt", VOCAB.join("\n") + "\n"), ("tokenizer_config.json", config.to_string())]).unwrap()
}

/// The tokenizer.json of the same vocabulary, with padding and truncation, as sentence-transformers saves it.
fn tokenizer_json() -> Value {
    let vocab: serde_json::Map<_, _> = VOCAB.iter().zip(0..).map(|(token, id)| ((*token).into(), id.into())).collect();
    let special = |token: &str, type_id: u32| json!({"SpecialToken": {"id": token, "type_id": type_id}});
    let text = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
    let added = |id: usize| {
        json!({
            "id": id, "content": VOCAB[id], "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    json!({
        "version": "1.0",
        "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [added(0), added(1), added(2), added(3), added(4)],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)],
            "pair": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0), text("B", 1), special("[SEP]", 1)],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    })
}

/// The tokenizer of a tokenizer.json alone, which no class changes.
fn from_json(json: &Value) -> Result<Tokenizer> {
    open(&[("tokenizer.json", json.to_string())])
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, None, 128).unwrap().ids
}

/// Texts with the ids that `BertTokenizer` of transformers 5.23 gives them over `VOCAB`, lower-casing and cased.
fn goldens() -> Vec<(String, Vec<u32>, Vec<u32>)> {
    let same = |text: &str, ids: &[u32]| (text.to_owned(), ids.to_vec(), ids.to_vec());
    vec![
        same("", &[2, 3]),
        same("   ", &[2, 3]),
        ("Hello worlds!".into(), vec![2, 11, 12, 13, 18, 3], vec![2, 31, 12, 13, 18, 3]),
        same("unable, unables", &[2, 16, 17, 19, 16, 17, 13, 3]),
        ("CAFÉ café cafe\u{301}".into(), vec![2, 29, 29, 29, 3], vec![2, 1, 30, 1, 3]),
        same("中国a", &[2, 24, 25, 5, 3]),
        same("a\0b\u{200b}c\tb\u{a0}c\nab", &[2, 5, 9, 10, 6, 7, 5, 9, 3]),
        same("[SEP] [MASK]a [sep]", &[2, 3, 4, 5, 39, 41, 40, 3]),
        same("don't - $a.b", &[2, 1, 21, 1, 22, 23, 5, 20, 6, 3]),
        ("İ ß".into(), vec![2, 35, 36, 3], vec![2, 34, 36, 3]),
        same(&"x".repeat(100), &[&[2, 43][..], &[44; 99], &[3]].concat()),
        same(&"x".repeat(101), &[2, 1, 3]),
        same("ab🙂c 🙂", &[2, 1, 1, 3]),
        same("\u{fffd}hello", &[2, 11, 3]),
        same("a  a\u{3000}a", &[2, 5, 5, 5, 3]),
        same("12 1n", &[2, 32, 33, 32, 38, 3]),
    ]
}

#[test]
fn a_vocabulary_gives_the_ids_of_transformers() {
    let lower = from_vocab(json!({}));
    let cased = from_vocab(json!({"do_lower_case": false}));
    for (text, lower_ids, cased_ids) in goldens() {
        assert_eq!(ids(&lower, &text), lower_ids, "{text}");
        assert_eq!(ids(&cased, &text), cased_ids, "{text}");
    }
    let accents = from_vocab(json!({"do_lower_case": true, "strip_accents": false}));
    assert_eq!(ids(&accents, "CAFÉ café cafe\u{301}"), [2, 30, 30, 1, 3]);
    let chinese = from_vocab(json!({"tokenize_chinese_chars": false}));
    assert_eq!(ids(&chinese, "中国a"), [2, 1, 3]);
}

#[test]
fn a_tokenizer_json_gives_the_same_ids_without_its_own_lengths() {
    let lower = from_json(&tokenizer_json()).unwrap();
    let mut json = tokenizer_json();
    json["normalizer"]["lowercase"] = false.into();
    let cased = from_json(&json).unwrap();
    for (text, lower_ids, cased_ids) in goldens() {
        assert_eq!(ids(&lower, &text), lower_ids, "{text}");
        assert_eq!(ids(&cased, &text), cased_ids, "{text}");
    }
    let pair = lower.encode("a b c", Some("b"), 128).unwrap();
    assert_eq!(pair, from_vocab(json!({})).encode("a b c", Some("b"), 128).unwrap());
}

#[test]
fn tokenizer_config_wins_unless_the_class_reads_no_switches() {
    let with = |config: Value| {
        let files = [("tokenizer.json", tokenizer_json().to_string()), ("tokenizer_config.json", config.to_string())];
        ids(&open(&files).unwrap(), "Hello")
    };
    assert_eq!(with(json!({"do_lower_case": false, "tokenizer_class": "BertTokenizerFast"})), [2, 31, 3]);
    assert_eq!(with(json!({"do_lower_case": false, "tokenizer_class": "PreTrainedTokenizerFast"})), [2, 11, 3]);
    // Without a class, and without a model type that has one, the file is all there is.
    assert_eq!(with(json!({"do_lower_case": false})), [2, 11, 3]);
    assert_eq!(with(json!({"tokenizer_class": "BertTokenizer"})), [2, 11, 3]);
    assert_eq!(with(json!({})), [2, 11, 3]);
}

#[test]
fn a_file_that_says_something_else_than_its_class_is_refused_where_the_settings_are_silent() {
    let with = |path: &str, value: Value, config: Value| {
        let mut json = tokenizer_json();
        *json.pointer_mut(path).unwrap() = value;
        open(&[("tokenizer.json", json.to_string()), ("tokenizer_config.json", config.to_string())])
    };
    let bert = || json!({"tokenizer_class": "BertTokenizer"});
    let roberta = json!({
        "type": "RobertaProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3], "trim_offsets": true,
        "add_prefix_space": false,
    });
    let set = "set the \"tokenizer_class\" PreTrainedTokenizerFast";
    for (path, value, key, way_out) in [
        ("/normalizer/lowercase", json!(false), "normalizer.lowercase is false", "set \"do_lower_case\" in"),
        ("/normalizer/strip_accents", json!(false), "normalizer.strip_accents is false", "set \"strip_accents\" in"),
        ("/normalizer/clean_text", json!(false), "normalizer.clean_text is false", set),
        ("/normalizer", json!({"type": "Lowercase"}), "normalizer is {", set),
        ("/normalizer", Value::Null, "normalizer is null", set),
        ("/pre_tokenizer", json!({"type": "Whitespace"}), "pre_tokenizer is {", set),
        ("/model/unk_token", json!("a"), "model.unk_token is \"a\"", set),
        ("/model/max_input_chars_per_word", json!(99), "model.max_input_chars_per_word is 99", set),
        ("/post_processor", roberta, "post_processor: it puts other tokens around a text", set),
    ] {
        let message = with(path, value.clone(), bert()).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(way_out), "{message}");
        assert!(with(path, value, json!({"tokenizer_class": "PreTrainedTokenizerFast"})).is_ok(), "{path}");
    }
    // A null is a word too: it stands for the default.
    let null = json!({"tokenizer_class": "BertTokenizer", "strip_accents": null});
    assert!(with("/normalizer/strip_accents", json!(false), null).is_ok());
    let message = with("/model/type", json!("WordLevel"), bert()).unwrap_err().to_string();
    assert!(message.contains("takes a model of type WordPiece, found \"WordLevel\""), "{message}");
    let dropped = json!({"tokenizer_class": "BertTokenizer", "added_tokens_decoder": {}});
    let token = json!({
        "id": 43, "content": "x", "special": false, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false,
    });
    let message = with("/added_tokens/4", token, dropped).unwrap_err().to_string();
    assert!(message.contains("the added token \"x\" is not in the \"added_tokens_decoder\""), "{message}");
}

#[test]
fn without_a_class_the_model_type_decides() {
    let of_type = |model_type: &str, files: &[(&str, String)]| {
        let config = ("config.json", json!({"model_type": model_type}).to_string());
        open(&[files, &[config]].concat())
    };
    let vocab = || vec![("vocab.txt", VOCAB.join("\n"))];
    for model_type in ["bert", "electra", "distilbert", "convbert", "mobilebert", "squeezebert"] {
        assert_eq!(ids(&of_type(model_type, &vocab()).unwrap(), "Hello"), [2, 11, 3], "{model_type}");
    }
    let mpnet = vec![("vocab.txt", "<s>\n<pad>\n</s>\n[UNK]\na".into())];
    assert_eq!(ids(&of_type("mpnet", &mpnet).unwrap(), "a"), [0, 4, 2]);
    for (model_type, expected) in [
        ("roberta", "neither tokenizer.json nor vocab.json with merges.txt"),
        ("mpnet", "the special token \"<s>\" is not in the vocabulary"),
        ("xlm-roberta", "neither tokenizer.json nor sentencepiece.bpe.model"),
        ("camembert", "neither tokenizer.json nor sentencepiece.bpe.model"),
        ("albert", "neither tokenizer.json nor spiece.model"),
        ("modernbert", "needs a tokenizer.json"),
        ("roformer", "the model type \"roformer\" has the tokenizer RoFormerTokenizer: it finds Chinese words"),
        ("tapas", "it reads tables"),
        ("unheard", "that of the model type \"unheard\" is not known here"),
    ] {
        let message = of_type(model_type, &vocab()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_format_that_is_not_read_is_refused_with_the_way_out() {
    let vocab = || ("vocab.txt", VOCAB.join("\n"));
    let of_type = |model_type: &str| ("config.json", json!({"model_type": model_type}).to_string());
    for (model_type, name) in [
        ("xlm-roberta", "sentencepiece.bpe.model"),
        ("camembert", "sentencepiece.bpe.model"),
        ("albert", "spiece.model"),
        ("deberta-v2", "spm.model"),
        ("xlm-roberta", "tokenizer.model"),
        ("bert", "tokenizer.model"),
        ("bert", "tekken.json"),
        ("roberta", "tokenizer.model"),
    ] {
        let message = open(&[vocab(), of_type(model_type), (name, "x".into())]).unwrap_err().to_string();
        assert!(message.contains(&format!("the format of {name} is not read here")), "{message}");
        assert!(message.contains("AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"), "{message}");
    }
    // BERT's class does not look at one that is another class's, as long as there is its own file.
    assert!(open(&[vocab(), of_type("bert"), ("spiece.model", "x".into())]).is_ok());
    let message = open(&[of_type("bert"), ("spiece.model", "x".into())]).unwrap_err().to_string();
    assert!(message.contains("the format of spiece.model"), "{message}");
}

#[test]
fn settings_that_put_other_files_in_place_are_refused() {
    for key in ["vocab", "merges", "init_inputs", "fast_tokenizer_files", "post_processor"] {
        let config = ("tokenizer_config.json", json!({key: ["x"]}).to_string());
        let message = open(&[("vocab.txt", VOCAB.join("\n")), config]).unwrap_err().to_string();
        assert!(message.contains(&format!("the setting {key:?} is not supported")), "{message}");
    }
}

#[test]
fn a_pair_is_cut_longest_first_as_transformers_does() {
    let tokenizer = from_vocab(json!({}));
    let (a, b) = ("a b c a b c a", "b b b b");
    let encode = |text, pair, max_length| {
        let Encoding { ids, type_ids, .. } = tokenizer.encode(text, Some(pair), max_length).unwrap();
        let second = type_ids.iter().position(|id| *id == 1).unwrap();
        assert!(type_ids[..second].iter().all(|id| *id == 0) && type_ids[second..].iter().all(|id| *id == 1));
        (ids, second)
    };
    for (max_length, forth, back) in [
        (4, &[2, 5, 3, 3][..], &[2, 3, 5, 3][..]),
        (5, &[2, 5, 3, 6, 3], &[2, 6, 3, 5, 3]),
        (6, &[2, 5, 6, 3, 6, 3], &[2, 6, 3, 5, 6, 3]),
        (9, &[2, 5, 6, 7, 3, 6, 6, 6, 3], &[2, 6, 6, 6, 3, 5, 6, 7, 3]),
        (10, &[2, 5, 6, 7, 5, 3, 6, 6, 6, 3], &[2, 6, 6, 6, 3, 5, 6, 7, 5, 3]),
        (12, &[2, 5, 6, 7, 5, 6, 3, 6, 6, 6, 6, 3], &[2, 6, 6, 6, 6, 3, 5, 6, 7, 5, 6, 3]),
        (14, &[2, 5, 6, 7, 5, 6, 7, 5, 3, 6, 6, 6, 6, 3], &[2, 6, 6, 6, 6, 3, 5, 6, 7, 5, 6, 7, 5, 3]),
    ] {
        assert_eq!(encode(a, b, max_length).0, forth, "{max_length}");
        assert_eq!(encode(b, a, max_length).0, back, "{max_length}");
    }
    assert_eq!(encode("a b", "a b", 6), (vec![2, 5, 3, 5, 6, 3], 3));
    assert_eq!(encode("a b c", "a b c", 8), (vec![2, 5, 6, 3, 5, 6, 7, 3], 4));
    assert_eq!(encode("a", "", 8), (vec![2, 5, 3, 3], 3));
    assert_eq!(tokenizer.encode(a, None, 5).unwrap().ids, [2, 5, 6, 7, 3]);
}

#[test]
fn the_left_end_is_cut_where_the_files_say_so() {
    let by_config = from_vocab(json!({"truncation_side": "left"}));
    let mut json = tokenizer_json();
    json["truncation"]["direction"] = "Left".into();
    for tokenizer in [by_config, from_json(&json).unwrap()] {
        assert_eq!(tokenizer.encode("a b c a b c a", Some("b b b b"), 8).unwrap().ids, [2, 6, 7, 5, 3, 6, 6, 3]);
        assert_eq!(tokenizer.encode("a b c a b c a", None, 5).unwrap().ids, [2, 6, 7, 5, 3]);
        let windows = tokenizer.encode_windows("a", "b c a b c a", 7, 1).unwrap();
        let ids: Vec<_> = windows.iter().map(|window| &window.ids[3..window.ids.len() - 1]).collect();
        assert_eq!(ids, [&[6, 7, 5][..], &[7, 5, 6], &[6, 7]]);
    }
}

#[test]
fn lengths_are_those_of_the_tokenizers_crate() {
    let of_length = |n| tokenizers::Encoding::from_tokens(vec![tokenizers::Token::new(0, String::new(), (0, 0)); n], 0);
    for n1 in 0..12 {
        for n2 in 0..12 {
            for room in 1..26 {
                let params = TruncationParams { max_length: room, ..Default::default() };
                let (a, b) = truncate_encodings(of_length(n1), Some(of_length(n2)), &params).unwrap();
                assert_eq!(longest_first(n1, n2, room), (a.len(), b.unwrap().len()), "{n1} {n2} {room}");
            }
        }
        for room in 1..14 {
            assert_eq!(longest_first(n1, 0, room), (n1.min(room), 0));
        }
    }
    assert_eq!(longest_first(usize::MAX, usize::MAX, 7), (3, 4));
}

#[test]
fn many_rows_come_back_in_order_and_the_first_error_is_kept() {
    let tokenizer = from_vocab(json!({}));
    let text = |i: usize| "a b c hello unable".split(' ').cycle().skip(i).take(i % 7).collect::<Vec<_>>().join(" ");
    let rows: Vec<(String, Option<String>)> = (0..500).map(|i| (text(i), (i % 3 == 0).then(|| text(i + 1)))).collect();
    let all = tokenizer.encode_all(&rows, 9).unwrap();
    for ((text, pair), encoding) in rows.iter().zip(&all) {
        assert_eq!(*encoding, tokenizer.encode(text, pair.as_deref(), 9).unwrap());
    }
    let none: [(&str, Option<&str>); 0] = [];
    assert!(tokenizer.encode_all(&none, 9).unwrap().is_empty());

    // Only c (7) and b (6) are beyond a vocabulary of six.
    let dir = directory(&[("vocab.txt", VOCAB.join("\n"))]);
    let small = Tokenizer::open(dir.path(), &model(6, 2)).unwrap();
    let rows: Vec<(&str, Option<&str>)> = (0..200).map(|i| (if i < 100 { "a" } else { "c b" }, None)).collect();
    let message = small.encode_all(&rows, 9).unwrap_err().to_string();
    assert!(message.contains("\"c\" is number 7") && message.contains("has 6"), "{message}");
}

#[test]
fn what_the_model_has_no_embedding_for_is_refused() {
    let dir = directory(&[("vocab.txt", VOCAB.join("\n"))]);
    let tokenizer = Tokenizer::open(dir.path(), &model(VOCAB.len(), 1)).unwrap();
    assert!(tokenizer.encode("a", None, 128).is_ok());
    assert!(tokenizer.encode("a", Some("b"), 128).unwrap_err().to_string().contains("takes no pairs"));
    assert!(tokenizer.encode("a", None, 129).unwrap_err().to_string().contains("128 positions"));
    for (pair, max_length) in [(None, 0), (None, 2), (Some("b"), 3)] {
        let message = tokenizer.encode("a", pair, max_length).unwrap_err().to_string();
        assert!(message.contains("leaves no room"), "{message}");
    }
}

#[test]
fn a_tokenizer_json_without_a_frame_gets_that_of_its_class() {
    let mut json = tokenizer_json();
    json["post_processor"] = Value::Null;
    let config = json!({"tokenizer_class": "BertTokenizer"}).to_string();
    let framed = open(&[("tokenizer.json", json.to_string()), ("tokenizer_config.json", config)]).unwrap();
    assert_eq!(ids(&framed, "a"), [2, 5, 3]);
    let config = json!({"tokenizer_class": "TokenizersBackend"}).to_string();
    let bare = open(&[("tokenizer.json", json.to_string()), ("tokenizer_config.json", config)]).unwrap();
    assert_eq!(ids(&bare, "a"), [5]);
    assert!(bare.encode("", None, 8).unwrap_err().to_string().contains("without a single token"));
}

#[test]
fn hostile_files_are_refused() {
    let refusal = |files: &[(&str, String)]| {
        let error = open(files).unwrap_err();
        assert!(matches!(error, Error::Tokenizer { .. } | Error::Io { .. }), "{error:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
        error.to_string()
    };
    assert!(refusal(&[]).contains("neither tokenizer.json nor vocab.txt"));
    assert!(refusal(&[("vocab.json", "{}".into())]).contains("RobertaTokenizer"));
    for json in ["", "{", "[]", "3", "{}", "{\"version\": \"2.0\"}", "null"] {
        assert!(refusal(&[("tokenizer.json", json.into())]).contains("tokenizer.json: "));
    }
    for (path, value) in [
        ("/model", Value::Null),
        ("/model/vocab", json!({"a": -1})),
        ("/model/type", json!("Nothing")),
        ("/normalizer", json!(7)),
        ("/normalizer/lowercase", json!("yes")),
        ("/pre_tokenizer/type", json!(3)),
        ("/post_processor/single", json!("$A $B")),
        ("/post_processor/type", json!("RobertaProcessing")),
        ("/post_processor/pair/3/Sequence/id", json!("A")),
        ("/pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
        ("/pre_tokenizer", json!({"type": "Split", "pattern": {"String": ""}, "behavior": "Removed", "invert": false})),
        ("/normalizer", json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "x"})),
        ("/normalizer", json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "x"})),
        ("/normalizer", json!({"type": "Prepend", "prepend": ""})),
        ("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
        (
            "/added_tokens/4",
            json!({
                "id": 45, "content": "\u{301}", "special": false,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": true,
            }),
        ),
        ("/model/max_input_chars_per_word", json!(1_u64 << 60)),
        ("/model/vocab/a", json!(u32::MAX)),
        ("/added_tokens/0/id", json!(u32::MAX)),
        ("/added_tokens", json!([{"id": 0}])),
        ("/truncation/direction", json!("Up")),
    ] {
        let mut json = tokenizer_json();
        match json.pointer_mut(path) {
            Some(place) => *place = value,
            None => json["truncation"]["direction"] = value,
        }
        refusal(&[("tokenizer.json", json.to_string())]);
    }
    assert!(refusal(&[("vocab.txt", String::new())]).contains("[UNK]"));
    assert!(refusal(&[("vocab.txt", "[UNK]\n[SEP]\na".into())]).contains("[CLS]"));
    let vocab = ("vocab.txt", VOCAB.join("\n"));
    for config in [
        "{",
        "[1]",
        r#"{"do_lower_case": "no"}"#,
        r#"{"truncation_side": "up"}"#,
        r#"{"cls_token": "<s>"}"#,
        r#"{"cls_token": null}"#,
        r#"{"mask_token": {"content": "[MASK]"}}"#,
        r#"{"split_special_tokens": 1}"#,
        r#"{"additional_special_tokens": [{"content": "a"}]}"#,
        r#"{"additional_special_tokens": "a"}"#,
        r#"{"added_tokens_decoder": null}"#,
    ] {
        refusal(&[vocab.clone(), ("tokenizer_config.json", config.into())]);
    }
    let added = json!({"added_tokens_decoder": {"46": {"content": "<new>"}}}).to_string();
    assert!(refusal(&[vocab.clone(), ("tokenizer_config.json", added)]).contains("\"<new>\" with the id 46"));
    let message = refusal(&[vocab.clone(), ("added_tokens.json", json!({"<new>": 44}).to_string())]);
    assert!(message.contains("added_tokens.json declares the token \"<new>\" with the id 44"), "{message}");
    for added in ["[]", r#"{"<new>": "45"}"#, r#"{"<new>": -1}"#] {
        assert!(refusal(&[vocab.clone(), ("added_tokens.json", added.into())]).contains("added_tokens.json: "));
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("vocab.txt"), b"[UNK]\n\xff\xfe").unwrap();
    assert!(Tokenizer::open(dir.path(), &model(9, 2)).is_err());
}

/// The places of a JSON value, each as the path to it; of long lists only the beginning.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Array(parts) => {
            parts.iter().enumerate().take(4).for_each(|(i, part)| places(part, &format!("{path}/{i}"), found));
        }
        Value::Object(fields) => {
            fields
                .iter()
                .take(12)
                .for_each(|(key, field)| places(field, &format!("{path}/{}", key.replace('/', "~1")), found));
        }
        _ => {}
    }
}

#[test]
fn whatever_stands_in_a_file_is_read_or_refused_in_one_line() {
    let mut unigram = bpe();
    let scores: Vec<_> = ["<s>", "<pad>", "</s>", "<unk>", "▁a"].into_iter().map(|piece| json!([piece, 0.0])).collect();
    unigram["model"] = json!({"type": "Unigram", "unk_id": 3, "vocab": scores});
    unigram["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"});
    let mut bytes = bpe();
    bytes["model"]["vocab"]["<s>"] = 5.into();
    bytes["model"]["vocab"]["</s>"] = 6.into();
    let config = json!({
        "do_lower_case": true, "mask_token": {"__type": "AddedToken", "content": "a"}, "split_special_tokens": false,
        "added_tokens_decoder": {"0": {"content": "a"}}, "extra_special_tokens": ["b"], "truncation_side": "left",
        "model_specific_special_tokens": {"image_token": "a"}, "add_prefix_space": true, "unk_id": 1,
    });
    let map = json!({"mask_token": {"content": "a"}, "additional_special_tokens": ["b"], "unk_token": "a"});
    let added = json!({"a": 0});
    let values = || [Value::Null, json!(3), json!(-1), json!("x"), json!([]), json!({}), json!([[]]), json!(true)];
    for (class, json) in [
        ("BertTokenizer", tokenizer_json()),
        ("PreTrainedTokenizerFast", tokenizer_json()),
        ("ConvBertTokenizer", tokenizer_json()),
        ("RobertaTokenizer", bytes),
        ("XLMRobertaTokenizer", unigram.clone()),
        ("DebertaV2Tokenizer", unigram),
    ] {
        let check = |files: &[(&str, &Value)]| {
            let class = ("config.json", json!({"tokenizer_class": class}).to_string());
            let files: Vec<_> = files.iter().map(|(name, json)| (*name, json.to_string())).chain([class]).collect();
            match open(&files) {
                Ok(tokenizer) => _ = tokenizer.encode("a <s> [MASK] b", Some("x"), 16),
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
        };
        for (name, file) in [
            ("tokenizer.json", &json),
            ("tokenizer_config.json", &config),
            ("special_tokens_map.json", &map),
            ("added_tokens.json", &added),
        ] {
            let mut found = Vec::new();
            places(file, "", &mut found);
            for path in found {
                for value in values() {
                    let mut changed = file.clone();
                    *changed.pointer_mut(&path).unwrap() = value;
                    match name {
                        "tokenizer.json" => check(&[(name, &changed)]),
                        _ => check(&[("tokenizer.json", &json), (name, &changed)]),
                    }
                }
            }
        }
    }
}

#[test]
fn a_class_with_rules_of_its_own_is_refused_by_name() {
    let vocab = || ("vocab.txt", VOCAB.join("\n"));
    let json = || ("tokenizer.json", tokenizer_json().to_string());
    let class = |class: &str| json!({"tokenizer_class": class}).to_string();
    for name in ["BertJapaneseTokenizer", "T5TokenizerFast", "", "Tokenizer"] {
        for files in [
            vec![vocab(), ("tokenizer_config.json", class(name))],
            vec![json(), ("tokenizer_config.json", class(name))],
            vec![vocab(), ("config.json", class(name))],
            vec![
                json(),
                ("config.json", class(name)),
                ("tokenizer_config.json", r#"{"tokenizer_class": null}"#.into()),
            ],
        ] {
            let message = open(&files).unwrap_err().to_string();
            let expected = format!("{}: the \"tokenizer_class\" {name:?} is not supported", files[1].0);
            assert!(message.contains(&expected), "{message}");
        }
    }
    for name in ["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "ElectraTokenizerFast"] {
        let other = ("config.json", class("BertJapaneseTokenizer"));
        let tokenizer = open(&[vocab(), ("tokenizer_config.json", class(name)), other]).unwrap();
        assert_eq!(ids(&tokenizer, "Hello"), [2, 11, 3], "{name}");
    }
    // Without a tokenizer.json there is nothing that these classes could follow.
    let message = open(&[vocab(), ("tokenizer_config.json", class("PreTrainedTokenizerFast"))]).unwrap_err();
    assert!(message.to_string().contains("needs a tokenizer.json"), "{message}");
}

#[test]
fn mpnet_has_its_own_special_tokens_and_one_type() {
    let vocab = "<s>\n<pad>\n</s>\n[UNK]\na\nb\n<mask>";
    let files =
        [("vocab.txt", vocab.into()), ("tokenizer_config.json", r#"{"tokenizer_class": "MPNetTokenizer"}"#.into())];
    let tokenizer = open(&files).unwrap();
    let pair = tokenizer.encode("A  <mask>", Some("b x"), 16).unwrap();
    assert_eq!((pair.ids, pair.type_ids), (vec![0, 4, 6, 2, 2, 5, 3, 2], vec![0; 8]));
    assert_eq!((tokenizer.special_tokens(false), tokenizer.special_tokens(true)), (2, 4));
}

#[test]
fn a_model_without_token_types_gets_zeros() {
    let dir = directory(&[("vocab.txt", VOCAB.join("\n"))]);
    let limits = Limits { vocab_size: VOCAB.len(), token_types: None, max_length: 16 };
    let pair = Tokenizer::open(dir.path(), limits).unwrap().encode("a", Some("b"), 16).unwrap();
    assert_eq!(pair.type_ids, [0; 5]);
}

#[test]
fn tokens_beside_the_vocabulary_are_found_whole() {
    let vocab = || ("vocab.txt", VOCAB.join("\n"));
    let legacy = ("added_tokens.json", json!({"<New>": 46, "[TAG]": 45}).to_string());
    let config = ("tokenizer_config.json", json!({"additional_special_tokens": ["[TAG]"]}).to_string());
    let limits = Limits { vocab_size: 47, token_types: Some(2), max_length: 64 };
    let dir = directory(&[vocab(), legacy.clone(), config]);
    let tokenizer = Tokenizer::open(dir.path(), limits).unwrap();
    // A special token is searched in the original text, any other one in the normalized text.
    assert_eq!(ids_of(&tokenizer, "a<new>b <NEW> [TAG]"), [2, 5, 46, 6, 46, 45, 3]);
    assert_eq!(ids_of(&tokenizer, "[tag]"), [2, 39, 1, 40, 3]);
    // A declaration takes precedence over the default ids of special tokens.
    let dir = directory(&[vocab(), ("added_tokens.json", json!({"[MASK]": 4}).to_string())]);
    assert_eq!(ids_of(&Tokenizer::open(dir.path(), limits).unwrap(), "[mask]"), [2, 4, 3]);
    // The list in tokenizer_config.json takes precedence over the older file.
    let declared = json!({"added_tokens_decoder": {"45": {"content": "<x>", "special": true}}}).to_string();
    let dir = directory(&[vocab(), legacy, ("tokenizer_config.json", declared.clone())]);
    let declaring = Tokenizer::open(dir.path(), limits).unwrap();
    assert_eq!(ids_of(&declaring, "a <x> <X>"), [2, 5, 45, 1, 43, 1, 3]);
    // And a tokenizer.json gets those that it lacks.
    let dir = directory(&[("tokenizer.json", tokenizer_json().to_string()), ("tokenizer_config.json", declared)]);
    let same = Tokenizer::open(dir.path(), limits).unwrap();
    assert_eq!(ids_of(&same, "a <x> <X>"), [2, 5, 45, 1, 43, 1, 3]);
    assert_eq!(same.fingerprint(), declaring.fingerprint());
    assert_ne!(same.fingerprint(), tokenizer.fingerprint());
}

fn ids_of(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, None, 64).unwrap().ids
}

#[test]
fn what_decides_on_ids_decides_on_the_fingerprint_and_nothing_else_does() {
    let of = |json: &Value| from_json(json).unwrap().fingerprint();
    let base = of(&tokenizer_json());
    assert!(base.len() == 64 && base.bytes().all(|byte| byte.is_ascii_hexdigit()), "{base}");
    assert_eq!(from_vocab(json!({})).fingerprint(), base);
    assert_eq!(from_vocab(json!({"tokenizer_class": "BertTokenizerFast", "do_lower_case": true})).fingerprint(), base);
    // Files that omit what their class implies, or express it differently.
    let changed = |path: &str, value: Value| {
        let mut json = tokenizer_json();
        *json.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        json
    };
    let bert = json!({"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]});
    for same in [
        changed("/post_processor", bert.clone()),
        changed("/post_processor", json!({"type": "Sequence", "processors": [bert]})),
        changed("/decoder", Value::Null),
        changed("/padding", Value::Null),
        changed("/truncation/max_length", json!(9)),
        changed("/added_tokens/4/special", json!(false)),
    ] {
        assert_eq!(of(&same), base, "{same}");
    }
    let mut vocabulary: Vec<(String, Value)> =
        tokenizer_json()["model"]["vocab"].as_object().unwrap().clone().into_iter().collect();
    vocabulary.reverse();
    assert_eq!(
        of(&changed("/model/vocab", Value::Object(vocabulary.into_iter().collect()))),
        base,
        "another order of keys"
    );

    let mut seen = vec![base];
    let mut swapped = tokenizer_json();
    swapped["model"]["vocab"]["hello"] = 12.into();
    swapped["model"]["vocab"]["world"] = 11.into();
    for other in [
        swapped,
        changed("/normalizer/lowercase", json!(false)),
        changed("/normalizer/strip_accents", json!(false)),
        changed("/normalizer/handle_chinese_chars", json!(false)),
        changed("/normalizer", Value::Null),
        changed("/pre_tokenizer", json!({"type": "WhitespaceSplit"})),
        changed("/model/unk_token", json!("[PAD]")),
        changed("/model/max_input_chars_per_word", json!(99)),
        changed("/model/continuing_subword_prefix", json!("")),
        changed("/added_tokens/4/lstrip", json!(true)),
        changed("/added_tokens", json!([])),
        changed("/post_processor/pair/3/Sequence/type_id", json!(0)),
        changed("/post_processor/special_tokens/[SEP]/ids", json!([4])),
    ] {
        let fingerprint = of(&other);
        assert!(!seen.contains(&fingerprint), "{other}");
        seen.push(fingerprint);
    }
    let cased = from_vocab(json!({"do_lower_case": false})).fingerprint();
    assert_eq!(cased, seen[2]);
    for config in [json!({"truncation_side": "left"}), json!({"split_special_tokens": true}), json!({"eos_token": "a"})]
    {
        let fingerprint = from_vocab(config).fingerprint();
        assert!(!seen.contains(&fingerprint));
        seen.push(fingerprint);
    }
}

/// A BPE tokenizer without a normalizer, at the level of bytes.
fn bpe() -> Value {
    json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "decoder": null, "post_processor": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"a": 0, "b": 1, "ab": 2, "abab": 3, "Ġ": 4}, "merges": ["a b", "ab ab"],
        },
    })
}

/// As `tokenizer(words, is_split_into_words=True)` of transformers with `add_prefix_space=True`.
#[test]
fn a_word_that_is_an_added_token_has_no_space_before_it() {
    let mut json = bpe();
    json["model"]["vocab"]["<unk>"] = 5.into();
    json["added_tokens"] = json!([{
        "id": 5, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": true,
    }]);
    let config = json!({"tokenizer_class": "TokenizersBackend"}).to_string();
    let tokenizer = open(&[("tokenizer.json", json.to_string()), ("tokenizer_config.json", config)]).unwrap();
    let found = tokenizer.encode_words(&["a", "<unk>", "b<unk>ab", " a"], 16).unwrap();
    assert_eq!(found[0].ids, [4, 0, 5, 4, 1, 5, 4, 2, 4, 0]);
    let read: Vec<_> = found[0].read.iter().map(|read| (read.word, read.token)).collect();
    assert_eq!(read, [(0, 0), (1, 2), (2, 3), (3, 8)]);
}

#[test]
fn the_dropout_of_a_bpe_is_off() {
    let mut random = bpe();
    random["model"]["dropout"] = 0.9.into();
    let config = || ("tokenizer_config.json", json!({"tokenizer_class": "TokenizersBackend"}).to_string());
    let open = |json: &Value| open(&[("tokenizer.json", json.to_string()), config()]).unwrap();
    let (random, plain) = (open(&random), open(&bpe()));
    for _ in 0..20 {
        assert_eq!(ids(&random, "abab ab"), [3, 4, 2]);
    }
    assert_eq!(random.fingerprint(), plain.fingerprint());
    let mut pairs = bpe();
    pairs["model"]["merges"] = json!([["a", "b"], ["ab", "ab"]]);
    assert_eq!(open(&pairs).fingerprint(), plain.fingerprint());
    pairs["model"]["merges"] = json!([["a", "b"]]);
    assert_ne!(open(&pairs).fingerprint(), plain.fingerprint());
    // The crate would cut one byte off "b", whatever it is.
    let mut prefixed = bpe();
    prefixed["model"]["continuing_subword_prefix"] = "##".into();
    let message = from_json(&prefixed).unwrap_err().to_string();
    assert!(message.contains("model.merges[0]"), "{message}");
}

#[test]
fn a_panic_of_the_library_is_an_error_with_the_row() {
    let mut tokenizer = from_vocab(json!({}));
    // Opening refuses this pre-tokenizer; it makes the library panic.
    tokenizer.loaded.inner.with_pre_tokenizer(Some(tokenizers::pre_tokenizers::fixed_length::FixedLength::new(0)));
    let rows: Vec<(&str, Option<&str>)> = vec![("", None), ("a \u{1b}b", None), ("c", None)];
    let message = tokenizer.encode_all(&rows, 16).unwrap_err().to_string();
    assert!(
        message.contains("vocab.txt: text 2 (\"a \\u{1b}b\"): the tokenizers library panicked: chunk size"),
        "{message}"
    );
    assert!(tokenizer.encode("c", None, 16).unwrap_err().to_string().contains("text (\"c\"): the tokenizers library"));
    assert_eq!(ids(&tokenizer, ""), [2, 3]);
}

#[test]
fn a_long_text_is_cut_as_the_whole_of_it_would_be() {
    // Everything that normalizers and pre-tokenizers treat specially, with marks that are reordered.
    let pieces: Vec<&str> = vec![
        "hello",
        "a",
        "[MASK]",
        "[SEP",
        "]",
        "[",
        "_",
        "-",
        ".",
        "...",
        "!",
        "'",
        "$",
        " ",
        "  ",
        "\t",
        "\n",
        "\r",
        "\u{a0}",
        "\u{3000}",
        "\u{85}",
        "\0",
        "\u{fffd}",
        "\u{200b}",
        "\u{ad}",
        "中",
        "国a",
        "\u{f900}",
        "\u{20000}",
        "é",
        "e\u{301}",
        "\u{301}",
        "\u{323}",
        "\u{327}",
        "\u{345}",
        "İ",
        "ß",
        "Σ",
        "ς",
        "\u{37e}",
        "≠",
        "\u{338}",
        "ﬁ",
        "각",
        "\u{1100}\u{1161}",
        "🙂",
        "\u{200d}",
        "한",
        "xx",
        "##a",
        "un",
        "able",
        "<t-x>",
    ];
    let mut tokenizers = Vec::new();
    for (lower, left, pre, single_word) in [
        (true, false, "BertPreTokenizer", false),
        (false, false, "BertPreTokenizer", true),
        (true, true, "BertPreTokenizer", false),
        (true, false, "Whitespace", true),
        (true, true, "WhitespaceSplit", false),
    ] {
        let mut json = tokenizer_json();
        json["normalizer"]["lowercase"] = lower.into();
        json["pre_tokenizer"]["type"] = pre.into();
        json["truncation"]["direction"] = if left { "Left" } else { "Right" }.into();
        json["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": 45, "content": "<t-x>", "special": false,
            "single_word": single_word, "lstrip": left, "rstrip": lower, "normalized": lower,
        }));
        let limits = Limits { vocab_size: 46, token_types: Some(2), max_length: 20_000 };
        let dir = directory(&[("tokenizer.json", json.to_string())]);
        let cutting = Tokenizer::open(dir.path(), limits).unwrap();
        let mut whole = Tokenizer::open(dir.path(), limits).unwrap();
        assert!(cutting.loaded.cuts.is_some());
        whole.loaded.cuts = None;
        tokenizers.push((cutting, whole));
    }
    let text = || {
        // Repeated, because a text is cut at 16 KiB only; each time with another length of the last piece.
        let part = prop::collection::vec(prop::sample::select(pieces.clone()), 1..60);
        (part, 0..40_000_usize, 0..7_usize).prop_map(|(pieces, bytes, run)| {
            let mut text = String::new();
            while text.len() < bytes {
                pieces.iter().for_each(|piece| text.push_str(piece));
                text.extend(std::iter::repeat_n('b', run));
            }
            text
        })
    };
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let lengths = prop::sample::select(vec![4_usize, 5, 17, 128, 2_000, 20_000]);
    TestRunner::new(config)
        .run(&(text(), proptest::option::of(text()), lengths), |(text, pair, length)| {
            for (cutting, whole) in &tokenizers {
                let encode = |tokenizer: &Tokenizer| tokenizer.encode(&text, pair.as_deref(), length).unwrap();
                let (some, all) = (encode(cutting), encode(whole));
                prop_assert_eq!(some.left_out > 0, all.left_out > 0);
                // How many are left out is an estimate where a rest is not read.
                prop_assert_eq!(Encoding { left_out: 0, ..some }, Encoding { left_out: 0, ..all });
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn an_odd_token_goes_to_the_longer_of_two_long_texts() {
    let tokenizer = from_vocab(json!({}));
    let (long, longer) = ("a ".repeat(30_000), "b ".repeat(40_000));
    let encode = |first: &str, second: &str, max_length| {
        let encoding = tokenizer.encode(first, Some(second), max_length).unwrap();
        (encoding.ids.iter().filter(|id| **id == 5).count(), encoding.ids.iter().filter(|id| **id == 6).count())
    };
    assert_eq!((encode(&long, &longer, 8), encode(&longer, &long, 8)), ((2, 3), (2, 3)));
    assert_eq!((encode(&long, &longer, 9), encode(&longer, &long, 9)), ((3, 3), (3, 3)));
    assert_eq!(encode("a b", &longer, 12), (1, 8));
    let same = tokenizer.encode(&long, Some(&long), 8).unwrap();
    assert_eq!(same.type_ids.iter().filter(|id| **id == 1).count(), 4, "the second of two texts of equal length");
}

#[test]
fn a_text_of_megabytes_costs_what_is_kept_of_it() {
    let tokenizer = from_vocab(json!({}));
    let text = "hello, world ".repeat(1_000_000);
    let start = tokenizer.encode(&text, None, 64).unwrap();
    assert_eq!(start.ids, tokenizer.encode(&text[..1_000], None, 64).unwrap().ids);
    // What is left out is counted where the whole text is encoded, and estimated where it is not.
    let short = tokenizer.encode(&text[..13_000], None, 64).unwrap();
    let tokens = short.left_out + 62;
    assert_eq!(tokens % 1_000, 0, "a thousand times the tokens of \"hello, world \"");
    assert!((start.left_out as f64 / (tokens as f64 * 1_000.0) - 1.0).abs() < 1e-2, "{}", start.left_out);
    let pair = tokenizer.encode(&text[..26], Some(&text[..13]), 8).unwrap();
    assert_eq!(pair.left_out + pair.ids.len() - 3, 3 * tokens / 1_000);
    let apart = tokenizer.encode_apart(&text[..26], &text[..13], 4).unwrap();
    assert_eq!(apart.left_out, 3 * tokens / 1_000 - 4);
    // Without a place to cut, as far as memory allows.
    let word = "x".repeat(5 << 20);
    let message = tokenizer.encode_all(&[("a", None), (&word, None::<&str>)], 64).unwrap_err().to_string();
    assert!(message.contains("text 2 (\"xxxx") && message.contains("without a place to cut"), "{message}");
    assert_eq!(tokenizer.encode(&word[..1 << 20], None, 64).unwrap().ids, [2, 1, 3]);
    assert_eq!(tokenizer.encode(&"x.".repeat(1 << 20), None, 6).unwrap().ids, [2, 43, 20, 43, 20, 3]);
}

#[test]
fn normalizers_that_make_a_text_much_longer_are_refused_the_longest_texts() {
    let mut json = tokenizer_json();
    json["normalizer"] = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "b".repeat(1_000)});
    json["pre_tokenizer"] = Value::Null;
    let tokenizer = from_json(&json).unwrap();
    assert_eq!(ids(&tokenizer, &"a".repeat(1_000)), [2, 1, 3]);
    let message = tokenizer.encode(&"a".repeat(100_000), None, 64).unwrap_err().to_string();
    assert!(message.contains("100000 bytes, of which the normalizers make more than"), "{message}");
    // What could become longer and does not is encoded.
    assert_eq!(ids(&tokenizer, &"x".repeat(100_000)), [2, 1, 3]);
    json["normalizer"] = json!({"type": "NFKC"});
    let tokenizer = from_json(&json).unwrap();
    assert_eq!(ids(&tokenizer, &"x".repeat(2 << 20)), [2, 1, 3]);
    assert!(tokenizer.encode(&"\u{fdfa}".repeat(1 << 20), None, 64).is_err());
}

/// Texts as a data set has them.
fn examples(texts: &[&str]) -> Vec<crate::data::Example> {
    let example = |(line, text): (usize, &&str)| crate::data::Example {
        text: (*text).to_owned(),
        pair: None,
        label: None,
        words: Vec::new(),
        question: None,
        line: line + 1,
    };
    texts.iter().enumerate().map(example).collect()
}

#[test]
fn every_token_of_a_text_is_in_one_chunk_with_its_word() {
    let tokenizer = from_vocab(json!({}));
    let chunks =
        |text: &str, max_length| tokenizer.encode_all_chunks(&examples(&[text]), max_length).unwrap().encodings;
    let tokens = |encoding: &Encoding| -> Vec<&str> { encoding.ids.iter().map(|&id| VOCAB[id as usize]).collect() };
    let text = "hello worlds unable a b";
    let found = chunks(text, 5);
    let expected: [&[&str]; 3] = [
        &["[CLS]", "hello", "world", "##s", "[SEP]"],
        &["[CLS]", "un", "##able", "a", "[SEP]"],
        &["[CLS]", "b", "[SEP]"],
    ];
    assert!(found.iter().map(tokens).eq(expected), "{found:?}");
    let read = |encoding: &Encoding| encoding.read.iter().map(|read| (read.token, read.word)).collect::<Vec<_>>();
    assert_eq!(read(&found[0]), [(1, 0), (2, 1), (3, 1)]);
    assert_eq!(read(&found[1]), [(1, 2), (2, 2), (3, 3)]);
    let lengths = |max_length| chunks(text, max_length).iter().map(|chunk| chunk.ids.len() - 2).collect::<Vec<_>>();
    assert_eq!(lengths(4), [1, 2, 2, 2], "a word is not cut where it fits into the next sequence");
    assert_eq!(lengths(3), [1; 7]);
    assert_eq!(lengths(100), [7]);
    // Much longer than what is encoded at once.
    let long = "hello worlds ".repeat(5000);
    let found = chunks(&long, 128);
    let all: Vec<u32> = found.iter().flat_map(|chunk| chunk.ids[1..chunk.ids.len() - 1].to_vec()).collect();
    assert_eq!(all, [11, 12, 13].repeat(5000));
    let words: Vec<usize> = found.iter().flat_map(|chunk| chunk.read.iter().map(|read| read.word)).collect();
    assert!(words.iter().copied().eq((0..10_000).flat_map(|word| std::iter::repeat_n(word, 1 + word % 2))));
}

#[test]
fn special_tokens_of_a_text_are_not_to_be_masked() {
    let tokenizer = from_vocab(json!({}));
    let encoded = tokenizer.encode_all_chunks(&examples(&["hello [SEP] zzz world", "", "[SEP] zzz", "a"]), 8).unwrap();
    assert_eq!(encoded.texts, [0, 3], "nothing of the others can be masked");
    assert_eq!(encoded.encodings[0].ids, [2, 11, 3, 1, 12, 3]);
    assert_eq!(encoded.encodings[0].read.iter().map(|read| read.token).collect::<Vec<_>>(), [1, 4]);
    let vocabulary = tokenizer.mask_vocabulary().unwrap();
    assert_eq!((vocabulary.mask, vocabulary.ordinary), (4, (5..45).collect()));
}

#[test]
fn masks_are_found_in_a_text_as_far_as_it_is_read() {
    let tokenizer = from_vocab(json!({}));
    assert_eq!(tokenizer.mask_token(), Some("[MASK]"));
    let encodings = tokenizer.encode_all_masks(&examples(&["a [MASK] b[MASK]", "a b c a [MASK]"]), 6).unwrap();
    let read = |encoding: &Encoding| encoding.read.iter().map(|read| (read.token, read.word)).collect::<Vec<_>>();
    assert_eq!((read(&encodings[0]), read(&encodings[1])), (vec![(2, 0), (4, 1)], vec![]));
    assert_eq!(encodings[1].left_out, 1);
}

#[test]
fn a_tokenizer_without_a_mask_token_says_where_to_name_one() {
    let tokenizer = from_vocab(json!({"mask_token": null}));
    assert_eq!(tokenizer.mask_token(), None);
    let message = tokenizer.mask_vocabulary().unwrap_err().to_string();
    assert!(message.contains("no mask token") && message.contains("tokenizer_config.json"), "{message}");
    let files = [("vocab.txt", VOCAB.join("\n") + "\n"), ("tokenizer_config.json", json!({}).to_string())];
    let tokenizer = Tokenizer::open(directory(&files).path(), &model(4, 2)).unwrap();
    let message = tokenizer.mask_vocabulary().unwrap_err().to_string();
    assert!(message.contains("is number 4, but the model's vocabulary has 4"), "{message}");
}
