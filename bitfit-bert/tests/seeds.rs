//! Runs of several seeds: the base is laid out once for all of them, and each has the bits of a single run.

#[path = "common/counting.rs"]
mod counting;
#[path = "common/small_run.rs"]
mod small_run;

use std::fs;

use bitfit_bert::model::Base;
use bitfit_bert::run::{Finetune, Plan, RunEvents, RunNumber, SeedRuns, TASK_FILE, seed_directory};
use bitfit_bert::train::{Events, TrainOptions};
use bitfit_bert::{BiasSelection, Method};
use bitfit_core::Cpu;
use counting::{HIDDEN, counted};
use small_run::{LAYERS, options, write};

/// The seeds that were begun.
#[derive(Default)]
struct Begun(Vec<u64>);

impl Events for Begun {}

impl RunEvents for Begun {
    fn begin(&mut self, run: &RunNumber<'_>, plan: &Plan) {
        assert_eq!((run.method, run.number, plan.training.seed), (None, self.0.len() + 1, run.seed));
        self.0.push(run.seed);
    }
}

/// There is only one test, because the counters apply to the whole process.
#[test]
fn five_seeds_lay_out_the_base_once_and_each_has_the_bits_of_a_single_run() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), HIDDEN);
    let method = || Method::BitFit(BiasSelection::all());
    let runs = |seeds: &[u64]| {
        let (requests, events) = {
            let mut events = Begun::default();
            let work = || {
                let base = Base::open(&Cpu::default(), dir.path()).unwrap();
                let options = options(dir.path(), method(), TrainOptions::default());
                SeedRuns::prepare(&base, options, seeds).unwrap().run(&mut events).unwrap();
            };
            let ((), _, requests) = counted(work);
            (requests, events)
        };
        assert_eq!(events.0, seeds);
        requests
    };
    // What the threads keep for themselves is allocated in the first run of the process.
    runs(&[7]);
    let (one, five) = (runs(&[0]), runs(&[0, 1, 2, 3, 4]));
    // Query, key and value are one matrix, or two in the last layer; each layer has three more.
    let layout = 4 * LAYERS + 1;
    assert!(one >= layout, "{one} requests of a matrix's size for one seed");
    assert!(five < one + layout, "{five} requests of a matrix's size for five seeds, {one} for one");

    let upper = || Method::BitFit(BiasSelection::all().in_layers(1..=1));
    let limited = TrainOptions { limit: Some(6), ..TrainOptions::default() };
    let dropped = TrainOptions { frozen_dropout: true, ..TrainOptions::default() };
    for (method, training) in [
        (method(), TrainOptions::default()),
        (upper(), TrainOptions::default()),
        (upper(), limited.clone()),
        (upper(), dropped),
        (Method::Frozen, limited),
    ] {
        let base = Base::open(&Cpu::default(), dir.path()).unwrap();
        let several = options(dir.path(), method.clone(), training.clone());
        let finished = SeedRuns::prepare(&base, several, &[0, 1, 2]).unwrap().run(&mut Begun::default()).unwrap();
        let best = &finished.runs[finished.best.unwrap()];
        let copy = fs::read(dir.path().join("out").join(TASK_FILE)).unwrap();
        assert_eq!(copy, fs::read(&best.finished.task.as_ref().unwrap().path).unwrap(), "the best one's");
        for run in &finished.runs {
            let TrainOptions { limit, frozen_dropout, .. } = training;
            let training = TrainOptions { seed: run.seed, limit, frozen_dropout, ..TrainOptions::default() };
            let base = Base::open(&Cpu::default(), dir.path()).unwrap();
            let mut options = options(dir.path(), method.clone(), training);
            options.out = dir.path().join("alone");
            let alone = Finetune::prepare(&base, options).unwrap().run(&mut Begun::default()).unwrap();
            assert_eq!(
                (&alone.report.state.best, alone.report.state.steps),
                (&run.finished.report.state.best, run.finished.report.state.steps)
            );
            let [alone, among] = [dir.path().join("alone"), seed_directory(&dir.path().join("out"), run.seed)]
                .map(|out| fs::read(out.join(TASK_FILE)).unwrap());
            assert!(alone == among, "{method}, seed {}: another task file than a single run's", run.seed);
        }
    }
}
