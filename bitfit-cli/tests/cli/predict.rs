//! `predict` that succeeds: formats, files, streams.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use crate::fixture::{Fixture, keys, lines, table, texts};

const PREDICT: &str = "predict -q --task-file out/task.safetensors";

/// A fixture with a task that tells praise from blame.
fn trained() -> Fixture {
    let fixture = Fixture::new();
    fixture.finetune("--lr 1e-2 --epochs 6 --batch-size 8");
    fixture
}

/// A fixture with a task of pairs, trained with a preset in which one label means "no label".
fn trained_on_pairs() -> Fixture {
    let fixture = Fixture::new();
    fixture.write("train.tsv", "sentence1\tsentence2\tgold_label\ngood\tday\tneutral\nbad\tday\tentailment\n");
    fixture.finetune("--task mnli --epochs 1");
    fixture
}

#[test]
fn a_submission_to_glue_collects_its_tables() {
    let fixture = Fixture::new();
    let rows = |labelled: bool| -> String {
        let row = |i: usize| {
            let text = if i.is_multiple_of(2) { "a good day" } else { "so bad" };
            if labelled { format!("{text}\t{}\n", i % 2) } else { format!("{i}\t{text}\n") }
        };
        (0..24).map(row).collect()
    };
    fixture.write("sst2.tsv", format!("sentence\tlabel\n{}", rows(true)));
    fixture.write("test.tsv", format!("index\tsentence\n{}", rows(false)));
    fixture.run("finetune -q --task sst2 --model model --train sst2.tsv --epochs 4 --lr 1e-2 --out out").json();
    let predict = "predict --task-file out/task.safetensors --input test.tsv";
    let run = fixture.run(&format!("{predict} --glue glue.zip"));
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    for words in ["glue.zip: SST-2.tsv (24 rows)", "has 1,821 rows", "still missing: CoLA.tsv, MRPC.tsv"] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    let bytes = std::fs::read(fixture.path("glue.zip")).unwrap();
    let table: String = (0..24).map(|i| format!("{i}\t{}\n", i % 2)).collect();
    let table = format!("index\tprediction\n{table}");
    assert!(bytes.windows(table.len()).any(|window| window == table.as_bytes()), "stored as it is");

    fixture.finetune("--epochs 1");
    for (flags, words) in [
        ("--glue glue.zip", &["--glue", "was not trained with --task"][..]),
        ("--glue glue.zip --task sst2", &["blame, praise", "expects 0, 1 in SST-2.tsv"]),
        ("--glue out/task.safetensors", &["--glue out/task.safetensors", "overwritten"]),
    ] {
        let run = fixture.run(&format!("{predict} {flags}"));
        assert_eq!(run.code, Some(1), "{flags}");
        assert!(words.iter().all(|word| run.stderr.contains(word)), "{flags}: {}", run.stderr);
    }
}

#[test]
fn every_row_has_an_answer_for_any_label() {
    let fixture = trained_on_pairs();
    fixture.write("dev.tsv", "sentence1\tsentence2\tgold_label\ngood\tday\t-\nbad\tmeal\tneutral\nsad\tfilm\t-\n");
    let answers = fixture.run(&format!("{PREDICT} --input dev.tsv")).succeeded();
    let texts: Vec<_> = answers.lines().map(|line| line.split('\t').nth(2).unwrap()).collect();
    assert_eq!(texts, ["good", "bad", "sad"]);
    let fixture = trained();
    fixture.write("in.jsonl", "{\"text\": \"good\", \"label\": {\"x\": 1}}\n{\"text\": \"bad\", \"label\": [1]}\n");
    assert_eq!(fixture.run(&format!("{PREDICT} --input in.jsonl")).succeeded().lines().count(), 2);
    fixture.write("twice.tsv", "text\tlabel\tlabel\ngood\t1\t2\n");
    assert_eq!(fixture.run(&format!("{PREDICT} --input twice.tsv")).succeeded().lines().count(), 1);
}

#[test]
fn a_pair_for_a_task_of_single_texts_is_refused_with_its_line_and_the_other_way_round() {
    let (single, pairs) = (trained(), trained_on_pairs());
    for (fixture, input, reason) in [
        (&single, "good day\nbad day\tblame\n", "line 2: a pair of texts"),
        (&pairs, "good\tday\nbad day\n", "line 2: a single text"),
    ] {
        let run = fixture.run_with(PREDICT, input);
        assert_eq!(
            (run.code, run.stdout.lines().count()),
            (Some(1), 1),
            "the line before has an answer: {}",
            run.stderr
        );
        assert!(run.stderr.starts_with(&format!("error: <stdin>, {reason}")), "{}", run.stderr);
        fixture.write("in.txt", input);
        let run = fixture.run(&format!("{PREDICT} --input in.txt"));
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
        assert!(run.stderr.starts_with(&format!("error: in.txt, {reason}")), "{}", run.stderr);
    }
}

#[test]
fn it_answers_a_file_as_well_as_it_scored() {
    let fixture = trained();
    let score = fixture.run("eval -q --task-file out/task.safetensors --data dev.tsv").json()["metrics"]["accuracy"]
        .as_f64()
        .unwrap();
    let answers = fixture.run(&format!("{PREDICT} --input dev.tsv")).succeeded();
    let mut right = 0;
    for (answer, row) in answers.lines().zip(fixture.read("dev.tsv").lines().skip(1)) {
        let [label, probability, text] = answer.split('\t').collect::<Vec<_>>()[..] else { panic!("{answer}") };
        let (expected_text, expected) = row.split_once('\t').unwrap();
        assert_eq!(text, expected_text);
        assert!((0.5..=1.0).contains(&probability.parse::<f32>().unwrap()), "{answer}");
        right += usize::from(label == expected);
    }
    assert_eq!(answers.lines().count(), 32);
    assert_eq!(right as f64 / 32.0, score);
    assert!(score > 0.9, "{score}");
}

#[test]
fn json_lines_hold_every_probability() {
    let answer = |fixture: &Fixture, text: &str| {
        lines(&fixture.run_with(&format!("{PREDICT} --output-format jsonl"), text).succeeded()).remove(0)
    };
    let answers = [answer(&trained(), "the day was good\n"), answer(&trained_on_pairs(), "awful\troom\n")];
    assert_eq!(keys(&answers[0]), ["text", "label", "probability", "probabilities"]);
    assert_eq!(keys(&answers[1]), ["text", "pair", "label", "probability", "probabilities"]);
    assert_eq!((&answers[1]["text"], &answers[1]["pair"]), (&"awful".into(), &"room".into()));
    for (answer, labels) in answers.iter().zip([["blame", "praise"], ["entailment", "neutral"]]) {
        assert_eq!(keys(&answer["probabilities"]), labels);
        assert_eq!(answer["probability"], answer["probabilities"][answer["label"].as_str().unwrap()]);
        let sum: f64 = answer["probabilities"].as_object().unwrap().values().map(|p| p.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{answer}");
    }
}

#[test]
fn a_regression_answers_with_scores() {
    let fixture = Fixture::new();
    fixture.write("train.tsv", table("text\tscore", &texts(64, 1), |class| format!("{}", 4 * class + 1)));
    fixture.finetune("--kind regress --lr 1e-2 --epochs 20");
    let input = "good great lovely happy\nbad awful nasty sad\n";
    let answers = fixture.run_with(PREDICT, input).succeeded();
    let scores: Vec<f32> = answers.lines().map(|line| line.split_once('\t').unwrap().0.parse().unwrap()).collect();
    assert!(scores[0] > 3.0 && scores[1] < 3.0, "{answers}");
    let json = lines(&fixture.run_with(&format!("{PREDICT} --output-format jsonl"), input).succeeded());
    assert_eq!(keys(&json[0]), ["text", "score"]);
    assert!((json[0]["score"].as_f64().unwrap() - f64::from(scores[0])).abs() < 1e-4);
}

#[test]
fn the_answer_to_a_line_comes_before_the_next_line_is_written() {
    let fixture = trained();
    let mut child =
        fixture.command().args(PREDICT.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for (text, label) in [("good great happy", "praise"), ("bad awful cruel", "blame"), ("", "")] {
        writeln!(input, "{text}").unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        assert!(answer.starts_with(label) && answer.ends_with(&format!("\t{text}\n")), "{answer}");
    }
    drop(input);
    assert_eq!(output.read_line(&mut String::new()).unwrap(), 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn answers_do_not_depend_on_the_format_of_the_texts() {
    let fixture = trained();
    let plain: String = texts(150, 9).into_iter().map(|(text, _)| text + "\n").collect();
    fixture.write("plain.txt", &plain);
    let file = fixture.run(&format!("{PREDICT} --input plain.txt")).succeeded();
    assert_eq!(file.lines().count(), 150);
    assert_eq!(fixture.run_with(PREDICT, plain.as_str()).succeeded(), file);
    let quoted: String = plain.lines().map(|line| format!("7,\"{line}\"\n")).collect();
    let csv = fixture.run_with(&format!("{PREDICT} --input - --format csv --text 1 --no-header"), quoted).succeeded();
    assert_eq!(csv, file);
    let jsonl: String = plain.lines().map(|line| format!("{{\"body\": \"{line}\"}}\n")).collect();
    assert_eq!(fixture.run_with(&format!("{PREDICT} --format jsonl --text body"), jsonl).succeeded(), file);
}

#[test]
fn json_or_a_table_on_stdin_is_refused_unless_its_format_is_named() {
    let fixture = trained();
    for (input, what) in
        [("{\"text\":\"good day\"}\n", "it is JSON"), ("text,label\ngood day,x\n", "header of a table")]
    {
        let run = fixture.run_with(PREDICT, input);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
        let is_named = run.stderr.starts_with("error: <stdin>, line 1: ") && run.stderr.ends_with("(--format)\n");
        assert!(is_named && run.stderr.contains(what), "{}", run.stderr);
        let lines = fixture.run_with(&format!("{PREDICT} --format lines"), input).succeeded();
        assert_eq!(lines.lines().count(), input.lines().count());
    }
}

#[test]
fn a_text_with_tabs_and_line_breaks_stays_one_line() {
    let fixture = trained();
    fixture.write("mails.csv", "text\n\"good\tday\r\nvery\nfine\"\n");
    let answer = fixture.run(&format!("{PREDICT} --input mails.csv")).succeeded();
    assert!(answer.starts_with("praise\t") && answer.ends_with("\tgood day very fine\n"), "{answer}");
}

#[test]
fn an_output_file_is_complete_or_as_it_was() {
    let fixture = trained();
    fixture.write("answers", "as it was");
    let broken = fixture.run_with(&format!("{PREDICT} --out answers"), b"good\n\xff\n".as_slice());
    assert_eq!(broken.code, Some(1));
    assert!(broken.stderr.contains("<stdin>, line 2") && broken.stdout.is_empty(), "{}", broken.stderr);
    assert_eq!(fixture.read("answers"), "as it was");
    let before = fixture.names(".");
    assert_eq!(fixture.run_with(&format!("{PREDICT} --out answers"), "good\nbad\n").succeeded(), "");
    assert_eq!(fixture.read("answers").lines().count(), 2);
    assert_eq!(fixture.names("."), before, "nothing is left beside it");
}

#[test]
fn a_preset_finds_its_columns_again_and_plain_texts_need_none() {
    let fixture = Fixture::new();
    let rows: String = texts(32, 3).iter().map(|(text, class)| format!("gj04\t{class}\t\t{text}\n")).collect();
    fixture.write("train.tsv", rows);
    fixture.finetune("--task cola --epochs 1");
    assert_eq!(fixture.run(&format!("{PREDICT} --input train.tsv")).succeeded().lines().count(), 32);
    fixture.write("plain.txt", "one day\nanother\n");
    assert_eq!(fixture.run(&format!("{PREDICT} --input plain.txt")).succeeded().lines().count(), 2);
}

#[test]
fn a_reader_that_stops_ends_it_without_an_error() {
    let fixture = trained();
    // Far more answers than a pipe holds.
    fixture.write("plain.txt", "good day\n".repeat(20_000));
    let mut child = fixture
        .command()
        .args(PREDICT.split(' '))
        .args(["--input", "plain.txt"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 6];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"praise");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
