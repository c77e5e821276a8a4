//! `finetune` that succeeds: what it prints, what it writes, and that it learns.

use bitfit_core::cpu::Isa;
use serde_json::{Value, json};

use bitfit_bert::arch::{BERT, Module, Part, Role};
use bitfit_bert::heads::Pooling;

use crate::fixture::{FFN, Fixture, HIDDEN, LAYERS, head, keys, lines, model, safetensors, table, texts};

/// Enough for the tiny model to learn its two classes.
const LEARN: &str = "--eval dev.tsv --lr 1e-2 --epochs 6 --batch-size 8";

#[test]
fn it_learns_and_reports_what_it_did() {
    let fixture = Fixture::new();
    let run = fixture.run(&format!("finetune --model model --train train.tsv --out out {LEARN} --log-every 20"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let result = run.json();
    assert_eq!(
        keys(&result),
        [
            "command",
            "model",
            "task",
            "method",
            "trainable",
            "biases",
            "total",
            "epochs",
            "steps",
            "tokens",
            "best",
            "metrics",
            "probe",
            "seconds",
            "tokens_per_s",
            "peak_rss_bytes",
            "device",
            "precision",
            "task_file",
            "task_bytes",
            "end"
        ]
    );
    // Eight kinds in each layer, one of them of the width of the feed-forward, and the two outside the layers; then the
    // head.
    let biases = LAYERS * (7 * HIDDEN + FFN) + 2 * HIDDEN;
    assert_eq!((&result["biases"], &result["trainable"]), (&json!(biases), &json!(biases + 2 * (HIDDEN + 1))));
    assert_eq!(
        (&result["command"], &result["method"], &result["end"]),
        (&json!("finetune"), &json!("bitfit"), &json!("finished"))
    );
    assert_eq!((&result["epochs"], &result["steps"], &result["task"]), (&json!(6), &json!(48), &Value::Null));
    // Eight words, [CLS] and [SEP], in 64 rows and six epochs.
    assert_eq!(result["tokens"], 10 * 64 * 6);
    assert_eq!(result["best"]["metric"], "accuracy");
    assert_eq!(result["best"]["value"], result["metrics"]["accuracy"]);
    assert_eq!(keys(&result["metrics"]), ["accuracy", "f1"]);
    assert!(result["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{result}");
    assert_eq!((&result["device"], &result["precision"]), (&json!("cpu"), &json!(fastest_precision())));
    assert!(result["peak_rss_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{result}");
    assert_eq!(result["task_bytes"], fixture.bytes("out/task.safetensors").len());

    let said = &run.stderr;
    for part in [
        "model     model (BERT, 2 layers, hidden size 16, 2 heads)",
        "data      64 rows (640 tokens) to train on, 32 to evaluate; 2 classes",
        "  query bias                   2 tensors          32 values",
        "head      reads the first token through the pooler, as BERT's own class for classification does",
        "probe  accuracy ",
        "step 1/48  epoch 1/6  loss ",
        "step 40/48  epoch 5/6",
        "lr 1.0e-2",
        "tokens/s",
        "epoch 6/6  mean loss ",
        "(best so far)",
        "finished: out/task.safetensors",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(!said.contains('\x1b') && !run.stdout.contains('\x1b'), "no colours in pipes");
    assert_eq!(fixture.names("out"), ["metrics.jsonl", "task.safetensors"]);
}

#[test]
fn the_log_has_logged_steps_and_every_evaluation() {
    let fixture = Fixture::new();
    let result = fixture.finetune("--eval dev.tsv --epochs 2 --batch-size 8 --log-every 6 --schedule linear");
    let log = lines(&fixture.read("out/metrics.jsonl"));
    let (steps, evaluations): (Vec<_>, Vec<_>) = log.iter().partition(|line| line.get("eval").is_none());
    assert_eq!(log[0]["lr"].to_string(), "0.001");
    assert_eq!(steps.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 6, 12]);
    for step in steps {
        assert_eq!(keys(step), ["step", "epoch", "loss", "mean_loss", "lr", "grad_norm", "tokens", "tokens_per_s"]);
        assert!(keys(step).iter().all(|key| step[key].is_number()), "{step}");
    }
    let every = fixture.run(
        "finetune -q --model model --train train.tsv --eval dev.tsv --out every --epochs 2 --batch-size 8 --log-every 1 \
         --schedule linear",
    );
    assert_eq!(every.code, Some(0), "{}", every.stderr);
    let every = lines(&fixture.read("every/metrics.jsonl"));
    let losses: Vec<f64> = every.iter().filter_map(|line| line["loss"].as_f64()).collect();
    for (line, steps) in log.iter().filter(|line| line.get("eval").is_none()).zip([0..1, 1..6, 6..12]) {
        let mean = losses[steps.clone()].iter().sum::<f64>() / steps.len() as f64;
        assert!((line["mean_loss"].as_f64().unwrap() - mean).abs() < 1e-6, "{line}: {mean} over {steps:?}");
    }
    assert_eq!(evaluations.len(), 2);
    for (epoch, evaluation) in (1..).zip(&evaluations) {
        assert_eq!(keys(evaluation), ["epoch", "step", "eval"]);
        assert_eq!((&evaluation["epoch"], &evaluation["step"]), (&json!(epoch), &json!(8 * epoch)));
        assert_eq!(keys(&evaluation["eval"]), ["accuracy", "f1"]);
    }
    let best = result["best"]["epoch"].as_u64().unwrap() as usize;
    assert_eq!(evaluations[best - 1]["eval"], result["metrics"]);
}

/// What `--precision auto` stands for on this CPU.
fn fastest_precision() -> &'static str {
    if Isa::detect().has_fast_bf16() { "bf16" } else { "f32" }
}

#[test]
fn the_precision_is_the_fastest_with_the_scores_of_f32_and_the_plan_says_so() {
    let fixture = Fixture::new();
    let line = "finetune --model model --train train.tsv --epochs 1 --out out --overwrite";
    let reason = "; bf16 because it is faster here than f32, with the same scores\n";
    for (flags, isa, precision) in [
        ("", None, fastest_precision()),
        ("--precision auto", None, fastest_precision()),
        ("", Some("portable"), "f32"),
        ("--precision bf16", Some("portable"), "bf16"),
        ("--precision int8", None, "int8"),
    ] {
        let mut command = fixture.command();
        command.args(format!("{line} {flags}").split_whitespace());
        isa.map(|isa| command.env("BITFIT_ISA", isa));
        let output = command.output().unwrap();
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["precision"], precision, "{flags} {isa:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let is_chosen = precision == "bf16" && isa.is_none();
        assert_eq!(said.contains(reason), is_chosen, "{flags} {isa:?}: {said}");
    }
}

#[test]
fn a_batch_that_is_computed_in_parts_takes_the_same_steps() {
    let fixture = Fixture::new();
    let command = |flags: &str| {
        let run = fixture.run(&format!(
            "finetune --model model --train train.tsv --out out --overwrite {LEARN} --precision f32 --log-every 1 --dropout 0.2 {flags}"
        ));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let mut log = lines(&fixture.read("out/metrics.jsonl"));
        log.iter_mut().for_each(|line| _ = line.as_object_mut().unwrap().remove("tokens_per_s"));
        (run.json()["metrics"].clone(), log, run.stderr)
    };
    let (metrics, log, _) = command("");
    for flags in ["--micro-batch 8", "--micro-batch 100"] {
        let (same_metrics, same_log, said) = command(flags);
        assert!((same_metrics, same_log) == (metrics.clone(), log.clone()), "{flags}: other bits");
        assert!(said.contains("a batch is 8 texts, of at most"), "{said}");
    }
    for flags in ["--micro-batch 4", "--micro-batch 3", "--micro-batch 1"] {
        let (in_parts, in_parts_log, said) = command(flags);
        assert!(said.contains(&format!("tokens each, computed {} at a time", &flags[14..])), "{said}");
        assert_eq!(in_parts, metrics, "{flags}");
        for (found, expected) in in_parts_log.iter().zip(&log) {
            for key in ["loss", "mean_loss", "grad_norm"] {
                let [found, expected] = [found, expected].map(|line| line[key].as_f64());
                let Some((found, expected)) = found.zip(expected) else { continue };
                assert!((found - expected).abs() <= 1e-3 * expected, "{flags}: {key} is {found}, not {expected}");
            }
        }
        let settings: Value =
            serde_json::from_str(&fixture.metadata("out/task.safetensors")["hyperparameters"]).unwrap();
        assert_eq!(settings["micro_batch"].to_string(), flags[14..], "{settings}");
    }
}

#[test]
fn the_task_file_has_every_bias_and_the_head_under_hugging_face_names() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1 --seed 11");
    let tensors = fixture.tensors("out/task.safetensors");
    let roles = model().tensors.into_keys().map(|name| BERT.role(&name).unwrap());
    let mut expected: Vec<String> =
        roles.filter(|role| role.part == Part::Bias).map(|role| BERT.parameter_name(role)).collect();
    expected.extend([Part::Weight, Part::Bias].map(|part| BERT.classifier_name(Pooling::Pooler, part)));
    expected.sort_unstable();
    assert_eq!(tensors.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert_eq!(tensors[&BERT.classifier_name(Pooling::Pooler, Part::Weight)], [2, HIDDEN]);
    // As transformers calls it, so that a slip in the table is noticed.
    assert!(tensors.contains_key("bert.encoder.layer.0.attention.self.query.bias"));
}

#[test]
fn the_task_file_says_what_it_was_trained_on_and_with() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1 --seed 11");
    let metadata = fixture.metadata("out/task.safetensors");
    assert_eq!(
        metadata.keys().collect::<Vec<_>>(),
        [
            "base",
            "base_fingerprint",
            "base_path",
            "best",
            "config",
            "format",
            "hyperparameters",
            "kind",
            "labels",
            "method",
            "pair",
            "pairs",
            "pooling",
            "seed",
            "tokenizer_fingerprint",
            "version"
        ]
    );
    assert_eq!((metadata["format"].as_str(), metadata["version"].as_str()), ("bitfit-task", "4"));
    assert_eq!((metadata["pairs"].as_str(), metadata["best"].as_str()), ("false", "null"));
    let recorded: std::path::PathBuf = serde_json::from_str(&metadata["base_path"]).unwrap();
    assert!(recorded.is_absolute() && recorded.ends_with("model"), "{recorded:?}");
    let config: Value = serde_json::from_str(&metadata["config"]).unwrap();
    assert_eq!((&config["hidden_size"], &config["num_hidden_layers"]), (&json!(HIDDEN), &json!(LAYERS)));
    for fingerprint in ["base_fingerprint", "tokenizer_fingerprint"] {
        assert_eq!(metadata[fingerprint].len(), 64, "{fingerprint}");
    }
    assert_eq!(
        (metadata["base"].as_str(), metadata["kind"].as_str(), metadata["method"].as_str()),
        ("model", "classify", "bitfit")
    );
    assert_eq!((metadata["seed"].as_str(), metadata["labels"].as_str()), ("11", r#"["blame","praise"]"#));
    let settings: Value = serde_json::from_str(&metadata["hyperparameters"]).unwrap();
    assert_eq!(
        (&settings["epochs"], &settings["batch_size"], &settings["max_length"]),
        (&json!(1), &json!(16), &json!(48))
    );
    assert_eq!((&settings["device"], &settings["precision"]), (&json!("cpu"), &json!(fastest_precision())));
    assert_eq!(settings["learning_rate"].to_string(), "0.001", "and not the f64 of the same bits");
}

#[test]
fn a_frozen_base_leaves_the_biases_out() {
    let fixture = Fixture::new();
    let result = fixture.finetune("--method frozen --epochs 1");
    assert_eq!(
        (&result["method"], &result["biases"], &result["trainable"]),
        (&json!("frozen"), &json!(0), &json!(2 * (HIDDEN + 1)))
    );
    assert_eq!(
        fixture.tensors("out/task.safetensors").into_keys().collect::<Vec<_>>(),
        [BERT.classifier_name(Pooling::Pooler, Part::Bias), BERT.classifier_name(Pooling::Pooler, Part::Weight)]
    );
}

#[test]
fn kinds_and_layers_choose_the_biases() {
    let fixture = Fixture::new();
    fixture.finetune("--bias query,intermediate --layers 1 --epochs 1");
    let names: Vec<_> = fixture.tensors("out/task.safetensors").into_keys().collect();
    assert_eq!(
        names,
        [
            BERT.parameter_name(Role::bias(Module::Query, 1)),
            BERT.parameter_name(Role::bias(Module::Intermediate, 1)),
            BERT.classifier_name(Pooling::Pooler, Part::Bias),
            BERT.classifier_name(Pooling::Pooler, Part::Weight)
        ]
    );
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let fixture = Fixture::new();
    let mut files = Vec::new();
    for flags in ["--threads 1", "--threads 1", "--threads 2", "--threads 2 --seed 1"] {
        fixture.finetune(&format!("--epochs 2 --batch-size 8 {flags}"));
        files.push(fixture.bytes("out/task.safetensors"));
    }
    assert!(files[0] == files[1], "twice the same");
    assert!(files[0] == files[2], "one thread and two");
    assert!(files[0] != files[3], "another seed");
}

#[test]
fn in_int8_bits_depend_neither_on_threads_nor_on_the_other_texts_of_a_batch() {
    let fixture = Fixture::new();
    let mut files = Vec::new();
    for threads in [1, 2] {
        let flags = format!("--eval dev.tsv --epochs 2 --batch-size 8 --precision int8 --threads {threads}");
        assert_eq!(fixture.finetune(&flags)["precision"], "int8");
        files.push(fixture.bytes("out/task.safetensors"));
    }
    assert!(files[0] == files[1], "one thread and two");
    let dev = fixture.read("dev.tsv");
    let predict = "predict --precision int8 --task-file out/task.safetensors --input some.tsv";
    let answers = |texts: &str| {
        fixture.write("some.tsv", texts);
        fixture.run(predict).stdout
    };
    let (header, rows) = dev.split_once('\n').unwrap();
    let alone: Vec<String> = rows.lines().map(|row| answers(&format!("{header}\n{row}\n"))).collect();
    assert_eq!(answers(&dev), alone.concat());
}

#[test]
fn a_preset_sets_columns_kind_metrics_and_rate_and_flags_override_it() {
    let fixture = Fixture::new();
    let rows = fixture.read("train.tsv");
    let scored: String = (0..)
        .zip(rows.lines().skip(1))
        .map(|(i, row)| {
            let text = row.split('\t').next().unwrap();
            format!("{i}\t{text}\tthe day was fine\t{}\n", if row.ends_with("praise") { 4.5 } else { 0.5 })
        })
        .collect();
    fixture.write("train.tsv", format!("index\tsentence1\tsentence2\tscore\n{scored}"));
    let result = fixture.finetune("--task stsb --eval train.tsv --epochs 2");
    assert_eq!((&result["task"], keys(&result["metrics"])), (&json!("stsb"), vec!["spearman", "pearson"]));
    let settings = |fixture: &Fixture| -> Value {
        serde_json::from_str(&fixture.metadata("out/task.safetensors")["hyperparameters"]).unwrap()
    };
    assert!((settings(&fixture)["learning_rate"].as_f64().unwrap() - 1e-4).abs() < 1e-9, "the paper's rate");
    let columns = "--text sentence1,sentence2 --label score --kind regress";
    fixture.finetune(&format!("{columns} --epochs 1 --clip none --warmup 0.5 --weight-decay 0.01"));
    assert_eq!(fixture.metadata("out/task.safetensors")["kind"], "regress");
    assert_eq!(
        (&settings(&fixture)["max_grad_norm"], &settings(&fixture)["weight_decay"]),
        (&Value::Null, &json!(0.01))
    );
}

#[test]
fn the_first_weights_of_the_head_can_be_given() {
    let fixture = Fixture::new();
    let mut losses = Vec::new();
    for scale in [0.01, 0.01, 0.5] {
        fixture.write("head.safetensors", safetensors(head(2, |i| i as f32 * scale)));
        fixture.finetune("--init-head head.safetensors --no-shuffle --dropout 0 --epochs 1 --limit 16");
        losses.push(lines(&fixture.read("out/metrics.jsonl"))[0]["loss"].clone());
    }
    assert_eq!(losses[0], losses[1]);
    assert_ne!(losses[0], losses[2]);
}

#[test]
fn a_head_from_the_file_of_a_whole_model_leaves_the_base_as_it_is() {
    let fixture = Fixture::new();
    let mut tasks = Vec::new();
    for has_encoder in [true, false] {
        let mut tensors = head(2, |_| 7.0);
        for (name, mut tensor) in model().tensors.into_iter().filter(|_| has_encoder) {
            let role = BERT.role(&name).unwrap();
            tensor.data.fill(7.0);
            if role.module != Module::WordEmbeddings {
                tensors.insert(BERT.parameter_name(role), tensor);
            }
        }
        fixture.write("head.safetensors", safetensors(tensors));
        fixture.finetune("--init-head head.safetensors --epochs 1");
        tasks.push(fixture.bytes("out/task.safetensors"));
    }
    assert!(tasks[0] == tasks[1], "what is not the head's makes no difference");
}

#[test]
fn a_checkpoint_without_a_pooler_gets_a_new_one_that_trains() {
    let fixture = Fixture::new();
    fixture.remove_tensors(|role| role.module == Module::Pooler);
    let run = fixture.run("finetune --model model --train train.tsv --out out --epochs 1");
    assert!(run.stderr.contains("new pooler"), "{}", run.stderr);
    let pooler = BERT.parameter_name(Role::weight(Module::Pooler, 0));
    assert_eq!(fixture.tensors("out/task.safetensors")[&pooler], [HIDDEN, HIDDEN]);
    fixture.run("eval -q --task-file out/task.safetensors --data dev.tsv").succeeded();
}

#[test]
fn scores_far_from_zero_are_standardised_and_answered_in_their_units() {
    let fixture = Fixture::new();
    let rows = texts(64, 5);
    fixture.write("years.tsv", table("text\tlabel", &rows, |class| ["1950", "2020"][class].into()));
    let line = "finetune --model model --train years.tsv --kind regress --dropout 0";
    let run = fixture.run(&format!("{line} --epochs 30 --lr 1e-2 --out out"));
    assert!(run.stderr.contains("scores are standardised in training, by their mean"), "{}", run.stderr);
    let answers = |out: &str| -> Vec<f32> {
        let answers =
            fixture.run(&format!("predict --model model --task-file {out}/task.safetensors --input years.tsv"));
        let lines = answers.succeeded();
        lines.lines().map(|line| line.split('\t').next().unwrap().parse().unwrap()).collect()
    };
    let found = answers("out");
    for ((_, class), answer) in rows.iter().zip(&found) {
        assert!((answer - [1950.0, 2020.0][*class]).abs() < 20.0, "{answer} for class {class}");
    }
    // A head in the scores' units begins a run over standardised ones.
    let run = fixture
        .run(&format!("{line} --epochs 1 --lr 1e-12 --method frozen --init-head out/task.safetensors --out again"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let frozen: Vec<f32> = answers("again");
    assert!(frozen.iter().all(|answer| (1900.0..2100.0).contains(answer)), "{frozen:?}");
}
