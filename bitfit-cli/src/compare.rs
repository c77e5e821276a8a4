//! `compare`: several methods on one task, their scores side by side.

use std::process::ExitCode;

use anyhow::Result;
use bitfit_bert::Method;
use bitfit_bert::hub;
use bitfit_bert::model::Base;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{
    COMPARISON_CHART, COMPARISON_COSTS, COMPARISON_CSV, COMPARISON_MARKDOWN, ComparedMethod, Comparison,
    FinetuneOptions, FinishedComparison, MethodChoice, PeakMemory, ResultsOf, check_comparison, check_results,
};
use bitfit_bert::train::StopReason;
use bitfit_core::Backend;
use serde_json::{Map, Value, json};

use crate::STOPPED;
use crate::args::{CompareArgs, Part, name_of, unreadable};
use crate::last_resort;
use crate::memory;
use crate::output::{self, Input};
use crate::plan::{self, seeds_text};
use crate::progress;
use crate::report;
use crate::setup::{self, Job};

/// Runs the command.
pub fn run(args: CompareArgs) -> Result<ExitCode> {
    let options = args.options().map_err(unreadable)?;
    let choices = args.choices().map_err(unreadable)?;
    check_comparison(&options, &choices, &args.seeds.0).map_err(|error| unreadable(error.into()))?;
    let part = args.sweep.part(|name| std::env::var(name).ok())?;
    last_resort::check_stdout()?;
    setup::on_device(&args.run.machine, Comparing { args: &args, options, choices, part })
}

/// The command, ready for its device.
struct Comparing<'a> {
    args: &'a CompareArgs,
    options: FinetuneOptions,
    choices: Vec<MethodChoice>,
    part: Part,
}

impl Job for Comparing<'_> {
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode> {
        let Self { args, options, choices, part } = self;
        let weights: Vec<Input<'_>> = args.run.weights_file().into_iter().collect();
        args.data.check_files(&weights, &args.directories())?;
        check_results(&args.out, ResultsOf::Comparison)?;
        output::check_directories(&args.directories())?;
        let quiet = args.run.machine.quiet;
        let base = Base::open(device, &hub::resolve(&args.data.model, quiet)?)?;
        let comparison = Comparison::prepare(&base, options, &choices, &args.seeds.0)?;
        let (done, of) = comparison.done();
        if !quiet {
            say_plan(args, &comparison);
            part.line(of).iter().for_each(|line| report::say(format_args!("{line}")));
            if done > 0 {
                report::say(format_args!("{done} of {of} runs are on disk, and are not made again"));
            }
        }
        let memory = PeakMemory { reset: memory::reset_peak, read: memory::peak };
        let finished = progress::watched(None, (args.run.log_every, quiet), |progress| {
            comparison.run(&part.options, progress, memory)
        })?;
        conclude(args, &part, &finished, done)
    }
}

/// Shows the plan of one run, and what the others differ in.
fn say_plan<D: Backend>(args: &CompareArgs, comparison: &Comparison<D>) {
    let names: Vec<&str> = args.methods.iter().map(|method| method.name.as_str()).collect();
    let (names, seeds) = (names.join(", "), seeds_text(&args.seeds.0));
    let shown = match comparison.plan().method {
        Method::Probe => "the first run",
        _ => "the first run of steps",
    };
    report::say(format_args!("compares  {names}, from {seeds}; {shown}:"));
    plan::say(comparison.plan(), &args.data, &args.run.machine, None);
}

/// Reports the result. `skipped` runs were on disk already.
fn conclude(args: &CompareArgs, part: &Part, finished: &FinishedComparison, skipped: usize) -> Result<ExitCode> {
    let runs: usize = finished.methods.iter().map(|method| method.runs.len()).sum();
    let file = |name: &str| args.out.join(name).display().to_string();
    let files = [COMPARISON_MARKDOWN, COMPARISON_CSV, COMPARISON_CHART, COMPARISON_COSTS].map(file);
    let is_written = report::has_table(runs, finished.remaining, &finished.stop);
    let end = report::end(&finished.stop);
    if !args.run.machine.quiet && !is_written && finished.stop != StopReason::Stopped {
        report::say(format_args!("{end}: {}", report::remaining(finished.remaining, runs + finished.remaining)));
    } else if !args.run.machine.quiet {
        finished.table().lines().iter().for_each(|line| report::say(format_args!("{line}")));
        finished.remarks().iter().for_each(|remark| report::say(format_args!("{remark}")));
        report::say(format_args!("{}", finished.remark_on_costs()));
        match runs {
            0 => report::say(format_args!("{end} before the end of a run: nothing was written")),
            _ => report::say(format_args!("{end}: {}", files.join(", "))),
        }
    }
    let methods: Vec<Value> = finished.methods.iter().map(method).collect();
    report::print(&json!({
        "command": "compare",
        "model": args.data.model,
        "task": args.data.task.map(GlueTask::name),
        "seeds": args.seeds.0,
        "methods": methods,
        "runs": runs,
        "skipped": skipped,
        "remaining": finished.remaining,
        "shard": part.options.shard.to_string(),
        "files": if is_written { json!(files) } else { json!([]) },
        "device": args.run.machine.device.to_string(),
        "precision": name_of(args.run.machine.precision()),
        "end": end,
    }))?;
    Ok(if finished.stop == StopReason::Stopped { ExitCode::from(STOPPED) } else { ExitCode::SUCCESS })
}

/// A method for the result.
fn method(method: &ComparedMethod) -> Value {
    let means = method.means();
    let runs = method.runs.iter().map(|run| {
        json!({
            "seed": run.seed,
            "epoch": run.epoch,
            "metrics": run.scores.iter().cloned().map(|(name, value)| (name, value.into())).collect::<Map<_, _>>(),
            "seconds": report::rounded(run.seconds, 3),
            "end": if run.diverged { "diverged" } else { "finished" },
        })
    });
    json!({
        "method": method.name,
        "learning_rate": method.learning_rate.and_then(report::as_written),
        "metrics": report::of_means(&means, |mean| Some(mean.mean)),
        "deviations": report::of_means(&means, |mean| mean.deviation),
        "trainable": method.trainable(),
        "seconds": method.seconds().map(|seconds| report::rounded(seconds, 3)),
        "task_bytes": method.task_bytes(),
        "peak_rss_bytes": method.peak_memory_bytes(),
        "runs": runs.collect::<Vec<_>>(),
    })
}
