//! What a head reads, how pairs go through the model, and the probe.

use serde_json::json;

use crate::fixture::{Fixture, HIDDEN, POSITIONS};

/// Makes the fixture's model a sentence encoder.
fn make_sentence_encoder(fixture: &Fixture) {
    let module = |kind: &str, path: &str| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
    let modules = json!([module("Transformer", ""), module("Pooling", "1_Pooling")]);
    fixture.write("model/modules.json", modules.to_string());
    std::fs::create_dir(fixture.path("model/1_Pooling")).unwrap();
    fixture.write("model/1_Pooling/config.json", json!({"pooling_mode_mean_tokens": true}).to_string());
}

#[test]
fn a_sentence_encoder_is_read_as_it_was_trained_and_the_task_file_says_so() {
    let fixture = Fixture::new();
    make_sentence_encoder(&fixture);
    let run = fixture.run("finetune --model model --train train.tsv --eval dev.tsv --epochs 2 --out out");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let expected = "head      reads the mean over all tokens, as model/1_Pooling/config.json says";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    assert!(run.stderr.contains("over the frozen base, mean of its last layer"), "{}", run.stderr);
    assert_eq!(fixture.metadata("out/task.safetensors")["pooling"], "mean");
    assert!(!fixture.tensors("out/task.safetensors").contains_key("bert.pooler.dense.bias"), "it is not read");
    // What reads the task file does not look at the directory again.
    let scores = |fixture: &Fixture| fixture.run("eval --task-file out/task.safetensors --data dev.tsv").json();
    let before = scores(&fixture)["metrics"].clone();
    assert_eq!(before, run.json()["metrics"]);
    std::fs::remove_file(fixture.path("model/modules.json")).unwrap();
    assert_eq!(scores(&fixture)["metrics"], before);
}

#[test]
fn every_read_out_trains_and_answers() {
    let fixture = Fixture::new();
    make_sentence_encoder(&fixture);
    for pooling in ["pooler", "cls", "mean", "cls-normalized", "mean-normalized"] {
        let flags = format!("--pooling {pooling} --eval dev.tsv --lr 1e-2 --epochs 6 --batch-size 8");
        let result = fixture.finetune(&flags);
        assert!(result["metrics"]["accuracy"].as_f64().unwrap() > 0.85, "{pooling}: {result}");
        assert_eq!(fixture.metadata("out/task.safetensors")["pooling"], pooling);
        let answers = fixture.run_with("predict -q --task-file out/task.safetensors", "good day\nawful room\n");
        assert_eq!(answers.succeeded().lines().count(), 2);
    }
}

#[test]
fn a_directory_that_asks_for_what_is_not_known_is_refused_by_name() {
    let fixture = Fixture::new();
    make_sentence_encoder(&fixture);
    fixture.write("model/1_Pooling/config.json", json!({"pooling_mode_max_tokens": true}).to_string());
    let refused = |flags: &str| {
        let run = fixture.run(&format!("finetune -q --model model --train train.tsv --out out --overwrite {flags}"));
        (run.code, run.stderr)
    };
    let (code, message) = refused("");
    assert_eq!((code, message.lines().count()), (Some(1), 1), "{message}");
    assert!(message.contains("1_Pooling/config.json: ") && message.contains("max_tokens"), "{message}");
    assert_eq!(refused("--pooling cls --epochs 1").0, Some(0), "the way out");
    fixture.write("model/1_Pooling/config.json", json!({"pooling_mode_mean_tokens": true}).to_string());
    fixture.write("model/sentence_bert_config.json", json!({"do_lower_case": true, "max_seq_length": 4}).to_string());
    let settings = json!({"tokenizer_class": "BertTokenizer", "do_lower_case": false});
    fixture.write("model/tokenizer_config.json", settings.to_string());
    let (code, message) = refused("");
    assert_eq!((code, message.lines().count()), (Some(1), 1), "{message}");
    assert!(message.contains("model/sentence_bert_config.json: \"do_lower_case\": true is not supported"), "{message}");
    std::fs::remove_file(fixture.path("model/tokenizer_config.json")).unwrap();
    let run = fixture.run("finetune --model model --train train.tsv --out out --overwrite --epochs 1");
    let note = "texts are read beyond 4 tokens, where sentence-transformers cuts them (model/sentence_bert_config.json); \
                --max-length 4 cuts them there too";
    assert!(run.code == Some(0) && run.stderr.contains(note), "{}", run.stderr);
    let (code, message) = refused("--pooling mean --bias query,pooler");
    assert_eq!(code, Some(1));
    assert!(message.starts_with("error: --bias pooler: ") && message.lines().count() == 1, "{message}");
}

#[test]
fn a_probe_is_the_result_or_a_beginning_or_left_out() {
    let fixture = Fixture::new();
    let result = fixture.finetune("--method probe --eval dev.tsv");
    assert_eq!((&result["method"], &result["steps"], &result["biases"]), (&json!("probe"), &json!(0), &json!(0)));
    assert_eq!(result["metrics"], result["probe"]);
    assert!(result["metrics"]["accuracy"].as_f64().unwrap() > 0.85, "{result}");
    let eval = fixture.run("eval -q --task-file out/task.safetensors --data dev.tsv").json();
    assert_eq!(eval["metrics"], result["metrics"]);
    assert_eq!(fixture.tensors("out/task.safetensors").len(), 2, "the head alone");

    let run = fixture.run("finetune --model model --train train.tsv --method probe --seed 3 --out out --overwrite");
    let plan = format!(
        "training  the head is fitted to its optimum in one pass over texts of at most {POSITIONS} tokens; seed 3\ndevice "
    );
    assert!(run.code == Some(0) && run.stderr.contains(&plan), "{}", run.stderr);
    assert!(!run.stderr.contains("learning rate") && !run.stderr.contains(" steps"), "{}", run.stderr);

    // At this rate nothing moves. Over cls and mean a run begins with the probe, over a pooler it is told to.
    let still = |flags: &str| fixture.finetune(&format!("--eval dev.tsv --epochs 1 --lr 1e-9 {flags}"));
    for flags in ["--init-head probe", "--pooling mean", "--pooling cls"] {
        let begun = still(flags);
        assert_eq!(begun["metrics"], begun["probe"], "{flags}");
    }
    for flags in ["", "--pooling mean --init-head random"] {
        let begun = still(flags);
        assert_ne!(begun["metrics"], begun["probe"], "{flags}");
    }
    assert_eq!(fixture.finetune("--no-probe --eval dev.tsv --epochs 1")["probe"], json!(null));
    assert_eq!(fixture.finetune("--epochs 1")["probe"], json!(null), "there is nothing to score it on");

    for (flags, culprit) in [
        ("--method probe --no-probe", "--no-probe"),
        ("--method probe --bias query", "--bias"),
        ("--method probe --micro-batch 4", "--micro-batch"),
        ("--method probe --init-head random", "--init-head"),
        ("--method probe --lr 7", "--lr"),
        ("--method probe --layer-decay 0.5", "--layer-decay"),
        ("--method probe --epochs 4", "--epochs"),
        ("--method probe --batch-size 3", "--batch-size"),
        ("--method probe --schedule linear", "--schedule"),
        ("--method probe --warmup 0.1", "--warmup"),
        ("--method probe --weight-decay 0.3", "--weight-decay"),
        ("--method probe --clip none", "--clip"),
        ("--method probe --dropout 0", "--dropout"),
        ("--method probe --tensorboard", "--tensorboard"),
        ("--no-probe --init-head probe", "--no-probe"),
    ] {
        let run = fixture.run(&format!("finetune --model model --train train.tsv --out never {flags}"));
        assert_eq!(run.code, Some(2), "{flags}");
        assert!(run.stderr.starts_with(&format!("error: {culprit} ")), "{}", run.stderr);
    }
}

#[test]
fn the_texts_of_a_pair_can_be_encoded_apart() {
    let fixture = Fixture::new();
    let words = ["good", "bad", "great", "awful", "lovely", "nasty"];
    let row = |i: usize| {
        let (a, b) = (words[i % 6], words[i / 6 % 6]);
        format!("the {a} day\tone {b} room\t{}\n", if i % 2 == i / 6 % 2 { "alike" } else { "apart" })
    };
    let table = |rows: usize| format!("sentence1\tsentence2\tlabel\n{}", (0..rows).map(row).collect::<String>());
    fixture.write("pairs.tsv", table(108));
    let line =
        "finetune -q --model model --train pairs.tsv --eval pairs.tsv --pair separate --out out --overwrite --pooling";
    for pooling in ["mean", "pooler"] {
        let result = fixture.run(&format!("{line} {pooling} --lr 1e-2 --epochs 8")).json();
        assert!(result["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{result}");
        assert_eq!(fixture.metadata("out/task.safetensors")["pair"], "separate");
        assert_eq!(fixture.tensors("out/task.safetensors")["classifier.weight"], [2, 4 * HIDDEN]);
        let eval = fixture.run("eval -q --task-file out/task.safetensors --data pairs.tsv").json();
        assert_eq!(eval["metrics"], result["metrics"]);
        let answers = fixture.run_with("predict -q --task-file out/task.safetensors", "a good meal\tso bad\n");
        assert_eq!(answers.succeeded().lines().count(), 1);
    }
    // The frozen layers' outputs are kept for both texts.
    let cached = |size: &str| {
        let flags = format!("{line} mean --layers 1 --dropout 0 --epochs 2 --prefix-cache {size}");
        fixture.run(&flags).json()["metrics"].clone()
    };
    assert_eq!(cached("1G"), cached("0"));

    let run = fixture.run("finetune --model model --train train.tsv --pair separate --out never");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("error: --pair separate: "), "{}", run.stderr);
}
