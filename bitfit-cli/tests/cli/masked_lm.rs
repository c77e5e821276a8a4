//! Masked language modelling from end to end: plain texts in, a task file and a base model of its own, perplexity, and
//! masks that are filled.

use std::fs;

use bitfit_core::Random;
use serde_json::{Value, json};

use crate::fixture::{Fixture, lines, model, texts};

/// The texts of the fixture without their labels, with its model and a head for masked language modelling.
fn fixture() -> Fixture {
    let fixture = Fixture::new();
    let plain = |count, seed| texts(count, seed).into_iter().map(|(text, _)| text + "\n").collect::<String>();
    fixture.write("train.txt", plain(96, 1));
    fixture.write("dev.txt", plain(40, 2));
    let mut model = model().with_masked_lm();
    let mut random = Random::new(6, 0);
    for (name, tensor) in model.tensors.iter_mut().filter(|(name, _)| name.starts_with("cls.")) {
        let is_scale = name.ends_with("LayerNorm.weight");
        tensor.data.iter_mut().for_each(|x| *x = if is_scale { 1.0 } else { random.normal() as f32 * 0.3 });
    }
    fixture.write("model/model.safetensors", model.bytes());
    fixture
}

const FINETUNE: &str = "finetune -q --kind mlm --model model --train train.txt --eval dev.txt --dropout 0";

fn perplexity(result: &Value) -> f64 {
    result["metrics"]["perplexity"].as_f64().unwrap()
}

#[test]
fn a_model_adapts_to_texts_and_the_epoch_of_the_lowest_perplexity_is_kept() {
    let fixture = fixture();
    let before = fixture.run(&format!("{FINETUNE} --out before --epochs 1 --lr 1e-9")).json();
    let result = fixture.run(&format!("{FINETUNE} --out out --overwrite --epochs 8 --lr 2e-2")).json();
    assert!(perplexity(&result) < 0.6 * perplexity(&before), "{result} {before}");
    assert_eq!((&result["probe"], &result["best"]["metric"]), (&Value::Null, &json!("perplexity")));
    let scores = lines(&fixture.read("out/metrics.jsonl"));
    let scores: Vec<f64> = scores.iter().filter_map(|line| line["eval"]["perplexity"].as_f64()).collect();
    assert_eq!(scores.len(), 8);
    let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(result["best"]["value"], json!(lowest));

    let metadata = fixture.metadata("out/task.safetensors");
    assert_eq!((&*metadata["kind"], &*metadata["pooling"], &*metadata["labels"]), ("mlm", "tokens", "null"));
    assert!(metadata["hyperparameters"].contains(r#""masking":{"probability":0.15,"whole_words":false}"#));
    let tensors = fixture.tensors("out/task.safetensors");
    assert!(tensors.keys().all(|name| name.ends_with(".bias")), "{tensors:?}");
    assert_eq!(tensors["cls.predictions.bias"], [41]);

    let eval = fixture.run("eval -q --task-file out/task.safetensors --data dev.txt").json();
    assert_eq!((&eval["metrics"], &eval["kind"]), (&result["metrics"], &json!("mlm")));
}

#[test]
fn the_same_run_is_the_same_file_and_labels_threads_and_batches_of_an_evaluation_change_nothing() {
    let fixture = fixture();
    let run = |flags: &str| {
        let result = fixture.run(&format!("{FINETUNE} --epochs 2 --lr 1e-2 --out out --overwrite {flags}")).json();
        (fixture.bytes("out/task.safetensors"), result["metrics"].clone())
    };
    let once = run("--threads 1");
    assert!(once == run("--threads 3"));
    assert!(once.0 != run("--seed 1").0);
    // The evaluation's masks do not depend on the seed.
    let scores = |seed: u32| {
        fixture.run(&format!("{FINETUNE} --epochs 1 --lr 1e-12 --out out --overwrite --seed {seed}")).json()["metrics"]
            .clone()
    };
    assert_eq!(scores(1), scores(2));
    assert_ne!(run("--whole-word --mask-probability 0.4").1, once.1);
    let table = |file: &str| {
        let rows = fixture.read(file);
        format!("text\tlabel\n{}", rows.lines().map(|text| format!("{text}\tx\n")).collect::<String>())
    };
    fixture.write("train.tsv", table("train.txt"));
    fixture.write("dev.tsv", table("dev.txt"));
    fixture.run(&format!("{FINETUNE} --epochs 2 --lr 1e-2 --out out --overwrite").replace(".txt", ".tsv")).json();
    assert!(once.0 == fixture.bytes("out/task.safetensors"), "labels are ignored");
}

#[test]
fn a_frozen_encoder_with_the_heads_biases_alone_and_with_upper_layers_trains() {
    let fixture = fixture();
    let frozen = fixture.run(&format!("{FINETUNE} --method frozen --out out --overwrite --epochs 2 --lr 1e-2")).json();
    assert_eq!(frozen["biases"], 0);
    let names = fixture.tensors("out/task.safetensors");
    let head =
        ["cls.predictions.bias", "cls.predictions.transform.LayerNorm.bias", "cls.predictions.transform.dense.bias"];
    assert!(names.keys().eq(head), "{names:?}");
    let upper = fixture.run(&format!("{FINETUNE} --layers 1 --out out --overwrite --epochs 2 --lr 1e-2")).json();
    assert!(perplexity(&upper) < perplexity(&frozen) * 1.1);
}

#[test]
fn the_new_base_answers_as_the_task_does_and_is_fine_tuned_further() {
    for flags in ["--lr 1e-2", "--method full --lr 1e-3"] {
        let fixture = fixture();
        let result =
            fixture.run(&format!("{FINETUNE} --epochs 4 {flags} --out out --overwrite --save-base new")).json();
        check_new_base(&fixture, &result);
    }
}

fn check_new_base(fixture: &Fixture, result: &Value) {
    assert_eq!(result["base_dir"], "new");
    assert_eq!(fixture.names("new"), ["config.json", "model.safetensors", "vocab.txt"]);
    assert_eq!(fixture.tensors("new/model.safetensors"), fixture.tensors("model/model.safetensors"));
    assert_eq!(fixture.metadata("new/model.safetensors")["format"], "pt");
    let again = "finetune -q --kind mlm --model new --train train.txt --eval dev.txt --dropout 0 --epochs 1 --lr 1e-12";
    let again = fixture.run(&format!("{again} --out again")).json();
    assert!((perplexity(&again) / perplexity(result) - 1.0).abs() < 1e-6, "{again} {result}");
    let text = "the [MASK] day was good\n";
    let answer =
        |task: &str| fixture.run_with(&format!("predict -q --task-file {task}/task.safetensors"), text).succeeded();
    assert_eq!(answer("out"), answer("again"));
    // The task file belongs to the old base, and the new one to any task.
    let other = fixture.run("eval -q --model new --task-file out/task.safetensors --data dev.txt");
    assert!(other.stderr.contains("other weights"), "{}", other.stderr);
    let labelled =
        fixture.run("finetune -q --model new --train train.tsv --eval dev.tsv --out labels --epochs 3").json();
    assert_eq!(labelled["end"], "finished");
}

#[test]
fn masks_are_filled_with_the_most_probable_tokens_alone_as_in_any_batch() {
    let fixture = fixture();
    fixture.run(&format!("{FINETUNE} --epochs 2 --lr 1e-2 --out out --overwrite")).json();
    let task = "predict -q --task-file out/task.safetensors";
    let mut texts: Vec<String> =
        fixture.read("dev.txt").lines().map(|text| text.replacen("the", "[MASK]", 1)).collect();
    texts.iter_mut().filter(|text| !text.contains("[MASK]")).for_each(|text| *text += " [MASK] and [MASK]");
    fixture.write("masked.txt", texts.join("\n"));
    let together = fixture.run(&format!("{task} --output-format jsonl --input masked.txt")).succeeded();
    let together: Vec<&str> = together.lines().collect();
    assert_eq!(together.len(), texts.len());
    for (text, line) in texts.iter().zip(&together).step_by(7) {
        let alone = fixture.run_with(&format!("{task} --output-format jsonl"), text.as_str()).succeeded();
        assert_eq!(alone.trim_end(), *line);
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["text"], json!(text));
        let masks = answer["masks"].as_array().unwrap();
        assert_eq!(masks.len(), text.matches("[MASK]").count());
        for mask in masks {
            let probabilities: Vec<f64> =
                mask.as_array().unwrap().iter().map(|fill| fill["probability"].as_f64().unwrap()).collect();
            assert!(probabilities.len() == 5 && probabilities.is_sorted_by(|a, b| a >= b), "{line}");
        }
    }
    let lines = fixture.run_with(task, "a [MASK] and [MASK]\nthe [MASK]\n").succeeded();
    let lines: Vec<&str> = lines.split('\n').collect();
    assert_eq!(lines.iter().map(|line| line.split('\t').count()).collect::<Vec<_>>(), [10, 10, 1, 10, 1, 1]);
}

#[test]
fn a_text_without_a_mask_is_refused_by_line() {
    let fixture = fixture();
    fixture.run(&format!("{FINETUNE} --epochs 1 --out out --overwrite")).json();
    let task = "predict -q --task-file out/task.safetensors";
    let run = fixture.run_with(task, "a [MASK]\nno mask\nthe [MASK]\n");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("<stdin>, line 2: there is no mask to fill: put [MASK]"), "{}", run.stderr);
    assert_eq!(run.stdout.lines().count(), 2, "the line before it is answered");
    fixture.write("late.csv", format!("text\n{}[MASK]\n", "good ".repeat(60)));
    let run = fixture.run(&format!("{task} --input late.csv"));
    assert!(run.stderr.contains("late.csv, line 2: there is no mask to fill among its first 48"), "{}", run.stderr);
}

#[test]
fn a_plan_says_what_is_masked_and_that_nothing_is_cut() {
    let fixture = fixture();
    let long = format!("{}\nshort one\n", "the good day was bad ".repeat(40));
    fixture.write("train.txt", long + "strange unknown\n");
    let run = fixture.run(&format!("{FINETUNE} --epochs 1 --whole-word --out out --overwrite").replace("-q ", ""));
    for words in [
        "15 % of the words are masked",
        "reads the masked tokens, and is the checkpoint's own, of which the biases train",
        "biases of the head           3 tensors",
        "1 of 3 texts are longer than 48 tokens and are read in several sequences, so that nothing is left out: 6 sequences",
        "no token of 1 row can be masked",
    ] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    // 200 tokens of the long text, two of the short one, two special ones for each sequence.
    assert!(run.stderr.contains("6 rows (214 tokens)"), "{}", run.stderr);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let fixture = fixture();
    fixture.write("pairs.txt", "good day\tbad day\n");
    fixture.write("unknown.txt", "EVQLVESGG\n");
    fs::create_dir(fixture.path("there")).unwrap();
    fs::create_dir(fixture.path("plain")).unwrap();
    fixture.write("plain/vocab.txt", fixture.read("model/vocab.txt"));
    model().write(&fixture.path("plain"));
    for (flags, words) in [
        ("--kind mlm --pooling mean", &["--pooling mean", "the masked tokens"][..]),
        ("--kind mlm --init-head probe", &["--init-head probe", "the checkpoint's own"]),
        ("--kind mlm --init-head random", &["--init-head random", "the checkpoint's own"]),
        ("--kind mlm --method probe", &["--method probe", "choose bitfit or frozen"]),
        ("--kind mlm --mask-probability 0", &["--mask-probability 0", "above 0"]),
        ("--kind mlm --mask-probability 1.5", &["--mask-probability 1.5", "at most 1"]),
        ("--kind mlm --label text", &["--label", "need no labels"]),
        ("--kind mlm --pair separate", &["--pair separate"]),
        ("--kind mlm --train pairs.txt", &["pairs.txt, line 1", "single"]),
        ("--kind mlm --train unknown.txt", &["unknown.txt", "none of its texts has a token that can be masked"]),
        ("--kind mlm --eval unknown.txt", &["unknown.txt", "none of its texts has a token that can be masked"]),
        ("--kind mlm --save-base there", &["--save-base there", "there already"]),
        ("--kind mlm --save-base gone/new", &["gone/new"]),
        ("--kind mlm --save-base never", &["never", "there already"]),
        (
            "--kind mlm --model plain",
            &["plain/model.safetensors", "no cls.predictions.transform.dense.weight", "take a"],
        ),
        ("--kind regress --whole-word", &["--whole-word", "--kind mlm"]),
        ("--mask-probability 0.2", &["--mask-probability", "--kind mlm"]),
        ("--kind tag --save-base new", &["--save-base new", "mlm"]),
        ("--kind mlm --task sst2", &["--kind mlm", "--task sst2"]),
    ] {
        let mut line = "finetune -q --model model --out never --train train.txt".to_owned();
        for flag in ["--model", "--train"].into_iter().filter(|flag| flags.contains(&format!("{flag} "))) {
            line = line.replace(&format!("{flag} {}", if flag == "--model" { "model" } else { "train.txt" }), "");
        }
        let run = fixture.run(&format!("{line} {flags}"));
        assert!(matches!(run.code, Some(1 | 2)), "{flags}: {}", run.stderr);
        assert!(words.iter().all(|word| run.stderr.contains(word)), "{flags}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{flags}: {}", run.stderr);
        assert!(!fixture.path("never").exists(), "{flags}");
    }
    assert!(fixture.names("there").is_empty());
}
