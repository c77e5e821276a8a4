//! Files as other programs write them: every command reads them, and says what they are.

use crate::fixture::Fixture;

const ROWS: &str = "good day;praise\nbad day;blame\ngood meal;praise\nbad meal;blame\n";

/// Trains on a file for one epoch; what is said on stderr.
fn trains(fixture: &Fixture, flags: &str) -> String {
    let run = fixture.run(&format!("finetune --model model --out out --epochs 1 --train {flags}"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stderr
}

#[test]
fn a_table_with_other_separators_is_read_and_said_to_be_one() {
    let fixture = Fixture::new();
    fixture.write("german.csv", format!("text;label\n{ROWS}"));
    let plan = trains(&fixture, "german.csv --eval german.csv");
    assert!(plan.contains("german.csv: separated by ;\n"), "{plan}");
    let run = fixture.run("eval --task-file out/task.safetensors --data german.csv");
    assert!(run.stderr.contains("german.csv: separated by ;\n") && run.code == Some(0), "{}", run.stderr);
    let run = fixture.run("predict --task-file out/task.safetensors --input german.csv");
    assert_eq!((run.stdout.lines().count(), run.stderr.as_str()), (4, "german.csv: separated by ;\n"));
}

#[test]
fn every_command_takes_a_delimiter() {
    let fixture = Fixture::new();
    fixture.write("rows.txt", format!("text;label\n{ROWS}").replace(';', "^"));
    trains(&fixture, "rows.txt --delimiter ^");
    for line in ["eval --data", "predict --input"] {
        let run = fixture.run(&format!("{line} rows.txt --task-file out/task.safetensors --delimiter ^"));
        assert_eq!((run.code, run.stderr.contains("error")), (Some(0), false), "{}", run.stderr);
    }
    let run = fixture.run("predict --task-file out/task.safetensors --delimiter ^");
    assert!(run.stderr.starts_with("error: --delimiter") && run.stderr.contains("--format"), "{}", run.stderr);
    let run = fixture.run("finetune --model model --out other --train rows.txt --delimiter ;;");
    assert!(run.stderr.starts_with("error: --delimiter ;;: expected one ASCII character"), "{}", run.stderr);
    let run = fixture.run("finetune --model model --out other --train rows.txt --delimiter ^ --format jsonl");
    assert!(run.stderr.starts_with("error: --delimiter ^: only tables"), "{}", run.stderr);
}

#[test]
fn what_cannot_be_known_names_the_flag() {
    let fixture = Fixture::new();
    for (file, content, flags, names) in [
        (
            "a.csv",
            "text,label\n\"2\\\" seam\",praise\n",
            "",
            &["a.csv, line 2", "quote", "(--format or --delimiter)"][..],
        ),
        (
            "a.tsv",
            "text\tlabel\nbad\tblame\n\"good\"\tpraise\n",
            "",
            &["a.tsv, line 3", "quotes", "(--format or --delimiter)"],
        ),
        ("b.csv", "good, day;praise\nbad, day;blame\n", "--text 0 --label 1", &["by , or by ;", "(--delimiter)"]),
        ("c.csv", "Beitrag;Klasse\ngood;praise\n", "", &["0 \"Beitrag\", 1 \"Klasse\"", "(--text)"]),
    ] {
        fixture.write(file, content);
        let run = fixture.run(&format!("finetune -q --model model --out out --train {file} {flags}"));
        assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{}", run.stderr);
        assert!(names.iter().all(|name| run.stderr.contains(name)), "{}", run.stderr);
    }
}

#[test]
fn a_header_of_numbers_is_no_row() {
    let fixture = Fixture::new();
    fixture.write("frame.csv", format!("0;1\n{ROWS}").replace(';', ","));
    let plan = trains(&fixture, "frame.csv --text 0 --label 1");
    assert!(plan.contains("frame.csv: the first row numbers the columns and is read as a header"), "{plan}");
    let answers = |flag: &str| {
        let line = format!("predict -q --task-file out/task.safetensors --input frame.csv --text 0 {flag}");
        fixture.run(&line).succeeded().lines().count()
    };
    assert_eq!((answers(""), answers("--header"), answers("--no-header")), (4, 4, 5));
}

#[test]
fn the_columns_that_are_recognised_among_others_are_said() {
    let fixture = Fixture::new();
    let rows = ROWS.replace(';', ",7,");
    fixture.write("rows.csv", format!("text,id,label\n{rows}"));
    let plan = trains(&fixture, "rows.csv");
    assert!(plan.contains("rows.csv: of its columns \"text\" and \"label\" are read\n"), "{plan}");
    fixture.write("both.csv", format!("text,sentence,label\n{rows}"));
    let run = fixture.run("finetune -q --model model --out other --train both.csv");
    let expected = "error: both.csv: its columns text or sentence may each be read; the first row has 0 \"text\", 1 \
                    \"sentence\", 2 \"label\"; choose by its name or its number from 0 the text column (--text)\n";
    assert_eq!(run.stderr, expected);
}

#[test]
fn an_export_is_read_and_what_is_skipped_is_reported() {
    let fixture = Fixture::new();
    let row = |text: &str, label: &str, answer: &str| {
        format!("{{\"text\": \"{text}\", \"label\": \"{label}\", \"answer\": \"{answer}\"}}\n")
    };
    let rows =
        [row("good day", "praise", "accept"), row("bad day", "praise", "reject"), row("bad meal", "blame", "accept")];
    fixture.write("annotations.jsonl", rows.concat());
    let plan = trains(&fixture, "annotations.jsonl");
    assert!(plan.contains("annotations.jsonl: an export of Prodigy\n"), "{plan}");
    assert!(
        plan.contains("annotations.jsonl: skipped 1 line, malformed, rejected or without a usable label\n"),
        "{plan}"
    );
    let answers = fixture.run("predict -q --task-file out/task.safetensors --input annotations.jsonl").succeeded();
    assert_eq!(answers.lines().count(), 3);
}

#[test]
#[cfg(feature = "parquet")]
fn parquet_is_read_by_name_and_by_its_first_bytes() {
    let fixture = Fixture::new();
    let file = include_bytes!("../../../bitfit-bert/tests/goldens/parquet/snappy.parquet");
    fixture.write("rows.parquet", file);
    fixture.write("rows", file);
    let plan = trains(&fixture, "rows.parquet --eval rows");
    assert!(plan.contains("rows: Parquet, of its columns \""), "{plan}");
    let run = fixture.run("predict --task-file out/task.safetensors --input rows.parquet");
    assert_eq!((run.code, run.stdout.lines().count()), (Some(0), 300), "{}", run.stderr);
    fixture.write("cut.parquet", &file[..file.len() / 2]);
    for (flags, expected) in [
        (
            "rows.parquet --text integer",
            "error: rows.parquet: the column \"integer\" is not one of strings; its type is INT64; choose another (--text)\n",
        ),
        (
            "cut.parquet",
            "error: cut.parquet: not a sound Parquet file: it does not begin and end with PAR1; it may be cut short\n",
        ),
    ] {
        let run = fixture.run(&format!("finetune -q --model model --out other --train {flags}"));
        assert_eq!(run.stderr, expected);
    }
}
