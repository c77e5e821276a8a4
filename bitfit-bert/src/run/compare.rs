//! A comparison of methods on one task: each from the same seeds, over one base and data that is read once.
//! [`Comparison::prepare`] reads and checks everything, and [`Comparison::run`] makes what is not on disk yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitfit_core::Backend;

use crate::methods;
use crate::model::Base;
use crate::settings::{Setting, check};
use crate::train::{PrefixCaches, StopReason};
use crate::{Error, Result};

use super::class_weights::LossOptions;
use super::comparison_report::{ComparedMethod, FinishedComparison};
use super::finetune::{Finetune, HandedOn, check_options};
use super::method_choice::MethodChoice;
use super::options::{EarlierRun, FinetuneOptions};
use super::plan::Plan;
use super::run_record::{Origin, RunRecord, RunResult, origin_of_data, origin_of_options};
use super::seeds::{RunEvents, RunNumber, check_seeds, seed_directory};
use super::state_file::can_resume;
use super::sweep::{Claim, GridRuns, SweepOptions, Worked, merged, work_through};
use super::task_data::TaskData;

/// How the peak of the process's memory is measured.
#[derive(Clone, Copy, Debug)]
pub struct PeakMemory {
    /// Begins a new measurement; false where the system has none but that since the start of the process.
    pub reset: fn() -> bool,
    /// The peak in bytes; `None` where the system does not report it.
    pub read: fn() -> Option<u64>,
}

/// A comparison that is ready to start: everything is read, but nothing is written yet.
#[derive(Debug)]
pub struct Comparison<D: Backend> {
    base: Base<D>,
    data: Arc<TaskData>,
    out: PathBuf,
    methods: Vec<Method>,
    seeds: Vec<u64>,
    plan: Plan,
}

/// A method of the comparison.
#[derive(Debug)]
struct Method {
    choice: MethodChoice,
    options: FinetuneOptions,
    /// What its runs are made from, but for the seed.
    origin: Origin,
    /// What is on disk, for each seed.
    done: Vec<Option<RunResult>>,
}

/// The directory of the runs of a method in the output directory of a comparison.
pub fn method_directory(out: &Path, method: &MethodChoice) -> PathBuf {
    out.join(method.file_name())
}

impl<D: Backend> Comparison<D> {
    /// Reads the data for runs over `base` of each method from each seed, and what an earlier call left in the output
    /// directory. The options are those of all runs, but for what trains, how a head begins and the seed.
    ///
    /// # Errors
    /// As [`Finetune::prepare`]; [`Error::Setting`] where there is no method or no seed, one twice, or no evaluation
    /// set; [`Error::RunRecord`] where the output directory has a run of another base, data or setting.
    pub fn prepare(
        base: &Base<D>,
        mut options: FinetuneOptions,
        choices: &[MethodChoice],
        seeds: &[u64],
    ) -> Result<Self> {
        check_comparison(&options, choices, seeds)?;
        // The data must not depend on the seeds, which may be others in the next call.
        options.training.seed = 0;
        let mut all = Vec::new();
        for choice in choices {
            let options = options_of(&options, choice);
            check_options(base, &options)?;
            all.push((choice, options));
        }
        let data = TaskData::read(base, &all[0].1)?;
        let of_data = origin_of_data(base, &data)?;
        let data = Arc::new(data);
        let mut methods = Vec::new();
        for (choice, mut options) in all {
            options.metrics.clone_from(&data.spec.metrics);
            let mut origin = of_data.clone();
            origin.extend(origin_of_options(&choice.name, &options));
            let mut method = Method { choice: choice.clone(), options, origin, done: Vec::new() };
            for &seed in seeds {
                let directory = method.directory(seed);
                method.done.push(RunRecord::find(&directory, &method.origin_of(seed))?);
            }
            methods.push(method);
        }
        let has_steps = |method: &&Method| method.options.method != methods::Method::Probe;
        let mut first = methods.iter().find(has_steps).unwrap_or(&methods[0]).options.clone();
        first.training.seed = seeds[0];
        let plan = Finetune::over(base, &data, first)?.plan().clone();
        Ok(Self { base: base.clone(), data, out: options.out, methods, seeds: seeds.to_vec(), plan })
    }

    /// The plan of the first run that has steps, or of the first where all are probes. The others differ in what
    /// trains, the learning rate and the seed.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The number of runs that are on disk, and of all.
    pub fn done(&self) -> (usize, usize) {
        let done = self.methods.iter().map(|method| method.done.iter().flatten().count()).sum();
        (done, self.methods.len() * self.seeds.len())
    }

    /// Makes the runs that are not on disk and that no other process makes, each into its own directory, which gets its
    /// record when the run has come to its end; and writes the table of all, their costs and a chart into the output
    /// directory once it sees the results of all.
    ///
    /// A run that diverges is part of the result. One that is stopped is the last, and goes on in the next call; the
    /// files are then of what is made.
    ///
    /// # Errors
    /// As [`Finetune::run`]; [`Error::Output`] where another process works in the output directory with another grid.
    pub fn run(
        self,
        sweep: &SweepOptions,
        events: &mut dyn RunEvents,
        memory: PeakMemory,
    ) -> Result<FinishedComparison> {
        let (origin, out) = (self.origin(), self.out.clone());
        let mut making = Making { comparison: self, memory, handed_on: (0, HandedOn::default()) };
        let Worked { stop, remaining } = work_through(&mut making, &out, origin, sweep, events)?;
        Ok(making.comparison.finished(stop, remaining))
    }

    /// What the grid is made from.
    fn origin(&self) -> Origin {
        let of_method =
            |method: &Method| -> Vec<Origin> { self.seeds.iter().map(|&seed| method.origin_of(seed)).collect() };
        let runs: Vec<Origin> = self.methods.iter().flat_map(of_method).collect();
        let rate = |method: &Method| format!("{} {:e}", method.choice.name, method.options.training.learning_rate);
        let mut origin = merged(runs.iter());
        origin.extend([
            ("command".to_owned(), "compare".to_owned()),
            ("bitfit's version".into(), env!("CARGO_PKG_VERSION").into()),
            ("arithmetic".into(), self.base.device().arithmetic()),
            ("rates of methods".into(), self.methods.iter().map(rate).collect::<Vec<_>>().join(", ")),
        ]);
        origin
    }

    /// What was found.
    fn finished(&self, stop: StopReason, remaining: usize) -> FinishedComparison {
        let compared = |method: &Method| ComparedMethod {
            name: method.choice.name.clone(),
            learning_rate: (method.choice.method != methods::Method::Probe)
                .then_some(method.options.training.learning_rate),
            runs: method.done.iter().flatten().cloned().collect(),
        };
        let methods = self.methods.iter().map(compared).collect();
        let (metrics, seeds) = (self.data.spec.metrics.clone(), self.seeds.len());
        FinishedComparison { metrics, seeds, methods, stop, remaining }
    }

    /// The places of the method and of the seed of a run: method by method, seed by seed.
    fn place(&self, run: usize) -> (usize, usize) {
        (run / self.seeds.len(), run % self.seeds.len())
    }
}

/// A comparison whose runs are being made.
struct Making<D: Backend> {
    comparison: Comparison<D>,
    memory: PeakMemory,
    /// The place of the method that was made last, with what its run handed on.
    handed_on: (usize, HandedOn),
}

impl<D: Backend> GridRuns for Making<D> {
    fn directories(&self) -> Vec<PathBuf> {
        let Comparison { methods, seeds, .. } = &self.comparison;
        methods.iter().flat_map(|method| seeds.iter().map(|&seed| method.directory(seed))).collect()
    }

    fn is_done(&mut self, run: usize) -> Result<bool> {
        let (method, place) = self.comparison.place(run);
        let seed = self.comparison.seeds[place];
        let method = &mut self.comparison.methods[method];
        if method.done[place].is_none() {
            method.done[place] = RunRecord::find(&method.directory(seed), &method.origin_of(seed))?;
        }
        Ok(method.done[place].is_some())
    }

    fn make(&mut self, run: usize, claim: &mut Claim, events: &mut dyn RunEvents) -> Result<bool> {
        let Self { comparison, memory, handed_on } = self;
        let (method, place) = comparison.place(run);
        let Comparison { base, data, methods, seeds, .. } = comparison;
        if handed_on.0 != method {
            // Neither outputs of frozen stages nor buffers of an earlier method count as memory of this one.
            handed_on.0 = method;
            handed_on.1.caches = PrefixCaches::default();
            base.workspace().clear();
        }
        let (of, seed) = (methods.len() * seeds.len(), seeds[place]);
        let method = &mut methods[method];
        let mut options = method.options.clone();
        options.training.seed = seed;
        options.out = method.directory(seed);
        // What is there without a record is of a run that did not come to its end.
        options.earlier = if can_resume(&options.out) { EarlierRun::Resume } else { EarlierRun::Replace };
        let peak_is_of_run = (memory.reset)();
        let run_of_seed = Finetune::over(base, data, options)?;
        let plan = run_of_seed.plan().clone();
        events.begin(&RunNumber { method: Some(&method.choice.name), seed, number: run + 1, of }, &plan);
        let finished = run_of_seed.run_under(Some(claim), &mut handed_on.1, events)?;
        if finished.report.stop == StopReason::Stopped {
            return Ok(false);
        }
        let result = RunResult::of(seed, &plan, &finished, ((memory.read)(), peak_is_of_run));
        let directory = method.directory(seed);
        // A run that diverges before the end of an epoch may have written nothing.
        std::fs::create_dir_all(&directory).map_err(Error::io(&directory))?;
        claim.renew()?;
        RunRecord::new(method.origin_of(seed), None, result.clone()).write(&directory)?;
        method.done[place] = Some(result);
        Ok(true)
    }

    fn write(&mut self) -> Result<()> {
        self.comparison.finished(StopReason::Finished, 0).write(&self.comparison.out)
    }
}

impl Method {
    fn directory(&self, seed: u64) -> PathBuf {
        seed_directory(&method_directory(&self.options.out, &self.choice), seed)
    }

    /// What the run of a seed is made from.
    fn origin_of(&self, seed: u64) -> Origin {
        let mut origin = self.origin.clone();
        origin.insert("seed".into(), seed.to_string());
        origin
    }
}

/// Refuses a comparison that is impossible whatever the base and the data are.
///
/// # Errors
/// [`Error::Setting`] with the first setting that is, or that contradicts another.
pub fn check_comparison(options: &FinetuneOptions, choices: &[MethodChoice], seeds: &[u64]) -> Result<()> {
    check_methods(choices)?;
    check_seeds(seeds, options.eval.is_some())?;
    choices.iter().try_for_each(|choice| options_of(options, choice).validate())
}

/// The options of the runs of a method, of those that all methods have in common.
fn options_of(common: &FinetuneOptions, choice: &MethodChoice) -> FinetuneOptions {
    let mut options = common.clone();
    options.method = choice.method.clone();
    if choice.method == methods::Method::Probe {
        // It is fitted to its optimum by the plain loss.
        options.loss = LossOptions::default();
        (options.training.eval_every, options.training.patience) = (None, None);
    }
    options.training.learning_rate = choice.learning_rate.unwrap_or(options.training.learning_rate);
    options
}

/// Refuses no method, and one that is listed twice.
pub(super) fn check_methods(choices: &[MethodChoice]) -> Result<()> {
    let list = || choices.iter().map(|choice| choice.name.as_str()).collect::<Vec<_>>().join(",");
    check(Setting::Methods, list(), !choices.is_empty(), "there must be at least one")?;
    let is_among = |one: &MethodChoice, others: &[MethodChoice]| others.iter().any(|other| other.method == one.method);
    let is_twice = choices.iter().enumerate().any(|(place, one)| is_among(one, &choices[..place]));
    check(Setting::Methods, list(), !is_twice, "one of them is listed twice")
}
