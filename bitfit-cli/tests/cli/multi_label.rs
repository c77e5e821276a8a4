//! Several labels a text, from the data to the answers.

use serde_json::{Value, json};

use crate::fixture::{Fixture, keys, lines, texts};

const KIND: &str = "--kind multi-label";
const LEARN: &str = "--lr 1e-2 --epochs 12 --batch-size 8";
const PREDICT: &str = "predict -q --task-file out/task.safetensors";

/// Words of no class.
const EITHER: [&str; 12] = ["the", "a", "day", "was", "is", "meal", "room", "and", "so", "very", "one", "film"];

/// Texts with their labels: four good words are praise and strong, two are praise, none of a class are nothing, and bad
/// words are blame.
fn labelled(count: usize, seed: u64) -> Vec<(String, Vec<&'static str>)> {
    let shortened = |text: &str, most: usize| {
        let mut left = most;
        let keep = |word: &&str| EITHER.contains(word) || left.checked_sub(1).map(|rest| left = rest).is_some();
        text.split(' ').filter(keep).collect::<Vec<_>>().join(" ")
    };
    let labelled = |(i, (text, class)): (usize, (String, usize))| match (class, i / 2 % 3) {
        (0, 0) => (shortened(&text, 0), vec![]),
        (0, _) => (text, vec!["blame"]),
        (_, 0) => (shortened(&text, 2), vec!["praise"]),
        _ => (text, vec!["praise", "strong"]),
    };
    texts(count, seed).into_iter().enumerate().map(labelled).collect()
}

/// Ninety-six texts to train on and forty to evaluate, in files of one kind: a separator, lists or columns.
fn fixture(form: &str) -> Fixture {
    let fixture = Fixture::new();
    for (name, count, seed) in [("train", 96, 1), ("dev", 40, 2)] {
        let rows = labelled(count, seed);
        assert!(rows.iter().any(|(_, labels)| labels.is_empty()) && rows.iter().any(|(_, labels)| labels.len() == 2));
        let file = match form {
            "tsv" => rows.iter().map(|(text, labels)| format!("{text}\t{}\n", labels.join("; "))).collect::<String>(),
            "jsonl" => {
                rows.iter().map(|(text, labels)| format!("{}\n", json!({"text": text, "labels": labels}))).collect()
            }
            _ => {
                let has = |labels: &[&str], name| u8::from(labels.contains(&name));
                let row = |(text, l): &(String, Vec<&str>)| {
                    format!("{text},{},{},{}\n", has(l, "blame"), has(l, "praise"), has(l, "strong"))
                };
                rows.iter().map(row).collect()
            }
        };
        let header = match form {
            "tsv" => "text\tlabels\n",
            "jsonl" => "",
            _ => "text,blame,praise,strong\n",
        };
        fixture.write(&format!("{name}.{form}"), format!("{header}{file}"));
    }
    fixture
}

fn finetune(fixture: &Fixture, form: &str, flags: &str) -> (Value, String) {
    let run = fixture.run(&format!("finetune --model model --train train.{form} {KIND} --out out --overwrite {flags}"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    (run.json(), run.stderr)
}

#[test]
fn every_form_of_the_labels_is_the_same_task() {
    let mut results = Vec::new();
    for (form, columns, said) in [
        ("tsv", "", "3 labels separated by ';': blame "),
        ("jsonl", "", "3 labels: blame "),
        ("csv", "--label blame,praise,strong", "3 labels: blame "),
    ] {
        let fixture = fixture(form);
        let (result, plan) = finetune(&fixture, form, &format!("--eval dev.{form} {columns} {LEARN}"));
        assert!(plan.contains(said) && plan.contains(" without any"), "{plan}");
        assert!(!plan.contains("\nnote  "), "{plan}");
        let eval = fixture.run(&format!("eval -q --task-file out/task.safetensors --data dev.{form} {columns}")).json();
        assert_eq!((&eval["metrics"], &eval["kind"]), (&result["metrics"], &json!("multi-label")));
        let answers = fixture.run_with(PREDICT, "good day\nthe film\n").succeeded();
        results.push((
            result["metrics"].clone(),
            result["probe"].clone(),
            answers,
            fixture.bytes("out/task.safetensors").len(),
        ));
        let metadata = fixture.metadata("out/task.safetensors");
        assert_eq!(
            (metadata["kind"].as_str(), metadata["labels"].as_str()),
            ("multi-label", r#"["blame","praise","strong"]"#)
        );
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");
    let metrics = &results[0].0;
    assert_eq!(keys(metrics), ["micro-f1", "macro-f1", "subset-accuracy"]);
    assert!(metrics["micro-f1"].as_f64().unwrap() > 0.8, "{metrics}");
    assert!(results[0].1["micro-f1"].as_f64().unwrap() > 0.5, "the probe: {:?}", results[0].1);
}

#[test]
fn a_probe_is_the_result_and_a_task_file_the_first_head() {
    let fixture = fixture("tsv");
    let (result, _) = finetune(&fixture, "tsv", "--eval dev.tsv --method probe");
    assert_eq!(result["metrics"], result["probe"]);
    std::fs::rename(fixture.path("out/task.safetensors"), fixture.path("probe.safetensors")).unwrap();
    let (again, _) = finetune(&fixture, "tsv", "--eval dev.tsv --epochs 1 --lr 1e-9 --init-head probe.safetensors");
    assert_eq!(again["metrics"], result["metrics"], "nothing has moved yet");
    let (warm, _) = finetune(&fixture, "tsv", "--eval dev.tsv --epochs 1 --lr 1e-9 --init-head probe");
    assert_eq!(warm["metrics"], result["metrics"]);
}

#[test]
fn answers_hold_the_labels_of_half_a_probability_and_all_probabilities() {
    let fixture = fixture("tsv");
    finetune(&fixture, "tsv", LEARN);
    let plain: String = labelled(150, 9).into_iter().map(|(text, _)| text + "\n").collect();
    fixture.write("plain.txt", &plain);
    let json = fixture.run(&format!("{PREDICT} --input plain.txt --output-format jsonl")).succeeded();
    let text = fixture.run(&format!("{PREDICT} --input plain.txt")).succeeded();
    let mut counts = [0; 4];
    for (answer, line) in lines(&json).iter().zip(text.lines()) {
        assert_eq!(keys(answer), ["text", "labels", "probabilities"]);
        assert_eq!(keys(&answer["probabilities"]), ["blame", "praise", "strong"]);
        let all = answer["probabilities"].as_object().unwrap().iter();
        let given: Vec<_> = all.filter(|(_, p)| p.as_f64().unwrap() >= 0.5).collect();
        let names: Vec<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(answer["labels"], json!(names));
        let probabilities: Vec<String> = given.iter().map(|(_, p)| format!("{:.4}", p.as_f64().unwrap())).collect();
        let expected =
            format!("{}\t{}\t{}", names.join(";"), probabilities.join(";"), answer["text"].as_str().unwrap());
        assert_eq!(line, expected);
        counts[names.len()] += 1;
    }
    assert!(counts[0] > 0 && counts[1] > 0 && counts[2] > 0, "{counts:?}");
    // A text has the same answer, digit by digit, alone and in a batch.
    for (line, expected) in plain.lines().zip(json.lines()).take(5) {
        assert_eq!(
            fixture.run_with(&format!("{PREDICT} --output-format jsonl"), format!("{line}\n")).succeeded().trim(),
            expected
        );
    }
}

#[test]
fn what_is_not_understood_is_refused_with_the_way_out() {
    let fixture = fixture("tsv");
    finetune(&fixture, "tsv", "--epochs 1");
    fixture.write("unknown.tsv", "text\tlabels\ngood\tpraise;strong\nbad\tblame;loud\n");
    fixture.write("unsure.tsv", "text\tlabels\ngood\tarts, crafts\nbad\tmusic\n");
    for (command, parts) in [
        (
            "eval -q --task-file out/task.safetensors --data unknown.tsv",
            &["unknown.tsv, line 3: the label \"loud\""][..],
        ),
        (
            "finetune -q --model model --train train.tsv --eval unknown.tsv --kind multi-label --out o",
            &["unknown.tsv, line 3", "\"loud\""],
        ),
        (
            "finetune -q --model model --train unsure.tsv --kind multi-label --out o",
            &["unsure.tsv: ", "\"arts, crafts\"", "(--label-separator)"],
        ),
        (
            "finetune -q --model model --train unsure.tsv --label-separator ; --out o",
            &["--label-separator: ", "--kind multi-label"],
        ),
        (
            "finetune -q --model model --train train.tsv --kind multi-label --label gone --out o",
            &["\"gone\"", "(--label)"],
        ),
        (
            "finetune -q --model model --train train.tsv --kind multi-label --label labels,gone --out o",
            &["\"gone\"", "(--label)"],
        ),
    ] {
        let run = fixture.run(command);
        assert!(matches!(run.code, Some(1 | 2)) && run.stderr.lines().count() == 1, "{command}: {}", run.stderr);
        assert!(parts.iter().all(|part| run.stderr.contains(part)), "{command}: {}", run.stderr);
    }
    let unsure = "finetune -q --model model --train unsure.tsv --kind multi-label --epochs 1 --out o";
    assert_eq!(fixture.run(&format!("{unsure} --label-separator ,")).code, Some(0));
    assert_eq!(fixture.metadata("o/task.safetensors")["labels"], r#"["arts","crafts","music"]"#);
}
