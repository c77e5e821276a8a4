//! Cross-validation: the directory belongs to the runs until the last answer is written, and answering can be stopped.

#[path = "common/small_run.rs"]
mod small_run;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitfit_bert::model::Base;
use bitfit_bert::run::{EarlierRun, FinetuneOptions, FoldRuns, OUT_OF_FOLD, OutOfFoldAnswer, ProbeUse, RunEvents};
use bitfit_bert::train::{Events, StopReason, TrainOptions};
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
        // So few rows are fitted perfectly by a probe, which leaves gradients of zero.
        let options = FinetuneOptions { eval: None, probe: ProbeUse::Off, ..options };
        FoldRuns::prepare(&base, options, 2).unwrap()
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

/// Stops once an answer was written as a line.
struct StopsWhileAnswering<'a>(&'a AtomicUsize);

impl Events for StopsWhileAnswering<'_> {
    fn should_stop(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}
impl RunEvents for StopsWhileAnswering<'_> {}

#[test]
fn answering_can_be_stopped_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 16);
    let train = std::fs::read_to_string(dir.path().join("train.tsv")).unwrap();
    let (header, rows) = train.split_once('\n').unwrap();
    std::fs::write(dir.path().join("train.tsv"), format!("{header}\n{}", rows.repeat(50))).unwrap();
    let base = Base::open(&Cpu::default(), dir.path()).unwrap();
    let runs = |earlier| {
        let training = TrainOptions { epochs: 1, ..TrainOptions::default() };
        let options = options(dir.path(), Method::Frozen, training);
        FoldRuns::prepare(&base, FinetuneOptions { eval: None, earlier, ..options }, 2).unwrap()
    };
    let lines = AtomicUsize::new(0);
    let line = |answer: &OutOfFoldAnswer<'_, Cpu>| {
        lines.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Error>(answer.example.text.clone())
    };
    let finished = runs(EarlierRun::Refuse).run(&mut StopsWhileAnswering(&lines), &line).unwrap();
    assert_eq!((finished.runs.len(), finished.stop(), finished.answers), (2, StopReason::Stopped, None));
    let lines = lines.load(Ordering::Relaxed);
    assert!((1..600).contains(&lines), "{lines} of 600 rows");
    assert!(!dir.path().join("out").join(OUT_OF_FOLD).exists());
    let finished = runs(EarlierRun::Resume).run(&mut Silent, &line).unwrap();
    assert_eq!(std::fs::read_to_string(finished.answers.unwrap()).unwrap().lines().count(), 600);
}
