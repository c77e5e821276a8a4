//! Runs that are interrupted and go on: with `--resume` alone, from any directory, to the same bytes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use bitfit_bert::run::{EARLIER_STATE_FILE, STATE_FILE};
use bitfit_core::Random;

use crate::fixture::{Fixture, Run, head, safetensors};

const FINETUNE: &str = "finetune --model model --train train.tsv --eval dev.tsv --epochs 40 --log-every 1";

/// Begins a run and signals it after the line of a step that begins with `line`.
fn stop_at(fixture: &Fixture, flags: &str, line: &str) -> Vec<String> {
    stop_in(fixture, ".", flags, line)
}

/// As [`stop_at`], of a run in another directory.
fn stop_in(fixture: &Fixture, directory: &str, flags: &str, line: &str) -> Vec<String> {
    let arguments = format!("{FINETUNE} {flags}");
    let mut command = fixture.command();
    let piped = command
        .current_dir(fixture.path(directory))
        .args(arguments.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.any(|found| found.unwrap().starts_with(line)));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let said = stderr.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    said
}

/// Runs a command line in another directory.
fn run_in(fixture: &Fixture, directory: &str, line: &str) -> Run {
    let mut command = fixture.command();
    let output = command.current_dir(fixture.path(directory)).args(line.split_whitespace()).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Run { code: output.status.code(), stdout, stderr }
}

#[test]
fn a_run_does_not_go_on_from_another_head_in_the_same_file() {
    let fixture = Fixture::new();
    let file = |scale: f32| safetensors(head(2, |index| scale * index as f32));
    fixture.write("head.safetensors", file(0.01));
    stop_at(&fixture, "--init-head head.safetensors --out out", "step 2/");
    fixture.write("head.safetensors", file(0.02));
    let run = fixture.run("finetune --resume out");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("begun with another setting: first values of the head is "), "{}", run.stderr);
    fixture.write("head.safetensors", file(0.01));
    assert_eq!(fixture.run("finetune --resume out").code, Some(0));
}

#[test]
fn a_run_that_was_stopped_goes_on_with_its_own_flags_from_any_directory() {
    let fixture = Fixture::new();
    let alone = fixture.run(&format!("{FINETUNE} -q --out alone")).json();
    let said = stop_at(&fixture, "--out out", "step 2/");
    assert!(said.iter().any(|line| line == "go on with: bitfit-cli finetune --resume out"), "{said:?}");
    assert!(fixture.names("out").contains(&"state.safetensors".to_owned()));

    let run = fixture.run(&format!("{FINETUNE} --out out"));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("of a run that was interrupted: resume it, or choose another directory"));
    assert!(run.stderr.ends_with("(--resume or --overwrite)\n"), "{}", run.stderr);

    for (line, reason) in [
        ("finetune --resume out --lr 2e-2", "begun with another setting: learning rate is 0.001 there and 0.02 here"),
        ("finetune --resume out --epochs 41", "begun with another setting: epochs is 40 there and 41 here"),
        ("finetune --resume out --eval train.tsv", "begun with another setting: evaluation set is "),
        ("finetune --resume out --shards 4", "another setting: number of logical shards is nothing there and 4 here"),
        ("finetune --resume out --method full", "begun with another setting: "),
        ("finetune --resume out --precision int8", "begun with another setting: "),
        ("finetune --resume out --overwrite", "--overwrite contradicts --resume"),
        ("finetune --resume out --out=other", "--out contradicts --resume"),
        ("finetune --resume model", "model: there is nothing to resume: no run has saved a state in it"),
        ("finetune --resume alone", "alone: there is nothing to resume: the run in it came to its end"),
        ("finetune --model model --train train.tsv --out other --resume out", "--out contradicts --resume"),
        ("finetune --model model --train dev.tsv --resume out", "begun with another setting: training set is "),
        ("finetune --model model --train train.tsv --out out --resume out", "--out contradicts --resume"),
        ("finetune --model model --train train.tsv --out new --checkpoint-every 0", "--checkpoint-every 0: "),
    ] {
        let run = fixture.run(line);
        let is_of_flags = reason.contains("contradicts") || reason.starts_with("--checkpoint-every");
        assert_eq!(run.code, Some(if is_of_flags { 2 } else { 1 }), "{line}: {}", run.stderr);
        let is_one_line = run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1;
        assert!(is_one_line && run.stderr.contains(reason), "{line}: {}", run.stderr);
    }

    let run = run_in(&fixture, "model", "finetune --resume ../out --threads 1");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("\nresumed after step "), "{}", run.stderr);
    assert_eq!(fixture.names("out"), ["metrics.jsonl", "task.safetensors"]);
    assert!(fixture.bytes("out/task.safetensors") == fixture.bytes("alone/task.safetensors"));
    let result = run.json();
    for key in ["epochs", "steps", "tokens", "best", "metrics", "probe"] {
        assert_eq!(result[key], alone[key], "{key}");
    }
}

#[test]
fn a_run_keeps_what_is_not_given_anew_where_all_that_is_required_is() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path("begun")).unwrap();
    let copied = ["model", "train.tsv", "dev.tsv"].map(|name| fixture.path(name));
    assert!(Command::new("cp").arg("-r").args(copied).arg(fixture.path("begun")).status().unwrap().success());
    stop_in(&fixture, "begun", "--out out --report run.html", "step 2/");
    std::fs::rename(fixture.path("begun"), fixture.path("moved")).unwrap();
    let run = run_in(&fixture, "moved", "finetune --resume out");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("begun, which is not there: give all its flags"), "{}", run.stderr);
    let run = run_in(&fixture, "moved", "finetune -q --model model --train train.tsv --resume out");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(fixture.read("moved/run.html").contains("texts of dev.tsv"));
    fixture.run(&format!("{FINETUNE} -q --out alone")).succeeded();
    let [own, alone] = ["moved/out", "alone"].map(|out| fixture.metadata(&format!("{out}/task.safetensors")));
    for key in ["hyperparameters", "best"] {
        assert_eq!(own[key], alone[key]);
    }
}

#[test]
fn several_seeds_go_on_with_the_seed_that_was_stopped() {
    let fixture = Fixture::new();
    fixture.run(&format!("{FINETUNE} -q --seeds 0-2 --out alone")).json();
    let said = stop_at(&fixture, "--seeds 0-2 --out out", "seed 1 ");
    assert!(said.iter().any(|line| line == "go on with: bitfit-cli finetune --resume out"), "{said:?}");
    let run = run_in(&fixture, "model", "finetune --resume ../out");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for file in ["task.safetensors", "seed-0/task.safetensors", "seed-1/task.safetensors", "seed-2/task.safetensors"] {
        assert!(fixture.bytes(&format!("out/{file}")) == fixture.bytes(&format!("alone/{file}")), "{file}");
    }
    assert!(!run.stderr.contains("seed 0 "), "{}", run.stderr);
}

/// A comparison goes on within the run that was stopped.
#[test]
fn a_comparison_goes_on_from_the_state_of_a_run() {
    let fixture = Fixture::new();
    let compare =
        "compare --model model --train train.tsv --eval dev.tsv --epochs 40 --methods bitfit,frozen --seeds 0-1";
    fixture.run(&format!("{compare} -q --out alone")).json();
    let mut command = fixture.command();
    let piped = command.args(format!("{compare} --log-every 1 --out out").split(' ')).stdout(Stdio::null());
    let mut child = piped.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.any(|line| line.unwrap().starts_with("step 7/")));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    stderr.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(fixture.names("out/bitfit/seed-0").contains(&"state.safetensors".to_owned()));
    let run = fixture.run(&format!("{compare} --out out"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("\nresumed after step "), "{}", run.stderr);
    for run in ["bitfit/seed-0", "bitfit/seed-1", "frozen/seed-0", "frozen/seed-1"] {
        let [out, alone] = ["out", "alone"].map(|dir| fixture.bytes(&format!("{dir}/{run}/task.safetensors")));
        assert!(out == alone, "{run}");
    }
}

/// Kills with SIGKILL at random points of runs that were resumed, three for each method, or as many as `BITFIT_KILLS`
/// says.
fn kills(device: &str, epochs: usize) {
    let kills: usize = std::env::var("BITFIT_KILLS").map_or(3, |count| count.parse().unwrap());
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut random = Random::new(seed, 0);
    for method in ["bitfit", "full", "random-uniform"] {
        let fixture = Fixture::new();
        let run = format!(
            "finetune -q --model model --train train.tsv --eval dev.tsv --no-probe --device {device} --method {method} \
             --epochs {epochs} --checkpoint-every 1"
        );
        let begin = Instant::now();
        fixture.run(&format!("{run} --out alone")).succeeded();
        let length = begin.elapsed();
        // Not the beginning of one, which a kill leaves.
        let has_state = || {
            let names = fixture.names("out");
            [STATE_FILE, EARLIER_STATE_FILE].iter().any(|state| names.iter().any(|name| name == state))
        };
        let is_same = || fixture.bytes("out/task.safetensors") == fixture.bytes("alone/task.safetensors");
        let (mut killed, mut resumed) = (0, 0);
        while resumed < kills {
            assert!(
                killed < 50 * kills,
                "seed {seed}, {method}: {killed} kills, but none of them in a run that was resumed"
            );
            let has_state = has_state();
            let line = if has_state { "finetune -q --resume out" } else { &format!("{run} --out out --overwrite") };
            let mut command = fixture.command();
            let mut child = command.args(line.split(' ')).stdout(Stdio::null()).spawn().unwrap();
            sleep(length.mul_f64(random.uniform()));
            child.kill().unwrap();
            match child.wait().unwrap().code() {
                // It was killed.
                None => (killed, resumed) = (killed + 1, resumed + usize::from(has_state)),
                Some(code) => assert!(code == 0 && is_same(), "seed {seed}, {method}: exit code {code}"),
            }
        }
        if has_state() {
            fixture.run("finetune -q --resume out").succeeded();
            assert!(is_same(), "seed {seed}, {method}: another task file than that of a run left alone");
        }
        let line = format!("{method} on {device}: {killed} kills, {resumed} of them in a run that was resumed\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}

#[test]
fn a_run_that_is_killed_at_random_points_goes_on_to_the_same_bytes() {
    kills("cpu", 15);
}

/// On the emulated driver, or a real one; skipped where there is none.
#[test]
fn a_run_that_is_killed_at_random_points_goes_on_to_the_same_bytes_on_a_gpu() {
    if let Err(error) = bitfit_cuda::Cuda::new(0) {
        let required = std::env::var("BITFIT_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "GPU"), "GPU is required: {error}");
        std::io::stderr().write_all(format!("SKIPPED: GPU is missing: {error}\n").as_bytes()).unwrap();
        return;
    }
    kills("cuda", 5);
}
