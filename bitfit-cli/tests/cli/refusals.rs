//! Invalid input is refused with one line that says what is wrong with it, and no partial file is left.

use bitfit_bert::arch::{BERT, Module, Part, Role};
use bitfit_bert::heads::Pooling;
use serde_json::json;

use crate::faults::limited;
use crate::fixture::{Fixture, head, safetensors};

/// A case that is refused.
struct Refusal {
    what: &'static str,
    /// Corrupts a fixture.
    corrupt: fn(&Fixture),
    /// Flags that replace the usual ones or are added to them.
    flags: &'static [&'static str],
    /// What the message must contain.
    names: &'static [&'static str],
}

const NOTHING: fn(&Fixture) = |_| {};

const FINETUNE: &[Refusal] = &[
    // the model
    Refusal {
        what: "a missing model",
        corrupt: NOTHING,
        flags: &["--model", "./nowhere"],
        names: &["nowhere", "no such directory"],
    },
    Refusal {
        what: "a hub id that is not in the cache",
        corrupt: NOTHING,
        flags: &["--model", "some/model"],
        names: &["some/model", "HF_HUB_OFFLINE", "(--model)"],
    },
    Refusal {
        what: "a truncated weight file",
        corrupt: |fixture| fixture.write("model/model.safetensors", &fixture.bytes("model/model.safetensors")[..5000]),
        flags: &[],
        names: &["model/model.safetensors"],
    },
    Refusal {
        what: "a configuration that contradicts the weights",
        corrupt: |fixture| fixture.configure("intermediate_size", json!(40)),
        flags: &[],
        names: &["model/model.safetensors", "intermediate.dense", "[32, 16]", "[40, 16]"],
    },
    Refusal {
        what: "more layers than there are weights for",
        corrupt: |fixture| fixture.configure("num_hidden_layers", json!(3)),
        flags: &[],
        names: &["model.safetensors", "2 encoder layers", "3"],
    },
    Refusal {
        what: "a missing tensor",
        corrupt: |fixture| fixture.remove_tensors(|role| role == Role::bias(Module::Output, 1)),
        flags: &[],
        names: &["model.safetensors", "encoder.layer.1.output.dense.bias", "missing"],
    },
    Refusal {
        what: "a checkpoint without biases",
        corrupt: |fixture| fixture.remove_tensors(|role| role.part == Part::Bias),
        flags: &[],
        names: &["model.safetensors", "bias", "BitFit has nothing to train"],
    },
    Refusal {
        what: "a model that is not a BERT",
        corrupt: |fixture| fixture.configure("model_type", json!("gpt2")),
        flags: &[],
        names: &["model/config.json", "gpt2"],
    },
    Refusal {
        what: "a model without a tokenizer",
        corrupt: |fixture| std::fs::remove_file(fixture.path("model/vocab.txt")).unwrap(),
        flags: &[],
        names: &["model", "vocab.txt"],
    },
    // the data
    Refusal { what: "missing training data", corrupt: NOTHING, flags: &["--train", "gone.tsv"], names: &["gone.tsv"] },
    Refusal { what: "missing evaluation data", corrupt: NOTHING, flags: &["--eval", "gone.tsv"], names: &["gone.tsv"] },
    Refusal {
        what: "a directory for training data",
        corrupt: NOTHING,
        flags: &["--train", "model"],
        names: &["error: model: is a directory"],
    },
    Refusal {
        what: "empty data",
        corrupt: |fixture| fixture.write("train.tsv", ""),
        flags: &[],
        names: &["train.tsv", "no rows"],
    },
    Refusal {
        what: "a row with too few columns",
        corrupt: |fixture| fixture.write("train.tsv", "text\tlabel\ngood\tpraise\nbad\n"),
        flags: &[],
        names: &["train.tsv, line 3", "1 column", "2"],
    },
    Refusal {
        what: "a missing text column",
        corrupt: NOTHING,
        flags: &["--text", "body"],
        names: &["train.tsv", "\"body\"", "--text"],
    },
    Refusal {
        what: "a missing label column",
        corrupt: NOTHING,
        flags: &["--label", "7"],
        names: &["train.tsv", "7", "--label"],
    },
    Refusal {
        what: "bytes that are not UTF-8",
        corrupt: |fixture| fixture.write("train.tsv", b"text\tlabel\ngood \xff day\tpraise\n"),
        flags: &[],
        names: &["train.tsv, line 2", "UTF-8"],
    },
    Refusal {
        what: "a score that is not a number",
        corrupt: |fixture| fixture.write("train.tsv", "text\tlabel\ngood\t4.5\nbad\tawful\n"),
        flags: &["--kind", "regress"],
        names: &["train.tsv, line 3, column label", "\"awful\""],
    },
    Refusal {
        what: "a label that training never saw",
        corrupt: |fixture| fixture.write("dev.tsv", "text\tlabel\ngood\tpraise\nbad\tdoubt\n"),
        flags: &[],
        names: &["dev.tsv, line 3", "\"doubt\"", "\"blame\", \"praise\""],
    },
    Refusal {
        what: "pairs to evaluate a task of single texts",
        corrupt: |fixture| fixture.write("dev.tsv", "sentence1\tsentence2\tlabel\ngood\tday\tpraise\n"),
        flags: &[],
        names: &["dev.tsv, line 2", "a pair of texts"],
    },
    Refusal {
        what: "single texts to evaluate a task of pairs",
        corrupt: |fixture| {
            fixture.write("train.tsv", "sentence1\tsentence2\tlabel\ngood\tday\tpraise\nbad\tday\tblame\n");
        },
        flags: &[],
        names: &["dev.tsv, line 2", "a single text"],
    },
    Refusal {
        what: "a header that is read as data",
        corrupt: |fixture| {
            fixture.write("train.tsv", fixture.read("train.tsv").replace("text\tlabel", "utterance\tmood"));
        },
        flags: &["--text", "0", "--label", "1"],
        names: &["train.tsv, line 1", "\"mood\"", "--header or --no-header"],
    },
    Refusal {
        what: "one class alone",
        corrupt: |fixture| fixture.write("train.tsv", "text\tlabel\ngood\tpraise\n"),
        flags: &[],
        names: &["train.tsv", "\"praise\"", "two classes"],
    },
    Refusal {
        what: "an extension of no known format",
        corrupt: |fixture| fixture.write("train.dat", "good day praise\nbad day blame\n"),
        flags: &["--train", "train.dat"],
        names: &["train.dat", "--format"],
    },
    Refusal {
        what: "columns that the task does not have",
        corrupt: |fixture| fixture.write("train.tsv", "body\tfolder\ngood\tpraise\n"),
        flags: &["--task", "mrpc"],
        names: &["train.tsv", "mrpc", "\"body\"", "--text"],
    },
    // the flags
    Refusal { what: "a rate of NaN", corrupt: NOTHING, flags: &["--lr", "NaN"], names: &["--lr NaN", "above 0"] },
    Refusal { what: "a rate of zero", corrupt: NOTHING, flags: &["--lr", "0"], names: &["--lr 0", "above 0"] },
    Refusal {
        what: "a rate below zero",
        corrupt: NOTHING,
        flags: &["--lr", "-1e-3"],
        names: &["--lr -0.001", "above 0"],
    },
    Refusal {
        what: "a rate that is not a number",
        corrupt: NOTHING,
        flags: &["--lr", "fast"],
        names: &["--lr fast", "number"],
    },
    Refusal {
        what: "no epochs",
        corrupt: NOTHING,
        flags: &["--epochs", "0"],
        names: &["--epochs 0: expected a whole number from 1 to 100000\n"],
    },
    Refusal {
        what: "more epochs than the limit",
        corrupt: NOTHING,
        flags: &["--epochs", "100001"],
        names: &["--epochs 100001: expected a whole number from 1 to 100000\n"],
    },
    Refusal { what: "an empty batch", corrupt: NOTHING, flags: &["--batch-size", "0"], names: &["--batch-size 0"] },
    Refusal {
        what: "a part of a batch without texts",
        corrupt: NOTHING,
        flags: &["--micro-batch", "0"],
        names: &["--micro-batch 0: expected a whole number from 1 to "],
    },
    Refusal {
        what: "a part of a batch of a fraction of a text",
        corrupt: NOTHING,
        flags: &["--micro-batch", "0.5"],
        names: &["--micro-batch 0.5", "whole number"],
    },
    Refusal {
        what: "a fraction of a row",
        corrupt: NOTHING,
        flags: &["--limit", "0.5"],
        names: &["--limit 0.5", "whole number"],
    },
    Refusal { what: "no rows", corrupt: NOTHING, flags: &["--limit", "0"], names: &["--limit 0"] },
    Refusal { what: "a warm-up beyond the end", corrupt: NOTHING, flags: &["--warmup", "2"], names: &["--warmup 2"] },
    Refusal {
        what: "a negative weight decay",
        corrupt: NOTHING,
        flags: &["--weight-decay", "-1"],
        names: &["--weight-decay -1"],
    },
    Refusal { what: "a clipping norm below zero", corrupt: NOTHING, flags: &["--clip", "-1"], names: &["--clip -1"] },
    Refusal { what: "dropout of everything", corrupt: NOTHING, flags: &["--dropout", "1"], names: &["--dropout 1"] },
    Refusal { what: "no logging interval", corrupt: NOTHING, flags: &["--log-every", "0"], names: &["--log-every 0"] },
    Refusal {
        what: "memory in no known unit",
        corrupt: NOTHING,
        flags: &["--prefix-cache", "1Q"],
        names: &["--prefix-cache 1Q: ", "512M"],
    },
    Refusal {
        what: "a length over the model's positions",
        corrupt: NOTHING,
        flags: &["--max-length", "49"],
        names: &["--max-length 49", "at most 48"],
    },
    Refusal {
        what: "a length without room for text",
        corrupt: NOTHING,
        flags: &["--max-length", "2"],
        names: &["--max-length 2"],
    },
    Refusal {
        what: "a length without room for pairs",
        corrupt: |fixture| {
            let pairs = "sentence1\tsentence2\tlabel\ngood\tday\tpraise\nbad\tday\tblame\n";
            for file in ["train.tsv", "dev.tsv"] {
                fixture.write(file, pairs);
            }
        },
        flags: &["--max-length", "3"],
        names: &["error: --max-length 3: ", "at least 4"],
    },
    Refusal {
        what: "layers beyond the model's",
        corrupt: NOTHING,
        flags: &["--layers", "1-2"],
        names: &["--layers 1-2: the model has 2 layers, counted from 0 to 1"],
    },
    Refusal {
        what: "a layer beyond the model's",
        corrupt: NOTHING,
        flags: &["--layers", "9"],
        names: &["--layers 9: the model has 2 layers"],
    },
    Refusal {
        what: "a metric of another kind",
        corrupt: NOTHING,
        flags: &["--metric", "pearson"],
        names: &["--metric pearson: it is a metric of another kind of task; of classify: accuracy, f1, matthews"],
    },
    Refusal {
        what: "a missing mask",
        corrupt: NOTHING,
        flags: &["--mask", "gone"],
        names: &["--mask gone: expected a file"],
    },
    Refusal {
        what: "weights of classes by a misspelt word",
        corrupt: NOTHING,
        flags: &["--class-weight", "balance"],
        names: &["--class-weight balance: expected balanced or a file"],
    },
    Refusal {
        what: "stdin for training data",
        corrupt: NOTHING,
        flags: &["--train", "-"],
        names: &["error: -: stdin is not read here"],
    },
    Refusal { what: "layers backwards", corrupt: NOTHING, flags: &["--layers", "1-0"], names: &["--layers 1-0"] },
    Refusal {
        what: "an unknown kind of bias",
        corrupt: NOTHING,
        flags: &["--bias", "query,keys"],
        names: &["--bias keys: expected all, query, key", "attention-layernorm", "did you mean key?"],
    },
    Refusal {
        what: "all biases and single ones",
        corrupt: NOTHING,
        flags: &["--bias", "query,all"],
        names: &["--bias lists all together with single kinds"],
    },
    Refusal {
        what: "an empty name",
        corrupt: NOTHING,
        flags: &["--kind="],
        names: &["error: --kind: expected classify"],
    },
    Refusal {
        what: "an unknown task",
        corrupt: NOTHING,
        flags: &["--task", "squad"],
        names: &["--task squad", "mnli"],
    },
    Refusal {
        what: "labels of another task than that of GLUE",
        corrupt: |fixture| {
            fixture.write("train.tsv", "sentence\tlabel\ngood\tpositive\nbad\tnegative\nrain\tweather\n");
        },
        flags: &["--task", "sst2"],
        names: &[
            "error: train.tsv, line 4, column label: \"weather\" is not a label of sst2, expected 0, 1 or negative",
        ],
    },
    Refusal {
        what: "an unknown method",
        corrupt: NOTHING,
        flags: &["--method", "lora"],
        names: &["error: --method lora: unknown method \"lora\": expected bitfit, ", "or probe\n"],
    },
    Refusal {
        what: "an unknown schedule",
        corrupt: NOTHING,
        flags: &["--schedule", "cosin"],
        names: &["error: --schedule cosin: expected constant, linear or cosine; did you mean cosine?\n"],
    },
    Refusal {
        what: "an unknown format",
        corrupt: NOTHING,
        flags: &["--format", "xml"],
        names: &["--format xml", "jsonl"],
    },
    Refusal {
        what: "an unknown kind",
        corrupt: NOTHING,
        flags: &["--kind", "rank"],
        names: &["--kind rank", "regress"],
    },
    Refusal { what: "no threads", corrupt: NOTHING, flags: &["--threads", "0"], names: &["--threads 0"] },
    Refusal {
        what: "an unknown device",
        corrupt: NOTHING,
        flags: &["--device", "gpu"],
        names: &["--device gpu", "cuda:N"],
    },
    // There is no driver, no library, or fewer GPUs.
    Refusal {
        what: "a missing GPU",
        corrupt: NOTHING,
        flags: &["--device", "cuda:999"],
        names: &["--device cuda:999"],
    },
    Refusal {
        what: "a precision that the CPU does not support",
        corrupt: NOTHING,
        flags: &["--precision", "tf32"],
        names: &["--precision tf32", "--device cuda"],
    },
    Refusal {
        what: "a precision that a GPU does not support",
        corrupt: NOTHING,
        flags: &["--device", "cuda", "--precision", "int8"],
        names: &["--precision int8", "only a CPU"],
    },
    Refusal {
        what: "a kind that contradicts the task",
        corrupt: NOTHING,
        flags: &["--task", "sst2", "--kind", "regress"],
        names: &["--kind regress", "--task sst2"],
    },
    Refusal {
        what: "biases of a frozen base",
        corrupt: NOTHING,
        flags: &["--method", "frozen", "--bias", "query"],
        names: &["--bias", "--method frozen"],
    },
    Refusal {
        what: "layers of a frozen base",
        corrupt: NOTHING,
        flags: &["--method", "frozen", "--layers", "1"],
        names: &["--layers", "--method frozen"],
    },
    // the head
    Refusal {
        what: "a missing head",
        corrupt: NOTHING,
        flags: &["--init-head", "prob"],
        names: &["--init-head prob: expected probe, random or a file"],
    },
    Refusal {
        what: "a head without weights",
        corrupt: |fixture| {
            let mut tensors = head(2, |_| 0.0);
            tensors.remove(&BERT.classifier_name(Pooling::Pooler, Part::Weight));
            fixture.write("head", safetensors(tensors));
        },
        flags: &["--init-head", "head"],
        names: &["head", "classifier.weight"],
    },
    Refusal {
        what: "a head of three classes",
        corrupt: |fixture| {
            fixture.write("head", safetensors(head(3, |_| 0.0)));
        },
        flags: &["--init-head", "head"],
        names: &["error: head: the tensor classifier.weight", "[3, 16]", "[2, 16]"],
    },
    // the output
    Refusal {
        what: "a file for a directory",
        corrupt: |fixture| fixture.write("file", ""),
        flags: &["--out", "file"],
        names: &["--out file"],
    },
    Refusal {
        what: "a directory below a file",
        corrupt: |fixture| fixture.write("file", ""),
        flags: &["--out", "file/out"],
        names: &["--out file/out"],
    },
    #[cfg(target_os = "linux")]
    Refusal {
        what: "a directory that cannot be written",
        corrupt: NOTHING,
        flags: &["--out", "/proc/bitfit"],
        names: &["--out /proc/bitfit"],
    },
];

/// The usual command line, with `flags` in place of its own.
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
fn refused(fixture: &Fixture, line: &str, what: &str) -> String {
    let run = fixture.run(line);
    assert!(matches!(run.code, Some(1 | 2)), "{what}: {:?} {}", run.code, run.stderr);
    assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{what}: {}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{what}: {}", run.stderr);
    run.stderr
}

#[test]
fn finetune_refuses_invalid_input_before_it_writes_anything() {
    for Refusal { what, corrupt, flags, names } in FINETUNE {
        let fixture = Fixture::new();
        corrupt(&fixture);
        let before = fixture.names(".");
        let message = refused(&fixture, &finetune(flags), what);
        for name in *names {
            assert!(message.contains(name), "{what}: {name} is not in {message}");
        }
        assert_eq!(fixture.names("."), before, "{what}");
    }
}

#[test]
fn what_the_command_line_alone_decides_ends_with_2() {
    let fixture = Fixture::new();
    for (code, flags) in [
        (2, &["--epochs", "0"][..]),
        (2, &["--lr", "0"]),
        (2, &["--batch-size", "0"]),
        (2, &["--threads", "0"]),
        (2, &["--layers", "1-0"]),
        (2, &["--dropout", "1"]),
        (2, &["--metric", "pearson"]),
        (2, &["--precision", "tf32"]),
        (2, &["--max-length", "2"]),
        (2, &["--bias", "query,all"]),
        (2, &["--no-probe", "--init-head", "probe"]),
        (2, &["--train", "-"]),
        (2, &["--format", "jsonl", "--delimiter", ";"]),
        (2, &["--format", "csv", "--kind", "tag"]),
        (2, &["--format", "conll"]),
        (2, &["--kind", "span", "--stride", "9", "--max-length", "9"]),
        (2, &["--kind", "mlm", "--seeds", "0-1", "--save-base", "base"]),
        // The file, or the model.
        (1, &["--mask", "gone"]),
        (1, &["--layers", "9"]),
        (1, &["--max-length", "49"]),
        (1, &["--train", "gone.tsv"]),
    ] {
        let run = fixture.run(&finetune(flags));
        assert_eq!((run.code, run.stderr.lines().count()), (Some(code), 1), "{flags:?}: {}", run.stderr);
        // A GPU has tf32.
        if code == 2 && !flags.contains(&"tf32") {
            let run = fixture.run(&format!("{} --device cuda:99", finetune(flags)));
            assert_eq!(run.code, Some(2), "{flags:?}: {}", run.stderr);
        }
    }
    for line in [
        "compare --model gone --train gone --eval gone --methods bitfit,bitfit --seeds 0 --out new --device cuda:99",
        "reproduce glue --model gone --data gone --methods full,full --out new --device cuda:99",
    ] {
        let run = fixture.run(line);
        assert_eq!(run.code, Some(2), "{line}: {}", run.stderr);
    }
    // Before a file is looked for, and a device.
    for (line, message) in [
        ("eval --task-file gone --data gone --format jsonl --delimiter ;", "--delimiter ;: only tables, tsv and csv"),
        ("predict --task-file gone --input gone --format lines --delimiter ;", "--delimiter ;: only tables"),
        ("predict --task-file gone --format jsonl --delimiter ;", "--delimiter ;: only tables"),
        ("predict --task-file gone --delimiter ;", "--delimiter chooses columns, but stdin is read as plain lines"),
        (
            "predict --task-file gone --format lines --delimiter ;",
            "--delimiter chooses columns, but stdin is read as plain lines, as --format says",
        ),
        ("predict --task-file gone --output-format squad", "--output-format squad: it has answers by the id"),
        ("calibrate --task-file gone --data gone --out new --format lines --delimiter ;", "--delimiter ;: only tables"),
        ("calibrate --task-file gone --data gone --out new --min-accuracy 2", "--min-accuracy 2: it is a share"),
        ("average gone other --out new --data gone --format jsonl --delimiter ;", "--delimiter ;: only tables"),
        ("average gone other --out new --text body", "--text: no file of texts is read without --data"),
        ("average gone other gone --out new", "gone: it is listed twice"),
    ] {
        for line in [line, &format!("{line} --device cuda:99")] {
            let run = fixture.run(line);
            assert_eq!((run.code, run.stderr.lines().count()), (Some(2), 1), "{line}: {}", run.stderr);
            assert!(run.stderr.starts_with(&format!("error: {message}")), "{line}: {}", run.stderr);
        }
    }
}

#[test]
fn an_unknown_instruction_set_is_refused() {
    let fixture = Fixture::new();
    let output = fixture.command().args(finetune(&[]).split_whitespace()).env("BITFIT_ISA", "sse9").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("error: BITFIT_ISA=\"sse9\"") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn a_number_of_threads_that_cannot_be_started_is_refused() {
    let fixture = Fixture::new();
    for value in ["0", "-1", "x", "100000"] {
        let line = finetune(&[]);
        let output = fixture.command().args(line.split_whitespace()).env("RAYON_NUM_THREADS", value).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{value}");
        assert!(stderr.starts_with(&format!("error: RAYON_NUM_THREADS={value}: expected ")), "{stderr}");
        assert_eq!((stderr.lines().count(), fixture.names("out").len()), (1, 0), "{stderr}");
        // The flag overrides the variable.
        let line = format!("{line} --epochs 1 --threads 2");
        let output = fixture.command().args(line.split_whitespace()).env("RAYON_NUM_THREADS", value).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::remove_dir_all(fixture.path("out")).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn threads_for_which_there_is_no_memory_are_refused_in_one_line() {
    let fixture = Fixture::new();
    // In kilobytes, at odd distances: what is left when the last thread is begun is of every size.
    for limit in (100_000..1_500_000).step_by(70_313) {
        let (code, stderr) = limited(&fixture, &format!("-v {limit}"), &finetune(&["--threads", "1024"]));
        assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{limit}: {stderr}");
        assert!(stderr.starts_with("error: cannot start 1024 threads") && stderr.contains("--threads"), "{stderr}");
    }
}

#[test]
fn mistakes_that_cost_nothing_to_find_are_found_before_the_model_is_opened() {
    let fixture = Fixture::new();
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
        let message = refused(&fixture, &finetune(&[&["--model", "some/model"], flags].concat()), named);
        assert!(message.contains(named) && !message.contains("some/model"), "{message}");
    }
    let line = finetune(&["--model", "some/model"]);
    let output = fixture.command().args(line.split_whitespace()).env("BITFIT_ISA", "sse9").output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: BITFIT_ISA"));
}

#[test]
fn an_output_directory_is_refused_before_the_data_is_read() {
    let fixture = Fixture::new();
    fixture.write("file", "");
    fixture.write("train.tsv", "");
    assert!(refused(&fixture, &finetune(&["--out", "file"]), "both").contains("--out file"));
}

#[test]
fn a_loss_that_is_not_finite_keeps_the_last_finite_values() {
    let fixture = Fixture::new();
    let run = fixture.run(&finetune(&["--lr", "1e30", "--epochs", "9"]));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{}", run.stderr);
    for part in ["diverged in step ", "out/task.safetensors", "--lr"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    assert_eq!(run.json()["end"], "diverged");
    let answer =
        fixture.run_with("predict -q --output-format jsonl --task-file out/task.safetensors", "good\n").succeeded();
    assert!(!answer.contains("null"), "every probability is a number: {answer}");
}

/// Runs `finetune` where no file may be larger than so many blocks of 512 bytes; returns the line with which it fails.
#[cfg(target_os = "linux")]
fn with_small_files(fixture: &Fixture, blocks: usize, flags: &[&str]) -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")])
        .arg(fixture.command().get_program())
        .args(finetune(flags).split_whitespace())
        .arg("--overwrite")
        .current_dir(fixture.path("."))
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
    message
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_no_task_file_is_half_written() {
    let earlier = || {
        let fixture = Fixture::new();
        std::fs::create_dir(fixture.path("out")).unwrap();
        fixture.write("out/task.safetensors", "an earlier one");
        fixture
    };
    // No file may be larger than 512 bytes: the task file cannot be written.
    let fixture = earlier();
    let message = with_small_files(&fixture, 1, &["--epochs", "1"]);
    assert!(message.starts_with("error: out/task.safetensors: File too large"), "{message}");
    assert_eq!(fixture.read("out/task.safetensors"), "an earlier one");
    assert_eq!(fixture.names("out"), ["metrics.jsonl", "task.safetensors"]);

    // A log that becomes too large ends the run, but what was reached is kept.
    let fixture = earlier();
    let message = with_small_files(&fixture, 40, &["--epochs", "100", "--batch-size", "8", "--log-every", "1"]);
    assert!(message.starts_with("error: out/metrics.jsonl: File too large"), "{message}");
    assert_eq!(fixture.metadata("out/task.safetensors")["format"], "bitfit-task");

    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let line = "eval -q --task-file out/task.safetensors --data dev.tsv";
    let output =
        fixture.command().args(line.split(' ')).stdout(full).stderr(std::process::Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1));
    assert!(stderr.starts_with("error: stdout: No space left"), "{stderr}");
}

#[test]
fn an_earlier_task_file_is_replaced_only_by_a_complete_one() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let before = fixture.bytes("out/task.safetensors");
    fixture.write("train.tsv", "text\tlabel\n");
    refused(&fixture, &finetune(&[]), "no rows");
    assert!(fixture.bytes("out/task.safetensors") == before);
}

#[test]
fn a_refusal_advises_no_flag_that_the_command_does_not_have() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let row = |labels: &str| format!("{{\"text\": \"good\", \"label\": [{labels}]}}\n");
    fixture.write("copy.safetensors", fixture.bytes("out/task.safetensors"));
    fixture.write("several.jsonl", row("\"praise\"") + &row("\"praise\", \"blame\""));
    let found = refused(&fixture, "finetune -q --model model --train several.jsonl --out o", "finetune");
    assert!(found.contains("several.jsonl") && found.contains("--kind"), "{found}");
    for line in [
        "eval -q --task-file out/task.safetensors --data several.jsonl",
        "average out/task.safetensors copy.safetensors --data several.jsonl --out mean",
    ] {
        let message = refused(&fixture, line, line);
        assert!(message.contains("several.jsonl") && !message.contains("--kind"), "{message}");
    }
}

#[test]
fn eval_and_predict_refuse_files_that_do_not_belong_together() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let other = Fixture::new();
    other.write("model/model.safetensors", {
        let mut bytes = other.bytes("model/model.safetensors");
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        bytes
    });
    let whole = fixture.bytes("out/task.safetensors");
    fixture.write("cut.safetensors", &whole[..whole.len() - 1]);
    // Other names of the same length.
    let misspelt = |name: &str, other: &str| {
        let at = whole.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
        [&whole[..at], other.as_bytes(), &whole[at + name.len()..]].concat()
    };
    let bias = BERT.classifier_name(Pooling::Pooler, Part::Bias);
    fixture.write("misspelt.safetensors", misspelt(&bias, &bias.replace("bias", "base")));
    fixture.write("field.safetensors", misspelt("\"pairs\"", "\"paris\""));
    fixture.write("version.safetensors", misspelt("\"version\":\"4\"", "\"version\":\"1\""));
    fixture.write("pairs.tsv", "sentence1\tsentence2\tlabel\ngood\tday\tpraise\n");
    fixture.write("unseen.tsv", "text\tlabel\ngood\tdoubt\n");
    fixture.write("bare.tsv", "text\ngood\n");
    let other = other.path("model").display().to_string();
    let eval = "eval -q --task-file out/task.safetensors --data";
    let predict = "predict -q --task-file";
    for (line, names) in [
        (format!("{eval} gone.tsv"), &["gone.tsv"][..]),
        (format!("{eval} model"), &["error: model: is a directory"]),
        (format!("{eval} -"), &["error: -: stdin is not read here"]),
        (format!("{predict} out"), &["error: out: is a directory; its task file is out/task.safetensors"]),
        (format!("{predict} out/task.safetensors --input model"), &["error: model: is a directory"]),
        (format!("{eval} dev.tsv --model {other}"), &["out/task.safetensors", "trained on model", "other weights"]),
        (format!("{eval} dev.tsv --model ./gone"), &["gone", "no such directory"]),
        (format!("{eval} dev.tsv --task stsb"), &["--task stsb", "regress", "out/task.safetensors", "classify"]),
        (
            format!("{predict} out/task.safetensors --input dev.tsv --task stsb"),
            &["--task stsb", "regress", "out/task.safetensors", "classify"],
        ),
        (
            "calibrate -q --task-file out/task.safetensors --data dev.tsv --out c.safetensors --task stsb".into(),
            &["--task stsb", "regress", "out/task.safetensors", "classify"],
        ),
        (format!("{eval} unseen.tsv"), &["unseen.tsv, line 2", "\"doubt\""]),
        (format!("{eval} bare.tsv"), &["bare.tsv", "label", "--label"]),
        (format!("{eval} dev.tsv --max-length 49"), &["--max-length 49: ", "at most 48"]),
        (format!("{predict} out/task.safetensors --max-length 2"), &["--max-length 2: ", "at least 3"]),
        (format!("{predict} misspelt.safetensors"), &["misspelt.safetensors: unexpected tensor classifier.base"]),
        (format!("{predict} field.safetensors"), &["field.safetensors: ", "paris"]),
        (format!("{predict} version.safetensors"), &["version.safetensors: expected version 4", "\"1\""]),
        (format!("{eval} pairs.tsv"), &["pairs.tsv, line 2: a pair of texts"]),
        (format!("{predict} gone.safetensors"), &["gone.safetensors"]),
        (format!("{predict} cut.safetensors"), &["cut.safetensors", "not a complete safetensors file"]),
        (format!("{predict} model/model.safetensors"), &["model/model.safetensors", "not a task file"]),
        (format!("{predict} out/task.safetensors --input gone.txt"), &["gone.txt"]),
        (format!("{predict} out/task.safetensors --input dev.tsv --text body"), &["dev.tsv", "\"body\"", "--text"]),
        (format!("{predict} out/task.safetensors --text body"), &["--text", "stdin", "--format"]),
        (format!("{predict} out/task.safetensors --header"), &["--header", "stdin", "--format"]),
        (format!("{predict} out/task.safetensors --no-header --format lines"), &["--no-header", "stdin", "--format"]),
        (format!("{predict} out/task.safetensors --task sst2"), &["--task", "stdin", "--format"]),
        (format!("{predict} out/task.safetensors --out gone/answers"), &["--out gone/answers"]),
    ] {
        let message = refused(&fixture, &line, &line);
        for name in names {
            assert!(message.contains(name), "{line}: {name} is not in {message}");
        }
    }
    std::fs::rename(fixture.path("model"), fixture.path("moved")).unwrap();
    let message = refused(&fixture, "predict -q --task-file out/task.safetensors", "a base that has moved");
    assert!(
        message.contains("out/task.safetensors") && message.contains("\"model\"") && message.contains("--model"),
        "{message}"
    );
}
