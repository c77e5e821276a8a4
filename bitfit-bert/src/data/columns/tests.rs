//! Which columns are chosen for which first row, and the errors.

use super::*;
use crate::presets::GlueTask;

fn options(text: &[&str], label: Option<&str>) -> ReadOptions {
    let columns =
        Columns { text: text.iter().map(|&t| t.into()).collect(), label: label.map(Into::into), header: Header::Auto };
    ReadOptions { columns, ..ReadOptions::default() }
}

fn plan(cells: &[&str], options: &ReadOptions) -> Result<Plan> {
    resolve(Path::new("f.tsv"), cells, false, options)
}

fn refusal(cells: &[&str], options: &ReadOptions) -> String {
    let error = plan(cells, options).unwrap_err();
    assert!(matches!(error, Error::DataColumn { .. }), "{error}");
    error.to_string()
}

#[test]
fn digits_are_a_number() {
    assert_eq!(ColumnRef::from("3"), ColumnRef::Index(3));
    for name in ["", "text", "3a", "-1", "+1", "99999999999999999999999"] {
        assert_eq!(ColumnRef::from(name), ColumnRef::Name(name.into()));
    }
}

#[test]
fn common_names_are_recognised() {
    let headers: [(&[&str], &[usize], usize); 8] = [
        (&["text", "label"], &[0], 1),
        (&["Id", "Label", "Text"], &[2], 1),
        (&["sentence", "intent"], &[0], 1),
        (&["sentence1", "sentence2", "score"], &[0, 1], 2),
        (&["index", "question", "sentence", "label"], &[1, 2], 3),
        (&["hypothesis", "premise", "gold_label"], &[1, 0], 2),
        (&["question1", "question2", "class"], &[0, 1], 2),
        (&["category", " text "], &[1], 0),
    ];
    for (header, text, label) in headers {
        let plan = plan(header, &ReadOptions::default()).unwrap();
        assert_eq!((plan.text.as_slice(), plan.label, plan.header), (text, Some(label), true), "{header:?}");
    }
}

#[test]
fn common_names_that_allow_of_several_readings_are_refused() {
    let by_default = ReadOptions::default();
    for (header, reason) in [
        (&["text", "sentence", "label"][..], "its columns text or sentence may each be read"),
        (&["text", "Sentence1", "sentence2", "label"], "sentence1 with sentence2 or text may each"),
        (&["question", "context", "sentence", "label"], "question with sentence or question with context may each"),
    ] {
        let message = refusal(header, &by_default);
        assert!(message.contains(reason) && message.contains("the text column"), "{message}");
        assert_eq!(plan(header, &by_default).unwrap_err().settings(), [Setting::TextColumn]);
        assert!(plan(header, &options(&[header[0]], None)).is_ok());
        assert!(find(Path::new("f.tsv"), header, false, &by_default).is_ok(), "it is a header nevertheless");
    }
    let header = ["text", "label", "score"];
    let message = refusal(&header, &by_default);
    assert!(message.contains("its columns label or score may each be read"), "{message}");
    assert_eq!(plan(&header, &by_default).unwrap_err().settings(), [Setting::LabelColumn]);
    assert_eq!(plan(&header, &options(&[], Some("score"))).unwrap().label, Some(2));
    let unlabelled = ReadOptions { require_labels: false, ..ReadOptions::default() };
    assert_eq!(plan(&header, &unlabelled).unwrap().label, None);
    // A preset names its columns.
    let sst2 = ReadOptions { task: Some(GlueTask::Sst2), ..ReadOptions::default() };
    assert_eq!(plan(&["text", "sentence", "label"], &sst2).unwrap().text, [1]);
}

#[test]
fn an_unknown_header_is_listed_with_the_flag_to_use() {
    let message = refusal(&["utterance", "label"], &ReadOptions::default());
    assert!(message.contains("no text column") && message.contains("0 \"utterance\", 1 \"label\""), "{message}");
    assert!(message.contains("the text column"), "{message}");
    let message = refusal(&["text", "topic"], &ReadOptions::default());
    assert!(message.contains("no label column") && message.contains("the label column"), "{message}");
    let message = refusal(&["utterance", "topic"], &options(&["utterance"], None));
    assert!(message.contains("no label column"), "{message}");
}

#[test]
fn a_column_that_does_not_exist_is_named() {
    let message = refusal(&["a", "b"], &options(&["a"], Some("c")));
    assert!(message.contains("no column \"c\"") && message.contains("the label column"), "{message}");
    let message = refusal(&["a", "b"], &options(&["7"], Some("b")));
    assert!(message.contains("no column number 7") && message.contains("the text column"), "{message}");
    let mut nameless = options(&["a"], Some("1"));
    nameless.columns.header = Header::No;
    assert!(refusal(&["a", "b"], &nameless).contains("without a header"));
    // A label column that is named must be there even where none is required.
    let unlabelled = ReadOptions { require_labels: false, ..options(&["a"], Some("c")) };
    assert!(refusal(&["a", "b"], &unlabelled).contains("no column \"c\""));
}

#[test]
fn numbers_do_not_need_a_header_but_see_one() {
    let by_number = options(&["3"], Some("1"));
    let found = plan(&["gj04", "1", "", "The weights."], &by_number).unwrap();
    assert_eq!((found.header, found.text_names, found.label_name), (false, vec!["3".into()], Some("1".into())));
    assert!(plan(&["id", "label", "x", "remark"], &by_number).unwrap().header);
    assert!(plan(&["id", "x", "x", "Sentence"], &by_number).unwrap().header);
    let mut forced = by_number.clone();
    forced.columns.header = Header::Yes;
    assert!(plan(&["a", "b", "c", "d"], &forced).unwrap().header);
    forced.columns.header = Header::No;
    assert!(!plan(&["a", "label", "c", "text"], &forced).unwrap().header);
}

#[test]
fn case_decides_only_between_names_that_differ_by_nothing_else() {
    let found = plan(&["Text", "text", "label"], &options(&["text"], None)).unwrap();
    assert_eq!(found.text, [1]);
    let found = plan(&["TEXT", "label"], &options(&["text"], None)).unwrap();
    assert_eq!(found.text, [0]);
    let message = refusal(&["text", "text", "label"], &ReadOptions::default());
    assert!(message.contains("2 columns are called \"text\"") && message.contains("number"), "{message}");
}

#[test]
fn labels_are_read_where_they_are_but_not_required_to_predict() {
    let unlabelled = ReadOptions { require_labels: false, ..ReadOptions::default() };
    assert_eq!(plan(&["text"], &unlabelled).unwrap().label, None);
    assert_eq!(plan(&["text", "label"], &unlabelled).unwrap().label, Some(1));
    assert_eq!(plan(&["text", "label", "label"], &unlabelled).unwrap().label, None);
    assert!(refusal(&["text", "text", "label"], &unlabelled).contains("2 columns are called \"text\""));
    assert!(plan(&["utterance"], &unlabelled).is_err());
}

#[test]
fn flags_replace_single_fields_of_a_preset() {
    let cells = ["sentence", "label", "human", "translated"];
    let sst2 = |text: &[&str], label| ReadOptions { task: Some(GlueTask::Sst2), ..options(text, label) };
    let found = plan(&cells, &sst2(&["translated"], None)).unwrap();
    assert_eq!((found.text, found.label), (vec![3], Some(1)));
    let found = plan(&cells, &sst2(&[], Some("human"))).unwrap();
    assert_eq!((found.text, found.label), (vec![0], Some(2)));
    let message = refusal(&["text", "x"], &sst2(&[], None));
    assert!(message.contains("task sst2") && message.contains("the label column"), "{message}");
}

#[test]
fn a_column_is_read_once() {
    let header = ["text", "label", "remark"];
    let both = [Setting::TextColumn, Setting::LabelColumn];
    for (text, label, what, settings) in [
        (&["text", "label"][..], None, "its column \"label\" would be a text and the label", &both[..]),
        (&["LABEL"], None, "its column \"label\" would be a text and the label", &both),
        (&[], Some("text"), "its column \"text\" would be a text and the label", &both),
        (&["remark", "2"], None, "its column \"remark\" would be both texts of a pair", &[Setting::TextColumn]),
    ] {
        let options = options(text, label);
        let message = refusal(&header, &options);
        assert!(message.contains(what) && message.contains("0 \"text\", 1 \"label\""), "{message}");
        assert_eq!(plan(&header, &options).unwrap_err().settings(), settings);
    }
    assert!(refusal(&["a b", "c d"], &options(&["1"], Some("1"))).contains("its column \"1\" would be a text and"));
    // A text that is to be answered may be in a column whose name is one of labels.
    let unlabelled = ReadOptions { require_labels: false, ..options(&["label"], None) };
    let found = plan(&header, &unlabelled).unwrap();
    assert_eq!((found.text, found.label), (vec![1], None));
}

#[test]
fn three_text_columns_are_too_many() {
    assert!(matches!(plan(&["a", "b", "c"], &options(&["a", "b", "c"], None)), Err(Error::DataFile { .. })));
}

#[test]
fn a_long_header_is_cut_in_the_message() {
    let wide: Vec<String> = (0..1000).map(|i| format!("{i}{}", "x".repeat(10_000))).collect();
    let cells: Vec<&str> = wide.iter().map(String::as_str).collect();
    let message = refusal(&cells, &ReadOptions::default());
    assert!(message.len() < 2000 && message.contains("and 976 more"), "{}", message.len());
}
