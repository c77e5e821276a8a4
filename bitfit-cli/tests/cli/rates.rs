//! `--lr` with groups and `--layer-decay`: what the plan says, that they change what they should, and refusals.

use crate::fixture::Fixture;

const RUN: &str = "--eval dev.tsv --epochs 2 --batch-size 8";

#[test]
fn the_plan_shows_the_rate_of_each_group() {
    let fixture = Fixture::new();
    let run = fixture.run(&format!(
        "finetune --model model --train train.tsv --out out {RUN} --lr 2e-3,head=5e-3 --layer-decay 0.5"
    ));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for part in [
        "learning rate of head       0.005  (34 values)",
        "learning rate of bias       2.000e-3 in the highest layer, 5.000e-4 in the lowest  (288 values)",
    ] {
        assert!(run.stderr.contains(part), "{part}\n{}", run.stderr);
    }
    let run = fixture.run(&format!("finetune --model model --train train.tsv --out out {RUN} --lr 2e-3"));
    assert!(!run.stderr.contains("learning rate of"), "{}", run.stderr);
}

#[test]
fn one_rate_in_every_group_is_one_rate_and_others_are_not() {
    let fixture = Fixture::new();
    let tasks = ["--lr 4e-3", "--lr bias=4e-3,head=4e-3", "--lr 4e-3,head=1e-3", "--lr 4e-3 --layer-decay 0.9"];
    let losses = tasks.map(|flags| {
        fixture.finetune(&format!("{RUN} {flags}"));
        let log = fixture.read("out/metrics.jsonl");
        let tensors = fixture.bytes("out/task.safetensors");
        // Behind the header, which has the setting, are the values.
        let header = u64::from_le_bytes(tensors[..8].try_into().unwrap()) as usize;
        (tensors[8 + header..].to_vec(), log.lines().count())
    });
    assert!(losses[0] == losses[1], "one rate in every group");
    assert!(losses[0] != losses[2] && losses[0] != losses[3] && losses[2] != losses[3]);
}

#[test]
fn rates_that_cannot_be_are_refused() {
    let fixture = Fixture::new();
    for (flags, part) in [
        ("--lr weight=1e-4", "--lr weight=0.0001: nothing of this group trains with this method"),
        ("--lr layernorm=1e-4 --bias query", "--lr layernorm=0.0001: nothing of this group"),
        ("--lr bias=1e-4 --method frozen", "--lr bias=0.0001: nothing of this group"),
        ("--lr heads=1e-4", "--lr heads=1e-4: there is no group of tensors \"heads\"; expected head, bias"),
        ("--lr head=fast", "--lr head=fast: expected a number, or groups with one each"),
        ("--layer-decay 0", "--layer-decay 0: it must be a factor, above 0 and at most 1"),
        ("--layer-decay 1.1", "--layer-decay 1.1: it must be a factor"),
    ] {
        let run = fixture.run(&format!("finetune -q --model model --train train.tsv --out out {flags}"));
        assert!(matches!(run.code, Some(1 | 2)), "{flags}");
        assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{flags}: {}", run.stderr);
        assert!(run.stderr.contains(part), "{flags}: {}", run.stderr);
        assert!(fixture.names("out").is_empty(), "{flags}");
    }
}
