//! `finetune --folds`: a run for each fold, the answers of each to the rows that it has not seen, and the rows whose
//! label is likely to be wrong.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{FoldRun, FoldRuns, MeanScore, OutOfFoldAnswer, OutOfFoldFields, Table};
use bitfit_bert::train::StopReason;
use bitfit_core::Backend;
use serde::Serialize;

use crate::STOPPED;
use crate::args::{FinetuneArgs, name_of};
use crate::finetune::say_plan;
use crate::memory;
use crate::plan::grouped;
use crate::predict::Answer;
use crate::progress;
use crate::report::{self, FoldReport, FoldsReport, of_means};
use crate::several::{self, Row};

/// A line of the file of answers.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    fields: &'a OutOfFoldFields<'a>,
    #[serde(flatten)]
    answer: Answer<'a>,
}

/// Makes the runs and reports them.
pub fn run<D: Backend>(args: &FinetuneArgs, runs: FoldRuns<D>) -> Result<ExitCode> {
    let plan = runs.plan().clone();
    say_plan(args, &plan);
    let quiet = args.run.machine.quiet;
    let how = (args.run.log_every, quiet);
    let finished = progress::watched(Some(&plan), how, |progress| runs.run(progress, &line))?;
    let (means, stop) = (finished.means(), finished.stop());
    if !quiet {
        table(&finished.runs, &means).lines().iter().for_each(|line| report::say(format_args!("{line}")));
        match &finished.answers {
            None => several::say_how_to_go_on(args),
            Some(path) => {
                report::say(format_args!("{}: {} has an answer to each row", report::end(&stop), path.display()));
            }
        }
    }
    let path = |file: &Option<PathBuf>| file.as_ref().map(|path| path.display().to_string());
    report::print(&FoldsReport {
        command: "finetune",
        model: &args.data.model,
        task: args.data.task.map(GlueTask::name),
        method: args.method_text()?,
        trainable: plan.trainable,
        total: plan.total,
        rows: finished.rows,
        folds: finished.runs.iter().map(fold_report).collect(),
        metrics: of_means(&means, |mean| Some(mean.mean)),
        deviations: of_means(&means, |mean| mean.deviation),
        answers: path(&finished.answers),
        suspects: path(&finished.suspects),
        peak_rss_bytes: memory::peak_since_start(),
        device: args.run.machine.device.to_string(),
        precision: name_of(args.run.machine.precision()),
        end: report::end(&stop),
    })?;
    match stop {
        StopReason::Finished | StopReason::NoImprovement => Ok(ExitCode::SUCCESS),
        StopReason::Stopped => Ok(ExitCode::from(STOPPED)),
        StopReason::Diverged { .. } => Err(anyhow!("training diverged in a fold; try a lower --lr")),
    }
}

/// The line of an answer, without its end.
fn line<D: Backend>(answer: &OutOfFoldAnswer<'_, D>) -> Result<String> {
    let OutOfFoldAnswer { fields, predictor, example, prediction } = answer;
    Ok(serde_json::to_string(&Line { fields, answer: Answer::new(predictor, example, prediction)? })?)
}

/// The scores of each fold, and their means.
fn table(runs: &[FoldRun], means: &[MeanScore]) -> Table {
    let rows = runs.iter().map(|FoldRun { fold, rows, finished }| Row {
        number: *fold as u64,
        run: finished,
        further: grouped(rows.len()),
        is_best: false,
    });
    several::table("fold", "rows", rows, means)
}

/// The run of a fold for the result.
fn fold_report(run: &FoldRun) -> FoldReport {
    let (state, task) = (&run.finished.report.state, run.finished.task.as_ref());
    FoldReport {
        fold: run.fold,
        rows: run.rows.len(),
        best: report::best(run.best()),
        metrics: bitfit_bert::run::scores_as_json(run.best().map_or(&state.last, |best| &best.scores)),
        seconds: report::rounded(state.training.as_secs_f64(), 3),
        task_file: task.map(|task| task.path.display().to_string()),
        end: report::end(&run.finished.report.stop),
    }
}
