//! Every form of several labels, and what is refused.

use super::super::Columns;
use super::*;

fn options(separator: Option<char>, columns: &[&str]) -> ReadOptions {
    let (label, further) = columns.split_first().map_or((None, &[][..]), |(first, rest)| (Some(*first), rest));
    let columns = Columns { label: label.map(Into::into), ..Columns::default() };
    let further_columns = further.iter().map(|&column| column.into()).collect();
    ReadOptions { several: Some(SeveralLabels { separator, further_columns }), columns, ..ReadOptions::default() }
}

fn read(name: &str, file: &str, options: &ReadOptions) -> Result<Dataset> {
    Dataset::from_reader(file.as_bytes(), Path::new(name), options)
}

/// The labels, the separator, and the labels of each row.
type Found = (Vec<String>, Option<char>, Vec<Vec<usize>>);

fn labels(name: &str, file: &str, options: &ReadOptions) -> Result<Found> {
    let mut set = read(name, file, options)?;
    let (labels, separator) = Labels::of_several(&set)?;
    set.label_separator = separator;
    Ok((labels.names().to_vec(), separator, labels.encode_several(&set)?))
}

fn table(fields: &[&str]) -> String {
    let rows: String = fields.iter().map(|field| format!("some text\t{field}\n")).collect();
    format!("text\tlabels\n{rows}")
}

fn refusal(fields: &[&str], separator: Option<char>) -> String {
    labels("train.tsv", &table(fields), &options(separator, &[])).unwrap_err().to_string()
}

#[test]
fn a_separator_that_is_certain_is_found() {
    for separator in SEPARATORS {
        let file = table(&["b; a", "", "a", "b;c"]).replace(';', &separator.to_string());
        let (names, found, rows) = labels("train.tsv", &file, &options(None, &[])).unwrap();
        assert_eq!((names, found), (["a", "b", "c"].map(str::to_owned).to_vec(), Some(separator)));
        assert_eq!(rows, [vec![0, 1], vec![], vec![0], vec![1, 2]]);
    }
    // A comma that is never between labels which recur is part of a name.
    let (names, found, _) = labels("train.tsv", &table(&["food, drink;b", "b"]), &options(None, &[])).unwrap();
    assert_eq!((names, found), (vec!["b".to_owned(), "food, drink".to_owned()], Some(';')));
    let (_, found, rows) = labels("train.tsv", &table(&["10", "9", ""]), &options(None, &[])).unwrap();
    assert_eq!((found, rows), (None, vec![vec![1], vec![0], vec![]]), "sorted as numbers");
}

#[test]
fn a_separator_that_is_not_certain_is_asked_for() {
    for fields in [&["arts, crafts", "music"][..], &["a;b", "c;d"], &["a;b|c", "b|c", "a", "c"]] {
        let message = refusal(fields, None);
        assert!(
            message.starts_with("train.tsv: it is not certain") && message.contains("give the separator"),
            "{message}"
        );
    }
    let found =
        |separator| labels("train.tsv", &table(&["arts, crafts", "music"]), &options(Some(separator), &[])).unwrap();
    assert_eq!(found(',').0, ["arts", "crafts", "music"]);
    assert_eq!(found(';').0, ["arts, crafts", "music"]);
}

#[test]
fn fields_that_are_not_understood_are_refused_with_their_line() {
    for (field, words) in [
        ("a;;b", "an empty label between separators"),
        ("a;", "an empty label between separators"),
        ("['a', 'b']", "is not one in JSON"),
        ("[a]", "is not one in JSON"),
        ("[[1]]", "expected a list of strings"),
        ("[\"\"]", "an empty label in the list"),
    ] {
        let message = refusal(&["a", "b;a", field], None);
        assert!(
            message.starts_with("train.tsv, line 4, column labels: ") && message.contains(words),
            "{field}: {message}"
        );
    }
    assert!(refusal(&["a", "", "a"], None).contains("its only label is \"a\"; a task of several labels needs two"));
    assert!(refusal(&["", ""], None).contains("no text in it has a label"));
}

#[test]
fn lists_are_exact_whatever_they_hold() {
    let file = "{\"text\": \"t\", \"labels\": [\"a;b\", \" c \"]}\n{\"text\": \"t\", \"labels\": []}\n\
                {\"text\": \"t\", \"labels\": [3, true, \"c\", \"c\"]}\n";
    let (names, separator, rows) = labels("train.jsonl", file, &options(None, &[])).unwrap();
    assert_eq!((names, separator), (["3", "a;b", "c", "true"].map(str::to_owned).to_vec(), None));
    assert_eq!(rows, [vec![1, 2], vec![], vec![0, 2, 3]]);
    let csv = "text,labels\nt,\"[\"\"a;b\"\", \"\"c\"\"]\"\nt,[]\nt,\"[\"\"c\"\"]\"\n";
    assert_eq!(labels("train.csv", csv, &options(None, &[])).unwrap().2, [vec![0, 1], vec![], vec![1]]);
    for (value, words) in [("null", "write []"), ("{}", "found an object"), ("[null]", "expected a list of strings")] {
        let file = format!("{{\"text\": \"t\", \"labels\": [\"a\"]}}\n{{\"text\": \"t\", \"labels\": {value}}}\n");
        let message = labels("train.jsonl", &file, &options(None, &[])).unwrap_err().to_string();
        assert!(message.starts_with("train.jsonl, line 2, column labels: ") && message.contains(words), "{message}");
    }
}

#[test]
fn columns_of_zero_and_one_are_labels_by_their_names() {
    let columns = options(None, &["toxic", "insult", "threat"]);
    let file = "text,toxic,insult,id,threat\nt,1,0,7,0\nt,0.0,1.0,8,False\nt,0,0,9,0\n";
    let (names, _, rows) = labels("train.csv", file, &columns).unwrap();
    assert_eq!(names, ["toxic", "insult", "threat"], "in the order of the columns, the one that never occurs too");
    assert_eq!(rows, [vec![0], vec![1], vec![]]);
    let json = "{\"text\":\"t\",\"toxic\":1,\"insult\":false,\"threat\":0}\n{\"text\":\"t\",\"toxic\":0,\"threat\":1,\"insult\":1}\n";
    assert_eq!(labels("train.jsonl", json, &columns).unwrap().2, [vec![0], vec![1, 2]]);
    for (file, words) in [
        ("text,toxic,insult,threat\nt,1,2,0\n", "line 2, column insult: expected 0 or 1, found \"2\""),
        ("text,toxic,insult,threat\nt,1,,0\n", "line 2, column insult: expected 0 or 1, found \"\""),
        ("text,toxic,insult\nt,1,0\n", "there is no column \"threat\""),
    ] {
        let message = labels("train.csv", file, &columns).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
    // By number, a first row that is no example may be a header.
    let numbered = |header| {
        let mut options = options(None, &["1", "2"]);
        options.columns = Columns { text: vec!["0".into()], header, ..options.columns };
        labels("train.csv", "body,x,y\nt,1,0\nt,0,1\n", &options)
    };
    let message = numbered(Header::Auto).unwrap_err().to_string();
    assert!(
        message.starts_with("train.csv, line 1, column 1: expected 0 or 1") && message.contains("names the columns")
    );
    assert_eq!(numbered(Header::Yes).unwrap().0, ["x", "y"]);
}

#[test]
fn another_set_is_read_by_the_labels_that_are_known() {
    let known = Labels::from_names(["a", "b", "c"].map(str::to_owned).to_vec()).unwrap();
    let encode = |fields: &[&str]| known.encode_several(&read("dev.tsv", &table(fields), &options(None, &[])).unwrap());
    for separator in SEPARATORS {
        assert_eq!(encode(&[&format!("c{separator} a"), "", "b"]).unwrap(), [vec![0, 2], vec![], vec![1]]);
    }
    let message = encode(&["a", "b;x"]).unwrap_err().to_string();
    assert!(message.starts_with("dev.tsv, line 3: the label \"x\" is not among"), "{message}");
    let message = encode(&["a,b", "x"]).unwrap_err().to_string();
    assert!(message.starts_with("dev.tsv, line 3: the label \"x\" is not among"), "{message}");

    let columns = |names: &[&str], file: &str| {
        known.encode_several(&read("dev.csv", file, &options(None, names)).unwrap()).map_err(|error| error.to_string())
    };
    assert_eq!(columns(&["c", "b", "a"], "text,a,b,c\nt,1,0,1\n").unwrap(), [vec![0, 2]], "in any order");
    assert!(columns(&["a", "b"], "text,a,b\nt,1,0\n").unwrap_err().contains("no label column for \"c\""));
    let unknown = columns(&["a", "b", "c", "d"], "text,a,b,c,d\nt,1,0,0,0\n").unwrap_err();
    assert!(unknown.starts_with("dev.csv, line 1: the label \"d\" is not among"), "{unknown}");
}

#[test]
fn a_first_row_that_may_be_a_header_is_asked_about() {
    let mut options = options(Some(';'), &["1"]);
    options.columns.text = vec!["0".into()];
    let message = labels("train.tsv", "utterance\tmoods\na\tx;y\nb\ty\n", &options).unwrap_err().to_string();
    assert!(message.starts_with("train.tsv, line 1, column 1: no other row has a label of \"moods\""), "{message}");
}

#[test]
fn lists_and_columns_are_read_in_every_shape() {
    let rows = [
        r#"{"text": "t", "labels": ["a", "b"]}"#,
        r#"{"text": "t", "labels": []}"#,
        r#"{"text": "t", "labels": ["b"]}"#,
    ];
    let expected = [vec![0, 1], vec![], vec![1]];
    let spread = |row: &str| row.replace('{', "{\n").replace(", ", ",\n");
    for (name, file) in [
        ("train.jsonl", rows.join("\n")),
        ("train.json", format!("[{}]", rows.join(","))),
        ("train.json", rows.map(spread).join("\n")),
        ("train.json", format!("{{\"version\": 1, \"data\": [{}]}}", rows.join(",\n"))),
        ("train.tsv", "text\tlabels\nt\t[\"a\", \"b\"]\nt\t[]\nt\t[\"b\"]\n".into()),
        ("train.tsv", "text\tlabels\nt\t\"[\"\"a\"\", \"\"b\"\"]\"\nt\t[]\nt\t\"[\"\"b\"\"]\"\n".into()),
        ("train.csv", "text;labels\nt;\"[\"\"a\"\", \"\"b\"\"]\"\nt;[]\nt;\"[\"\"b\"\"]\"\n".into()),
    ] {
        let (names, _, found) = labels(name, &file, &options(None, &[])).unwrap();
        assert_eq!((names, found), (vec!["a".to_owned(), "b".into()], expected.to_vec()), "{file}");
    }
    let rows = [r#"{"text": "t", "a": 1, " b": true}"#, r#"{"text": "t", "a": 0, " b": 0}"#];
    for file in [rows.join("\n"), format!("[{}]", rows.join(",")), rows.map(spread).join("\n")] {
        let (names, _, found) = labels("train.json", &file, &options(None, &["a", "b"])).unwrap();
        assert_eq!((names, found), (vec!["a".to_owned(), "b".into()], vec![vec![0, 1], vec![]]), "{file}");
    }
    let file = "text;a;b\nt, u;1;1\nt;0;0\n";
    assert_eq!(labels("train.csv", file, &options(None, &["a", "b"])).unwrap().2, [vec![0, 1], vec![]]);
}

#[test]
fn a_list_that_holds_one_label_too_many_names_the_kind() {
    let file = "{\"text\": \"t\", \"labels\": [\"a\", \"b\"]}\n";
    let error = read("train.jsonl", file, &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("labels: an array of 2 labels; expected one label, or the kind multi-label"));
    assert_eq!(error.settings(), [Setting::Kind]);
}

#[test]
fn labels_and_columns_may_have_separators_of_their_own() {
    for (file, separator, delimiter) in [
        ("text,labels\nt,a;b\nt,b\nt,\n", None, None),
        ("text;labels\nt;a,b\nt;b\nt;\n", None, None),
        ("text;labels\nt;\"a;b\"\nt;b\nt;\n", None, None),
        ("text;labels\nt;\"a;b\"\nt;b\nt;\n", Some(';'), Some(b';')),
    ] {
        let options = ReadOptions { delimiter, ..options(separator, &[]) };
        let (names, _, rows) = labels("train.csv", file, &options).unwrap();
        assert_eq!((names, rows), (vec!["a".to_owned(), "b".into()], vec![vec![0, 1], vec![1], vec![]]), "{file}");
    }
    // Without quotes, one separator parts both.
    for options in [options(None, &[]), ReadOptions { delimiter: Some(b';'), ..options(Some(';'), &[]) }] {
        let message = labels("train.csv", "text;labels\nt;a;b\nt;b\n", &options).unwrap_err().to_string();
        assert!(message.starts_with("train.csv, line 2: expected 2 columns as in the first row, found 3"), "{message}");
        assert!(message.contains("must be in quotes"), "{message}");
    }
    let mut numbered = options(Some(';'), &["1"]);
    (numbered.columns.text, numbered.columns.header) = (vec!["0".into()], Header::No);
    let error = labels("train.csv", "t;a;b\nt;b;c\n", &numbered).unwrap_err();
    assert!(
        error.to_string().starts_with("train.csv: ';' separates the columns, and no label field holds it"),
        "{error}"
    );
    assert_eq!(error.settings(), [Setting::Delimiter, Setting::LabelSeparator]);
}

#[test]
fn exports_of_labelling_tools_hold_lists() {
    let chosen = |choices: &str| {
        format!(r#"{{"result": [{{"from_name": "mood", "type": "choices", "value": {{"choices": [{choices}]}}}}]}}"#)
    };
    let task = |annotations: &str| format!(r#"{{"data": {{"text": "t"}}, "annotations": [{annotations}]}}"#);
    let (both, same) = (chosen(r#""b", "a""#), chosen(r#""a", "b""#));
    let studio = [task(&format!("{both}, {same}")), task(""), task(r#"{"result": []}"#), task(&chosen(r#""b""#))];
    let small = |mood: &str| format!(r#"{{"text": "t", {mood} "annotation_id": 1, "lead_time": 1}}"#);
    let minimal = [r#""mood": {"choices": ["a", "b"]},"#, "", r#""mood": [],"#, r#""mood": "b","#].map(small);
    let prodigy = [r#""accept": ["a", "b"]"#, r#""accept": ["a"]"#, r#""accept": []"#, r#""accept": ["b"]"#];
    let answer = |(i, accept): (usize, &str)| {
        format!(r#"{{"text": "t", {accept}, "answer": "{}"}}"#, if i == 1 { "ignore" } else { "accept" })
    };
    let second = |responses: &str| format!(r#"{{"fields": {{"t": "t"}}, "responses": {{{responses}}}}}"#);
    let argilla = [
        r#""m": [{"value": ["a", "b"]}, {"value": ["b", "a"]}]"#,
        "",
        r#""m": [{"value": []}]"#,
        r#""m": [{"value": ["b"]}]"#,
    ];
    let first = |annotation: &str| format!(r#"{{"inputs": {{"text": "t"}}, "annotation": {annotation}}}"#);
    for (rows, is_export) in [
        (studio.to_vec(), true),
        (minimal.to_vec(), true),
        (prodigy.into_iter().enumerate().map(answer).collect(), true),
        (argilla.map(second).to_vec(), true),
        ([r#"["b", "a"]"#, "null", "[]", r#"["b"]"#].map(first).to_vec(), true),
        // doccano.
        (
            ["[\"a\", \"b\"]", "[]", "[\"b\"]"].map(|l| format!(r#"{{"id": 1, "text": "t", "label": {l}}}"#)).to_vec(),
            false,
        ),
    ] {
        let file = rows.join("\n");
        let set = read("train.jsonl", &file, &options(None, &[])).unwrap();
        // That it is an export, or which columns are read beside the number.
        assert_eq!((set.found.len(), &set.skipped[..]), (1, &[2][..usize::from(is_export)]), "{file}");
        let (names, _, found) = labels("train.jsonl", &file, &options(None, &[])).unwrap();
        assert_eq!((names, found), (vec!["a".to_owned(), "b".into()], vec![vec![0, 1], vec![], vec![1]]), "{file}");
        let error = read("train.jsonl", &file, &ReadOptions::default()).unwrap_err();
        assert_eq!(error.settings(), [Setting::Kind], "{error}");
    }
    for (row, words) in [
        (task(&format!("{both}, {}", chosen(r#""b""#))), "column mood: annotators disagree: [\"a\",\"b\"] and [\"b\"]"),
        (task(&format!("{both}, {{\"result\": []}}")), "column mood: annotators disagree: [] and [\"a\",\"b\"]"),
        (task(&both.replace("choices", "labels")), "annotations of type \"labels\""),
        (r#"{"text": "t", "label": "a", "answer": "accept"}"#.into(), "says nothing of the others"),
    ] {
        let message = read("train.jsonl", &row, &options(None, &[])).unwrap_err().to_string();
        assert!(message.starts_with("train.jsonl, line 1, column ") && message.contains(words), "{message}");
    }
}
