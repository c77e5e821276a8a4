//! `merge`, `extract`, `inspect` and `average`.

use serde_json::{Value, json};

use crate::fixture::{Fixture, keys};

const TASK: &str = "out/task.safetensors";

#[test]
fn a_task_goes_through_a_merged_directory_and_back_byte_by_byte() {
    let fixture = Fixture::new();
    let labels = json!({"0": "blame", "1": "praise"});
    for (flags, library, class, opened_by, named) in [
        ("--epochs 1", "transformers", "BertForSequenceClassification", "from_pretrained and pipeline", labels),
        (
            "--epochs 1 --pooling mean --method bitfit+rows:1",
            "sentence-transformers",
            "BertModel",
            "SentenceTransformer opens it",
            // A class of transformers would answer by them with a head that it draws itself.
            Value::Null,
        ),
    ] {
        fixture.finetune(flags);
        let merged = format!("merged-{library}");
        let run = fixture.run(&format!("merge --task-file {TASK} --out {merged}"));
        assert!(run.stderr.contains(&format!("{class} of {library}")), "{}", run.stderr);
        assert!(run.stderr.contains(opened_by), "{}", run.stderr);
        let report = run.json();
        assert_eq!((&report["library"], &report["class"]), (&json!(library), &json!(class)));
        let mut names = vec!["README.md", "bitfit.json", "config.json", "model.safetensors", "vocab.txt"];
        if library == "sentence-transformers" {
            names.extend(["1_Pooling", "2_Dense", "modules.json", "sentence_bert_config.json"]);
        }
        names.sort_unstable();
        assert_eq!(fixture.names(&merged), names);
        let config: Value = serde_json::from_str(&fixture.read(&format!("{merged}/config.json"))).unwrap();
        assert_eq!(config["architectures"], json!([class]));
        assert_eq!(config["id2label"], named);
        assert!(fixture.read(&format!("{merged}/bitfit.json")).contains(r#"[\"blame\",\"praise\"]"#));
        let run = fixture.run(&format!("extract --model model --checkpoint {merged} --out back-{library}"));
        assert!(run.stderr.contains("as the merged task file says"), "{}", run.stderr);
        let report = run.json();
        assert_eq!((&report["was_merged"], &report["not_held"]), (&json!(true), &json!([])));
        assert!(fixture.bytes(&format!("back-{library}/task.safetensors")) == fixture.bytes(TASK));
        assert!(fixture.read(&format!("back-{library}/README.md")).contains("library_name: bitfit"));
    }
}

#[test]
fn a_checkpoint_without_a_header_gives_a_task_file_with_the_same_answers() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1 --bias query,output --max-length 20");
    fixture.run(&format!("merge -q --task-file {TASK} --out merged")).succeeded();
    std::fs::remove_file(fixture.path("merged/bitfit.json")).unwrap();
    let extract = "extract --model model --checkpoint merged --max-length 20 --out other.safetensors";
    let run = fixture.run(extract);
    assert!(run.stderr.contains("tensors of the encoder differ") && run.stderr.contains("wrote other.safetensors"));
    let report = run.json();
    assert_eq!((&report["method"], &report["kind"]), (&json!("bitfit:query+output"), &json!("classify")));
    assert_eq!(report["moved"].as_array().unwrap().len(), 4, "{}", report["moved"]);
    let answers = |task: &str| {
        fixture.run(&format!("predict --task-file {task} --input dev.tsv --output-format jsonl")).succeeded()
    };
    assert_eq!(answers("other.safetensors"), answers(TASK));
    let run = fixture.run(extract);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("--out other.safetensors: it is there already"), "{}", run.stderr);
}

#[test]
fn what_is_in_task_files_is_shown_and_compared() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1 --eval dev.tsv --seeds 0,1");
    let run = fixture.run(&format!("inspect {TASK}"));
    for part in ["method    bitfit", "classifier.weight", "Mean absolute value by kind and layer", "intermediate"] {
        assert!(run.stderr.contains(part), "{part}\n{}", run.stderr);
    }
    assert_eq!(run.json()["differences"], Value::Null);
    let run =
        fixture.run("inspect out/seed-0/task.safetensors out/seed-1/task.safetensors --model model --svg map.svg");
    assert!(run.stderr.contains("Mean absolute change") && run.stderr.contains("cosine of the changes, encoder"));
    let report = run.json();
    assert_eq!(report["differences"]["fields"]["seed"], json!([0, 1]));
    let file = &report["files"][0];
    assert!(keys(&file["heat_map"]).contains(&"query"), "{file}");
    assert_eq!(file["heat_map"]["key"], json!([0.0, 0.0]), "key biases never move");
    assert!(file["encoder"]["norm"].as_f64().unwrap() > 0.0);
    let cosine = &report["differences"]["cosines"]["encoder"];
    assert!((cosine[0][0].as_f64().unwrap() - 1.0).abs() < 1e-9 && cosine[0][1].as_f64().unwrap() < 0.999, "{cosine}");
    assert_eq!(fixture.read("map.svg").matches("Mean absolute change").count(), 2);
    fixture.finetune("--method probe --eval dev.tsv");
    let probe = fixture.run(&format!("inspect {TASK}"));
    assert!(probe.stderr.contains("encoder   nothing was trained\n"), "{}", probe.stderr);
    assert!(probe.stderr.contains("\nmethod    probe, ") && !probe.stderr.contains("epoch"), "{}", probe.stderr);
    assert_eq!(probe.json()["files"][0]["method"], "probe");
    assert!(!probe.stdout.contains("-0.0"), "{}", probe.stdout);
    let quiet = fixture.run(&format!("inspect -q {TASK}"));
    assert_eq!(quiet.stderr, "");
    quiet.json();
}

#[test]
fn the_mean_of_seeds_is_scored_beside_them() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 2 --eval dev.tsv --seeds 0,1");
    let files = "out/seed-0/task.safetensors out/seed-1/task.safetensors";
    let run = fixture.run(&format!("average {files} --data dev.tsv --out mean"));
    assert!(run.stderr.contains("their mean") && run.stderr.contains("the mean of 2 task files"), "{}", run.stderr);
    let report = run.json();
    let scores = &report["scores"];
    assert_eq!((scores["files"].as_array().unwrap().len(), &scores["rows"]), (2, &json!(32)));
    assert_eq!((&report["device"], report["precision"].is_string()), (&json!("cpu"), true));
    let unscored = fixture.run(&format!("average -q {files} --out unscored")).json();
    assert_eq!((&unscored["device"], &unscored["precision"]), (&Value::Null, &Value::Null), "nothing is computed");
    let unread = fixture.run(&format!("average {files} --out unread --text body"));
    assert_eq!(
        (unread.code, unread.stderr.as_str()),
        (Some(2), "error: --text: no file of texts is read without --data\n")
    );
    let twice = fixture.run("average out/seed-0/task.safetensors out/./seed-0/task.safetensors --out twice");
    assert_eq!((twice.code, twice.stdout.as_str()), (Some(2), ""));
    assert!(twice.stderr.contains("out/./seed-0/task.safetensors: it is listed twice"), "{}", twice.stderr);
    let eval = fixture.run("eval -q --task-file mean/task.safetensors --data dev.tsv").json();
    assert_eq!(eval["metrics"], scores["mean"]);
    assert_eq!(fixture.metadata("mean/task.safetensors")["best"], "null");
    std::fs::rename(fixture.path("out/seed-0/task.safetensors"), fixture.path("seed-0.safetensors")).unwrap();
    fixture.finetune("--epochs 1 --bias query");
    assert!(fixture.names("out/seed-1").is_empty(), "nothing of the earlier runs is left to be averaged");
    let run = fixture.run(&format!("average seed-0.safetensors {TASK} --out other"));
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.contains("\"method\" is \"bitfit:query\""), "{}", run.stderr);
    assert!(fixture.names("other").is_empty());
    let run = fixture.run(&format!("average {TASK} --out other"));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
}

#[test]
fn what_cannot_be_merged_or_extracted_is_refused_by_name() {
    let fixture = Fixture::new();
    fixture.finetune("--epochs 1");
    let refused = |line: &str, words: &str| {
        let run = fixture.run(line);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{line}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(words), "{line}: {}", run.stderr);
        assert!(run.stderr.lines().count() == 1 && !run.stderr.contains(".partial"), "{}", run.stderr);
    };
    refused(&format!("merge --task-file {TASK} --out model"), "model: it is there already");
    refused("merge --task-file gone.safetensors --out merged", "gone.safetensors");
    refused("extract --model model --checkpoint gone --out back", "error: --checkpoint gone: No such file");
    refused("extract --model model --checkpoint dev.tsv --out back", "error: --checkpoint dev.tsv: not a directory");
    refused(&format!("merge --task-file {TASK} --out gone/m"), "error: --out gone/m: No such file");
    refused(&format!("merge --task-file {TASK} --out model/vocab.txt/m"), "error: --out model/vocab.txt/m: Not a dir");
    refused("merge --task-file out --out merged", "error: out: is a directory; its task file is out/task.safetensors");
    refused("extract --model model --checkpoint model --out back", "\"architectures\": null is not supported");
    refused("inspect train.tsv", "train.tsv: ");
    assert!(fixture.names("merged").is_empty() && fixture.names("back").is_empty());
}
