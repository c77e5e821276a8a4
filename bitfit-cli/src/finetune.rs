//! `finetune`: from arguments to a task file.

use std::fs;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use bitfit_bert::hub;
use bitfit_bert::model::Base;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{Finetune, Finished, Plan, PlanNote, scores_as_json};
use bitfit_bert::train::StopReason;
use bitfit_core::Backend;

use crate::STOPPED;
use crate::args::{FinetuneArgs, name_of};
use crate::interrupt::Interrupt;
use crate::last_resort;
use crate::output::{self, OutputDirectory};
use crate::plan::{grouped, plan_lines};
use crate::progress::Progress;
use crate::report::{self, BestReport, FinetuneReport};
use crate::setup::{self, Job};

/// Runs the command.
pub fn run(args: FinetuneArgs) -> Result<ExitCode> {
    setup::on_device(&args.machine, Training(&args))
}

/// The command, ready for its device.
struct Training<'a>(&'a FinetuneArgs);

impl Job for Training<'_> {
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode> {
        let Self(args) = self;
        // Checks that cost nothing are made before a model is fetched and data is read.
        let options = args.options()?;
        last_resort::check_stdout()?;
        check_files(args)?;
        let out = OutputDirectory::check(&args.out)?;
        let quiet = args.machine.quiet;
        let base = Base::open(device, &hub::resolve(&args.model, quiet)?)?;
        let finetune = Finetune::prepare(&base, options)?;
        let mut plan = finetune.plan().clone();
        if args.kind.is_some() || args.task.is_some() {
            // Classes were asked for.
            plan.notes.retain(|note| !matches!(note, PlanNote::MayBeScores(_)));
        }
        if !quiet {
            plan_lines(&plan).iter().for_each(|line| report::say(format_args!("{line}")));
        }
        let interrupt = Interrupt::install(quiet, out.clone())?;
        let mut progress = Progress::new(&plan, args.log_every, quiet, interrupt)?;
        let finished = finetune.run(&mut progress);
        progress.finish();
        out.remove_if_new_and_empty();
        conclude(args, &plan, &finished?)
    }
}

/// Reports how a run ended.
fn conclude(args: &FinetuneArgs, plan: &Plan, finished: &Finished) -> Result<ExitCode> {
    let Finished { report: outcome, task, probe } = finished;
    let state = &outcome.state;
    let best = state.best.as_ref();
    let base_dir = args.save_base.as_ref().filter(|_| task.is_some());
    let seconds = state.training.as_secs_f64();
    let end = match outcome.stop {
        StopReason::Finished => "finished",
        StopReason::Stopped => "stopped",
        StopReason::Diverged { .. } => "diverged",
    };
    if !args.machine.quiet && !matches!(outcome.stop, StopReason::Diverged { .. }) {
        let kept = match best {
            // A probe has no epochs.
            Some(best) if best.epoch == 0 => format!(", {}", report::scores(&best.scores)),
            Some(best) => format!(", epoch {}: {}", best.epoch, report::scores(&best.scores)),
            None => String::new(),
        };
        match task {
            Some(task) => report::say(format_args!(
                "{end}: {} ({} bytes{kept})",
                task.path.display(),
                grouped(task.bytes as usize)
            )),
            None => report::say(format_args!("{end} before the first step: nothing was written")),
        }
        if let Some(dir) = base_dir {
            report::say(format_args!("base: {}, for --model", dir.display()));
        }
    }
    report::print(&FinetuneReport {
        command: "finetune",
        model: &args.model,
        task: args.task.map(GlueTask::name),
        method: args.method_text(plan),
        trainable: plan.trainable,
        biases: plan.bias_scalars(),
        total: plan.total,
        epochs: state.epochs,
        steps: state.steps,
        tokens: state.tokens,
        best: best.and_then(|best| {
            let score = best.scores.first()?;
            Some(BestReport { epoch: best.epoch, metric: score.metric.name(), value: score.value })
        }),
        metrics: scores_as_json(best.map_or(&state.last, |best| &best.scores)),
        probe: probe.as_ref().map(|probe| scores_as_json(&probe.scores)),
        seconds: report::rounded(seconds, 3),
        tokens_per_s: report::rate(state.tokens as f64, seconds),
        peak_rss_bytes: report::peak_rss_bytes(),
        device: args.machine.device.to_string(),
        precision: name_of(args.machine.precision),
        task_file: task.as_ref().map(|task| task.path.display().to_string()),
        task_bytes: task.as_ref().map(|task| task.bytes),
        base_dir: base_dir.map(|dir| dir.display().to_string()),
        end,
    })?;
    match &outcome.stop {
        StopReason::Finished => Ok(ExitCode::SUCCESS),
        StopReason::Stopped => Ok(ExitCode::from(STOPPED)),
        StopReason::Diverged { step, what } => {
            let kept = match (task, best) {
                (Some(task), Some(best)) => {
                    format!("{} holds epoch {}, the best before it", task.path.display(), best.epoch)
                }
                (Some(task), None) => format!("{} holds the last finite values", task.path.display()),
                (None, _) => "nothing was written".into(),
            };
            Err(anyhow!("training diverged in step {step}: {what}; {kept}; try a lower --lr"))
        }
    }
}

/// Refuses files that do not exist, and data that the run would overwrite.
fn check_files(args: &FinetuneArgs) -> Result<()> {
    if let Some(dir) = args.save_base.as_ref().filter(|dir| fs::symlink_metadata(dir).is_ok()) {
        bail!("--save-base {}: it is there already; choose a new directory", dir.display());
    }
    for path in [Some(&args.train), args.eval.as_ref(), args.head_file()].into_iter().flatten() {
        setup::check_input(path)?;
    }
    for (flag, path) in [("--train", Some(&args.train)), ("--eval", args.eval.as_ref())] {
        let written = output::FILES.map(|name| args.out.join(name));
        if let Some(path) = path.filter(|path| written.iter().any(|file| output::is_same_file(file, path))) {
            bail!("{flag} {}: the run would overwrite it; choose another --out", path.display());
        }
    }
    Ok(())
}
