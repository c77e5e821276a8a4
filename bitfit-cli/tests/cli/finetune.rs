//! `finetune` that succeeds: what it prints, what it writes, and that it learns.

use serde_json::{Value, json};

use crate::world::{HIDDEN, LAYERS, World, keys, lines};

/// Enough for the tiny model to learn its two classes.
const LEARN: &str = "--eval dev.tsv --lr 1e-2 --epochs 6 --batch-size 8";

#[test]
fn it_learns_and_reports_what_it_did() {
    let world = World::new();
    let run = world.run(&format!("finetune --model model --train train.tsv --out out {LEARN} --log-every 20"));
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
    // Eight kinds a layer, one of them twice as wide as the others, and the two outside the layers; then the head.
    let biases = LAYERS * (7 * HIDDEN + 32) + 2 * HIDDEN;
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
    assert_eq!((&result["device"], &result["precision"]), (&json!("cpu"), &json!("f32")));
    assert!(result["peak_rss_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{result}");
    assert_eq!(result["task_bytes"], world.bytes("out/task.safetensors").len());

    let said = &run.stderr;
    for part in [
        "model     model",
        "64 rows (640 tokens) to train, 32 to evaluate; 2 classes",
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
    assert_eq!(world.names("out"), ["metrics.jsonl", "task.safetensors"]);
}

#[test]
fn the_log_has_logged_steps_and_every_evaluation() {
    let world = World::new();
    let result = world.finetune("--eval dev.tsv --epochs 2 --batch-size 8 --log-every 6 --schedule linear");
    let log = lines(&world.read("out/metrics.jsonl"));
    let (steps, evaluations): (Vec<_>, Vec<_>) = log.iter().partition(|line| line.get("step").is_some());
    assert_eq!(log[0]["lr"].to_string(), "0.001");
    assert_eq!(steps.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 6, 12]);
    for step in steps {
        assert_eq!(keys(step), ["step", "epoch", "loss", "lr", "grad_norm", "tokens", "tokens_per_s"]);
        assert!(keys(step).iter().all(|key| step[key].is_number()), "{step}");
    }
    assert_eq!(evaluations.len(), 2);
    for (epoch, evaluation) in (1..).zip(&evaluations) {
        assert_eq!((keys(evaluation), &evaluation["epoch"]), (vec!["epoch", "eval"], &json!(epoch)));
        assert_eq!(keys(&evaluation["eval"]), ["accuracy", "f1"]);
    }
    let best = result["best"]["epoch"].as_u64().unwrap() as usize;
    assert_eq!(evaluations[best - 1]["eval"], result["metrics"]);
}

#[test]
fn the_task_file_has_every_bias_and_the_head_under_hugging_face_names() {
    let world = World::new();
    world.finetune("--epochs 1 --seed 11");
    let tensors = world.tensors("out/task.safetensors");
    let base = world.tensors("model/model.safetensors");
    let mut expected: Vec<String> =
        base.into_keys().filter(|name| name.ends_with(".bias")).map(|name| format!("bert.{name}")).collect();
    expected.extend(["classifier.weight".into(), "classifier.bias".into()]);
    expected.sort_unstable();
    assert_eq!(tensors.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert_eq!(tensors["classifier.weight"], [2, HIDDEN]);

    let metadata = world.metadata("out/task.safetensors");
    assert_eq!(
        (metadata["base"].as_str(), metadata["kind"].as_str(), metadata["biases"].as_str()),
        ("model", "classify", "all")
    );
    assert_eq!((metadata["seed"].as_str(), metadata["labels"].as_str()), ("11", r#"["blame","praise"]"#));
    let settings: Value = serde_json::from_str(&metadata["hyperparameters"]).unwrap();
    assert_eq!(
        (&settings["epochs"], &settings["batch_size"], &settings["max_length"]),
        (&json!(1), &json!(16), &json!(48))
    );
    assert_eq!((&settings["device"], &settings["precision"]), (&json!("cpu"), &json!("f32")));
    assert_eq!(settings["learning_rate"].to_string(), "0.001", "and not the f64 of the same bits");
}

#[test]
fn a_frozen_base_leaves_the_biases_out() {
    let world = World::new();
    let result = world.finetune("--method frozen --epochs 1");
    assert_eq!(
        (&result["method"], &result["biases"], &result["trainable"]),
        (&json!("frozen"), &json!(0), &json!(2 * (HIDDEN + 1)))
    );
    assert_eq!(
        world.tensors("out/task.safetensors").into_keys().collect::<Vec<_>>(),
        ["classifier.bias", "classifier.weight"]
    );
}

#[test]
fn kinds_and_layers_choose_the_biases() {
    let world = World::new();
    world.finetune("--bias query,intermediate --layers 1 --epochs 1");
    let names: Vec<_> = world.tensors("out/task.safetensors").into_keys().collect();
    assert_eq!(
        names,
        [
            "bert.encoder.layer.1.attention.self.query.bias",
            "bert.encoder.layer.1.intermediate.dense.bias",
            "classifier.bias",
            "classifier.weight"
        ]
    );
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let world = World::new();
    let mut files = Vec::new();
    for flags in ["--threads 1", "--threads 1", "--threads 2", "--threads 2 --seed 1"] {
        world.finetune(&format!("--epochs 2 --batch-size 8 {flags}"));
        files.push(world.bytes("out/task.safetensors"));
    }
    assert!(files[0] == files[1], "twice the same");
    assert!(files[0] == files[2], "one thread and two");
    assert!(files[0] != files[3], "another seed");
}

#[test]
fn a_preset_brings_columns_kind_metrics_and_rate_and_flags_go_before_it() {
    let world = World::new();
    let rows = world.read("train.tsv");
    let scored: String = (0..)
        .zip(rows.lines().skip(1))
        .map(|(i, row)| {
            let text = row.split('\t').next().unwrap();
            format!("{i}\t{text}\tthe day was fine\t{}\n", if row.ends_with("praise") { 4.5 } else { 0.5 })
        })
        .collect();
    world.write("train.tsv", format!("index\tsentence1\tsentence2\tscore\n{scored}"));
    let result = world.finetune("--task stsb --eval train.tsv --epochs 2");
    assert_eq!((&result["task"], keys(&result["metrics"])), (&json!("stsb"), vec!["spearman", "pearson"]));
    let settings = |world: &World| -> Value {
        serde_json::from_str(&world.metadata("out/task.safetensors")["hyperparameters"]).unwrap()
    };
    assert!((settings(&world)["learning_rate"].as_f64().unwrap() - 1e-4).abs() < 1e-9, "the paper's rate");
    world.finetune("--task stsb --epochs 1 --lr 3e-3 --kind regress");
    assert!((settings(&world)["learning_rate"].as_f64().unwrap() - 3e-3).abs() < 1e-9, "the flag's");
    world.finetune("--text sentence1,sentence2 --label score --kind regress --epochs 1 --clip none --warmup 0.5 --weight-decay 0.01");
    assert_eq!(world.metadata("out/task.safetensors")["kind"], "regress");
    assert_eq!((&settings(&world)["max_grad_norm"], &settings(&world)["weight_decay"]), (&Value::Null, &json!(0.01)));
}

#[test]
fn the_first_weights_of_the_head_can_be_given() {
    let world = World::new();
    let shapes = [("classifier.bias".to_owned(), vec![2]), ("classifier.weight".to_owned(), vec![2, HIDDEN])].into();
    let values = |scale: f32| {
        [2, 2 * HIDDEN].map(|len| (0..len).flat_map(|i| (i as f32 * scale).to_le_bytes()).collect::<Vec<u8>>())
    };
    let mut losses = Vec::new();
    for scale in [0.01, 0.01, 0.5] {
        world.write_tensors("head.safetensors", &shapes, &values(scale));
        world.finetune("--init-head head.safetensors --no-shuffle --dropout 0 --epochs 1 --limit 16");
        losses.push(lines(&world.read("out/metrics.jsonl"))[0]["loss"].clone());
    }
    assert_eq!(losses[0], losses[1]);
    assert_ne!(losses[0], losses[2]);
}

#[test]
fn a_head_from_a_whole_model_leaves_the_base_as_it_is() {
    let world = World::new();
    let seven = |shape: &Vec<usize>| 7f32.to_le_bytes().repeat(shape.iter().product());
    let mut shapes: std::collections::BTreeMap<_, _> = world
        .tensors("model/model.safetensors")
        .into_iter()
        .map(|(name, shape)| (format!("bert.{name}"), shape))
        .collect();
    shapes.retain(|name, _| !name.contains("word_embeddings"));
    let (bias, weight) = ("classifier.bias".to_owned(), "classifier.weight".to_owned());
    shapes.extend([(bias, vec![2]), (weight, vec![2, HIDDEN])]);
    let mut tasks = Vec::new();
    for only_head in [false, true] {
        shapes.retain(|name, _| !only_head || name.starts_with("classifier"));
        world.write_tensors("head.safetensors", &shapes, &shapes.values().map(seven).collect::<Vec<_>>());
        world.finetune("--init-head head.safetensors --epochs 1");
        tasks.push(world.bytes("out/task.safetensors"));
    }
    assert!(tasks[0] == tasks[1], "what is not the head's makes no difference");
}

#[test]
fn a_checkpoint_without_a_pooler_gets_one_that_trains_whole() {
    let world = World::new();
    world.remove_tensors(|name| name.starts_with("pooler"));
    world.finetune("--epochs 1");
    assert_eq!(world.tensors("out/task.safetensors")["bert.pooler.dense.weight"], [HIDDEN, HIDDEN]);
    world.run("eval -q --task-file out/task.safetensors --data dev.tsv").succeeded();
}
