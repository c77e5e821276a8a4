//! Help, version, and command lines that cannot be read.

use crate::world::World;

#[test]
fn help_goes_to_stdout_and_shows_examples() {
    let world = World::new();
    for (line, parts) in [
        ("--help", &["finetune", "eval", "predict", "Examples:"][..]),
        (
            "finetune --help",
            &["Model and data:", "What trains:", "Training:", "Output:", "Examples:", "[default: 16]", "Ctrl-C"],
        ),
        ("finetune -h", &["Model and data:", "Examples:"]),
        ("eval --help", &["Examples:", "--task-file"]),
        ("predict --help", &["Examples:", "label<TAB>probability<TAB>text"]),
    ] {
        let run = world.run(line);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{line}");
        for part in parts {
            assert!(run.stdout.contains(part), "{line}: {part}");
        }
        assert!(!run.stdout.contains('\x1b'), "{line}: no colours in pipes");
    }
}

#[test]
fn each_command_says_what_a_preset_brings_to_it() {
    let world = World::new();
    for (command, brings, not) in [
        ("finetune", "its columns, kind, metrics and learning rate", None),
        ("eval", "its columns and metrics", Some("learning rate")),
        ("predict", "the columns of its texts", Some("metrics")),
    ] {
        let help = world.run(&format!("{command} --help")).succeeded();
        // However wide the terminal is.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains(&format!("A GLUE task: {brings}")), "{command}: {help}");
        assert!(help.contains("cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli"), "{command}: {help}");
        assert!(not.is_none_or(|not| !help.contains(not)), "{command}: {help}");
    }
}

#[test]
fn the_version_is_the_crates() {
    assert_eq!(World::new().run("-V").succeeded(), concat!("bitfit-cli ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2_and_the_usage() {
    let world = World::new();
    for line in ["finetune", "finetune --modle x", "fly", "predict --task-file a extra"] {
        let run = world.run(line);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{line}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains("--help"), "{line}: {}", run.stderr);
    }
}
