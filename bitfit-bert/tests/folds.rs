//! Cross-validation: the directory belongs to the runs until the last answer is written.

#[path = "common/small_run.rs"]
mod small_run;

use std::cell::Cell;

use bitfit_bert::model::Base;
use bitfit_bert::run::{FinetuneOptions, FoldRuns, OUT_OF_FOLD, OutOfFoldAnswer, RunEvents};
use bitfit_bert::train::{Events, TrainOptions};
use bitfit_bert::{BiasSelection, Error, Method};
use bitfit_core::Cpu;
use small_run::{options, write};

struct Silent;

impl Events for Silent {}
impl RunEvents for Silent {}

#[test]
fn no_other_run_takes_the_directory_while_the_rows_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 16);
    let base = Base::open(&Cpu::default(), dir.path()).unwrap();
    let runs = || {
        let options = options(dir.path(), Method::BitFit(BiasSelection::all()), TrainOptions::default());
        FoldRuns::prepare(&base, FinetuneOptions { eval: None, ..options }, 2).unwrap()
    };
    let plain = |_: &OutOfFoldAnswer<'_, Cpu>| Ok::<_, Error>("another answer".to_owned());
    let refused = Cell::new(0);
    let line = |answer: &OutOfFoldAnswer<'_, Cpu>| {
        let message = runs().run(&mut Silent, &plain).unwrap_err().to_string();
        assert!(message.contains("another run is writing into it"), "{message}");
        refused.set(refused.get() + 1);
        Ok::<_, Error>(answer.example.text.clone())
    };
    let finished = runs().run(&mut Silent, &line).unwrap();
    assert_eq!((refused.get(), finished.rows), (12, 12));
    let answers = dir.path().join("out").join(OUT_OF_FOLD);
    let written = std::fs::read_to_string(&answers).unwrap();
    assert_eq!((written.lines().count(), written.contains("another")), (12, false));
    assert_eq!(finished.answers, Some(answers));
}
