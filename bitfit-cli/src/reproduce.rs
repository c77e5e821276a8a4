//! `reproduce`: a table of the paper, made again.

use std::process::ExitCode;

use anyhow::{Result, bail};
use bitfit_bert::hub;
use bitfit_bert::model::Base;
use bitfit_bert::run::{
    FinishedReproduction, GridPlan, LeftOut, Length, PeakMemory, PlannedRun, ReproduceOptions, Reproduction, ResultsOf,
    RunState, Table, TableReport, check_results,
};
use bitfit_bert::train::StopReason;
use bitfit_core::Backend;
use serde_json::{Value, json};

use crate::STOPPED;
use crate::args::{Part, ReproduceArgs, name_of, unreadable};
use crate::last_resort;
use crate::memory;
use crate::output;
use crate::plan::{grouped, seeds_text};
use crate::progress;
use crate::report;
use crate::setup::{self, Job};

/// Runs the command.
pub fn run(args: ReproduceArgs) -> Result<ExitCode> {
    let options = args.options().map_err(unreadable)?;
    let part = args.sweep.part(|name| std::env::var(name).ok())?;
    last_resort::check_stdout()?;
    if !args.data.is_dir() {
        bail!("--data {}: it is not a directory", args.data.display());
    }
    setup::on_device(&args.machine, Reproducing { args: &args, options, part })
}

/// The command, ready for its device.
struct Reproducing<'a> {
    args: &'a ReproduceArgs,
    options: ReproduceOptions,
    part: Part,
}

impl Job for Reproducing<'_> {
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode> {
        let Self { args, options, part } = self;
        check_results(&args.out, ResultsOf::Reproduction)?;
        let quiet = args.machine.quiet;
        let base = Base::open(device, &hub::resolve(&args.model, quiet)?)?;
        let reproduction = Reproduction::prepare(&base, args.table, &options)?;
        let plan = reproduction.plan();
        if !quiet {
            lines(args, &part, &reproduction, &plan).iter().for_each(|line| report::say(format_args!("{line}")));
        }
        if args.plan {
            report::print(&planned(args, &reproduction, &plan))?;
            return Ok(ExitCode::SUCCESS);
        }
        output::check_directories(&reproduction.directories())?;
        TableReport::files(args.table).iter().try_for_each(|name| output::check_file(&args.out, name))?;
        let (tasks, left_out) = (owned(&reproduction.tasks()), reproduction.left_out().to_vec());
        let methods = methods(&reproduction);
        let memory = PeakMemory { reset: memory::reset_peak, read: memory::peak };
        let finished = progress::watched(None, (args.log_every, quiet), |progress| {
            reproduction.run(&part.options, progress, memory)
        })?;
        conclude(args, &finished, plan.runs.len())?;
        report::print(&json!({
            "command": "reproduce",
            "table": args.table.name(),
            "model": args.model,
            "tasks": tasks,
            "left_out": left_out_report(&left_out),
            "methods": methods,
            "seeds": args.seeds.0,
            "runs": plan.runs.len(),
            "made": finished.made,
            "skipped": plan.count(RunState::Done),
            "remaining": finished.remaining,
            "shard": part.options.shard.to_string(),
            "files": if is_written(&finished) { json!(files(args)) } else { json!([]) },
            "device": args.machine.device.to_string(),
            "precision": name_of(args.machine.precision()),
            "end": report::end(&finished.stop),
        }))?;
        Ok(if finished.stop == StopReason::Stopped { ExitCode::from(STOPPED) } else { ExitCode::SUCCESS })
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The paths of the table's files.
fn files(args: &ReproduceArgs) -> Vec<String> {
    TableReport::files(args.table).iter().map(|name| args.out.join(name).display().to_string()).collect()
}

/// What is going to run, for people; with --plan each run.
fn lines<D: Backend>(
    args: &ReproduceArgs,
    part: &Part,
    reproduction: &Reproduction<D>,
    plan: &GridPlan,
) -> Vec<String> {
    let rates = |rates: &[f32]| rates.iter().map(|rate| format!("{rate:e}")).collect::<Vec<_>>().join(", ");
    let methods = reproduction.methods().into_iter().map(|(name, of)| format!("{name} at {}", rates(of)));
    let length = match reproduction.length() {
        Length::Epochs(1) => "one epoch".into(),
        Length::Epochs(epochs) => format!("{epochs} epochs"),
        Length::Steps { at_least, epochs } => format!("at least {at_least} steps and {epochs} epochs"),
    };
    let states = [RunState::Done, RunState::ToScore, RunState::Begun, RunState::ToMake];
    let counts = states.map(|state| (plan.count(state), state)).into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, state)| format!("{} {}", grouped(count), state.name())).collect();
    let mut lines = vec![format!("table     {}: {}", args.table, args.table.about())];
    lines.push(format!("tasks     {}", reproduction.tasks().join(", ")));
    let left_out = reproduction.left_out().iter();
    lines.extend(left_out.map(|LeftOut { name, reason }| format!("left out  {name}: {reason}")));
    lines.push(format!("methods   {}", methods.collect::<Vec<_>>().join("; ")));
    lines.push(format!(
        "runs      {} of {length}, {}: {}",
        grouped(plan.runs.len()),
        seeds_text(&args.seeds.0),
        counts.join(", ")
    ));
    lines.extend(part.line(plan.runs.len()));
    lines.extend(estimate(plan).map(|estimate| format!("estimate  {estimate}")));
    if args.plan {
        lines.extend(run_table(plan).lines());
    }
    lines
}

/// How long the rest may take; `None` where there is none.
fn estimate(plan: &GridPlan) -> Option<String> {
    let estimate = plan.estimate();
    match (estimate.runs, estimate.unknown) {
        (0, 0) => None,
        (0, _) => Some("none yet: no run of these methods is finished".into()),
        (runs, without) => {
            let unknown = match without {
                0 => String::new(),
                _ => format!("; none yet for {}, of whose methods no run is finished", grouped(without)),
            };
            Some(format!("about {} for {} runs{unknown}", duration(estimate.seconds), grouped(runs)))
        }
    }
}

/// A time for people: `45 s`, `12 min`, `3 h 20 min`, `2 days 5 h`.
fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0..2 => format!("{} s", seconds.ceil() as u64),
        2..120 => format!("{minutes} min"),
        120..2880 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} days {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

/// Every run with its state.
fn run_table(plan: &GridPlan) -> Table {
    let columns = ["task", "method", "rate", "seed", "steps", "seconds", "state"].map(str::to_owned).to_vec();
    let row = |run: &PlannedRun| {
        vec![
            run.task.clone(),
            run.method.clone(),
            format!("{:e}", run.rate),
            run.seed.to_string(),
            grouped(run.steps),
            run.seconds.map_or_else(|| "-".into(), |seconds| format!("{seconds:.1}")),
            run.state.name().into(),
        ]
    };
    Table { columns, rows: plan.runs.iter().map(row).collect() }
}

/// The result of --plan.
fn planned<D: Backend>(args: &ReproduceArgs, reproduction: &Reproduction<D>, plan: &GridPlan) -> Value {
    let estimate = plan.estimate();
    let is_known = estimate.runs > 0 || estimate.unknown == 0;
    let run = |run: &PlannedRun| {
        json!({
            "task": run.task, "method": run.method, "rate": report::as_written(run.rate), "seed": run.seed,
            "directory": run.directory.display().to_string(), "state": run.state.name(), "steps": run.steps,
            "seconds": run.seconds.map(|seconds| report::rounded(seconds, 3)),
        })
    };
    json!({
        "command": "reproduce",
        "table": args.table.name(),
        "model": args.model,
        "tasks": reproduction.tasks(),
        "left_out": left_out_report(reproduction.left_out()),
        "methods": methods(reproduction),
        "seeds": args.seeds.0,
        "plan": plan.runs.iter().map(run).collect::<Vec<_>>(),
        "done": plan.count(RunState::Done),
        "estimate": {
            "seconds": is_known.then(|| report::rounded(estimate.seconds, 1)),
            "runs": estimate.runs,
            "unknown": estimate.unknown,
        },
    })
}

fn methods<D: Backend>(reproduction: &Reproduction<D>) -> Value {
    let method = |(name, rates): (&str, &[f32])| {
        let rates: Vec<_> = rates.iter().map(|rate| report::as_written(*rate)).collect();
        json!({"method": name, "rates": rates})
    };
    reproduction.methods().into_iter().map(method).collect::<Vec<_>>().into()
}

fn left_out_report(left_out: &[LeftOut]) -> Value {
    left_out.iter().map(|LeftOut { name, reason }| json!({"name": name, "reason": reason})).collect::<Vec<_>>().into()
}

/// Whether there is a table.
fn is_written(finished: &FinishedReproduction) -> bool {
    report::has_table(finished.made, finished.remaining, &finished.stop)
}

/// Shows the table.
fn conclude(args: &ReproduceArgs, finished: &FinishedReproduction, runs: usize) -> Result<()> {
    if args.machine.quiet {
        return Ok(());
    }
    let end = report::end(&finished.stop);
    if !is_written(finished) && finished.stop != StopReason::Stopped {
        report::say(format_args!("{end}: {}", report::remaining(finished.remaining, runs)));
        return Ok(());
    }
    let TableReport { tables, remarks, .. } = &finished.report;
    for table in tables {
        table.lines().iter().for_each(|line| report::say(format_args!("{line}")));
        report::say(format_args!(""));
    }
    remarks.iter().for_each(|remark| report::say(format_args!("{remark}")));
    match finished.made {
        0 => report::say(format_args!("{end} before the end of a run: no table was written")),
        _ => report::say(format_args!("{end}: {}", files(args).join(", "))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn a_duration_has_the_units_that_matter() {
        for (seconds, text) in
            [(0.2, "1 s"), (45.0, "45 s"), (600.0, "10 min"), (7_300.0, "2 h 2 min"), (200_000.0, "2 days 7 h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
