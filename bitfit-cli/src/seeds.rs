//! `finetune --seeds`: a run for each seed, and their scores side by side.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{FinishedSeeds, MeanScore, Plan, SeedRun, SeedRuns, Table, scores_as_json};
use bitfit_bert::train::StopReason;
use bitfit_core::Backend;

use crate::STOPPED;
use crate::args::{FinetuneArgs, name_of};
use crate::finetune::say_plan;
use crate::memory;
use crate::plan::grouped;
use crate::progress;
use crate::report::{self, BestSeedReport, SeedReport, SeedsReport, of_means};
use crate::several::{self, Row};

/// Makes the runs and reports them.
pub fn run<D: Backend>(args: &FinetuneArgs, runs: SeedRuns<D>) -> Result<ExitCode> {
    let plan = runs.plan().clone();
    say_plan(args, &plan);
    let how = (args.run.log_every, args.run.machine.quiet);
    let finished = progress::watched(Some(&plan), how, |progress| runs.run(progress))?;
    conclude(args, &plan, &finished)
}

/// Reports how the runs ended.
fn conclude(args: &FinetuneArgs, plan: &Plan, finished: &FinishedSeeds) -> Result<ExitCode> {
    let FinishedSeeds { runs, best, task } = finished;
    let (means, stop) = (finished.means(), finished.stop());
    let best = best.map(|best| &runs[best]);
    let quiet = args.run.machine.quiet;
    if !quiet {
        table(runs, best, &means).lines().iter().for_each(|line| report::say(format_args!("{line}")));
        match (task, best) {
            (Some(task), Some(best)) => report::say(format_args!(
                "{}: {} ({} bytes), a copy of seed {}'s, the best",
                report::end(&stop),
                task.path.display(),
                grouped(task.bytes as usize),
                best.seed
            )),
            _ => report::say(format_args!("{} before the end of an epoch: there is no best", report::end(&stop))),
        }
        if stop == StopReason::Stopped {
            several::say_how_to_go_on(args);
        }
    }
    let seconds = runs.iter().map(|run| run.finished.report.state.training.as_secs_f64()).sum();
    report::print(&SeedsReport {
        command: "finetune",
        model: &args.data.model,
        task: args.data.task.map(GlueTask::name),
        method: args.method_text()?,
        trainable: plan.trainable,
        biases: plan.bias_scalars(),
        total: plan.total,
        seeds: runs.iter().map(seed_report).collect(),
        best: best.and_then(|run| Some(BestSeedReport { seed: run.seed, epoch: report::best(run.best())? })),
        metrics: of_means(&means, |mean| Some(mean.mean)),
        deviations: of_means(&means, |mean| mean.deviation),
        probe: runs.first().and_then(|run| run.finished.probe.as_ref()).map(|probe| scores_as_json(&probe.scores)),
        seconds: report::rounded(seconds, 3),
        peak_rss_bytes: memory::peak_since_start(),
        device: args.run.machine.device.to_string(),
        precision: name_of(args.run.machine.precision()),
        task_file: task.as_ref().map(|task| task.path.display().to_string()),
        task_bytes: task.as_ref().map(|task| task.bytes),
        end: report::end(&stop),
    })?;
    match stop {
        StopReason::Finished | StopReason::NoImprovement => Ok(ExitCode::SUCCESS),
        StopReason::Stopped => Ok(ExitCode::from(STOPPED)),
        StopReason::Diverged { .. } => {
            let diverged = runs.iter().filter_map(|run| match &run.finished.report.stop {
                StopReason::Diverged { step, what } => Some(format!("seed {} in step {step}, {what}", run.seed)),
                _ => None,
            });
            Err(anyhow!("training diverged: {}; try a lower --lr", diverged.collect::<Vec<_>>().join("; ")))
        }
    }
}

/// The scores of each seed, and their means.
fn table(runs: &[SeedRun], best: Option<&SeedRun>, means: &[MeanScore]) -> Table {
    let rows = runs.iter().map(|SeedRun { seed, finished }| Row {
        number: *seed,
        run: finished,
        further: format!("{:.1}", finished.report.state.training.as_secs_f64()),
        is_best: best.is_some_and(|best| best.seed == *seed),
    });
    several::table("seed", "seconds", rows, means)
}

/// The run of a seed for the result.
fn seed_report(run: &SeedRun) -> SeedReport {
    let (state, task) = (&run.finished.report.state, run.finished.task.as_ref());
    SeedReport {
        seed: run.seed,
        epochs: state.epochs,
        steps: state.steps,
        tokens: state.tokens,
        best: report::best(run.best()),
        metrics: scores_as_json(run.best().map_or(&state.last, |best| &best.scores)),
        seconds: report::rounded(state.training.as_secs_f64(), 3),
        task_file: task.map(|task| task.path.display().to_string()),
        task_bytes: task.map(|task| task.bytes),
        end: report::end(&run.finished.report.stop),
    }
}
