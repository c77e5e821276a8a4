//! What the plan of a run tells a person before it starts.

use crate::fixture::{Fixture, POSITIONS, model};

/// The plan of a run on a file with flags, which must succeed.
fn plan(fixture: &Fixture, flags: &str) -> String {
    let run = fixture.run(&format!("finetune --model model --epochs 1 --out out --overwrite {flags}"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stderr
        .lines()
        .take_while(|line| !line.starts_with("step") && !line.starts_with("epoch"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The lines that begin with `note`.
fn notes(plan: &str) -> Vec<&str> {
    plan.lines().filter_map(|line| line.strip_prefix("note")).map(str::trim).collect()
}

#[test]
fn a_clean_set_has_classes_with_their_counts_and_no_note() {
    let fixture = Fixture::new();
    let plan = plan(&fixture, "--train train.tsv");
    assert!(plan.contains("; 2 classes: blame 32, praise 32"), "{plan}");
    assert!(notes(&plan).is_empty(), "{plan}");
}

#[test]
fn a_tokenizer_that_may_be_another_models_is_pointed_out() {
    let fixture = Fixture::new();
    let mut model = model();
    let tokens = model.config["vocab_size"].as_u64().unwrap();
    model.config["vocab_size"] = (tokens + 1_000).into();
    let words = model.tensors.iter_mut().find(|(name, _)| name.ends_with("word_embeddings.weight")).unwrap().1;
    words.shape[0] += 1_000;
    words.data.resize(words.shape.iter().product(), 0.0);
    model.write(&fixture.path("model"));
    let plan = plan(&fixture, "--train train.tsv");
    let expected = format!("the tokenizer has {tokens} tokens, and the model embeddings of 1,0{tokens}: ");
    assert!(notes(&plan)[0].starts_with(&expected), "{plan}");
}

#[test]
fn one_row_is_in_the_singular() {
    let fixture = Fixture::new();
    let plan = plan(&fixture, "--train train.tsv --limit 1 --batch-size 1");
    assert!(plan.contains(" 1 row (") && plan.contains("1 step; a batch is 1 text, of at most"), "{plan}");
    fixture.write("one.tsv", "text\tlabel\ngood day\tpraise\n");
    let scored = fixture.run("eval --task-file out/task.safetensors --data one.tsv");
    assert!(scored.stderr.contains("  (1 row, "), "{}", scored.stderr);
}

#[test]
fn texts_that_are_evaluated_and_trained_on_and_classes_without_rows_are_noted() {
    let fixture = Fixture::new();
    let said = plan(&fixture, "--train train.tsv --eval train.tsv");
    let expected = "64 of 64 evaluation texts are also trained on, so that their scores say little of other texts";
    assert_eq!(notes(&said), [expected]);
    model().with_masked_lm().write(&fixture.path("model"));
    fixture.write("mlm.txt", "good day\nbad room\n");
    let said = plan(&fixture, "--kind mlm --train mlm.txt --eval mlm.txt");
    assert!(notes(&said)[0].starts_with("2 of 2 evaluation texts are also trained on"), "{said}");
    let rows: String = (0..12).map(|row| format!("a good day {row}\tclass-{}\n", row % 4)).collect();
    fixture.write("classes.tsv", format!("text\tlabel\n{rows}"));
    let said = plan(&fixture, "--train classes.tsv --limit 1");
    assert!(notes(&said)[0].starts_with("3 classes have no row to train on: \"class-"), "{said}");
}

#[test]
fn of_many_classes_the_most_and_the_least_frequent_are_named() {
    let fixture = Fixture::new();
    let rows: String = (0..40).map(|i| format!("good day\tclass-{}\n", (i * i) % 23)).collect();
    fixture.write("many.tsv", format!("text\tlabel\n{rows}"));
    let plan = plan(&fixture, "--train many.tsv");
    assert!(plan.contains("12 classes: most rows class-") && plan.contains(", fewest rows class-"), "{plan}");
}

#[test]
fn stray_classes_are_named_with_their_lines() {
    let fixture = Fixture::new();
    for (rows, expected) in [
        ("good,yes\nbad,no\nfine,NaN\nwarm,yes\ncold,no\n", "\"NaN\" (1 row, line 4) may stand for a missing label"),
        (
            "good,yes\nbad,no\ntext,label\nwarm,yes\ncold,no\n",
            "line 4 may be a header among the rows: its label is \"label\", the name of the column (1 row)",
        ),
        (
            "good,Yes\nbad,No\nwarm,yes\ncold,No\nfine,yes\n",
            "\"Yes\" (1 row, line 2) and \"yes\" (2 rows, first in line 4) differ only in the case of letters",
        ),
        (
            "good,1.0\nbad,0\nwarm,1\ncold,0\nfine,1\n",
            "\"1\" (2 rows, first in line 4) and \"1.0\" (1 row, line 2) are one number, written differently",
        ),
        ("good,yes\nbad,no\nwarm,yes\ncold,no\nfine,ye\n", "only one row has the label \"ye\" (line 6)"),
    ] {
        fixture.write("stray.csv", format!("text,label\n{rows}"));
        let plan = plan(&fixture, "--train stray.csv");
        assert!(notes(&plan).contains(&expected), "{plan}");
    }
}

#[test]
fn scores_that_are_all_the_same_are_pointed_out() {
    let fixture = Fixture::new();
    fixture.write("same.tsv", "text\tscore\ngood day\t2.5\nbad day\t2.50\n");
    let plan = plan(&fixture, "--train same.tsv --kind regress");
    assert!(notes(&plan).contains(&"every score is 2.5, so that there is nothing to learn"), "{plan}");
}

#[test]
fn numbers_without_a_kind_may_be_scores() {
    let fixture = Fixture::new();
    let rows: String = (0..30).map(|i| format!("good day\t{}\n", f64::from(i) * 0.25)).collect();
    fixture.write("scores.tsv", format!("text\tlabel\n{rows}"));
    let said = |flags: &str| plan(&fixture, &format!("--train scores.tsv {flags}")).contains("--kind regress");
    assert!(said("") && !said("--kind classify") && !said("--kind regress"));
}

#[test]
fn texts_that_are_cut_are_counted_with_what_is_lost() {
    let fixture = Fixture::new();
    // Two of four texts have thirty tokens beside the special ones, of which six are kept.
    let long = "good ".repeat(30);
    fixture.write("long.tsv", format!("text\tlabel\n{long}\tyes\nbad\tno\n{long}\tyes\nsad\tno\n"));
    let plan = |flags: &str| plan(&fixture, &format!("--train long.tsv {flags}"));
    let said = plan("--max-length 8");
    let expected = format!(
        "2 of 4 texts are longer than 8 tokens and are cut, which loses 75 % of their tokens; --max-length {POSITIONS} is \
         the most that the model reads"
    );
    assert_eq!(notes(&said), [expected]);
    assert!(notes(&plan("--max-length 32")).is_empty());
    fixture.write("long.tsv", format!("text\tlabel\n{}\tyes\nbad\tno\n", "good ".repeat(60)));
    assert!(plan("").contains("longer than 48 tokens and are cut"), "{}", plan(""));
}

#[test]
fn a_first_row_unlike_all_others_is_pointed_out() {
    let fixture = Fixture::new();
    fixture.write("frame.csv", "body,1\ngood day,1\nbad day,0\nwarm room,1\ncold room,0\n");
    let said = plan(&fixture, "--train frame.csv --text 0 --label 1");
    assert!(
        notes(&said).iter().any(|note| note.starts_with("line 1 is trained on") && note.contains("--header")),
        "{said}"
    );
    assert!(notes(&plan(&fixture, "--train frame.csv --text 0 --label 1 --header")).is_empty());
    let answer = |flags: &str| {
        let run = fixture.run(&format!("predict --task-file out/task.safetensors --input frame.csv --text 0 {flags}"));
        (run.stdout.lines().count(), run.stderr)
    };
    let (answers, said) = answer("");
    assert!(answers == 5 && said.starts_with("note: line 1 is answered, but its text \"body\" is unlike"), "{said}");
    assert_eq!(answer("--header"), (4, String::new()));
    assert_eq!(answer("--no-header"), (5, String::new()));
}
