//! A comparison of methods on one task: each from the same seeds, over one base and data that is read once.
//! [`Comparison::prepare`] reads and checks everything, and [`Comparison::run`] makes what is not on disk yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitfit_core::Backend;

use crate::model::Base;
use crate::settings::{Setting, check};
use crate::train::{PrefixCaches, StopReason};
use crate::{Error, Result};

use super::class_weights::LossOptions;
use super::comparison_report::{ComparedMethod, FinishedComparison};
use super::finetune::{Finetune, HandedOn, check_options};
use super::method_choice::MethodChoice;
use super::options::{EarlierRun, FinetuneOptions};
use super::output_dir::OutputDir;
use super::plan::Plan;
use super::probe::ProbeUse;
use super::run_record::{Origin, RunRecord, RunResult, origin_of_data, origin_of_options};
use super::seeds::{RunEvents, RunNumber, check_seeds, seed_directory};
use super::state_file::can_resume;
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
        check_methods(choices)?;
        check_seeds(seeds, options.eval.is_some())?;
        // The data must not depend on the seeds, which may be others in the next call.
        options.training.seed = 0;
        let mut all = Vec::new();
        for choice in choices {
            let mut options = options.clone();
            options.method = choice.method.clone();
            options.probe = choice.probe;
            if choice.probe == ProbeUse::Result {
                // It is fitted to its optimum by the plain loss.
                options.loss = LossOptions::default();
                (options.training.eval_every, options.training.patience) = (None, None);
            }
            options.training.learning_rate = choice.learning_rate.unwrap_or(options.training.learning_rate);
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
        let mut first = methods[0].options.clone();
        first.training.seed = seeds[0];
        let plan = Finetune::over(base, &data, first)?.plan().clone();
        Ok(Self { base: base.clone(), data, out: options.out, methods, seeds: seeds.to_vec(), plan })
    }

    /// The plan of the first run. The others differ in what trains, the learning rate and the seed.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The number of runs that are on disk, and of all.
    pub fn done(&self) -> (usize, usize) {
        let done = self.methods.iter().map(|method| method.done.iter().flatten().count()).sum();
        (done, self.methods.len() * self.seeds.len())
    }

    /// Makes the runs that are not on disk, method by method, each into its own directory, which gets its record when
    /// the run has come to its end; and writes the table of all and a chart into the output directory.
    ///
    /// A run that diverges is part of the result. One that is stopped is the last, and is made again by the next call.
    ///
    /// # Errors
    /// As [`Finetune::run`].
    pub fn run(self, events: &mut dyn RunEvents, memory: PeakMemory) -> Result<FinishedComparison> {
        let Self { base, data, out, mut methods, seeds, .. } = self;
        let _claimed = OutputDir::claim(&out, EarlierRun::Resume)?;
        let mut handed_on = HandedOn::default();
        let (of, mut number, mut stop) = (methods.len() * seeds.len(), 0, StopReason::Finished);
        'methods: for method in &mut methods {
            // Neither outputs of frozen stages nor buffers of an earlier method count as memory of this one.
            handed_on.caches = PrefixCaches::default();
            base.workspace().clear();
            for (place, &seed) in seeds.iter().enumerate() {
                number += 1;
                if method.done[place].is_some() {
                    continue;
                }
                let mut options = method.options.clone();
                options.training.seed = seed;
                options.out = method.directory(seed);
                // What is there without a record is of a run that did not come to its end.
                options.earlier = if can_resume(&options.out) { EarlierRun::Resume } else { EarlierRun::Replace };
                let peak_is_of_run = (memory.reset)();
                let run = Finetune::over(&base, &data, options)?;
                let plan = run.plan().clone();
                events.begin(&RunNumber { method: Some(&method.choice.name), seed, number, of }, &plan);
                let finished = run.run_with(&mut handed_on, &mut *events)?;
                if finished.report.stop == StopReason::Stopped {
                    stop = StopReason::Stopped;
                    break 'methods;
                }
                let peak = ((memory.read)(), peak_is_of_run);
                let result = RunResult::of(seed, &plan, &finished, peak);
                let directory = method.directory(seed);
                // A run that diverges before the end of an epoch may have written nothing.
                std::fs::create_dir_all(&directory).map_err(Error::io(&directory))?;
                RunRecord::new(method.origin_of(seed), None, result.clone()).write(&directory)?;
                method.done[place] = Some(result);
            }
        }
        let metrics = data.spec.metrics.clone();
        let compared = methods.into_iter().map(|method| ComparedMethod {
            name: method.choice.name,
            learning_rate: (method.choice.probe != ProbeUse::Result).then_some(method.options.training.learning_rate),
            runs: method.done.into_iter().flatten().collect(),
        });
        let finished = FinishedComparison { metrics, seeds: seeds.len(), methods: compared.collect(), stop };
        finished.write(&out)?;
        Ok(finished)
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

/// Refuses no method, and one that is listed twice.
pub(super) fn check_methods(choices: &[MethodChoice]) -> Result<()> {
    let list = || choices.iter().map(|choice| choice.name.as_str()).collect::<Vec<_>>().join(",");
    check(Setting::Methods, list(), !choices.is_empty(), "there must be at least one")?;
    let is_like = |a: &MethodChoice, b: &MethodChoice| (&a.method, a.probe) == (&b.method, b.probe);
    let is_twice =
        choices.iter().enumerate().any(|(place, one)| choices[..place].iter().any(|other| is_like(one, other)));
    check(Setting::Methods, list(), !is_twice, "one of them is listed twice")
}
