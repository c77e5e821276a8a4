//! A run on several ranks writes the task file of a single process, bit by bit; it goes on from its state on any number
//! of ranks; and ranks that would not make the same run end together. The ranks are threads.

mod common;
#[path = "common/small_run.rs"]
mod small_run;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use bitfit_bert::data::Kind;
use bitfit_bert::methods::Method;
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::Base;
use bitfit_bert::run::{
    EarlierRun, Finetune, FinetuneOptions, Finished, METRICS_LOG, ProbeUse, SaveEvery, TASK_FILE, can_resume, withdraw,
};
use bitfit_bert::train::{BatchSize, Events, NoEvents, StepReport, StopReason, TrainOptions};
use bitfit_bert::{Error, Result};
use bitfit_core::optim::{Alone, Collective, ThreadRank};
use bitfit_core::{Cpu, Precision};
use bitfit_cuda::{Cuda, NcclRank};
use rayon::ThreadPoolBuilder;

const WORDS: [&str; 6] = ["good", "bad", "warm", "cold", "day", "so"];

/// A model, and in `train.tsv`, `eval.tsv`, `train.conll` and `eval.conll` texts of one to nine words.
fn write(dir: &Path) {
    small_run::write(dir, 32);
    let words = |row: usize| (0..1 + row * 7 % 9).map(move |word| WORDS[(row * 5 + word * word + word) % 6]);
    for (name, first, rows) in [("train", 0, 45), ("eval", 100, 30)] {
        let text = |row: usize| format!("{}\t{}\n", words(row).collect::<Vec<_>>().join(" "), (row / 3 + row) % 2);
        let rows_of = |line: &dyn Fn(usize) -> String| (first..first + rows).map(line).collect::<String>();
        fs::write(dir.join(format!("{name}.tsv")), format!("text\tlabel\n{}", rows_of(&text))).unwrap();
        let tagged = |row: usize| {
            let tag = |word: &str| if word.len() == 4 { "LONG" } else { "SHORT" };
            words(row).map(|word| format!("{word}\t{}\n", tag(word))).collect::<String>() + "\n"
        };
        fs::write(dir.join(format!("{name}.conll")), rows_of(&tagged)).unwrap();
    }
}

fn options(dir: &Path, method: &str, kind: Kind) -> FinetuneOptions {
    let training = TrainOptions { learning_rate: 1e-2, weight_decay: 0.01, ..TrainOptions::default() };
    let mut options = small_run::options(dir, method.parse::<Method>().unwrap(), training);
    (options.training.batch_size, options.training.shards) = (BatchSize::Sequences(20), Some(16));
    options.save_every = SaveEvery::Steps(1);
    options.kind = kind;
    if kind == Kind::Tag {
        (options.train, options.eval) = (dir.join("train.conll"), Some(dir.join("eval.conll")));
        (options.pooling, options.metrics, options.probe) = (None, vec![Metric::Accuracy], ProbeUse::Off);
    }
    options
}

/// What each of `size` ranks returns. Each has a pool of its own, as a process has: it waits for the others on one of
/// its threads.
fn each<R: Send>(size: usize, work: impl Fn(Arc<dyn Collective>) -> R + Sync) -> Vec<R> {
    if size == 1 {
        return vec![work(Arc::new(Alone))];
    }
    thread::scope(|scope| {
        let work = &work;
        let start = |rank: ThreadRank| {
            let pool = ThreadPoolBuilder::new().num_threads(1 + rank.rank() % 2).build().unwrap();
            scope.spawn(move || pool.install(|| work(Arc::new(rank))))
        };
        let threads: Vec<_> = ThreadRank::group(size).into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn prepare(dir: &Path, options: FinetuneOptions, precision: Precision) -> Result<Finetune<Cpu>> {
    Finetune::prepare(&Base::open(&Cpu::default().with_precision(precision), dir)?, options)
}

/// The results of a run on `size` ranks.
fn run(dir: &Path, options: &FinetuneOptions, precision: Precision, size: usize) -> Vec<Finished> {
    let ended = each(size, |ranks| {
        prepare(dir, options.clone(), precision).unwrap().with_ranks(ranks).run(&mut NoEvents).unwrap()
    });
    for (rank, finished) in ended.iter().enumerate() {
        assert_eq!(finished.task.is_some(), rank == 0, "the first rank writes");
        assert_eq!(finished.report.stop, StopReason::Finished);
    }
    ended
}

fn task_file(options: &FinetuneOptions) -> Vec<u8> {
    fs::read(options.out.join(TASK_FILE)).unwrap()
}

#[test]
fn the_number_of_ranks_changes_no_bit_of_the_task_file() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        for kind in [Kind::Classify, Kind::Tag] {
            // With a precision of frozen weights alone, methods that train others show no more.
            let methods = ["bitfit", "bitfit@1-1", "columns:3", "full"];
            for method in &methods[..if precision == Precision::Int8 { 2 } else { 4 }] {
                let options = options(dir.path(), method, kind);
                let what = format!("{method}, {kind}, {precision}");
                let alone = run(dir.path(), &options, precision, 1).swap_remove(0);
                let (file, log) = (task_file(&options), fs::read_to_string(options.out.join(METRICS_LOG)).unwrap());
                for size in 2..=4 {
                    for finished in run(dir.path(), &options, precision, size) {
                        assert_eq!(finished.report.state.best, alone.report.state.best, "{what}");
                        assert_eq!(finished.report.state.tokens, alone.report.state.tokens, "{what}");
                    }
                    assert!(task_file(&options) == file, "{what}: {size} ranks");
                    assert_eq!(
                        fs::read_to_string(options.out.join(METRICS_LOG)).unwrap().lines().count(),
                        log.lines().count()
                    );
                }
                // Without shards the sums have another order.
                let mut whole = options.clone();
                whole.training.shards = None;
                run(dir.path(), &whole, precision, 1);
                assert!(task_file(&options) != file, "{what}: the shards are seen");
            }
        }
    }
}

/// Fails after a step, or stops before the next.
struct Ending {
    after: usize,
    fails: bool,
    steps: usize,
}

impl Events for Ending {
    fn step(&mut self, report: &StepReport) -> Result<()> {
        self.steps = report.step;
        if self.fails && report.step == self.after {
            return Err(Error::Io { path: "killed".into(), source: std::io::ErrorKind::Interrupted.into() });
        }
        Ok(())
    }

    fn should_stop(&self) -> bool {
        !self.fails && self.steps >= self.after
    }
}

#[test]
fn a_run_that_was_interrupted_goes_on_with_any_number_of_ranks_to_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let first = options(dir.path(), "bitfit", Kind::Classify);
    run(dir.path(), &first, Precision::F32, 1);
    let file = task_file(&first);
    for fails in [true, false] {
        for (rank, begun, resumed) in [(0, 3, 1), (1, 2, 4), (2, 4, 2), (0, 1, 3), (1, 4, 4)] {
            let ended = each(begun, |ranks| {
                let mut events = Ending { after: 3, fails, steps: 0 };
                if ranks.rank() != rank {
                    events.after = usize::MAX;
                }
                prepare(dir.path(), first.clone(), Precision::F32).unwrap().with_ranks(ranks).run(&mut events)
            });
            for (other, ended) in ended.into_iter().enumerate() {
                match ended {
                    Ok(finished) => assert!(!fails && finished.report.stop == StopReason::Stopped, "rank {other}"),
                    Err(error) if other == rank => assert!(error.to_string().starts_with("killed")),
                    // Each that ends makes others end, and the first of them is named.
                    Err(error) => assert!(error.to_string().ends_with(": it takes no part any more"), "{error}"),
                }
            }
            assert!(can_resume(&first.out), "{begun} ranks");
            let again = FinetuneOptions { earlier: EarlierRun::Resume, ..first.clone() };
            run(dir.path(), &again, Precision::F32, resumed);
            assert!(task_file(&first) == file, "{begun} ranks, then {resumed}");
        }
    }
}

/// The message with which each of three ranks ends, where the last has other options.
fn refused(dir: &Path, first: &FinetuneOptions, last: &FinetuneOptions, precision: Precision) -> Vec<String> {
    each(3, |ranks| {
        let is_last = ranks.rank() == 2;
        let (options, precision) = if is_last { (last, precision) } else { (first, Precision::F32) };
        match prepare(dir, options.clone(), precision) {
            Ok(run) => run.with_ranks(ranks).run(&mut NoEvents).unwrap_err().to_string(),
            Err(error) => withdraw(&*ranks, &error.to_string()).unwrap().to_string(),
        }
    })
}

#[test]
fn ranks_of_different_runs_end_together_and_name_the_rank_and_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let first = options(dir.path(), "bitfit", Kind::Classify);
    let assert_refused = |last: &FinetuneOptions, precision, text: &str| {
        let messages = refused(dir.path(), &first, last, precision);
        let is_named = |message: &String| message.starts_with("rank 2: ") && message.contains(text);
        assert!(messages.iter().all(is_named), "{messages:?}");
        assert!(!first.out.exists(), "nothing is written");
    };
    let mut other = first.clone();
    other.train = dir.path().join("eval.tsv");
    assert_refused(&other, Precision::F32, "it has another training set than rank 0: ");
    other.train = dir.path().join("missing.tsv");
    assert_refused(&other, Precision::F32, "missing.tsv: No such file");
    let mut other = first.clone();
    other.training.learning_rate = 0.5;
    assert_refused(&other, Precision::F32, "it has another learning rate than rank 0: 0.5, not 0.01");
    // The instruction set is part of the arithmetic too.
    assert_refused(&first, Precision::Bf16, "it has another arithmetic than rank 0: cpu (");
}

/// Each rank has a device of its own: all of them the one of the emulator, whose NCCL is emulated too.
#[test]
fn an_exchange_through_nccl_changes_no_bit_on_a_gpu() {
    let Some(device) = common::gpu(Precision::F32) else { return };
    if !common::is_emulated(&device) {
        return common::skip("emulator", "two ranks need a GPU each");
    }
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    for method in ["bitfit", "columns:3"] {
        let mut options = options(dir.path(), method, Kind::Classify);
        (options.training.shards, options.training.epochs) = (Some(5), 1);
        let [through_threads, through_nccl] = [false, true].map(|uses_nccl| {
            let ended = each(2, |ranks| {
                let device = Cuda::new(0).unwrap();
                let run = Finetune::prepare(&Base::open(&device, dir.path()).unwrap(), options.clone()).unwrap();
                let mut run = run.with_ranks(Arc::clone(&ranks));
                if uses_nccl {
                    run = run.with_exchange(Arc::new(NcclRank::new(&device, ranks).unwrap()));
                }
                run.run(&mut NoEvents).unwrap().report
            });
            assert!(ended.iter().all(|report| report.stop == StopReason::Finished && report.state.steps == 3));
            task_file(&options)
        });
        assert!(through_nccl == through_threads, "{method}");
    }
}

#[test]
fn ranks_without_shards_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    for shards in [None, Some(2)] {
        let mut options = options(dir.path(), "bitfit", Kind::Classify);
        options.training.shards = shards;
        for error in each(3, |ranks| {
            prepare(dir.path(), options.clone(), Precision::F32).unwrap().with_ranks(ranks).run(&mut NoEvents)
        }) {
            assert!(error.unwrap_err().to_string().starts_with("the number of logical shards is "));
        }
    }
}
