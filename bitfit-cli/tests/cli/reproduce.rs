//! `reproduce`: its tables, that it goes on where it stopped to the same files, that tables share runs, what it leaves
//! out and what it refuses.

use std::fs;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Run, keys, texts};

/// A model, and in `glue` the files of CoLA, RTE and MNLI, with 32 rows to train on and 16 to score.
pub fn fixture() -> Fixture {
    let fixture = Fixture::new();
    for task in ["CoLA", "RTE", "MNLI"] {
        fs::create_dir_all(fixture.path(&format!("glue/{task}"))).unwrap();
    }
    let cola = |count, seed| -> String {
        texts(count, seed).iter().map(|(text, class)| format!("gj04\t{class}\t\t{text}\n")).collect()
    };
    let pairs = |count, seed, columns: &str, labels: [&str; 2]| -> String {
        let row = |(row, (text, class)): (usize, &(String, usize))| {
            format!("{row}\t{text}\tthe film was good\t{}\n", labels[*class])
        };
        format!("{columns}\n{}", texts(count, seed).iter().enumerate().map(row).collect::<String>())
    };
    let rte = |count, seed| pairs(count, seed, "index\tsentence1\tsentence2\tlabel", ["not_entailment", "entailment"]);
    let mnli = |count, seed| pairs(count, seed, "index\tsentence1\tsentence2\tgold_label", ["neutral", "entailment"]);
    for (part, count, seed) in [("train", 32, 1), ("dev", 16, 2)] {
        fixture.write(&format!("glue/CoLA/{part}.tsv"), cola(count, seed));
        fixture.write(&format!("glue/RTE/{part}.tsv"), rte(count, seed));
    }
    for (part, count, seed) in [("train", 32, 1), ("dev_matched", 16, 2), ("dev_mismatched", 16, 3)] {
        fixture.write(&format!("glue/MNLI/{part}.tsv"), mnli(count, seed));
    }
    fixture
}

const SHORT: &str = "--epochs 1 --batch-size 8 --seeds 0-1";
const RATES: &str = "--rates 1e-3,1e-2,full=1e-3";

fn reproduce(fixture: &Fixture, table: &str, flags: &str) -> Run {
    fixture.run(&format!("reproduce {table} --model model --data glue {SHORT} {flags}"))
}

/// The rows of a CSV file as objects.
fn rows(fixture: &Fixture, file: &str) -> Vec<Value> {
    let csv = fixture.read(file);
    let fields = |line: &str| {
        let (mut fields, mut is_quoted) = (vec![String::new()], false);
        for character in line.chars() {
            match character {
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => fields.push(String::new()),
                other => fields.last_mut().unwrap().push(other),
            }
        }
        assert!(!is_quoted, "{line}");
        fields
    };
    let mut lines = csv.lines().map(fields);
    let names = lines.next().unwrap();
    let row = |fields: Vec<String>| {
        assert_eq!(fields.len(), names.len(), "{csv}");
        names.iter().cloned().zip(fields.into_iter().map(Value::from)).collect()
    };
    lines.map(row).collect()
}

fn percent(row: &Value) -> f64 {
    row["percent"].as_str().unwrap().parse().unwrap()
}

/// Checks that the elements of a drawing are closed.
fn check_svg(fixture: &Fixture, file: &str) {
    let svg = fixture.read(file);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
    for element in ["svg", "text", "style"] {
        assert_eq!(svg.matches(&format!("<{element}")).count(), svg.matches(&format!("</{element}>")).count());
    }
}

#[test]
fn a_table_has_the_papers_figures_beside_ours_and_names_what_is_missing() {
    let fixture = fixture();
    let run = reproduce(&fixture, "glue", &format!("--out out {RATES}"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    assert_eq!(
        keys(&result),
        [
            "command",
            "table",
            "model",
            "tasks",
            "left_out",
            "methods",
            "seeds",
            "runs",
            "made",
            "skipped",
            "remaining",
            "shard",
            "files",
            "device",
            "precision",
            "end"
        ]
    );
    assert_eq!(result["tasks"], json!(["mnli", "cola", "rte"]));
    // Three tasks, two rates of BitFit and one of full fine-tuning, two seeds.
    assert_eq!((&result["runs"], &result["made"], &result["skipped"]), (&json!(18), &json!(18), &json!(0)));
    assert_eq!(result["methods"][1], json!({"method": "full", "rates": [0.001]}));
    let left_out: Vec<&str> =
        result["left_out"].as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect();
    assert_eq!(left_out, ["qnli", "sst2", "mrpc", "stsb", "qqp"]);
    for part in [
        "left out  qqp: QQP/train.tsv and QQP/dev.tsv are not there",
        "methods   bitfit at 1e-3, 1e-2; full at 1e-3",
        "mnli, bitfit, rate 1e-3, seed 1  (run 2 of 18)",
        "  paper, BERT-base",
        "finished: out/glue.md, out/glue.csv, out/glue.svg",
    ] {
        assert!(run.stderr.contains(part), "{part}\n{}", run.stderr);
    }

    let markdown = fixture.read("out/glue.md");
    let header = "| method | MNLI-m | MNLI-mm | CoLA | RTE | mean of these | % of parameters |";
    assert!(markdown.starts_with(header), "{markdown}");
    // (81.4 + 82.2) / 2, 58.8 and 72.3: the mean of the paper's figures over the same tasks.
    assert!(markdown.contains("|   paper, BERT-base | 81.4 | ≈82.2 | 58.8 | 72.3 | ≈71.0 | 0.09 |"), "{markdown}");
    assert!(markdown.contains("are no target for it") && markdown.contains("Left out: qnli ("), "{markdown}");

    let numbers = rows(&fixture, "out/glue.csv");
    let of = |task: &str, method: &str| {
        let is = |row: &&Value| row["task"] == task && row["method"] == method && row["source"] == "here";
        numbers.iter().filter(is).collect::<Vec<_>>()
    };
    // Both sets of MNLI at both rates.
    assert_eq!((of("mnli", "bitfit").len(), of("mnli", "full").len(), of("rte", "bitfit").len()), (4, 2, 2));
    for task in ["cola", "rte"] {
        let best = of(task, "bitfit").into_iter().map(percent).fold(f64::NEG_INFINITY, f64::max);
        let chosen: Vec<f64> =
            of(task, "bitfit").into_iter().filter(|row| row["chosen"] == "yes").map(percent).collect();
        assert_eq!(chosen, [best], "{task}: one rate, the best");
    }
    // A mean is that of the two records.
    let record = |seed| -> Value {
        let path = format!("out/rte/bitfit/lr-1e-2/seed-{seed}/result.json");
        serde_json::from_str(&fixture.read(&path)).unwrap()
    };
    let score = |seed| record(seed)["result"]["run"]["scores"][0][1].as_str().unwrap().parse::<f64>().unwrap();
    let row = of("rte", "bitfit")[1];
    assert_eq!((row["rate"].as_str(), row["runs"].as_str()), (Some("1e-2"), Some("2")));
    assert!((percent(row) - (score(0) + score(1)) * 50.0).abs() < 1e-9);
    let paper = numbers.iter().find(|row| row["task"] == "rte" && row["certainty"] == "seen twice").unwrap();
    assert_eq!((percent(paper), paper["source"].as_str()), (72.3, Some("paper, BERT-base")));
    check_svg(&fixture, "out/glue.svg");

    // A further set has the scores that eval gives.
    let eval = "eval -q --task mnli --task-file out/mnli/bitfit/lr-1e-3/seed-0/task.safetensors --model model \
                --data glue/MNLI/dev_mismatched.tsv";
    let scores = fixture.run(eval).json()["metrics"]["accuracy"].clone();
    let record: Value = serde_json::from_str(&fixture.read("out/mnli/bitfit/lr-1e-3/seed-0/result.json")).unwrap();
    assert_eq!(
        record["result"]["further"]["mnli-mm"]["scores"],
        json!([["accuracy", scores.as_f64().unwrap().to_string()]])
    );
}

#[test]
fn a_run_is_that_of_finetune() {
    let fixture = fixture();
    reproduce(&fixture, "glue", "-q --tasks rte --methods bitfit --rates 1e-2 --out out").succeeded();
    fixture
        .run(
            "finetune -q --model model --task rte --train glue/RTE/train.tsv --eval glue/RTE/dev.tsv --out alone \
             --epochs 1 --batch-size 8 --seed 1 --lr 1e-2 --no-probe --init-head random",
        )
        .succeeded();
    let task = |directory: &str| fixture.tensors(&format!("{directory}/task.safetensors"));
    let (of_grid, alone) = ("out/rte/bitfit/lr-1e-2/seed-1", "alone");
    assert_eq!(task(of_grid), task(alone));
    assert!(
        fixture.bytes(&format!("{of_grid}/task.safetensors")) == fixture.bytes(&format!("{alone}/task.safetensors"))
    );
}

#[test]
fn it_goes_on_where_it_stopped_to_the_same_files() {
    let fixture = fixture();
    let flags = |out: &str| format!("-q --tasks cola,mnli {RATES} --out {out}");
    let whole = reproduce(&fixture, "glue", &flags("whole")).json();
    assert_eq!(whole["made"], 12);
    let part = reproduce(&fixture, "glue", "-q --tasks mnli --rates 1e-3,1e-2 --methods bitfit --out out").json();
    assert_eq!(part["made"], 4);
    // As after a signal in a run, and as after one before it was scored on a further set.
    fs::remove_file(fixture.path("out/mnli/bitfit/lr-1e-3/seed-1/result.json")).unwrap();
    let path = "out/mnli/bitfit/lr-1e-2/seed-0/result.json";
    let mut record: Value = serde_json::from_str(&fixture.read(path)).unwrap();
    record["result"]["further"] = json!({});
    fixture.write(path, record.to_string());
    let untouched = "out/mnli/bitfit/lr-1e-3/seed-0/metrics.jsonl";
    fixture.write(untouched, "not written again");

    let plan = reproduce(&fixture, "glue", &format!("{} --plan", flags("out"))).json();
    assert_eq!((&plan["done"], plan["plan"].as_array().unwrap().len()), (&json!(2), 12));
    let states: Vec<&str> =
        plan["plan"].as_array().unwrap()[..4].iter().map(|run| run["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "to be made", "to be scored", "done"]);
    // One run of BitFit on MNLI and four on CoLA are alike; of full fine-tuning nothing is known.
    assert_eq!((&plan["estimate"]["runs"], &plan["estimate"]["unknown"]), (&json!(5), &json!(4)));
    // A run of this size takes milliseconds, of which the sum may be rounded to 0.
    assert!(plan["estimate"]["seconds"].is_number(), "{plan}");

    let rest = reproduce(&fixture, "glue", &flags("out")).json();
    assert_eq!((&rest["made"], &rest["skipped"], &rest["end"]), (&json!(12), &json!(2), &json!("finished")));
    assert_eq!(fixture.read(untouched), "not written again");
    for file in ["glue.md", "glue.csv", "glue.svg"] {
        assert_eq!(fixture.read(&format!("out/{file}")), fixture.read(&format!("whole/{file}")), "{file}");
    }
}

#[test]
fn a_plan_writes_nothing() {
    let fixture = fixture();
    let run = reproduce(&fixture, "subsets", "--plan --out out");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(fixture.names("out").is_empty());
    assert!(run.stderr.contains("runs      120 of one epoch, seeds 0, 1: 120 to be made"), "{}", run.stderr);
    assert!(run.stderr.contains("estimate  none yet: no run of these methods is finished\n"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().filter(|line| line.ends_with("to be made")).count(), 121, "{}", run.stderr);
    let result = run.json();
    assert_eq!(result["estimate"], json!({"seconds": null, "runs": 0, "unknown": 120}));
    let first = &result["plan"][0];
    let expected = json!({
        "task": "mnli", "method": "bitfit", "rate": 0.0001, "seed": 0,
        "directory": "out/mnli/bitfit/lr-1e-4/seed-0", "state": "to be made", "steps": 4, "seconds": null,
    });
    assert_eq!(first, &expected);
}

#[test]
fn tables_of_the_same_runs_share_them() {
    let fixture = fixture();
    let flags = "-q --tasks rte --rates 1e-2 --out out";
    assert_eq!(reproduce(&fixture, "glue", flags).json()["skipped"], 0);
    let log = "out/rte/bitfit/lr-1e-2/seed-0/metrics.jsonl";
    fixture.write(log, "not written again");
    let gap = reproduce(&fixture, "generalization-gap", flags).json();
    assert_eq!((&gap["made"], &gap["skipped"]), (&json!(4), &json!(0)), "they are to be scored on more");
    assert_eq!(reproduce(&fixture, "generalization-gap", flags).json()["skipped"], 4);
    assert_eq!(fixture.read(log), "not written again");
    let markdown = fixture.read("out/generalization-gap.md");
    assert!(markdown.contains("| RTE, bitfit | accuracy | 1e-2 |") && markdown.contains("| RTE, full |"), "{markdown}");
    let train: Value = serde_json::from_str(&fixture.read("out/rte/bitfit/lr-1e-2/seed-0/result.json")).unwrap();
    let eval = "eval -q --task-file out/rte/bitfit/lr-1e-2/seed-0/task.safetensors --data glue/RTE/train.tsv";
    let scores = fixture.run(eval).json()["metrics"]["accuracy"].clone();
    assert_eq!(
        train["result"]["further"]["train"]["scores"],
        json!([["accuracy", scores.as_f64().unwrap().to_string()]])
    );

    let change = reproduce(&fixture, "bias-change", flags).json();
    assert_eq!((&change["made"], &change["skipped"]), (&json!(2), &json!(2)));
    let numbers = rows(&fixture, "out/bias-change.csv");
    let changes = |kind: &str| -> Vec<f64> {
        let of_kind = numbers.iter().filter(|row| row["kind"] == kind);
        of_kind.map(|row| row["mean_absolute_change"].as_str().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(changes("key"), [0.0, 0.0]);
    assert!(changes("query").len() == 2 && changes("intermediate").iter().all(|change| *change > 0.0));
    for file in ["out/generalization-gap.svg", "out/bias-change.svg"] {
        check_svg(&fixture, file);
    }
    fs::remove_file(fixture.path("out/rte/bitfit/lr-1e-2/seed-1/task.safetensors")).unwrap();
    let run = reproduce(&fixture, "bias-change", flags);
    let path =
        "error: out/rte/bitfit/lr-1e-2/seed-1/task.safetensors: it is not there, but the change is taken from it";
    assert!(run.code == Some(1) && run.stderr.starts_with(path), "{}", run.stderr);
}

#[test]
fn with_a_limit_the_gap_is_of_the_rows_that_were_trained_on() {
    let fixture = fixture();
    let flags = "-q --tasks rte --rates 1e-2 --methods bitfit --limit 8 --out out --remove-task-files";
    reproduce(&fixture, "generalization-gap", flags).succeeded();
    assert!(!fixture.names("out/rte/bitfit/lr-1e-2/seed-0").contains(&"task.safetensors".to_owned()));
    let record: Value = serde_json::from_str(&fixture.read("out/rte/bitfit/lr-1e-2/seed-0/result.json")).unwrap();
    let accuracy = record["result"]["further"]["train"]["scores"][0][1].as_str().unwrap();
    let accuracy: f64 = accuracy.parse().unwrap();
    assert_eq!((accuracy * 8.0).fract(), 0.0, "of eight rows: {accuracy}");
    // The scores are recorded, so that the table needs no task file.
    let again = reproduce(&fixture, "generalization-gap", flags).json();
    assert_eq!(again["skipped"], 2);
}

#[test]
fn words_are_tagged_and_no_figure_stands_beside_them() {
    let fixture = fixture();
    fs::create_dir(fixture.path("ud")).unwrap();
    for (part, count, seed) in [("train", 24, 1), ("dev", 8, 2)] {
        let sentence = |(text, _): &(String, usize)| {
            let word = |(place, word): (usize, &str)| {
                let tag = if ["the", "a", "very"].contains(&word) { "DET" } else { "ADJ" };
                format!("{}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n", place + 1)
            };
            text.split(' ').enumerate().map(word).collect::<String>() + "\n"
        };
        fixture.write(&format!("ud/xx-ud-{part}.conllu"), texts(count, seed).iter().map(sentence).collect::<String>());
    }
    let line = format!("reproduce tagging --model model --data ud --out out {SHORT} {RATES}");
    let run = fixture.run(&line);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let markdown = fixture.read("out/tagging.md");
    assert!(markdown.starts_with("| method | tagging | % of parameters |"), "{markdown}");
    assert!(
        markdown.contains("The paper tags the Penn Treebank") && !markdown.contains("paper, BERT-base"),
        "{markdown}"
    );
    assert_eq!(rows(&fixture, "out/tagging.csv").len(), 3);
    check_svg(&fixture, "out/tagging.svg");
}

/// Questions with one context each, of which every answer is one word.
fn squad(questions: usize, first: usize) -> String {
    let paragraph = |i: usize| {
        let answer = ["good", "great", "lovely", "happy"][i % 4];
        let context = format!("the day was {} and {answer} room", ["bad", "awful", "sad"][i % 3]);
        let start = context.find(answer).unwrap();
        json!({"context": context, "qas": [
            {"id": format!("q{i}"), "question": "the film is", "answers": [{"text": answer, "answer_start": start}]},
        ]})
    };
    let paragraphs: Vec<Value> = (first..first + questions).map(paragraph).collect();
    json!({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}).to_string()
}

#[test]
fn questions_by_the_size_of_the_training_set_have_equal_numbers_of_steps() {
    let fixture = fixture();
    fs::create_dir(fixture.path("squad")).unwrap();
    fixture.write("squad/train-v1.1.json", squad(40, 0));
    fixture.write("squad/dev-v1.1.json", squad(12, 100));
    let line = "reproduce squad-size --model model --data squad --out out --batch-size 8 --seeds 0 --rates 1e-2 \
                --steps 10 --epochs 1 --sizes 8,32,400 --log-every 1";
    let run = fixture.run(line);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    assert_eq!(result["tasks"], json!(["squad-8", "squad-32"]));
    assert_eq!(result["left_out"], json!([{"name": "400", "reason": "the training set has 40 questions"}]));
    let steps = |size: usize| -> Vec<Value> {
        let log = fixture.read(&format!("out/squad-{size}/bitfit/lr-1e-2/seed-0/metrics.jsonl"));
        log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].clone()).collect()
    };
    assert!(steps(8).contains(&json!(10)), "ten epochs of one step: {:?}", steps(8));
    assert!(steps(32).contains(&json!(12)), "three epochs of four steps: {:?}", steps(32));
    let markdown = fixture.read("out/squad-size.md");
    assert!(markdown.starts_with("| questions | bitfit, F1 | bitfit, exact match | full, F1 |"), "{markdown}");
    assert!(markdown.contains("| 8 |") && markdown.contains("| 32 |"), "{markdown}");
    // Two sizes, two methods, two metrics; the independent run has none of these sizes.
    assert_eq!(rows(&fixture, "out/squad-size.csv").len(), 8);
    check_svg(&fixture, "out/squad-size.svg");
    assert_eq!(fixture.run(&format!("{line} -q")).json()["skipped"], 4);
}

#[test]
fn other_data_and_settings_are_refused_by_name() {
    let fixture = fixture();
    let flags = "-q --tasks mnli --methods bitfit --rates 1e-3 --out out";
    reproduce(&fixture, "glue", flags).succeeded();
    let refused = |flags: &str, part: &str| {
        let run = reproduce(&fixture, "glue", flags);
        assert_eq!(run.code, Some(1), "{flags}");
        assert!(run.stderr.starts_with("error: out/mnli/bitfit/lr-1e-3/seed-0/result.json: "), "{}", run.stderr);
        assert!(run.stderr.contains(part) && run.stderr.lines().count() == 1, "{part}: {}", run.stderr);
    };
    refused(&flags.replace("-q", "-q --limit 8"), "limit is default there and 8 here");
    refused(&flags.replace("-q", "-q --pooling mean"), "read-out is pooler there and mean here");
    for (file, part) in [
        ("train", "training file is "),
        ("dev_matched", "evaluation file is "),
        ("dev_mismatched", "the run there was scored on another file than glue/MNLI/dev_mismatched.tsv"),
    ] {
        let path = format!("glue/MNLI/{file}.tsv");
        let text = fixture.read(&path);
        fixture.write(&path, text.replacen("good", "great", 1));
        refused(flags, part);
        fixture.write(&path, text);
    }
    assert_eq!(reproduce(&fixture, "glue", flags).json()["skipped"], 2, "the same again");
    let run = fixture.run(&format!("reproduce glue --model model --data glue {flags} --epochs 2 --batch-size 8"));
    assert!(run.stderr.contains("epochs is 1 there and 2 here"), "{}", run.stderr);
}

#[test]
fn command_lines_that_cannot_be_are_refused() {
    let fixture = fixture();
    fs::create_dir(fixture.path("empty")).unwrap();
    for (line, part) in [
        ("reproduce table-1 --data glue", "expected glue, subsets, random, tagging, squad-size, generalization-gap or"),
        ("reproduce glue --data nowhere", "--data nowhere: it is not a directory"),
        ("reproduce glue --data empty", "empty: none of its tasks is there: QNLI/train.tsv and QNLI/dev.tsv are not"),
        ("reproduce tagging --data glue", "glue: no training file of tagged words is there: looked for train.conllu"),
        ("reproduce squad-size --data glue", "from train-v1.1.json and dev-v1.1.json, but both are not there"),
        ("reproduce glue --data glue --tasks wnli", "--tasks wnli: the paper leaves it out"),
        ("reproduce tagging --data glue --tasks rte", "--tasks rte: only tables of GLUE have several tasks"),
        ("reproduce glue --data glue --methods probe", "--methods probe: a probe has no learning rate to search"),
        ("reproduce glue --data glue --methods full,full", "--methods full,full: one of them is listed twice"),
        ("reproduce glue --data glue --rates 0", "--rates 0: expected numbers above 0"),
        ("reproduce glue --data glue --rates 1e-3,1e-3", "--rates 1e-3,1e-3: one of them is listed twice"),
        ("reproduce glue --data glue --rates frozen=1e-3", "--rates frozen: it is none of the methods bitfit, full"),
        ("reproduce glue --data glue --steps 5", "--steps 5: only the table squad-size"),
        ("reproduce glue --data glue --sizes 5", "--sizes 5: only the table squad-size"),
        ("reproduce squad-size --data glue --limit 5", "--limit 5: the table squad-size has sizes of its own"),
        ("reproduce bias-change --data glue --remove-task-files", "bias-change is made from the task files"),
    ] {
        let run = fixture.run(&format!("{line} --model model --out out"));
        let is_of_files = line.contains("nowhere") || line.contains("empty") || part.contains("there");
        assert_eq!(run.code, Some(if is_of_files { 1 } else { 2 }), "{line}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{line}: {}", run.stderr);
        assert!(run.stderr.contains(part), "{line}: {}", run.stderr);
        assert!(fixture.names("out").is_empty(), "{line}");
    }
    fs::create_dir_all(fixture.path("taken/glue.csv")).unwrap();
    let run = reproduce(&fixture, "glue", "--tasks rte --out taken");
    assert!(run.stderr.contains("--out taken: glue.csv in it is a directory"), "{}", run.stderr);
    let dev = fixture.read("glue/MNLI/dev_mismatched.tsv");
    fixture.write("glue/MNLI/dev_mismatched.tsv", dev.replacen("\tneutral", "\tpraise", 1));
    let run = reproduce(&fixture, "glue", "-q --out out");
    let reason = "\"praise\" is not a label of mnli, expected contradiction, entailment, neutral or 0, 1, 2; leave the \
                  task out for other data";
    assert!(run.stderr.starts_with("error: glue/MNLI/dev_mismatched.tsv, line "), "{}", run.stderr);
    assert!(run.stderr.contains(reason) && run.stderr.lines().count() == 1, "{}", run.stderr);
    assert!(fixture.names("out").is_empty());
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_and_the_next_call_goes_on_within_the_run() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let fixture = fixture();
    let line = |out: &str| {
        format!(
            "reproduce glue --model model --data glue --out {out} --tasks rte --methods bitfit --rates 1e-3 --seeds 0-1 \
             --epochs 60 --batch-size 8 --log-every 1"
        )
    };
    fixture.run(&format!("{} -q", line("whole"))).succeeded();
    let mut command = fixture.command();
    let line_of_out = line("out");
    let command = command.args(line_of_out.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap().starts_with("rte, bitfit, rate 1e-3, seed 1  (run 2 of 2)")));
    assert!(stderr.any(|line| line.unwrap().starts_with("step 2/")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said: Vec<String> = stderr.map(Result::unwrap).collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{said:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["end"], &result["made"]), (&json!("stopped"), &json!(1)));
    assert!(fixture.read("out/glue.md").contains("rte, bitfit: 1 of 2 runs are made."));

    let run = fixture.run(&line("out"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("1 done, 1 begun") && run.stderr.contains("resumed after step "), "{}", run.stderr);
    for file in ["glue.md", "glue.csv", "glue.svg", "rte/bitfit/lr-1e-3/seed-1/task.safetensors"] {
        assert!(fixture.bytes(&format!("out/{file}")) == fixture.bytes(&format!("whole/{file}")), "{file}");
    }
}
