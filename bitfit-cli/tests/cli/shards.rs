//! Logical shards in one process, and with the feature `mpi` on the ranks that `mpirun` starts.

use crate::fixture::Fixture;

const RUN: &str = "--eval dev.tsv --epochs 2 --shards 16";

/// The task file of a run with these flags.
fn task_file(fixture: &Fixture, flags: &str) -> Vec<u8> {
    fixture.finetune(flags);
    fixture.bytes("out/task.safetensors")
}

#[test]
fn the_number_of_shards_and_not_that_of_threads_decides_the_bits() {
    let fixture = Fixture::new();
    let one = task_file(&fixture, &format!("{RUN} --threads 1"));
    assert!(task_file(&fixture, &format!("{RUN} --threads 3")) == one);
    assert!(task_file(&fixture, "--eval dev.tsv --epochs 2 --shards 3") != one);
    assert!(task_file(&fixture, "--eval dev.tsv --epochs 2") != one);
    let settings: serde_json::Value = {
        fixture.finetune(RUN);
        serde_json::from_str(&fixture.metadata("out/task.safetensors")["hyperparameters"]).unwrap()
    };
    assert_eq!(settings["shards"], 16);
    let run = fixture.run(&format!("finetune --model model --train train.tsv --out plan {RUN}"));
    assert!(run.stderr.contains("tokens each, in 16 logical shards\n"), "{}", run.stderr);
}

#[test]
fn impossible_numbers_of_shards_are_refused() {
    let fixture = Fixture::new();
    for (flags, message) in [
        (
            "--shards 4 --micro-batch 2",
            "--micro-batch 2: logical shards are computed a few at a time already: leave one out",
        ),
        ("--shards 1025", "--shards 1025: expected a whole number from 1 to 1024"),
        ("--shards 4 --method probe", "--shards contradicts --method probe"),
    ] {
        let run = fixture.run(&format!("finetune -q --model model --train train.tsv --out out {flags}"));
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.starts_with(&format!("error: {message}")), "{}", run.stderr);
    }
}

#[cfg(not(feature = "mpi"))]
#[test]
fn several_processes_of_a_program_without_mpi_are_refused() {
    let fixture = Fixture::new();
    for variable in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
        let arguments = ["finetune", "--model", "model", "--train", "train.tsv", "--out", "out"];
        let output = fixture.command().env(variable, "4").args(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            stderr,
            "error: 4 processes of this program were started together, but it was built without MPI: build it with \
             --features mpi, or start one\n"
        );
    }
    assert!(!fixture.path("out").exists());
}

/// Run with `cargo test --features bitfit-cli/mpi`; they need Open MPI's `mpirun`.
#[cfg(feature = "mpi")]
mod on_ranks {
    use std::process::Command;

    use super::*;

    /// Runs `bitfit-cli finetune` on ranks, and returns the exit code, stdout and stderr.
    fn run(fixture: &Fixture, ranks: usize, flags: &str) -> (Option<i32>, String, String) {
        run_with(fixture, ranks, flags, &[])
    }

    /// As [`run`], with variables in the environment.
    fn run_with(
        fixture: &Fixture,
        ranks: usize,
        flags: &str,
        variables: &[(&str, &str)],
    ) -> (Option<i32>, String, String) {
        let mut command = Command::new("mpirun");
        command.args(["--allow-run-as-root", "--oversubscribe", "-n", &ranks.to_string()]);
        command.arg(env!("CARGO_BIN_EXE_bitfit-cli")).arg("finetune").args(flags.split_whitespace());
        command.current_dir(fixture.path(".")).env("HF_HUB_OFFLINE", "1").envs(variables.iter().copied());
        let output = command.output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), stdout, stderr)
    }

    #[test]
    fn any_number_of_ranks_writes_the_task_file_of_one_process() {
        let fixture = Fixture::new();
        let conll = |from: usize, to: usize| -> String {
            let sentence = |row: usize| {
                let words = (0..row % 7 + 1).map(|word| ["good", "bad", "the", "day"][(row + word * word) % 4]);
                words.map(|word| format!("{word}\t{}\n", word.len())).collect::<String>() + "\n"
            };
            (from..to).map(sentence).collect()
        };
        fixture.write("train.conll", conll(0, 50));
        fixture.write("dev.conll", conll(60, 90));
        for data in ["--train train.tsv --eval dev.tsv", "--kind tag --train train.conll --eval dev.conll"] {
            for method in ["bitfit", "columns:3", "full"] {
                for precision in ["f32", "bf16"] {
                    let flags = format!(
                        "-q --model model {data} --epochs 2 --method {method} --precision {precision} --out out \
                         --overwrite"
                    );
                    fixture.run(&format!("finetune {flags} --shards 16")).succeeded();
                    let alone = fixture.bytes("out/task.safetensors");
                    for ranks in [1, 2, 3, 4] {
                        let (code, stdout, stderr) = run(&fixture, ranks, &flags);
                        assert_eq!((code, stdout.lines().count()), (Some(0), 1), "{stderr}");
                        assert!(fixture.bytes("out/task.safetensors") == alone, "{flags}, {ranks} ranks");
                    }
                }
            }
        }
    }

    #[test]
    fn one_rank_says_what_is_wrong() {
        let fixture = Fixture::new();
        let errors = |stderr: &str| stderr.lines().filter(|line| line.starts_with("error: ")).count();
        for (flags, message) in [
            ("--train missing.tsv", "error: missing.tsv: No such file"),
            ("--train train.tsv --lr 0", "error: --lr 0: it must be"),
            ("--train train.tsv --rotate", "error: unexpected argument '--rotate'"),
            ("--train train.tsv --seeds 0-2 --eval dev.tsv", "error: --seeds: several ranks make one run"),
            ("--train train.tsv --shards 2", "error: --shards 2: 3 ranks were started"),
        ] {
            let (code, _, stderr) = run(&fixture, 3, &format!("-q --model model --out out {flags}"));
            assert_ne!(code, Some(0));
            assert!(stderr.contains(message) && errors(&stderr) == 1, "{stderr}");
            assert!(!fixture.path("out").exists());
        }
    }

    /// On the emulated driver, whose NCCL's ranks may be processes; skipped elsewhere.
    #[cfg(feature = "nccl")]
    #[test]
    fn gradients_go_through_nccl_on_a_gpu() {
        use bitfit_core::Device;
        if !bitfit_cuda::Cuda::new(0).is_ok_and(|device| device.name().contains("bitfit emulated GPU")) {
            let required = std::env::var("BITFIT_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == "GPU"), "GPU is required: the emulated one is missing");
            return eprintln!("SKIPPED: the emulated GPU is missing");
        }
        let fixture = Fixture::new();
        let flags = "--model model --train train.tsv --eval dev.tsv --epochs 1 --shards 4 --precision f32 --device cuda \
                     --out out --overwrite";
        let task = |ranks| {
            let (code, stdout, stderr) = run(&fixture, ranks, flags);
            assert_eq!((code, stdout.lines().count()), (Some(0), 1), "{stderr}");
            assert_eq!(stderr.contains("exchanged through NCCL"), ranks > 1, "{stderr}");
            fixture.bytes("out/task.safetensors")
        };
        let alone = task(1);
        for ranks in [2, 3] {
            assert!(task(ranks) == alone, "{ranks} ranks");
        }
        // A rank that fails ends all, with its own line.
        let failing = [("BITFIT_EMULATOR_NCCL", "ncclAllGather:1:2")];
        let (code, _, stderr) = run_with(&fixture, 2, flags, &failing);
        assert_ne!(code, Some(0));
        let line = "error: rank 1: device cuda:0: ncclAllGather failed: unhandled system error: ";
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].starts_with(line), "{stderr}");
    }
}
