//! What the readers make of files, and what they refuse.

use super::*;
use crate::Setting;
use crate::data::{Contents, Labels};

pub(super) fn options(require_labels: bool) -> ReadOptions {
    ReadOptions { contents: Contents::TaggedWords, require_labels, ..ReadOptions::default() }
}

pub(super) fn read(file: &str, options: &ReadOptions) -> Result<Dataset> {
    Dataset::from_reader(file.as_bytes(), Path::new("train.txt"), options)
}

/// Words and tags of each sentence as `word/tag`.
pub(super) fn shown(dataset: &Dataset) -> Vec<String> {
    let tag = |word: &Word| word.tag.as_ref().map_or("", Label::as_str).to_owned();
    let sentence = |example: &Example| {
        let words = example.words().into_iter().zip(&example.words);
        words.map(|(text, word)| format!("{text}/{}", tag(word))).collect::<Vec<_>>().join(" ")
    };
    dataset.examples.iter().map(sentence).collect()
}

const CONLL: &str = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP B-PER\n";
const CONLLU: &str = "# sent_id = 1\n1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\tSpaceAfter=No\n2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_\n2.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\n\n1\t#\t#\tSYM\t#\t_\t0\troot\t_\t_\n";

#[test]
fn each_format_is_recognised_and_read() {
    let (given, by_default) = (options(true), ReadOptions::default());
    for (file, expected) in [
        (CONLL, &["EU/B-ORG rejects/O", "Peter/B-PER"][..]),
        ("# a comment\na\tX\nb\tY\r\n\n\n# of a sentence\n#\tZ\n", &["a/X b/Y", "#/Z"]),
        ("#Happy\tB-TAG\nday\tO\n", &["#Happy/B-TAG day/O"]),
        ("-DOCSTART- O\n\n# of a sentence\n#Happy B-TAG\n\n#\nday O\n", &["#Happy/B-TAG", "day/O"]),
        ("# comment\n#1\tX\n\n# comment\na\tX\n#2\tY\n", &["#1/X", "a/X #2/Y"]),
        (CONLLU, &["do/AUX n't/PART", "#/SYM"]),
        ("{\"tokens\": [\"a\", \"b c\"], \"ner_tags\": [0, \"X\"]}\n", &["a/0 b c/X"]),
    ] {
        assert_eq!(shown(&read(file, &given).unwrap()), expected, "{file}");
    }
    let dataset = read(CONLLU, &given).unwrap();
    assert_eq!((&*dataset.examples[0].text, dataset.label_column.as_deref()), ("don't", Some("UPOS")));
    assert_eq!(dataset.examples[1].words[0].line, 7);
    assert_eq!(by_default.contents, Contents::Texts);
}

#[test]
fn a_column_is_chosen_by_number_or_name() {
    let choose = |file: &str, label: &str| {
        let mut options = options(true);
        options.columns.label = Some(label.into());
        read(file, &options).map(|dataset| shown(&dataset).join(" | ")).map_err(|error| error.to_string())
    };
    assert_eq!(choose(CONLL, "1").unwrap(), "EU/NNP rejects/VBZ | Peter/NNP");
    assert_eq!(choose(CONLLU, "xpos").unwrap(), "do/VBP n't/RB | #/#");
    let json = "{\"words\": [\"a\"], \"pos_tags\": [\"X\"], \"ner_tags\": [\"Y\"]}\n";
    assert_eq!(choose(json, "pos_tags").unwrap(), "a/X");
    for (file, label, word) in [(CONLL, "4", "no column number 4"), (CONLL, "tag", "\"tag\""), (CONLLU, "POS", "UPOS")]
    {
        assert!(choose(file, label).unwrap_err().contains(word));
    }
    let message = read(json, &options(true)).unwrap_err().to_string();
    assert!(message.contains("ner_tags and pos_tags may be the tags"), "{message}");
}

#[test]
fn what_is_malformed_is_refused_with_its_line() {
    for (file, expected) in [
        ("a X\nb\n", "a line of 2 and one of 1 fields were found"),
        ("a\nb\n", "the first line has one field"),
        ("a X\nb Y\n\nc\td\n\te\n", "train.txt, line 5: an empty word"),
        ("a\tX\nb\t\n", "train.txt, line 2: a word without a tag"),
        ("1\ta\t_\tX\t_\t_\t_\t_\t_\t_\nb\n", "train.txt, line 2: 1 fields between tabs"),
        ("1\ta\t_\tX\t_\t_\t_\t_\t_\t_\nx\ta\t_\tX\t_\t_\t_\t_\t_\t_\n", "line 2: the ID \"x\" is no number"),
        ("1\ta\t_\t_\t_\t_\t_\t_\t_\t_\n", "train.txt, line 1: a word without a tag"),
        ("{\"tokens\": [\"a\"], \"tags\": []}\n", "train.txt, line 1: 1 words and 0 tags"),
        ("{\"tokens\": [], \"tags\": []}\n", "train.txt, line 1: a sentence without words"),
        ("{\"tokens\": [\"a\"], \"tags\": [\"X\"]}\n{\"tokens\": [1]}\n", "line 2: the key \"tags\" is missing"),
        ("{\"tokens\": [\"a\"], \"tags\": [[]]}\n", "line 1: tag 0 is []"),
        ("{\"tokens\": \"a\", \"tags\": [\"X\"]}\n", "line 1: the key \"tokens\" is no list"),
        (
            "{\"text\": \"a\", \"tags\": [\"X\"]}\n",
            "no list of words and no text with labelled spans is recognised; the keys of the first object",
        ),
        ("# nothing\n\n", "there are no rows in it"),
    ] {
        let message = read(file, &options(true)).unwrap_err().to_string();
        assert!(message.contains(expected) && !message.contains('\n'), "{file}: {message}");
    }
    // A later row of another width than the lines that the format was recognised by.
    let long = format!("{}b X Y\n", "a X\n\n".repeat(20_000));
    let message = read(&long, &options(true)).unwrap_err().to_string();
    assert!(message.contains("line 40001: 3 fields, but the first row has 2"), "{message}");
}

#[test]
fn texts_without_tags_are_columns_or_plain_lines() {
    let words = |file: &str| shown(&read(file, &options(false)).unwrap()).join(" | ");
    assert_eq!(words("EU\nrejects\n\nPeter\n"), "EU/ rejects/ | Peter/");
    assert_eq!(words("#EU\nrejects\n\n# two words\nPeter\n"), "#EU/ rejects/ | Peter/");
    assert_eq!(words("EU rejects.\nBlair left\n"), "EU/ rejects/ ./ | Blair/ left/");
    assert_eq!(words(CONLL), "EU/B-ORG rejects/O | Peter/B-PER");
    assert_eq!(words("{\"tokens\": [\"a\"]}\n"), "a/");
    assert_eq!(words("a X\nb Y\n\n"), "a/X b/Y", "one sentence");
    let conll = Dataset::from_reader("a X\nb Y\n".as_bytes(), Path::new("x.CoNLL"), &options(false)).unwrap();
    assert_eq!(shown(&conll), ["a/X b/Y"], "by its extension");
}

#[test]
fn the_tags_of_a_training_set_are_sorted_and_those_of_another_must_be_among_them() {
    let train = read("a X\nb Y\n", &options(true)).unwrap();
    let labels = Labels::of_words(&train).unwrap();
    assert_eq!(labels.names(), ["X", "Y"]);
    assert_eq!(labels.encode_words(&train).unwrap(), [[0, 1]]);
    let message = labels.encode_words(&read("a X\nb Z\n", &options(true)).unwrap()).unwrap_err().to_string();
    assert!(message.contains("line 2: the label \"Z\""), "{message}");
    let message = Labels::of_words(&read("a X\nb X\n", &options(true)).unwrap()).unwrap_err().to_string();
    assert!(message.contains("every tag in it is \"X\""), "{message}");
    let message = Dataset::from_reader(
        "a X\n\n".as_bytes(),
        Path::new("x.conll"),
        &ReadOptions { format: Some(Format::Conll), ..ReadOptions::default() },
    );
    assert!(message.unwrap_err().to_string().contains("a task of the kind tag reads"));
}

#[test]
fn a_file_is_unpacked_and_may_begin_with_a_byte_order_mark() {
    use std::io::Write;
    let packed = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    for (file, expected) in [(CONLL, "EU/B-ORG rejects/O | Peter/B-PER"), (CONLLU, "do/AUX n't/PART | #/SYM")] {
        for bytes in [format!("\u{feff}{file}").into_bytes(), packed(file), packed(&format!("\u{feff}{file}"))] {
            let set = Dataset::from_reader(&bytes[..], Path::new("train.conll.gz"), &options(true)).unwrap();
            assert_eq!((shown(&set).join(" | ").as_str(), set.found.len()), (expected, 0));
        }
    }
    let set = Dataset::from_reader(&packed("a\nb\n")[..], Path::new("x.conll.gz"), &options(false)).unwrap();
    assert_eq!(shown(&set), ["a/ b/"], "by its extension");
    let set = Dataset::from_reader(&packed("a X\n\nb Y\n")[..], Path::new("x.conll"), &options(true)).unwrap();
    assert_eq!(set.found, ["packed with gzip"]);
    let carriage_returns = read("a X\rb Y\r\rc Z\r", &options(true)).unwrap();
    assert_eq!(shown(&carriage_returns), ["a/X b/Y", "c/Z"]);
}

#[test]
fn a_table_of_texts_is_refused_and_a_single_sentence_is_said_to_be_one() {
    let texts = "late again\tpraise\nnever again\tblame\n";
    for (file, found) in [
        (format!("text\tlabel\n{texts}"), "the first row, \"text\\tlabel\", names the columns of texts"),
        ("Label\tText\nX\ta\n\nY\tb\n".into(), "names the columns of texts"),
        (texts.into(), "no blank line is between sentences, and fields such as those of \"late again\\tpraise\""),
    ] {
        for (requires_tags, settings) in [(true, &[Setting::Kind, Setting::Format][..]), (false, &[Setting::Format])] {
            let error = read(&file, &options(requires_tags)).unwrap_err();
            assert!(error.to_string().contains(found) && error.settings() == settings, "{error}");
        }
        let words = ReadOptions { format: Some(Format::Conll), ..options(true) };
        assert!(read(&file, &words).is_ok(), "{file}");
    }
    let set = read("late again\tX\n\nnever\tY\n", &options(true)).unwrap();
    assert_eq!((shown(&set), set.found), (vec!["late again/X".into(), "never/Y".into()], Vec::<String>::new()));
    let set = read("a\tX\nb\tY\n", &options(true)).unwrap();
    assert_eq!(set.found, ["one sentence of 2 words, for no blank line parts them"]);
}

#[test]
fn what_holds_no_tags_is_refused_by_name() {
    for format in [Format::Tsv, Format::Csv, Format::Parquet] {
        let error = read("a X\n", &ReadOptions { format: Some(format), ..options(true) }).unwrap_err();
        assert_eq!(error.settings(), [Setting::Format], "{error}");
    }
    let error = read("a X\n", &ReadOptions { delimiter: Some(b' '), ..options(true) }).unwrap_err();
    assert_eq!(error.settings(), [Setting::Delimiter], "{error}");
    assert!(read("BZh91AY&SY", &options(true)).unwrap_err().to_string().contains("packed with bzip2"));
}
