//! What cannot be is refused with one line that names the culprit, and leaves nothing half-written.

use serde_json::json;

use crate::world::{HIDDEN, World};

/// Something that cannot be.
struct Refusal {
    what: &'static str,
    /// Spoils the world.
    spoil: fn(&World),
    /// Flags that take the place of the usual ones or come behind them.
    flags: &'static [&'static str],
    /// What the message must name.
    names: &'static [&'static str],
}

const NOTHING: fn(&World) = |_| {};

const FINETUNE: &[Refusal] = &[
    // the model
    Refusal {
        what: "a model that is not there",
        spoil: NOTHING,
        flags: &["--model", "./nowhere"],
        names: &["nowhere", "no such directory"],
    },
    Refusal {
        what: "a hub id that is not in the cache",
        spoil: NOTHING,
        flags: &["--model", "some/model"],
        names: &["some/model", "HF_HUB_OFFLINE", "--model DIR"],
    },
    Refusal {
        what: "a truncated weight file",
        spoil: |world| world.write("model/model.safetensors", &world.bytes("model/model.safetensors")[..5000]),
        flags: &[],
        names: &["model/model.safetensors"],
    },
    Refusal {
        what: "a configuration that contradicts the weights",
        spoil: |world| world.configure("intermediate_size", json!(40)),
        flags: &[],
        names: &["model/model.safetensors", "intermediate.dense", "[32, 16]", "[40, 16]"],
    },
    Refusal {
        what: "more layers than there are weights for",
        spoil: |world| world.configure("num_hidden_layers", json!(3)),
        flags: &[],
        names: &["model.safetensors", "2 encoder layers", "3"],
    },
    Refusal {
        what: "a missing tensor",
        spoil: |world| world.remove_tensors(|name| name == "encoder.layer.1.output.dense.bias"),
        flags: &[],
        names: &["model.safetensors", "encoder.layer.1.output.dense.bias", "missing"],
    },
    Refusal {
        what: "a checkpoint without biases",
        spoil: |world| world.remove_tensors(|name| name.ends_with(".bias")),
        flags: &[],
        names: &["model.safetensors", "bias", "BitFit has nothing to train"],
    },
    Refusal {
        what: "a model that is no BERT",
        spoil: |world| world.configure("model_type", json!("gpt2")),
        flags: &[],
        names: &["model/config.json", "gpt2"],
    },
    Refusal {
        what: "a model without a tokenizer",
        spoil: |world| std::fs::remove_file(world.path("model/vocab.txt")).unwrap(),
        flags: &[],
        names: &["model", "vocab.txt"],
    },
    // the data
    Refusal {
        what: "training data that is not there",
        spoil: NOTHING,
        flags: &["--train", "gone.tsv"],
        names: &["gone.tsv"],
    },
    Refusal {
        what: "evaluation data that is not there",
        spoil: NOTHING,
        flags: &["--eval", "gone.tsv"],
        names: &["gone.tsv"],
    },
    Refusal {
        what: "empty data",
        spoil: |world| world.write("train.tsv", ""),
        flags: &[],
        names: &["train.tsv", "no rows"],
    },
    Refusal {
        what: "a row with too few columns",
        spoil: |world| world.write("train.tsv", "text\tlabel\ngood\tpraise\nbad\n"),
        flags: &[],
        names: &["train.tsv, line 3", "1 column", "2"],
    },
    Refusal {
        what: "a text column that is not there",
        spoil: NOTHING,
        flags: &["--text", "body"],
        names: &["train.tsv", "\"body\"", "--text"],
    },
    Refusal {
        what: "a label column that is not there",
        spoil: NOTHING,
        flags: &["--label", "7"],
        names: &["train.tsv", "7", "--label"],
    },
    Refusal {
        what: "bytes that are no UTF-8",
        spoil: |world| world.write("train.tsv", b"text\tlabel\ngood \xff day\tpraise\n"),
        flags: &[],
        names: &["train.tsv, line 2", "UTF-8"],
    },
    Refusal {
        what: "a score that is no number",
        spoil: |world| world.write("train.tsv", "text\tlabel\ngood\t4.5\nbad\tawful\n"),
        flags: &["--kind", "regress"],
        names: &["train.tsv, line 3, column label", "\"awful\""],
    },
    Refusal {
        what: "a label that training never saw",
        spoil: |world| world.write("dev.tsv", "text\tlabel\ngood\tpraise\nbad\tdoubt\n"),
        flags: &[],
        names: &["dev.tsv, line 3", "\"doubt\"", "\"blame\", \"praise\""],
    },
    Refusal {
        what: "pairs to evaluate a task of single texts",
        spoil: |world| world.write("dev.tsv", "sentence1\tsentence2\tlabel\ngood\tday\tpraise\n"),
        flags: &[],
        names: &["dev.tsv, line 2", "a pair of texts"],
    },
    Refusal {
        what: "single texts to evaluate a task of pairs",
        spoil: |world| {
            world.write("train.tsv", "sentence1\tsentence2\tlabel\ngood\tday\tpraise\nbad\tday\tblame\n");
        },
        flags: &[],
        names: &["dev.tsv, line 2", "a single text"],
    },
    Refusal {
        what: "a header that is taken for data",
        spoil: |world| {
            world.write("train.tsv", world.read("train.tsv").replace("text\tlabel", "utterance\tmood"));
        },
        flags: &["--text", "0", "--label", "1"],
        names: &["train.tsv, line 1", "\"mood\"", "--header or --no-header"],
    },
    Refusal {
        what: "one class alone",
        spoil: |world| world.write("train.tsv", "text\tlabel\ngood\tpraise\n"),
        flags: &[],
        names: &["train.tsv", "\"praise\"", "two classes"],
    },
    Refusal {
        what: "an extension that tells no format",
        spoil: |world| world.write("train.dat", world.bytes("train.tsv")),
        flags: &["--train", "train.dat"],
        names: &["train.dat", "--format"],
    },
    Refusal {
        what: "columns that the task does not have",
        spoil: |world| world.write("train.tsv", "body\tfolder\ngood\tpraise\n"),
        flags: &["--task", "mrpc"],
        names: &["train.tsv", "mrpc", "\"body\"", "--text"],
    },
    // the flags
    Refusal { what: "a rate of NaN", spoil: NOTHING, flags: &["--lr", "NaN"], names: &["--lr NaN", "above 0"] },
    Refusal { what: "a rate of zero", spoil: NOTHING, flags: &["--lr", "0"], names: &["--lr 0", "above 0"] },
    Refusal {
        what: "a rate below zero",
        spoil: NOTHING,
        flags: &["--lr", "-1e-3"],
        names: &["--lr -0.001", "above 0"],
    },
    Refusal {
        what: "a rate that is no number",
        spoil: NOTHING,
        flags: &["--lr", "fast"],
        names: &["--lr fast", "number"],
    },
    Refusal { what: "no epochs", spoil: NOTHING, flags: &["--epochs", "0"], names: &["--epochs 0"] },
    Refusal {
        what: "more epochs than anyone means",
        spoil: NOTHING,
        flags: &["--epochs", "100001"],
        names: &["--epochs 100001", "at most 100000"],
    },
    Refusal { what: "an empty batch", spoil: NOTHING, flags: &["--batch-size", "0"], names: &["--batch-size 0"] },
    Refusal { what: "half a row", spoil: NOTHING, flags: &["--limit", "0.5"], names: &["--limit 0.5", "whole number"] },
    Refusal { what: "no rows", spoil: NOTHING, flags: &["--limit", "0"], names: &["--limit 0"] },
    Refusal { what: "a warm-up beyond the end", spoil: NOTHING, flags: &["--warmup", "2"], names: &["--warmup 2"] },
    Refusal {
        what: "a weight that grows",
        spoil: NOTHING,
        flags: &["--weight-decay", "-1"],
        names: &["--weight-decay -1"],
    },
    Refusal { what: "a clipping norm below zero", spoil: NOTHING, flags: &["--clip", "-1"], names: &["--clip -1"] },
    Refusal { what: "dropout of everything", spoil: NOTHING, flags: &["--dropout", "1"], names: &["--dropout 1"] },
    Refusal { what: "no logging interval", spoil: NOTHING, flags: &["--log-every", "0"], names: &["--log-every 0"] },
    Refusal {
        what: "memory in no known unit",
        spoil: NOTHING,
        flags: &["--reuse-memory", "1Q"],
        names: &["--reuse-memory", "1Q", "512M"],
    },
    Refusal {
        what: "a length over the model's positions",
        spoil: NOTHING,
        flags: &["--max-length", "49"],
        names: &["--max-length 49", "positions"],
    },
    Refusal {
        what: "a length without room for text",
        spoil: NOTHING,
        flags: &["--max-length", "2"],
        names: &["--max-length 2"],
    },
    Refusal {
        what: "a length without room for pairs",
        spoil: |world| {
            let pairs = "sentence1\tsentence2\tlabel\ngood\tday\tpraise\nbad\tday\tblame\n";
            for file in ["train.tsv", "dev.tsv"] {
                world.write(file, pairs);
            }
        },
        flags: &["--max-length", "3"],
        names: &["error: --max-length 3: ", "at least 4"],
    },
    Refusal { what: "layers over the model's", spoil: NOTHING, flags: &["--layers", "1-2"], names: &["--layers 1-2"] },
    Refusal { what: "layers backwards", spoil: NOTHING, flags: &["--layers", "1-0"], names: &["--layers 1-0"] },
    Refusal {
        what: "an unknown kind of bias",
        spoil: NOTHING,
        flags: &["--bias", "query,keys"],
        names: &["--bias", "\"keys\"", "attention-layernorm"],
    },
    Refusal { what: "an unknown task", spoil: NOTHING, flags: &["--task", "squad"], names: &["--task squad", "mnli"] },
    Refusal {
        what: "an unknown method",
        spoil: NOTHING,
        flags: &["--method", "lora"],
        names: &["--method lora", "bitfit, frozen"],
    },
    Refusal {
        what: "an unknown schedule",
        spoil: NOTHING,
        flags: &["--schedule", "step"],
        names: &["--schedule step", "cosine"],
    },
    Refusal {
        what: "an unknown format",
        spoil: NOTHING,
        flags: &["--format", "xml"],
        names: &["--format xml", "jsonl"],
    },
    Refusal { what: "an unknown kind", spoil: NOTHING, flags: &["--kind", "rank"], names: &["--kind rank", "regress"] },
    Refusal { what: "no threads", spoil: NOTHING, flags: &["--threads", "0"], names: &["--threads 0"] },
    Refusal {
        what: "a device that is none",
        spoil: NOTHING,
        flags: &["--device", "gpu"],
        names: &["--device gpu", "cuda:N"],
    },
    // For want of a driver, of a library, or of so many GPUs.
    Refusal {
        what: "a GPU that is not there",
        spoil: NOTHING,
        flags: &["--device", "cuda:999"],
        names: &["--device cuda:999"],
    },
    Refusal {
        what: "a precision that the CPU has not",
        spoil: NOTHING,
        flags: &["--precision", "tf32"],
        names: &["--precision tf32", "--device cuda"],
    },
    Refusal {
        what: "a kind against the task",
        spoil: NOTHING,
        flags: &["--task", "sst2", "--kind", "regress"],
        names: &["--kind regress", "--task sst2"],
    },
    Refusal {
        what: "biases of a frozen base",
        spoil: NOTHING,
        flags: &["--method", "frozen", "--bias", "query"],
        names: &["--bias", "--method frozen"],
    },
    Refusal {
        what: "layers of a frozen base",
        spoil: NOTHING,
        flags: &["--method", "frozen", "--layers", "1"],
        names: &["--layers", "--method frozen"],
    },
    // the head
    Refusal { what: "a head that is not there", spoil: NOTHING, flags: &["--init-head", "gone"], names: &["gone"] },
    Refusal {
        what: "a head without weights",
        spoil: |world| {
            world.write_tensors("head", &[("classifier.bias".into(), vec![2])].into(), &[vec![0; 8]]);
        },
        flags: &["--init-head", "head"],
        names: &["head", "classifier.weight"],
    },
    Refusal {
        what: "a head for three classes",
        spoil: |world| {
            let shapes = [("classifier.bias".into(), vec![3]), ("classifier.weight".into(), vec![3, HIDDEN])].into();
            world.write_tensors("head", &shapes, &[vec![0; 12], vec![0; 12 * HIDDEN]]);
        },
        flags: &["--init-head", "head"],
        names: &["error: head: the tensor classifier.weight", "[3, 16]", "[2, 16]"],
    },
    // the output
    Refusal {
        what: "a file for a directory",
        spoil: |world| world.write("file", ""),
        flags: &["--out", "file"],
        names: &["--out file"],
    },
    Refusal {
        what: "a directory below a file",
        spoil: |world| world.write("file", ""),
        flags: &["--out", "file/out"],
        names: &["--out file/out"],
    },
    #[cfg(target_os = "linux")]
    Refusal {
        what: "a directory that takes no files",
        spoil: NOTHING,
        flags: &["--out", "/proc/bitfit"],
        names: &["--out /proc/bitfit"],
    },
];

/// The usual command line, with `flags` in the place of those it has.
fn finetune(flags: &[&str]) -> String {
    let mut line = String::from("finetune -q");
    for (flag, value) in [("--model", "model"), ("--train", "train.tsv"), ("--eval", "dev.tsv"), ("--out", "out")] {
        if !flags.contains(&flag) {
            line += &format!(" {flag} {value}");
        }
    }
    line + " " + &flags.join(" ")
}

/// Runs a command that must fail; returns its one line.
fn refused(world: &World, line: &str, what: &str) -> String {
    let run = world.run(line);
    assert!(matches!(run.code, Some(1 | 2)), "{what}: {:?} {}", run.code, run.stderr);
    assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{what}: {}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{what}: {}", run.stderr);
    run.stderr
}

#[test]
fn finetune_refuses_what_cannot_be_before_it_writes_anything() {
    for Refusal { what, spoil, flags, names } in FINETUNE {
        let world = World::new();
        spoil(&world);
        let before = world.names(".");
        let message = refused(&world, &finetune(flags), what);
        for name in *names {
            assert!(message.contains(name), "{what}: {name} is not in {message}");
        }
        assert_eq!(world.names("."), before, "{what}");
    }
}

#[test]
fn an_unknown_instruction_set_is_refused() {
    let world = World::new();
    let output = world.command().args(finetune(&[]).split_whitespace()).env("BITFIT_ISA", "sse9").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("error: BITFIT_ISA=\"sse9\"") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn what_costs_nothing_to_find_out_comes_before_the_model() {
    let world = World::new();
    for (flags, named) in [
        (&["--precision", "tf32"][..], "--precision tf32"),
        (&["--device", "cuda:999"], "--device cuda:999"),
        (&["--dropout", "1"], "--dropout 1"),
        (&["--log-every", "0"], "--log-every 0"),
        (&["--max-length", "2"], "--max-length 2"),
        (&["--lr", "0"], "--lr 0"),
        (&["--method", "frozen", "--layers", "1"], "--layers"),
        (&["--out", "train.tsv"], "--out train.tsv"),
        (&["--train", "gone.tsv"], "gone.tsv"),
    ] {
        let message = refused(&world, &finetune(&[&["--model", "some/model"], flags].concat()), named);
        assert!(message.contains(named) && !message.contains("some/model"), "{message}");
    }
    let line = finetune(&["--model", "some/model"]);
    let output = world.command().args(line.split_whitespace()).env("BITFIT_ISA", "sse9").output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: BITFIT_ISA"));
}

#[test]
fn an_output_directory_is_refused_before_the_data_is_read() {
    let world = World::new();
    world.write("file", "");
    world.write("train.tsv", "");
    assert!(refused(&world, &finetune(&["--out", "file"]), "both").contains("--out file"));
}

#[test]
fn a_loss_that_is_no_number_keeps_the_last_good_values() {
    let world = World::new();
    let run = world.run(&finetune(&["--lr", "1e30", "--epochs", "9"]));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{}", run.stderr);
    for part in ["diverged in step ", "out/task.safetensors", "--lr"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    assert_eq!(run.json()["end"], "diverged");
    let answer =
        world.run_with("predict -q --output-format jsonl --task-file out/task.safetensors", "good\n").succeeded();
    assert!(!answer.contains("null"), "every probability is a number: {answer}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_no_task_file_is_half_written() {
    let earlier = || {
        let world = World::new();
        std::fs::create_dir(world.path("out")).unwrap();
        world.write("out/task.safetensors", "an earlier one");
        world
    };
    // A log that takes nothing ends the run, but what was reached is kept.
    let world = earlier();
    std::os::unix::fs::symlink("/dev/full", world.path("out/metrics.jsonl")).unwrap();
    let message = refused(&world, &finetune(&["--epochs", "1"]), "a full log");
    assert!(message.contains("out/metrics.jsonl: No space left"), "{message}");
    assert_eq!(world.metadata("out/task.safetensors")["format"], "bitfit-task");

    // No file may be larger than one block: the log may be written, the task file may not.
    let world = earlier();
    let program = world.command();
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(finetune(&["--epochs", "1"]).split_whitespace())
        .current_dir(world.path("."))
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
    assert!(message.starts_with("error: out/task.safetensors: File too large"), "{message}");
    assert_eq!(world.read("out/task.safetensors"), "an earlier one");
    assert_eq!(world.names("out"), ["metrics.jsonl", "task.safetensors"]);

    let world = World::new();
    world.finetune("--epochs 1");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let line = "eval -q --task-file out/task.safetensors --data dev.tsv";
    let output =
        world.command().args(line.split(' ')).stdout(full).stderr(std::process::Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1));
    assert!(stderr.starts_with("error: stdout: No space left"), "{stderr}");
}

#[test]
fn an_earlier_task_file_is_replaced_only_by_a_whole_one() {
    let world = World::new();
    world.finetune("--epochs 1");
    let before = world.bytes("out/task.safetensors");
    world.write("train.tsv", "text\tlabel\n");
    refused(&world, &finetune(&[]), "no rows");
    assert!(world.bytes("out/task.safetensors") == before);
}

#[test]
fn eval_and_predict_refuse_what_does_not_fit() {
    let world = World::new();
    world.finetune("--epochs 1");
    let other = World::new();
    other.write("model/model.safetensors", {
        let mut bytes = other.bytes("model/model.safetensors");
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        bytes
    });
    let whole = world.bytes("out/task.safetensors");
    world.write("cut.safetensors", &whole[..whole.len() - 1]);
    // Another name of the same length.
    let name = b"\"classifier.bias\"";
    let at = whole.windows(name.len()).position(|window| window == name).unwrap();
    world.write("misspelt.safetensors", [&whole[..at], b"\"classifier.base\"", &whole[at + name.len()..]].concat());
    world.write("pairs.tsv", "sentence1\tsentence2\tlabel\ngood\tday\tpraise\n");
    world.write("unseen.tsv", "text\tlabel\ngood\tdoubt\n");
    world.write("bare.tsv", "text\ngood\n");
    let other = other.path("model").display().to_string();
    let eval = "eval -q --task-file out/task.safetensors --data";
    let predict = "predict -q --task-file";
    for (line, names) in [
        (format!("{eval} gone.tsv"), &["gone.tsv"][..]),
        (format!("{eval} dev.tsv --model {other}"), &["out/task.safetensors", "trained on model", "other weights"]),
        (format!("{eval} dev.tsv --model ./gone"), &["gone", "no such directory"]),
        (format!("{eval} dev.tsv --task stsb"), &["--task stsb", "regress", "out/task.safetensors", "classify"]),
        (format!("{eval} unseen.tsv"), &["unseen.tsv, line 2", "\"doubt\""]),
        (format!("{eval} bare.tsv"), &["bare.tsv", "label", "--label"]),
        (format!("{eval} dev.tsv --max-length 49"), &["--max-length 49: the model has fewer positions"]),
        (format!("{predict} out/task.safetensors --max-length 2"), &["--max-length 2: ", "at least 3"]),
        (format!("{predict} misspelt.safetensors"), &["misspelt.safetensors: it has the tensor classifier.base,"]),
        (format!("{eval} pairs.tsv"), &["pairs.tsv, line 2: a pair of texts"]),
        (format!("{predict} gone.safetensors"), &["gone.safetensors"]),
        (format!("{predict} cut.safetensors"), &["cut.safetensors", "no whole safetensors file"]),
        (format!("{predict} model/model.safetensors"), &["model/model.safetensors", "no task file"]),
        (format!("{predict} out/task.safetensors --input gone.txt"), &["gone.txt"]),
        (format!("{predict} out/task.safetensors --input dev.tsv --text body"), &["dev.tsv", "\"body\"", "--text"]),
        (format!("{predict} out/task.safetensors --text body"), &["--text", "stdin", "--format"]),
        (format!("{predict} out/task.safetensors --header"), &["--header", "stdin", "--format"]),
        (format!("{predict} out/task.safetensors --no-header --format lines"), &["--no-header", "stdin", "--format"]),
        (format!("{predict} out/task.safetensors --task sst2"), &["--task", "stdin", "--format"]),
        (format!("{predict} out/task.safetensors --out gone/answers"), &["--out gone/answers"]),
    ] {
        let message = refused(&world, &line, &line);
        for name in names {
            assert!(message.contains(name), "{line}: {name} is not in {message}");
        }
    }
    std::fs::rename(world.path("model"), world.path("moved")).unwrap();
    let message = refused(&world, "predict -q --task-file out/task.safetensors", "a base that has moved");
    assert!(
        message.contains("out/task.safetensors") && message.contains("\"model\"") && message.contains("--model"),
        "{message}"
    );
}
