//! `--report`: the pages of finetune and eval.

use crate::fixture::Fixture;

#[test]
fn finetune_and_eval_write_a_page_and_print_the_classes() {
    let fixture = Fixture::new();
    let run = fixture.run(
        "finetune --model model --train train.tsv --eval dev.tsv --out out --epochs 2 --log-every 2 --schedule linear \
         --report run.html",
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("\nmacro average ") && run.stderr.contains("\nreport: run.html"), "{}", run.stderr);
    let page = fixture.read("run.html");
    for part in [
        "Course of the run",
        "Learning rate",
        "Confusions",
        "Calibration",
        "What moved",
        "train.tsv",
        "query",
        "<td>rows trained on</td>",
        "<td>rows of each class</td>",
        "<td>rows evaluated</td>",
        "<td>classes</td>",
        "<line class=\"kept\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
    fixture.write("run.html", "an earlier page");
    let plain = fixture.run("eval -q --task-file out/task.safetensors --data dev.tsv").json();
    let run = fixture.run("eval --task-file out/task.safetensors --data dev.tsv --report run.html");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let page = fixture.read("run.html");
    assert!(page.contains("texts of dev.tsv") && !page.contains("Course of the run"));
    let result = run.json();
    for key in ["metrics", "rows", "tokens"] {
        assert_eq!(result[key], plain[key], "{key}");
    }
}

#[test]
fn the_page_of_a_probe_has_no_steps() {
    let fixture = Fixture::new();
    fixture.finetune("--method probe --eval dev.tsv --report run.html");
    let page = fixture.read("run.html");
    assert!(page.contains("<td>probe</td>"));
    for absent in ["learning rate", "epoch", "time in steps", "for comparison"] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[cfg(unix)]
#[test]
fn an_evaluation_set_from_a_pipe_is_in_the_page() {
    let fixture = Fixture::new();
    let (pipe, rows) = (fixture.path("pipe.tsv"), fixture.read("dev.tsv"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // It has a reader once.
    std::thread::spawn(move || std::fs::write(pipe, rows).unwrap());
    let run = fixture
        .run("finetune -q --model model --train train.tsv --eval pipe.tsv --out out --epochs 1 --report run.html");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert!(fixture.read("run.html").contains("texts of pipe.tsv"));
}

#[test]
fn every_kind_of_task_has_a_page() {
    let fixture = Fixture::new();
    fixture.write("scores.tsv", "text\tscore\ngood day\t1.5\nbad day\t0.5\nthe day\t1\n");
    fixture.write("labels.tsv", "text\tlabels\ngood day\ta;b\nbad day\tb\nthe day\ta\n");
    fixture.write("tags.conll", "good A\nday B\n\nbad A\nmeal B\nso B\n\n");
    for (kind, file, parts) in [
        ("regress", "scores.tsv", ["Worst mistakes", "distance"]),
        ("multi-label", "labels.tsv", ["Classes", "Calibration"]),
        ("tag", "tags.conll", ["Classes", "Confusions"]),
    ] {
        let line = format!(
            "finetune -q --model model --kind {kind} --train {file} --eval {file} --out {kind} --epochs 1 --report p.html"
        );
        let run = fixture.run(&line);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{kind}");
        let page = fixture.read("p.html");
        assert!(parts.iter().all(|part| page.contains(part)), "{kind}");
    }
}

#[test]
fn what_cannot_be_written_is_refused_before_the_run() {
    let fixture = Fixture::new();
    let run = fixture.run("finetune --model model --train train.tsv --out out --report model");
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stderr, "error: --report model: it is a directory; name a file in it\n");
    let run = fixture.run("finetune --model model --train train.tsv --out out --report ./out/task.safetensors");
    assert!(run.code == Some(1) && run.stderr.contains("it is a file of the run"), "{}", run.stderr);
    let run = fixture.run("finetune -q --model model --train train.tsv --epochs 1 --out ./new --report new/page.html");
    assert!(run.code == Some(0) && fixture.path("new/page.html").is_file(), "{}", run.stderr);
    let run =
        fixture.run("finetune --model model --train train.tsv --eval dev.tsv --seeds 0-1 --out out --report p.html");
    assert_eq!(run.code, Some(2));
}
