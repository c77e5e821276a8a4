//! Help, the version, and command lines that cannot be read.

use crate::fixture::Fixture;

#[test]
fn help_goes_to_stdout_and_shows_examples() {
    let fixture = Fixture::new();
    for (line, parts) in [
        ("--help", &["finetune", "eval", "predict", "Examples:"][..]),
        (
            "finetune --help",
            &[
                "Model and data:",
                "What trains:",
                "Training:",
                "Output:",
                "Examples:",
                "[default: 16]",
                "Ctrl-C",
                "--prefix-cache",
            ],
        ),
        ("finetune -h", &["Model and data:", "Examples:"]),
        ("eval --help", &["Examples:", "--task-file"]),
        ("reproduce --help", &["Examples:", "generalization-gap", "--plan", "mnli, qnli, rte]"]),
        ("merge --help", &["Examples:", "pipeline(\"text-classification\"", "SentenceTransformer(\"intents-model\")"]),
        ("extract --help", &["Examples:", "not_held"]),
        ("inspect --help", &["Examples:", "--svg"]),
        ("average --help", &["Examples:", "--data"]),
        ("predict --help", &["Examples:", "label<TAB>probability<TAB>text"]),
    ] {
        let run = fixture.run(line);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{line}");
        for part in parts {
            assert!(run.stdout.contains(part), "{line}: {part}");
        }
        assert!(!run.stdout.contains('\x1b'), "{line}: no colours in pipes");
    }
}

#[test]
fn each_command_says_what_a_preset_sets_for_it() {
    let fixture = Fixture::new();
    for (command, sets, not) in [
        ("finetune", "the columns, the kind of label, the metrics and the learning rate", None),
        ("eval", "the columns and the metrics", Some("learning rate")),
        ("predict", "the columns of the texts", Some("metrics")),
    ] {
        let help = fixture.run(&format!("{command} --help")).succeeded();
        // The width of the terminal does not matter.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains(&format!("GLUE task that sets {sets}")), "{command}: {help}");
        assert!(
            help.contains("[possible values: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli]"),
            "{command}: {help}"
        );
        assert!(not.is_none_or(|not| !help.contains(not)), "{command}: {help}");
    }
}

#[test]
fn the_tasks_of_the_papers_tables_are_those_that_the_paper_has() {
    let help = Fixture::new().run("reproduce --help").succeeded();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("[possible values: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte]"), "{help}");
}

#[test]
fn the_version_is_the_crates() {
    assert_eq!(Fixture::new().run("-V").succeeded(), concat!("bitfit-cli ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_command_line_that_cannot_be_read_ends_with_2_and_the_usage() {
    let fixture = Fixture::new();
    for line in ["finetune", "finetune --modle x", "fly", "predict --task-file a extra"] {
        let run = fixture.run(line);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{line}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains("--help"), "{line}: {}", run.stderr);
    }
}

#[test]
fn a_usage_shows_all_that_is_required() {
    let fixture = Fixture::new();
    for (command, usages) in [
        ("finetune", &["[OPTIONS] --model <DIR|HUB-ID> --train <FILE> --out <DIR>", "[OPTIONS] --resume <DIR>"][..]),
        ("compare", &["--eval <FILE>"]),
        ("calibrate", &["--task-file <FILE> --data <FILE> --out <FILE>", "--out-of-fold <FILE> --out <FILE>"]),
    ] {
        let help = fixture.run(&format!("{command} --help")).succeeded();
        let usage: Vec<&str> = help.lines().skip_while(|line| !line.starts_with("Usage: ")).collect();
        let usage = usage.split(|line| line.is_empty()).next().unwrap().join("\n");
        assert!(usages.iter().all(|part| usage.contains(part)), "{usage}");
    }
}

#[test]
fn the_former_name_of_the_prefix_cache_is_read_and_not_shown() {
    let fixture = Fixture::new();
    assert!(!fixture.run("finetune --help").succeeded().contains("reuse-memory"));
    fixture.finetune("--epochs 1 --layers 1 --reuse-memory 1M");
}
