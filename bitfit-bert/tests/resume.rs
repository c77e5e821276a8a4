//! A run that was interrupted at any point goes on to the same bits as one that was left alone.

#[path = "common/small_run.rs"]
mod small_run;

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bitfit_bert::model::Base;
use bitfit_bert::run::{
    ClassWeights, EARLIER_STATE_FILE, EarlierRun, Finetune, FinetuneOptions, Finished, LossOptions, METRICS_LOG, Plan,
    ProbeUse, RunEvents, RunNumber, STATE_FILE, SaveEvery, SeedRuns, TASK_FILE, can_resume, seed_directory,
};
use bitfit_bert::train::{EpochReport, Events, Place, SavedState, State, StepReport, StopReason, TrainOptions};
use bitfit_bert::{BiasSelection, Error, Method, Result};
use bitfit_core::Cpu;
use bitfit_core::optim::Schedule;
use small_run::{options, write};

const STEPS: usize = 6;

/// How a run is interrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// As by kill -9 after this step: nothing is saved any more.
    Killed(usize),
    /// As by kill -9 after the first step of this run of several.
    KilledInRun(usize),
    /// As by kill -9 after the evaluation of this epoch.
    KilledAfterEpoch(usize),
    /// As by Ctrl-C before the step after this one, or while the epoch that it ends is evaluated.
    Stopped(usize),
    /// Not at all.
    Never,
}

/// Interrupts a run.
struct Interrupt {
    end: End,
    run: usize,
    steps: AtomicUsize,
    resumed: Cell<Option<usize>>,
    /// The epoch behind which it is killed when its state has been saved.
    fails_behind_epoch: Option<usize>,
    epochs: usize,
}

impl Interrupt {
    fn at(end: End) -> Self {
        let steps = AtomicUsize::new(0);
        Self { end, run: 0, steps, resumed: Cell::new(None), fails_behind_epoch: None, epochs: 0 }
    }
}

/// The error of a run that was killed.
fn killed() -> Error {
    Error::Io { path: "killed".into(), source: std::io::ErrorKind::Interrupted.into() }
}

impl Events for Interrupt {
    fn step(&mut self, report: &StepReport) -> Result<()> {
        self.steps.store(report.step, Relaxed);
        let is_killed = [End::Killed(report.step), End::KilledInRun(self.run)].contains(&self.end);
        if is_killed { Err(killed()) } else { Ok(()) }
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<()> {
        self.epochs = report.epoch;
        if report.is_end && self.end == End::KilledAfterEpoch(report.epoch) { Err(killed()) } else { Ok(()) }
    }

    fn pause(&mut self, _: bool, _: &dyn Fn() -> Result<SavedState>) -> Result<()> {
        if self.fails_behind_epoch == Some(self.epochs) { Err(killed()) } else { Ok(()) }
    }

    fn resumed(&mut self, state: &State, _: Place) {
        self.resumed.set(Some(state.steps));
    }

    fn should_stop(&self) -> bool {
        self.end == End::Stopped(self.steps.load(Relaxed))
    }
}

impl RunEvents for Interrupt {
    fn begin(&mut self, run: &RunNumber<'_>, _: &Plan) {
        self.run = run.number;
        self.steps.store(0, Relaxed);
    }
}

fn finetune(dir: &Path, options: FinetuneOptions, events: &mut Interrupt) -> Result<Finished> {
    Finetune::prepare(&Base::open(&Cpu::default(), dir)?, options)?.run(events)
}

/// The log without what it says of time.
fn log(out: &Path) -> Vec<serde_json::Value> {
    let lines = fs::read_to_string(out.join(METRICS_LOG)).unwrap();
    let line = |line: &str| {
        let mut line: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
        line.remove("tokens_per_s");
        line.into()
    };
    lines.lines().map(line).collect()
}

#[test]
fn a_run_that_is_interrupted_anywhere_goes_on_to_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 32);
    let training = || TrainOptions {
        learning_rate: 1e-2,
        schedule: Schedule::Linear,
        weight_decay: 0.01,
        ..TrainOptions::default()
    };
    let upper = BiasSelection::all().in_layers(1..=1);
    let bitfit = || Method::BitFit(BiasSelection::all());
    for (method, probe, eval_every, micro_batch) in [
        (bitfit(), ProbeUse::Baseline, None, None),
        (bitfit(), ProbeUse::Off, Some(1), None),
        (bitfit(), ProbeUse::Off, Some(2), Some(3)),
        (Method::BitFit(upper), ProbeUse::Off, None, Some(1)),
        (Method::Full, ProbeUse::Off, None, None),
        (Method::RandomUniform(None), ProbeUse::Off, None, None),
        (Method::Columns(3), ProbeUse::Off, None, None),
    ] {
        let options = |out: &str, earlier: EarlierRun| {
            let mut options = options(dir.path(), method.clone(), training());
            options.out = dir.path().join(out);
            (options.probe, options.earlier) = (probe, earlier);
            options.save_every = SaveEvery::Steps(2);
            (options.training.eval_every, options.training.micro_batch) = (eval_every, micro_batch);
            options.loss =
                LossOptions { class_weights: ClassWeights::Balanced, focal_gamma: 2.0, ..LossOptions::default() };
            options
        };
        let alone = options("alone", EarlierRun::Replace);
        finetune(dir.path(), alone.clone(), &mut Interrupt::at(End::Never)).unwrap();
        assert!(!can_resume(&alone.out), "a run that came to its end has no state");
        let ends = (1..STEPS).map(End::Stopped).chain((2..=STEPS).map(End::Killed)).chain([End::KilledAfterEpoch(1)]);
        for end in ends {
            let first = options("resumed", EarlierRun::Replace);
            let interrupted = finetune(dir.path(), first.clone(), &mut Interrupt::at(end));
            let saved = match end {
                End::Stopped(step) => {
                    assert_eq!(interrupted.unwrap().report.stop, StopReason::Stopped);
                    step
                }
                End::Killed(step) => (step - 1) / 2 * 2,
                End::KilledAfterEpoch(epoch) => epoch * STEPS / 2 / 2 * 2,
                End::Never | End::KilledInRun(_) => unreachable!("not among the ends"),
            };
            if saved == 0 {
                assert!(!can_resume(&first.out));
                continue;
            }
            let mut events = Interrupt::at(End::Never);
            let finished = finetune(dir.path(), options("resumed", EarlierRun::Resume), &mut events).unwrap();
            assert_eq!(events.resumed.get(), Some(saved), "{method}, {end:?}");
            assert_eq!(finished.probe.is_some(), probe == ProbeUse::Baseline);
            let [expected, found] = [&alone.out, &first.out].map(|out| fs::read(out.join(TASK_FILE)).unwrap());
            assert!(expected == found, "{method}, {end:?}: another task file than that of a run left alone");
            assert_eq!(log(&alone.out), log(&first.out), "{method}, {end:?}");
            assert!(!can_resume(&first.out));
        }
    }
}

#[test]
fn a_run_is_resumed_twice_and_from_the_state_before_the_last() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 32);
    let options = |out: &str, earlier: EarlierRun| {
        let mut options = options(dir.path(), Method::BitFit(BiasSelection::all()), TrainOptions::default());
        options.out = dir.path().join(out);
        (options.earlier, options.save_every) = (earlier, SaveEvery::Steps(1));
        options
    };
    let alone = options("alone", EarlierRun::Replace);
    finetune(dir.path(), alone.clone(), &mut Interrupt::at(End::Never)).unwrap();
    let first = options("resumed", EarlierRun::Replace);
    finetune(dir.path(), first.clone(), &mut Interrupt::at(End::Killed(3))).unwrap_err();
    let resumed = options("resumed", EarlierRun::Resume);
    finetune(dir.path(), resumed.clone(), &mut Interrupt::at(End::Killed(5))).unwrap_err();
    fs::write(first.out.join(STATE_FILE), "").unwrap();
    let message = finetune(dir.path(), resumed.clone(), &mut Interrupt::at(End::Never)).unwrap_err().to_string();
    assert!(message.contains(&format!("remove it to go on from the state before, {EARLIER_STATE_FILE}")), "{message}");
    fs::remove_file(first.out.join(STATE_FILE)).unwrap();
    let mut events = Interrupt::at(End::Never);
    finetune(dir.path(), resumed.clone(), &mut events).unwrap();
    assert_eq!(events.resumed.get(), Some(3));
    assert!(fs::read(alone.out.join(TASK_FILE)).unwrap() == fs::read(first.out.join(TASK_FILE)).unwrap());
    let message = finetune(dir.path(), resumed, &mut Interrupt::at(End::Never)).unwrap_err().to_string();
    assert!(message.contains("there is nothing to resume: the run in it came to its end"), "{message}");
}

#[test]
fn a_run_without_a_better_score_ends_early_and_so_does_one_that_is_resumed_there() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 32);
    let options = |out: &str, earlier: EarlierRun| {
        let training = TrainOptions { patience: Some(1), learning_rate: 1e-30, ..TrainOptions::default() };
        let mut options = options(dir.path(), Method::BitFit(BiasSelection::all()), training);
        options.training.epochs = 9;
        options.out = dir.path().join(out);
        (options.earlier, options.save_every) = (earlier, SaveEvery::Steps(1));
        options
    };
    let alone = finetune(dir.path(), options("alone", EarlierRun::Replace), &mut Interrupt::at(End::Never)).unwrap();
    assert_eq!((alone.report.stop, alone.report.state.epochs), (StopReason::NoImprovement, 2));
    assert_eq!(alone.report.state.best.map(|best| (best.epoch, best.step)), Some((1, 3)));
    let first = options("resumed", EarlierRun::Replace);
    // The state is saved behind the evaluation that has used up the patience.
    let mut interrupt = Interrupt::at(End::Never);
    interrupt.fails_behind_epoch = Some(2);
    finetune(dir.path(), first.clone(), &mut interrupt).unwrap_err();
    let mut events = Interrupt::at(End::Never);
    let resumed = finetune(dir.path(), options("resumed", EarlierRun::Resume), &mut events).unwrap();
    assert_eq!((resumed.report.stop, resumed.report.state.steps), (StopReason::NoImprovement, 6));
    assert!(
        fs::read(dir.path().join("alone").join(TASK_FILE)).unwrap() == fs::read(first.out.join(TASK_FILE)).unwrap()
    );
}

#[test]
fn a_run_of_something_else_is_not_resumed() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 32);
    let options = || {
        let mut options = options(dir.path(), Method::BitFit(BiasSelection::all()), TrainOptions::default());
        options.save_every = SaveEvery::Steps(1);
        options
    };
    finetune(dir.path(), options(), &mut Interrupt::at(End::Killed(4))).unwrap_err();
    let refused = |change: &dyn Fn(&mut FinetuneOptions)| {
        let mut options = FinetuneOptions { earlier: EarlierRun::Resume, ..options() };
        change(&mut options);
        finetune(dir.path(), options, &mut Interrupt::at(End::Never)).unwrap_err().to_string()
    };
    for (change, difference) in [
        (
            &(|options: &mut FinetuneOptions| options.training.learning_rate = 2e-3) as &dyn Fn(&mut FinetuneOptions),
            "learning rate is 0.001 there and 0.002",
        ),
        (&|options: &mut FinetuneOptions| options.training.seed = 1, "seed is 0 there and 1 here"),
        (&|options: &mut FinetuneOptions| options.training.epochs = 3, "epochs is 2 there and 3 here"),
        (&|options: &mut FinetuneOptions| options.method = Method::Frozen, "method is bitfit there and frozen here"),
        (&|options: &mut FinetuneOptions| options.training.limit = Some(7), "limit is default there and 7 here"),
        (
            &|options: &mut FinetuneOptions| options.training.micro_batch = Some(2),
            "micro-batch is nothing there and 2 texts here",
        ),
        (&|options: &mut FinetuneOptions| options.dropout = None, "dropout is 0.2 there and default here"),
        (&|options: &mut FinetuneOptions| options.eval = None, "evaluation set is"),
        (&|options: &mut FinetuneOptions| options.train = dir.path().join("eval.tsv"), "training set is"),
        (&|options: &mut FinetuneOptions| options.device = "cuda".into(), "device is cpu there and cuda here"),
    ] {
        let message = refused(change);
        assert!(message.contains("begun with another setting") && message.contains(difference), "{message}");
    }
    let other = tempfile::tempdir().unwrap();
    write(other.path(), 64);
    let options = FinetuneOptions { earlier: EarlierRun::Resume, ..options() };
    let base = Base::open(&Cpu::default(), other.path()).unwrap();
    let message = Finetune::prepare(&base, options).unwrap_err().to_string();
    assert!(message.contains("base model is "), "{message}");
}

#[test]
fn runs_of_several_seeds_are_resumed_where_they_were_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 128);
    let options = |out: &str, earlier: EarlierRun| {
        let mut options = options(dir.path(), Method::BitFit(BiasSelection::all()), TrainOptions::default());
        options.out = dir.path().join(out);
        (options.earlier, options.save_every) = (earlier, SaveEvery::Steps(1));
        options
    };
    let run = |out: &str, earlier: EarlierRun, events: &mut Interrupt| {
        let base = Base::open(&Cpu::default(), dir.path()).unwrap();
        SeedRuns::prepare(&base, options(out, earlier), &[0, 1, 2])?.run(events)
    };
    let alone = run("alone", EarlierRun::Replace, &mut Interrupt::at(End::Never)).unwrap();
    // The first seed comes to its end.
    let out = dir.path().join("resumed");
    let second = seed_directory(&out, 1);
    run("resumed", EarlierRun::Replace, &mut Interrupt::at(End::KilledInRun(2))).unwrap_err();
    let mut events = Interrupt::at(End::Killed(4));
    run("resumed", EarlierRun::Resume, &mut events).unwrap_err();
    assert!(can_resume(&second) && !can_resume(&seed_directory(&out, 0)));
    let mut events = Interrupt::at(End::Never);
    let finished = run("resumed", EarlierRun::Resume, &mut events).unwrap();
    assert_eq!(events.resumed.get(), Some(3));
    assert_eq!((finished.best, finished.runs.len()), (alone.best, 3));
    for (one, other) in alone.runs.iter().zip(&finished.runs) {
        assert_eq!(one.best(), other.best());
        let task = |run: &bitfit_bert::run::SeedRun| fs::read(&run.finished.task.as_ref().unwrap().path).unwrap();
        assert!(task(one) == task(other));
    }
    assert!(fs::read(dir.path().join("alone").join(TASK_FILE)).unwrap() == fs::read(out.join(TASK_FILE)).unwrap());
}
