//! `compare`: what it writes, that its runs are those of `finetune`, that it goes on where it stopped, and what it
//! refuses.

use std::fs;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Run, keys};

const ALONE: &str = "finetune -q --model model --train train.tsv --out alone --overwrite";
const LEARN: &str = "--eval dev.tsv --epochs 2 --batch-size 8";

fn compare(fixture: &Fixture, flags: &str) -> Run {
    fixture.run(&format!("compare --model model --train train.tsv --out out {LEARN} {flags}"))
}

/// The rows of a CSV as objects.
fn rows(fixture: &Fixture, name: &str) -> Vec<Value> {
    let csv = fixture.read(&format!("out/{name}.csv"));
    let mut lines = csv.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().unwrap();
    lines.map(|fields| names.iter().cloned().zip(fields.into_iter().map(Value::from)).collect()).collect()
}

#[test]
fn methods_are_compared_side_by_side() {
    let fixture = Fixture::new();
    let methods = "--methods probe,bitfit,bitfit:query+intermediate,frozen --seeds 0-1 --lr bitfit=1e-2,frozen=2e-2";
    let run = compare(&fixture, methods);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    assert_eq!(
        keys(&result),
        [
            "command",
            "model",
            "task",
            "seeds",
            "methods",
            "runs",
            "skipped",
            "remaining",
            "shard",
            "files",
            "device",
            "precision",
            "end"
        ]
    );
    assert_eq!((&result["runs"], &result["skipped"], &result["end"]), (&json!(8), &json!(0), &json!("finished")));
    let directories = ["bitfit", "bitfit-query+intermediate", "comparison.csv", "comparison.md", "comparison.svg"];
    assert_eq!(fixture.names("out"), [&directories[..], &["costs.csv", "frozen", "probe"]].concat());
    let compared = result["methods"].as_array().unwrap();
    assert_eq!(
        keys(&compared[0]),
        [
            "method",
            "learning_rate",
            "metrics",
            "deviations",
            "trainable",
            "seconds",
            "task_bytes",
            "peak_rss_bytes",
            "runs"
        ]
    );
    // A rate by the name without the kinds, one by name, none for the probe.
    let rates: Vec<&Value> = compared.iter().map(|method| &method["learning_rate"]).collect();
    assert_eq!(rates, [&Value::Null, &json!(0.01), &json!(0.01), &json!(0.02)]);
    for (method, flags) in compared.iter().zip([
        "--method probe",
        "--lr 1e-2",
        "--lr 1e-2 --bias query,intermediate",
        "--method frozen --lr 2e-2",
    ]) {
        let name = method["method"].as_str().unwrap().replace(':', "-");
        // A probe by itself refuses the flags of steps.
        let learn = if name == "probe" { "--eval dev.tsv" } else { LEARN };
        for seed in 0..2 {
            let alone = fixture.run(&format!("{ALONE} {learn} {flags} --seed {seed}")).json();
            let among = &method["runs"][seed];
            assert_eq!((&among["metrics"], &among["seed"]), (&alone["metrics"], &json!(seed)), "{name}");
            assert_eq!(alone["trainable"], method["trainable"]);
            let task = fixture.bytes(&format!("out/{name}/seed-{seed}/task.safetensors"));
            let own = fixture.bytes("alone/task.safetensors");
            assert!(task == own, "{name}, seed {seed}");
            assert_eq!(method["task_bytes"], task.len());
        }
    }
    assert_eq!(compared[0]["deviations"]["accuracy"], 0.0, "a probe depends on no seed");

    let (rows, costs) = (rows(&fixture, "comparison"), rows(&fixture, "costs"));
    for (row, method) in costs.iter().zip(compared) {
        assert_eq!(row["peak_memory_bytes"].as_str().unwrap().parse::<f64>().ok(), method["peak_rss_bytes"].as_f64());
    }
    for (row, method) in rows.iter().zip(compared) {
        let number = |name: &str| row[name].as_str().unwrap().parse::<f64>().ok();
        assert_eq!(row["method"], method["method"]);
        assert_eq!(number("accuracy_mean"), method["metrics"]["accuracy"].as_f64());
        assert_eq!(number("accuracy_deviation"), method["deviations"]["accuracy"].as_f64());
        assert_eq!(number("scalars_trained"), method["trainable"].as_f64());
    }
    let markdown = fixture.read("out/comparison.md");
    assert!(markdown.starts_with("| method | accuracy | f1 | scalars trained |"), "{markdown}");
    assert_eq!(markdown.lines().filter(|line| line.starts_with('|')).count(), 6, "{markdown}");
    let svg = fixture.read("out/comparison.svg");
    assert!(svg.starts_with("<svg ") && svg.contains(">bitfit:query+intermediate<"), "{svg}");
    let said = &run.stderr;
    for part in [
        "compares  probe, bitfit, bitfit:query+intermediate, frozen, from seeds 0, 1; the first run of steps:",
        "learning rate 0.01, constant",
        "bitfit:query+intermediate, seed 1  (run 6 of 8)",
        "scalars trained",
        " ± ",
        "finished: out/comparison.md, out/comparison.csv, out/comparison.svg, out/costs.csv",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!(said.lines().filter(|line| line.starts_with("probe  accuracy")).count(), 1, "fitted once\n{said}");
    fixture.run("eval -q --task-file out/bitfit/seed-0/task.safetensors --data dev.tsv").succeeded();
}

#[test]
fn it_goes_on_where_it_stopped() {
    let fixture = Fixture::new();
    let first = compare(&fixture, "-q --methods frozen --seeds 0-1").json();
    let record = "out/frozen/seed-1/result.json";
    // As after a signal in the second run: its record is not there.
    fs::remove_file(fixture.path(record)).unwrap();
    let untouched = "out/frozen/seed-0/metrics.jsonl";
    fixture.write(untouched, "not written again");
    let second = compare(&fixture, "--methods frozen,bitfit --seeds 0-2");
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert!(second.stderr.contains("1 of 6 runs are on disk, and are not made again"), "{}", second.stderr);
    let result = second.json();
    assert_eq!((&result["runs"], &result["skipped"]), (&json!(6), &json!(1)));
    for seed in 0..2 {
        let metrics = |result: &Value| result["methods"][0]["runs"][seed]["metrics"].clone();
        assert_eq!(metrics(&first), metrics(&result), "seed {seed}");
    }
    assert_eq!(fixture.read(untouched), "not written again");
    assert!(fixture.names("out/frozen/seed-1").contains(&"result.json".to_owned()));
    let third = compare(&fixture, "-q --methods bitfit,frozen --seeds 0-2").json();
    assert_eq!((&third["skipped"], &third["end"]), (&json!(6), &json!("finished")));
}

#[test]
fn what_was_made_from_something_else_is_refused_by_name() {
    let fixture = Fixture::new();
    let flags = "-q --methods frozen --seeds 0";
    assert_eq!(compare(&fixture, flags).code, Some(0));
    let refused = |flags: &str, part: &str| {
        let run = compare(&fixture, flags);
        assert_eq!(run.code, Some(1), "{flags}");
        assert!(run.stderr.starts_with("error: out/frozen/seed-0/result.json: "), "{}", run.stderr);
        assert!(run.stderr.contains(part) && run.stderr.lines().count() == 1, "{part}: {}", run.stderr);
    };
    refused(&format!("{flags} --lr 0.5"), "learning rate is 0.001 there and 0.5 here");
    refused(&format!("{flags} --dropout 0.25"), "dropout is default there and 0.25 here");
    let train = fixture.read("train.tsv");
    fixture.write("train.tsv", train.replacen("praise", "blame", 1));
    refused(flags, "training set is ");
    fixture.write("train.tsv", &train);
    let dev = fixture.read("dev.tsv");
    fixture.write("dev.tsv", dev.lines().take(9).map(|line| format!("{line}\n")).collect::<String>());
    refused(flags, "evaluation set is ");
    fixture.write("dev.tsv", &dev);
    let mut model = fixture.bytes("model/model.safetensors");
    let last = model.len() - 3;
    model[last] ^= 1;
    fixture.write("model/model.safetensors", &model);
    refused(flags, "base model is ");
    model[last] ^= 1;
    fixture.write("model/model.safetensors", &model);
    let config = fixture.read("model/config.json");
    fixture.configure("hidden_dropout_prob", json!(0.25));
    refused(flags, "config.json is ");
    fixture.write("model/config.json", config);
    refused(&format!("{flags} --max-length 20"), "maximum length is 48 there and 20 here");
    assert_eq!(compare(&fixture, flags).json()["skipped"], 1, "the same again");
    fixture.write("out/frozen/seed-0/result.json", "{}");
    refused(flags, "not a record");
}

#[test]
fn command_lines_that_cannot_be_are_refused() {
    let fixture = Fixture::new();
    for (flags, part) in [
        ("--methods bitfti", "--methods bitfti: unknown method \"bitfti\": expected bitfit, "),
        ("--methods bitfit:query+nothing", "unknown method \"nothing\""),
        ("--methods frozen:query", "unknown method \"frozen:query\""),
        ("--methods bitfit,bitfit", "--methods bitfit,bitfit: one of them is listed twice"),
        ("--methods bitfit --lr frozen=1e-3", "--lr frozen: it is none of --methods bitfit"),
        ("--methods bitfit --lr bitfit=fast", "--lr bitfit=fast: expected a number above 0"),
        ("--methods bitfit --lr 0", "--lr 0: it must be a number above 0"),
        ("--methods bitfit --seeds 1,1", "--seeds 1,1: one of them is listed twice"),
        ("--methods probe --kind mlm", "--methods probe: no probe is made for masked language modelling"),
        ("--methods bitfit --dropout 1", "--dropout 1: it is a probability"),
    ] {
        let run = compare(&fixture, flags);
        assert_eq!(run.code, Some(2), "{flags}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{flags}: {}", run.stderr);
        assert!(run.stderr.contains(part), "{flags}: {}", run.stderr);
        assert!(fixture.names("out").is_empty(), "{flags}");
    }
    let run = fixture.run("compare --model model --train train.tsv --methods frozen --out out");
    assert!(run.code == Some(2) && run.stderr.contains("--eval <FILE>"), "{}", run.stderr);
}

#[test]
fn a_run_and_a_comparison_are_not_mixed_in_one_directory() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let run = compare(&fixture, "-q --methods frozen --seeds 0");
    let expected = "error: out: it has task.safetensors and metrics.jsonl of a run: choose another directory\n";
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), expected));
    fs::remove_dir_all(fixture.path("out")).unwrap();
    assert_eq!(compare(&fixture, "-q --methods frozen --seeds 0").code, Some(0));
    for flags in ["", "--overwrite", "--seeds 0-1 --eval dev.tsv"] {
        let run = fixture.run(&format!("finetune -q --model model --train train.tsv --out out {flags}"));
        assert_eq!(run.code, Some(1), "{flags}");
        assert!(run.stderr.starts_with("error: out: it has comparison.md, comparison.csv"), "{flags}: {}", run.stderr);
    }
}

#[test]
fn a_method_that_diverges_is_part_of_the_result() {
    let fixture = Fixture::new();
    let run = compare(&fixture, "--methods bitfit,frozen --seeds 0-1 --lr bitfit=1e30");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    let ends: Vec<&Value> = result["methods"][0]["runs"].as_array().unwrap().iter().map(|run| &run["end"]).collect();
    assert_eq!(ends, ["diverged", "diverged"]);
    assert_eq!(result["methods"][0]["metrics"], json!({}));
    assert!(result["methods"][1]["metrics"]["accuracy"].is_number());
    assert!(run.stderr.contains("bitfit: of 2 runs 2 diverged"), "{}", run.stderr);
    let again = compare(&fixture, "-q --methods bitfit,frozen --seeds 0-1 --lr bitfit=1e30").json();
    assert_eq!(again["skipped"], 4);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_and_the_next_call_makes_the_rest() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let fixture = Fixture::new();
    let line = format!(
        "compare --model model --train train.tsv --out out {LEARN} --methods frozen,bitfit --seeds 0-400 --log-every 1"
    );
    let mut child =
        fixture.command().args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap().starts_with("frozen, seed 2  (run 3 of 802)")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said: Vec<String> = stderr.map(Result::unwrap).collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{said:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["end"], "stopped");
    let made = result["runs"].as_u64().unwrap();
    assert!(made >= 2, "{result}");
    assert!(fixture.read("out/comparison.md").contains(&format!("frozen: {made} of 401 seeds are made.")));
    let again = compare(&fixture, "-q --methods frozen --seeds 0-1").json();
    assert_eq!(again["skipped"], 2);
}
