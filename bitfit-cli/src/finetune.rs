//! `finetune`: from arguments to a task file.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use bitfit_bert::data::Dataset;
use bitfit_bert::hub;
use bitfit_bert::model::Base;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{
    Finetune, FinetuneOptions, Finished, FoldRuns, METRICS_LOG, Plan, ResultsOf, SeedRuns, can_resume, check_output,
    check_results, scores_as_json,
};
use bitfit_bert::train::{DEFAULT_SHARDS, StopReason};
use bitfit_bert::{Method, Predictor};
use bitfit_core::Backend;

use crate::STOPPED;
use crate::args::{FinetuneArgs, Seeds, name_of};
use crate::folds;
use crate::last_resort;
use crate::memory;
use crate::output::{self, Input};
use crate::page::{self, Page};
use crate::plan::{self, grouped};
use crate::progress;
use crate::ranks::Ranks;
use crate::report::{self, FinetuneReport};
use crate::seeds;
use crate::setup::{self, Job};

/// Runs the command.
pub fn run(args: FinetuneArgs, ranks: &Ranks) -> Result<ExitCode> {
    // Checks that cost nothing are made before a device is opened, a model is fetched and data is read.
    let mut options = args.options()?;
    share(&mut options, &args, ranks)?;
    last_resort::check_stdout()?;
    check_files(&args)?;
    setup::on_device(&args.run.machine, Training { args: &args, options, ranks })
}

/// The command, ready for its device.
struct Training<'a> {
    args: &'a FinetuneArgs,
    options: FinetuneOptions,
    ranks: &'a Ranks,
}

impl Job for Training<'_> {
    #[cfg(feature = "nccl")]
    fn use_gpu(&self, device: &bitfit_cuda::Cuda) -> Result<()> {
        self.ranks.use_gpu(device)
    }

    fn run<D: Backend>(self, device: &D) -> Result<ExitCode> {
        let Self { args, options, ranks } = self;
        let data = [Some(&*args.data.train), args.data.eval.as_deref()].into_iter().flatten();
        let inputs = data.chain(args.further_files().into_iter().map(|(_, path)| path));
        let inputs: Vec<Input<'_>> = inputs.map(|path| ("a file that the run reads", path)).collect();
        let directories = if ranks.is_first() { args.directories() } else { Vec::new() };
        let report = args.report.as_ref().filter(|_| ranks.is_first());
        page::check(report, &inputs, &directories)?;
        output::check_directories(&directories)?;
        let quiet = args.run.machine.quiet || !ranks.is_first();
        let dir = hub::resolve(&args.data.model, quiet)?;
        report.iter().try_for_each(|report| output::spare_model("--report", report, &dir))?;
        let base = Base::open(device, &dir)?;
        if let Some(Seeds(seeds)) = &args.seeds {
            return seeds::run(args, SeedRuns::prepare(&base, options, seeds)?);
        }
        if let Some(folds) = args.folds {
            return folds::run(args, FoldRuns::prepare(&base, options, folds)?);
        }
        let finetune = Finetune::prepare(&base, options)?.with_ranks(Arc::clone(ranks.group()));
        let finetune = finetune.with_exchange(ranks.exchange());
        let plan = finetune.plan().clone();
        // For the page: a pipe cannot be read again, and a file may be another one then.
        let eval_set = args.report.as_ref().and_then(|_| finetune.evaluation_set().cloned());
        if ranks.is_first() {
            say_plan(args, &plan);
        }
        if ranks.are_several() && !quiet {
            plan::say_line("ranks", &ranks.to_string());
        }
        let finished = progress::watched(Some(&plan), (args.run.log_every, quiet), |progress| {
            ranks.meet();
            finetune.run(progress)
        })?;
        if !ranks.is_first() {
            return Ok(match finished.report.stop {
                StopReason::Finished | StopReason::NoImprovement => ExitCode::SUCCESS,
                StopReason::Stopped => ExitCode::from(STOPPED),
                StopReason::Diverged { .. } => ExitCode::FAILURE,
            });
        }
        let code = conclude(args, &plan, &finished)?;
        // A run that was stopped is not over.
        let is_over = finished.report.stop != StopReason::Stopped;
        if let (Some(path), Some(task)) = (args.report.as_ref().filter(|_| is_over), &finished.task) {
            let evaluation = args.data.eval.as_deref().zip(eval_set.as_ref());
            write_page(args, &plan, &base, (path, &task.path), evaluation, &finished)?;
        }
        Ok(code)
    }
}

/// The options of a run that ranks share: logical shards, without which the bits would depend on their number. They are
/// saved with the run, so that it goes on with the same ones on any number of ranks.
fn share(options: &mut FinetuneOptions, args: &FinetuneArgs, ranks: &Ranks) -> Result<()> {
    if !ranks.are_launched() {
        return Ok(());
    }
    for (flag, is_given) in [("--seeds", args.seeds.is_some()), ("--folds", args.folds.is_some())] {
        if is_given {
            ranks.refuse_several(flag)?;
        }
    }
    if options.training.shards.is_none() {
        options.training.shards = Some(DEFAULT_SHARDS);
        if let Some(command) = &mut options.command {
            command.arguments.extend(["--shards".into(), DEFAULT_SHARDS.to_string()]);
        }
    }
    options.training.validate()?;
    let (shards, size) = (options.training.shards.unwrap_or(DEFAULT_SHARDS), ranks.group().size());
    if shards < size {
        bail!("--shards {shards}: {size} ranks were started, each of which computes at least one: choose more");
    }
    Ok(())
}

/// Writes the page of `--report` for a task file; the evaluation set with the path that the user gave.
fn write_page<D: Backend>(
    args: &FinetuneArgs,
    plan: &Plan,
    base: &Base<D>,
    (path, task_file): (&Path, &Path),
    evaluation: Option<(&Path, &Dataset)>,
    finished: &Finished,
) -> Result<()> {
    let predictor = Predictor::open(base, task_file)?;
    let metrics = &predictor.info().hyperparameters.metrics;
    let analyse = |(path, dataset)| Ok::<_, anyhow::Error>((path, predictor.analyse(dataset, metrics)?));
    let analysis = evaluation.map(analyse).transpose()?;
    let seconds = finished.report.state.training.as_secs_f64();
    let log = args.out().join(METRICS_LOG);
    let mut data = vec![
        ("training set".into(), args.data.train.display().to_string()),
        ("rows trained on".into(), grouped(plan.rows)),
    ];
    if let (Some(least), Some(most)) = (plan.label_rows.iter().min(), plan.label_rows.iter().max()) {
        let each = if least == most { grouped(*most) } else { format!("{} to {}", grouped(*least), grouped(*most)) };
        data.push(("rows of each class".into(), each));
    }
    let has_steps = plan.method != Method::Probe;
    let mut facts = Vec::new();
    if has_steps {
        facts.push(("tokens seen".into(), grouped(finished.report.state.tokens)));
        facts.push(("time in steps".into(), format!("{seconds:.1} s")));
    }
    if let Some(probe) = finished.probe.as_ref().filter(|probe| has_steps && !probe.scores.is_empty()) {
        let scores = probe.scores.iter().map(|score| format!("{} {:.4}", score.metric.name(), score.value));
        let scores = scores.collect::<Vec<_>>().join(", ");
        facts.push(("probe, for comparison".into(), format!("{scores} (a linear head over the frozen base)")));
    }
    let page = Page {
        path,
        task_file,
        log: log.exists().then_some(&*log),
        analysis,
        data,
        facts,
        quiet: args.run.machine.quiet,
    };
    page.write(&predictor)
}

/// Shows the plan before a run starts.
pub fn say_plan(args: &FinetuneArgs, plan: &Plan) {
    if args.run.machine.quiet {
        return;
    }
    let seeds = args.seeds.as_ref().map(|seeds| &seeds.0[..]);
    plan::say(plan, &args.data, &args.run.machine, seeds);
}

/// Reports how a run ended.
fn conclude(args: &FinetuneArgs, plan: &Plan, finished: &Finished) -> Result<ExitCode> {
    let Finished { report: outcome, task, probe } = finished;
    let state = &outcome.state;
    let best = state.best.as_ref();
    let base_dir = args.save_base.as_ref().filter(|_| task.is_some());
    let seconds = state.training.as_secs_f64();
    let end = report::end(&outcome.stop);
    if !args.run.machine.quiet && !matches!(outcome.stop, StopReason::Diverged { .. }) {
        let kept = match best {
            // A probe has no epochs.
            Some(best) if best.epoch == 0 => format!(", {}", report::scores(&best.scores)),
            Some(best) if args.run.eval_every.is_some() => {
                format!(", epoch {}, step {}: {}", best.epoch, best.step, report::scores(&best.scores))
            }
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
        let epochs = args.run.epochs;
        let is_last = best.is_some_and(|best| best.epoch == epochs && best.step == state.evaluated);
        if outcome.stop == StopReason::Finished && epochs > 1 && is_last {
            report::say(format_args!("note: the last epoch is the best, so that more --epochs may be better still"));
        }
        if outcome.stop == StopReason::Stopped && can_resume(args.out()) {
            report::say(format_args!("go on with: bitfit-cli finetune --resume {}", args.out().display()));
        }
        if let Some(dir) = base_dir {
            report::say(format_args!("base: {}, for --model", dir.display()));
        }
    }
    report::print(&FinetuneReport {
        command: "finetune",
        model: &args.data.model,
        task: args.data.task.map(GlueTask::name),
        method: args.method_text()?,
        trainable: plan.trainable,
        biases: plan.bias_scalars(),
        total: plan.total,
        epochs: state.epochs,
        steps: state.steps,
        tokens: state.tokens,
        best: report::best(best),
        metrics: scores_as_json(best.map_or(&state.last, |best| &best.scores)),
        probe: probe.as_ref().map(|probe| scores_as_json(&probe.scores)),
        seconds: report::rounded(seconds, 3),
        tokens_per_s: report::rate(state.tokens as f64, seconds),
        peak_rss_bytes: memory::peak_since_start(),
        device: args.run.machine.device.to_string(),
        precision: name_of(args.run.machine.precision()),
        task_file: task.as_ref().map(|task| task.path.display().to_string()),
        task_bytes: task.as_ref().map(|task| task.bytes),
        base_dir: base_dir.map(|dir| dir.display().to_string()),
        end,
    })?;
    match &outcome.stop {
        StopReason::Finished | StopReason::NoImprovement => Ok(ExitCode::SUCCESS),
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
    args.data.check_files(&args.further_files(), &args.directories())?;
    check_results(args.out(), ResultsOf::Run)?;
    let earlier = args.earlier();
    args.directories().iter().try_for_each(|dir| Ok(check_output(dir, earlier)?))
}
