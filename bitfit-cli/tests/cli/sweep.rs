//! Sweeps: several processes work through one grid, one of them is killed, and the table is that of a single process;
//! shards; and what a process that comes later is refused for.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use bitfit_bert::run::SWEEP_DIR;
use serde_json::{Value, json};

use crate::fixture::{Fixture, Run};

/// Twelve runs.
const TWELVE: &str = "compare --model model --train train.tsv --eval dev.tsv --batch-size 8 --methods \
                      probe,bitfit,frozen --seeds 0-3 --checkpoint-every 1 --log-every 1";

/// A process at work.
struct Worker {
    child: Child,
    stderr: Receiver<String>,
    said: Vec<String>,
}

impl Worker {
    fn start(fixture: &Fixture, line: &str) -> Self {
        let mut command = fixture.command();
        let piped = command.args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, stderr) = channel();
        // All are read at the same time: a process whose pipe is full stands still, and others wait for its run.
        std::thread::spawn(move || lines.map(Result::unwrap).for_each(|line| _ = sender.send(line)));
        Self { child, stderr, said: Vec::new() }
    }

    /// Waits for a line that begins with `text`.
    fn wait_for(&mut self, text: &str) {
        for line in &self.stderr {
            self.said.push(line);
            if self.said.last().is_some_and(|line| line.starts_with(text)) {
                return;
            }
        }
        panic!("it has not said {text:?}: {:?}", self.said);
    }

    /// Kills it with a signal that cannot be caught.
    fn kill(mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().code(), None);
    }

    /// Ends it with a signal that it catches.
    fn stop(mut self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        self.stderr.iter().for_each(drop);
        assert_eq!(self.child.wait().unwrap().code(), Some(130));
    }

    /// Waits for its end, which must be a success. Returns what it has said and its result.
    fn finish(mut self) -> (Vec<String>, Value) {
        self.said.extend(&self.stderr);
        let output = self.child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{:?}", self.said);
        (self.said, serde_json::from_slice(&output.stdout).unwrap())
    }
}

/// One process makes all runs in `alone`; in `out` three do, of which one is killed twice in the middle of a run. All
/// `files` must be the same.
fn three_of_which_one_is_killed_twice(fixture: &Fixture, line: &str, files: &[&str]) {
    fixture.run(&format!("{line} -q --out alone")).succeeded();
    let line = format!("{line} --out out");
    let mut killed = Worker::start(fixture, &line);
    killed.wait_for("step 7/");
    let others = [Worker::start(fixture, &line), Worker::start(fixture, &line)];
    killed.wait_for("step 9/");
    killed.kill();
    let mut killed = Worker::start(fixture, &line);
    killed.wait_for("step ");
    killed.wait_for("step ");
    killed.kill();
    let last = Worker::start(fixture, &line);
    let mut said = Vec::new();
    for worker in others.into_iter().chain([last]) {
        let (lines, result) = worker.finish();
        assert_eq!((&result["remaining"], &result["end"]), (&json!(0), &json!("finished")));
        said.extend(lines);
    }
    assert!(said.iter().filter(|line| line.starts_with("resumed after step ")).count() >= 1, "{said:#?}");
    for file in files {
        let [out, alone] = ["out", "alone"].map(|directory| fixture.bytes(&format!("{directory}/{file}")));
        assert!(out == alone, "{file}\n{said:#?}");
    }
    assert!(!fixture.names("out").contains(&SWEEP_DIR.to_owned()), "{:?}", fixture.names(&format!("out/{SWEEP_DIR}")));
}

#[test]
fn a_comparison_by_three_of_which_one_is_killed_twice_is_that_of_one_byte_by_byte() {
    let fixture = Fixture::new();
    let runs = ["probe", "bitfit", "frozen"].map(|method| (0..4).map(move |seed| format!("{method}/seed-{seed}")));
    let task_files = runs.into_iter().flatten().map(|run| format!("{run}/task.safetensors"));
    let tables = ["comparison.md", "comparison.csv", "comparison.svg"].map(str::to_owned);
    let files: Vec<String> = tables.into_iter().chain(task_files).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    three_of_which_one_is_killed_twice(&fixture, &format!("{TWELVE} --epochs 60"), &files);
    let costs = fixture.read("out/costs.csv");
    assert_eq!(costs.lines().next(), Some("method,runs,seconds,peak_memory_bytes"));
    assert_eq!(costs.lines().count(), 4, "{costs}");
}

#[test]
fn a_reproduction_by_three_of_which_one_is_killed_twice_is_that_of_one_byte_by_byte() {
    let fixture = crate::reproduce::fixture();
    let line = "reproduce generalization-gap --model model --data glue --tasks cola,rte --methods bitfit,frozen --rates \
                1e-2 --seeds 0-2 --epochs 40 --batch-size 8 --checkpoint-every 1 --log-every 1";
    let files = ["generalization-gap.md", "generalization-gap.csv", "generalization-gap.svg"];
    three_of_which_one_is_killed_twice(&fixture, line, &files);
}

#[test]
fn a_process_with_another_grid_is_refused_by_the_first_difference() {
    let fixture = Fixture::new();
    // No probe, which would have its record before the others.
    let grid = TWELVE.replace("probe,bitfit,frozen", "bitfit,frozen");
    let mut first = Worker::start(&fixture, &format!("{grid} --epochs 500 --out out"));
    first.wait_for("step 2/");
    for (flags, part) in [
        ("--epochs 7", "epochs is 500 there and 7 here"),
        ("--epochs 500 --lr 0.5", "learning rate is 0.001 there and 0.5 here"),
        ("--epochs 500 --limit 8", "limit is default there and 8 here"),
    ] {
        let run = fixture.run(&format!("{grid} {flags} --out out"));
        assert_eq!(run.code, Some(1), "{flags}");
        let last = run.stderr.lines().last().unwrap();
        assert!(last.starts_with("error: out: process "), "{last}");
        assert!(
            last.contains(&format!("works through its runs with another setting: {part}; give the same")),
            "{last}"
        );
    }
    // Other methods and seeds are another grid too.
    let run = fixture.run(&format!("{} --epochs 500 --out out", grid.replace("0-3", "0-4")));
    assert!(run.stderr.contains("seed is 0, 1, 2, 3 there and 0, 1, 2, 3, 4 here"), "{}", run.stderr);
    first.stop();
    assert!(!fixture.names("out").contains(&SWEEP_DIR.to_owned()));
}

#[test]
fn the_claim_of_a_process_on_another_machine_is_taken_over_when_its_heartbeat_stands_still() {
    let fixture = Fixture::new();
    let line = format!("{} --epochs 60", TWELVE.replace("probe,bitfit,frozen --seeds 0-3", "bitfit --seeds 0"));
    fixture.run(&format!("{line} -q --out alone")).succeeded();
    let mut first = Worker::start(&fixture, &format!("{line} --out out"));
    first.wait_for("step 9/");
    first.kill();
    let names = fixture.names(&format!("out/{SWEEP_DIR}"));
    assert!(names.len() == 2 && names[0] == "bitfit,seed-0.claim-1", "{names:?}");
    // As if it had been started elsewhere, with a short heartbeat.
    let path = format!("out/{SWEEP_DIR}/{}", names[1]);
    let mut about: Value = serde_json::from_str(&fixture.read(&path)).unwrap();
    about["machine"]["boot"] = json!("elsewhere");
    about["heartbeat_ms"] = json!(300);
    fixture.write(&path, about.to_string());

    let run = fixture.run(&format!("{line} --out out --no-wait"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let end = "finished: 1 of 1 runs is left to other processes, the last of which writes the table\n";
    assert!(run.stderr.ends_with(end), "{}", run.stderr);
    assert_eq!((&run.json()["remaining"], &run.json()["files"]), (&json!(1), &json!([])));

    let run = fixture.run(&format!("{line} --out out --heartbeat 1s"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for part in ["\nwaiting for a run that another process makes\n", "\nresumed after step "] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    for file in ["comparison.md", "bitfit/seed-0/task.safetensors"] {
        assert!(fixture.bytes(&format!("out/{file}")) == fixture.bytes(&format!("alone/{file}")), "{file}");
    }
    assert!(!fixture.names("out").contains(&SWEEP_DIR.to_owned()));
}

#[test]
fn a_process_whose_run_was_taken_over_makes_another_one() {
    let fixture = Fixture::new();
    let mut first = Worker::start(&fixture, &format!("{TWELVE} --epochs 30 --out out"));
    first.wait_for("step 9/");
    // As if another machine had taken it for dead, claimed its run, and died.
    let directory = format!("out/{SWEEP_DIR}");
    let claim = fixture.names(&directory).into_iter().find(|name| name.contains(".claim-1")).unwrap();
    let other = "worker-0123456789ab.json\n";
    fixture.write(&format!("{directory}/{}", claim.replace(".claim-1", ".claim-2")), other);
    let (said, result) = first.finish();
    assert!(said.iter().any(|line| line.contains("another process has taken this run over")), "{said:#?}");
    assert_eq!((&result["runs"], &result["remaining"]), (&json!(12), &json!(0)));
}

fn shard(fixture: &Fixture, out: &str, variables: &[(&str, &str)], flags: &str) -> Run {
    let line = format!("{TWELVE} --epochs 2 --out {out} {flags}");
    let mut command = fixture.command();
    let output = command.args(line.split_whitespace()).envs(variables.iter().copied()).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Run { code: output.status.code(), stdout, stderr }
}

#[test]
fn shards_make_their_own_runs_and_the_last_one_writes_the_table() {
    let fixture = Fixture::new();
    let runs = |out: &str| -> Vec<String> {
        let seeds = ["probe", "bitfit", "frozen"].map(|method| (0..4).map(move |seed| format!("{method}/seed-{seed}")));
        let is_there = |run: &String| fixture.names(&format!("{out}/{run}")).contains(&"result.json".to_owned());
        seeds.into_iter().flatten().filter(is_there).collect()
    };
    assert_eq!(shard(&fixture, "alone", &[], "").code, Some(0));
    let first = shard(&fixture, "out", &[], "--shard 2/3");
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(first.stderr.contains("\nshard     2/3: 4 of 12 runs\n"), "{}", first.stderr);
    let end = "finished: 8 of 12 runs are left to other processes, the last of which writes the table\n";
    assert!(first.stderr.ends_with(end), "{}", first.stderr);
    let result = first.json();
    assert_eq!((&result["shard"], &result["remaining"], &result["files"]), (&json!("2/3"), &json!(8), &json!([])));
    assert_eq!(runs("out"), ["probe/seed-1", "bitfit/seed-0", "bitfit/seed-3", "frozen/seed-2"]);
    assert!(!fixture.names("out").iter().any(|name| name.starts_with("comparison")));
    // A job array whose numbers begin at 4 and have a step of 2: its first and last task.
    for task in ["4", "8"] {
        let variables = [("ID", task), ("MIN", "4"), ("MAX", "8"), ("STEP", "2"), ("COUNT", "3")];
        let variables = variables.map(|(name, value)| (format!("SLURM_ARRAY_TASK_{name}"), value));
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let run = shard(&fixture, "out", &variables, "");
        let number = if task == "4" { 1 } else { 3 };
        let line = format!("\nshard     {number}/3, by SLURM_ARRAY_TASK_ID: 4 of 12 runs\n");
        assert!(run.code == Some(0) && run.stderr.contains(&line), "{}", run.stderr);
        assert_eq!(run.json()["remaining"], if number == 1 { 4 } else { 0 });
    }
    for file in ["comparison.md", "comparison.csv", "comparison.svg"] {
        assert!(fixture.bytes(&format!("out/{file}")) == fixture.bytes(&format!("alone/{file}")), "{file}");
    }
    assert!(!fixture.names("out").contains(&SWEEP_DIR.to_owned()));
}

#[test]
fn shards_and_directories_that_cannot_be_are_refused() {
    let fixture = Fixture::new();
    for (flags, part) in [
        ("--shard 0/3", "--shard 0/3: expected I/N with I from 1 to N, such as 2/4, or all"),
        ("--shard 4/3", "--shard 4/3: expected I/N"),
        ("--heartbeat 0s", "--heartbeat 0s: expected a time above 0, such as 30s"),
        ("--heartbeat 5", "--heartbeat 5: expected a time above 0, such as 30s"),
    ] {
        let run = shard(&fixture, "out", &[], flags);
        let last = run.stderr.lines().last().unwrap();
        assert!(matches!(run.code, Some(1 | 2)) && last.contains(part), "{flags}: {}", run.stderr);
        assert!(fixture.names("out").is_empty(), "{flags}: {:?}", fixture.names("out"));
    }
    let run = shard(&fixture, "out", &[("SLURM_ARRAY_TASK_ID", "x")], "");
    assert_eq!(run.stderr, "error: SLURM_ARRAY_TASK_ID is x: expected a number; give --shard\n");
    fs::create_dir_all(fixture.path("out")).unwrap();
    std::os::unix::fs::symlink(fixture.path("model"), fixture.path(&format!("out/{SWEEP_DIR}"))).unwrap();
    let run = shard(&fixture, "out", &[], "");
    assert!(run.stderr.ends_with("out: sweep in it is a symbolic link; remove it or choose another directory\n"));
}
