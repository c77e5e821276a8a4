//! `--method` and `--mask`: what each trains, that its task file gives the scores of the run, and what is refused.

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::fixture::{FFN, Fixture, HIDDEN, LAYERS};

/// Every method on the tiny model, and the number of scalars of the encoder that it trains by its definition.
fn methods() -> Vec<(&'static str, usize)> {
    let (h, f, l) = (HIDDEN, FFN, LAYERS);
    let biases = l * (7 * h + f) + 2 * h;
    let matrices = 4 * h * h + 2 * f * h;
    let rows = EMBEDDINGS.with(|rows| *rows);
    vec![
        ("--method bitfit", biases),
        ("--method bitfit:query+intermediate", l * (h + f)),
        ("--method bitfit:query@1-1", h),
        ("--method frozen", 0),
        // The scale and the shift of the LayerNorms of the layers and of the embeddings.
        ("--method layernorm", 2 * (2 * l + 1) * h),
        ("--method random-uniform", biases),
        // Three columns of every matrix of the layers, and of the pooler.
        ("--method columns:3", 3 * (l * (5 * h + f) + h)),
        ("--method rows:2", 2 * (l * (5 * h + f) + h)),
        ("--method bitfit+columns:1", biases + l * (5 * h + f) + h),
        ("--mask mask.safetensors", 2 * h + 3),
        ("--mask mask.safetensors --method layernorm", 2 * (2 * l + 1) * h + 2 * h + 3),
        ("--method full", l * matrices + h * h + biases + (2 * l + 1) * h + rows * h),
    ]
}

thread_local! {
    /// The rows of the three tables.
    static EMBEDDINGS: usize = Fixture::new().tensors("model/model.safetensors").iter()
        .filter(|(name, _)| name.ends_with("_embeddings.weight")).map(|(_, shape)| shape[0]).sum();
}

/// Two rows of a matrix, and three entries of another, as PyTorch writes lists.
fn write_mask(fixture: &Fixture) {
    let longs = |values: &[i64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (rows, elements) = (longs(&[3, 0]), longs(&[1, 30, 17]));
    let list = |bytes| TensorView::new(Dtype::I64, vec![<[u8]>::len(bytes) / 8], bytes).unwrap();
    let file = [
        ("bert.encoder.layer.0.attention.self.value.weight.rows", list(&rows)),
        ("bert.encoder.layer.1.output.dense.weight.elements", list(&elements)),
    ];
    fixture.write("mask.safetensors", safetensors::serialize(file, None).unwrap());
}

#[test]
fn every_method_trains_what_it_says_and_its_task_file_has_the_scores_of_the_run() {
    let fixture = Fixture::new();
    write_mask(&fixture);
    for (flags, scalars) in methods() {
        let rate = if flags.contains("full") { "" } else { "--lr 1e-2" };
        let result = fixture.finetune(&format!("{flags} {rate} --eval dev.tsv --epochs 2 --batch-size 8"));
        let head = 2 * (HIDDEN + 1);
        assert_eq!(result["trainable"], json!(scalars + head), "{flags}");
        let scores = fixture.run("eval -q --task-file out/task.safetensors --data dev.tsv").json();
        assert_eq!(scores["metrics"], result["metrics"], "{flags}");
        let (first, log) = (fixture.bytes("out/task.safetensors"), fixture.read("out/metrics.jsonl"));
        let losses = |log: &str| {
            let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].clone();
            log.lines().map(line).collect::<Vec<_>>()
        };
        std::fs::remove_dir_all(fixture.path("out")).unwrap();
        fixture.finetune(&format!("{flags} {rate} --eval dev.tsv --epochs 2 --batch-size 8 --threads 1"));
        assert_eq!(losses(&fixture.read("out/metrics.jsonl")), losses(&log), "{flags} on one thread");
        assert_eq!(fixture.bytes("out/task.safetensors"), first, "{flags} on one thread");
        std::fs::remove_dir_all(fixture.path("out")).unwrap();
    }
}

#[test]
fn the_file_of_a_sparse_method_has_the_entries_that_trained() {
    let fixture = Fixture::new();
    fixture.finetune("--method columns:3 --epochs 1");
    let tensors = fixture.tensors("out/task.safetensors");
    let name = "bert.encoder.layer.0.output.dense.weight";
    assert_eq!(tensors[&format!("{name}.columns")], [3]);
    assert_eq!(tensors[&format!("{name}.values")], [HIDDEN, 3]);
    assert!(!tensors.contains_key(name));
}

#[test]
fn full_fine_tuning_has_a_learning_rate_of_its_own() {
    let fixture = Fixture::new();
    let rate = |flags: &str| {
        std::fs::remove_dir_all(fixture.path("out")).ok();
        fixture.finetune(&format!("{flags} --epochs 1"));
        let settings: serde_json::Value =
            serde_json::from_str(&fixture.metadata("out/task.safetensors")["hyperparameters"]).unwrap();
        settings["learning_rate"].to_string()
    };
    assert_eq!(["--method full", "--method columns:2", ""].map(rate), ["0.00002", "0.001", "0.001"]);
}

#[test]
fn a_short_run_chooses_within_the_budget_and_its_mask_trains_the_same() {
    let fixture = Fixture::new();
    let head = 2 * (HIDDEN + 1);
    for (flags, budget, exact) in [
        ("--select fisher --method bitfit", 3 * HIDDEN, false),
        ("--select magnitude --method bitfit", FFN + 1, false),
        ("--select fisher --method columns:4", 25, true),
        ("--select magnitude --method full --lr 1e-3", 40, true),
    ] {
        let result = fixture.finetune(&format!("{flags} --budget {budget} --epochs 1 --eval dev.tsv"));
        let chosen = result["trainable"].as_u64().unwrap() as usize - head;
        assert!(if exact { chosen == budget } else { (1..=budget).contains(&chosen) }, "{flags}: {chosen}");
        let task = fixture.tensors("out/task.safetensors");
        std::fs::rename(fixture.path("out/mask.safetensors"), fixture.path("mask.safetensors")).unwrap();
        let rate = if flags.contains("full") { "--lr 1e-3" } else { "" };
        std::fs::remove_dir_all(fixture.path("out")).unwrap();
        let again = fixture.finetune(&format!("--mask mask.safetensors {rate} --epochs 1 --eval dev.tsv"));
        assert_eq!((&again["trainable"], &again["metrics"]), (&result["trainable"], &result["metrics"]), "{flags}");
        assert_eq!(fixture.tensors("out/task.safetensors"), task, "{flags}");
        std::fs::remove_dir_all(fixture.path("out")).unwrap();
    }
}

#[test]
fn a_mask_does_not_stay_beside_a_run_that_it_was_not_chosen_for() {
    let fixture = Fixture::new();
    fixture.finetune("--select magnitude --method bitfit --budget 40 --epochs 1");
    assert!(fixture.path("out/mask.safetensors").exists());
    fixture.finetune("--epochs 1");
    assert_eq!(fixture.names("out"), ["metrics.jsonl", "task.safetensors"]);
}

#[test]
fn what_contradicts_a_method_is_refused_in_one_line() {
    let fixture = Fixture::new();
    write_mask(&fixture);
    for (flags, words) in [
        ("--method full --bias query", "--bias chooses biases of --method bitfit, not of --method full"),
        ("--method bitfit:query --layers 1", "--layers chooses biases"),
        ("--mask mask.safetensors --bias query", "add --method bitfit"),
        ("--mask mask.safetensors --method probe", "--mask chooses what trains, but --method probe"),
        ("--mask gone.safetensors", "gone.safetensors"),
        ("--mask train.tsv", "train.tsv: not a complete safetensors file"),
        ("--mask model/model.safetensors", "expected the name of a parameter and .rows"),
        ("--method mask", "with --mask"),
        ("--method columns:99", "the method columns:99: "),
        ("--method rows", "such as rows:3"),
        ("--select fisher --budget 99999999", "--budget 99999999: it is more than the method trains besides the head"),
        ("--select fisher --budget 3", "--budget 3: it holds none of the method's tensors"),
        ("--select fisher --budget 3 --method probe", "--select contradicts --method probe"),
    ] {
        let run = fixture.run(&format!("finetune --model model --train train.tsv --out out {flags}"));
        assert_eq!((run.stderr.lines().count(), run.stdout.as_str()), (1, ""), "{flags}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(words), "{flags}: {}", run.stderr);
        assert!(fixture.names("out").is_empty(), "{flags}");
    }
}
