//! A system that runs out of something: an error on one line, and no part of a file.

use std::process::Command;

use crate::fixture::Fixture;

/// Runs a command under a limit of the shell's `ulimit`; its exit code, `None` for a signal, and its stderr.
pub fn limited(fixture: &Fixture, limit: &str, line: &str) -> (Option<i32>, String) {
    let program = fixture.command();
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")])
        .arg(program.get_program())
        .args(line.split(' '))
        .current_dir(fixture.path("."))
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

const FINETUNE: &str = "finetune -q --threads 2 --model model --train train.tsv --epochs 1 --out out";

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_not_a_signal() {
    let fixture = Fixture::new();
    let (code, stderr) = limited(&fixture, "-f 1", FINETUNE);
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.starts_with("error: out/") && stderr.contains("File too large"), "{stderr}");
    if fixture.path("out").exists() {
        assert!(fixture.names("out").iter().all(|name| name == "metrics.jsonl"), "{:?}", fixture.names("out"));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn memory_that_runs_out_is_an_error_and_not_an_abort() {
    let fixture = Fixture::new();
    let mut refused = 0;
    // In kilobytes: from hardly enough for the system to load the program, to enough.
    for limit in (20_000..80_000).step_by(2_000).map(|limit| format!("-v {limit}")) {
        if limited(&fixture, &limit, "--version").0 != Some(0) {
            continue;
        }
        let (code, stderr) = limited(&fixture, &limit, FINETUNE);
        match code {
            Some(0) => assert_eq!(stderr, ""),
            _ => {
                assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{limit}: {code:?} {stderr}");
                assert_eq!(code, Some(1), "{limit}: {stderr}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "none of the limits was in the way");
}
