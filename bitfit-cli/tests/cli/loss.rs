//! How rows count in the loss, which metric chooses, and when a run ends.

use crate::fixture::Fixture;

const FINETUNE: &str = "finetune --model model --train train.tsv --out out --overwrite";

#[test]
fn weights_smoothing_and_the_focal_loss_are_planned_recorded_and_change_the_task() {
    let fixture = Fixture::new();
    fixture.write("weights.tsv", "praise\t3\nblame\t0.5\n");
    fixture.write("weights.json", "{\"blame\": 0.5, \"praise\": 3}");
    let task = |flags: &str| {
        let run = fixture.run(&format!("{FINETUNE} --lr 1e-2 {flags}"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        (fixture.bytes("out/task.safetensors"), run.stderr, fixture.metadata("out/task.safetensors"))
    };
    let (plain, said, metadata) = task("");
    assert!(!said.contains("\nloss ") && !metadata["hyperparameters"].contains("class_weights"), "{said}");
    let (by_lines, said, metadata) = task("--class-weight weights.tsv");
    assert!(said.contains("cross-entropy; classes weighted, from 0.500 (blame) to 3.000 (praise)"), "{said}");
    assert!(metadata["hyperparameters"].contains("\"class_weights\":[0.5,3.0]"));
    assert!(by_lines == task("--class-weight weights.json").0 && by_lines != plain);
    let (smoothed, said, metadata) = task("--label-smoothing 0.1 --class-weight balanced");
    assert!(said.contains("label smoothing 0.1"), "{said}");
    assert!(metadata["hyperparameters"].contains("\"label_smoothing\":0.1"));
    let (focal, _, metadata) = task("--focal 2");
    assert!(smoothed != focal && !metadata["hyperparameters"].contains("class_weights"), "all count alike");
    let (_, _, metadata) = task("--label-smoothing 0.1");
    assert!(!metadata["hyperparameters"].contains("class_weights"), "all count alike");
}

#[test]
fn the_first_metric_chooses_and_the_run_ends_without_a_better_score() {
    let fixture = Fixture::new();
    let result = fixture.finetune("--eval dev.tsv --epochs 2 --metric f1,accuracy");
    assert_eq!(result["best"]["metric"], "f1");
    assert_eq!(crate::fixture::keys(&result["metrics"]), ["f1", "accuracy"]);
    let run = fixture.run(&format!("{FINETUNE} --eval dev.tsv --epochs 50 --lr 1e-30 --patience 2"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("ends after 2 evaluations without a better score"), "{}", run.stderr);
    assert!(run.stderr.contains("\nfinished early: out/task.safetensors"), "{}", run.stderr);
    let result = run.json();
    assert_eq!((&result["epochs"], &result["end"]), (&3.into(), &"finished early".into()));
    let run = fixture.run(&format!("{FINETUNE} --eval dev.tsv --epochs 1 --eval-every 3"));
    assert!(run.stderr.contains("\nepoch 1/1, step 3  mean loss "), "{}", run.stderr);
    assert!(run.stderr.contains(", epoch 1, step "), "{}", run.stderr);
    assert!(fixture.metadata("out/task.safetensors")["best"].contains("\"step\":"));
    assert!(fixture.read("out/metrics.jsonl").contains("{\"epoch\":1,\"step\":3,\"eval\":{"));
}

#[test]
fn what_does_not_suit_the_task_is_refused_by_its_flag() {
    let fixture = Fixture::new();
    fixture.write("weights.tsv", "praise\t3\n");
    for (flags, reason) in [
        ("--class-weight weights.tsv", "weights.tsv: the class \"blame\" has no weight"),
        ("--class-weight nowhere", "--class-weight nowhere: expected balanced or a file"),
        ("--label-smoothing 1", "--label-smoothing 1: it must be at least 0 and below 1"),
        ("--focal -1", "--focal -1: it must be a number of at least 0"),
        ("--focal 2 --label-smoothing 0.1", "--focal 2: with label smoothing it has no meaning"),
        ("--kind multi-label --focal 2", "--focal 2: only a task that chooses one class"),
        ("--kind regress --class-weight balanced", "--class-weight balanced: only a task that chooses one class"),
        ("--metric pearson", "--metric pearson: it is a metric of another kind of task"),
        ("--metric f1,f1", "--metric f1: it is listed twice"),
        ("--patience 2", "--patience: it needs an evaluation set, and none is given (--eval)"),
        ("--eval-every 2", "--eval-every: it needs an evaluation set, and none is given (--eval)"),
        ("--eval dev.tsv --patience 0", "--patience 0: expected a whole number from 1 to "),
        ("--eval dev.tsv --eval-every 0", "--eval-every 0: expected a whole number from 1 to "),
    ] {
        let run = fixture.run(&format!("{FINETUNE} {flags}"));
        let is_of_a_file = ["weights.tsv", "nowhere"].iter().any(|file| flags.ends_with(file));
        assert_eq!(run.code, Some(if is_of_a_file { 1 } else { 2 }), "{flags}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{flags}: {}", run.stderr);
        assert!(run.stderr.contains(reason), "{flags}: {}", run.stderr);
    }
    let run = fixture.run(&format!("{FINETUNE} --metric nonsense"));
    assert_eq!(run.code, Some(2));
}
