//! `average`: the mean of several task files, scored beside them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use bitfit_bert::data::{Dataset, ReadOptions};
use bitfit_bert::model::Base;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{Table, scores_as_json};
use bitfit_bert::train::Score;
use bitfit_bert::{Predictor, TaskFile, artefacts};
use bitfit_core::Backend;
use serde_json::{Value, json};

use crate::args::{AverageArgs, name_of, unreadable};
use crate::last_resort;
use crate::output::{TaskTarget, is_same_file};
use crate::report;
use crate::setup::{self, FoundTask, Job};

/// Runs the command.
pub fn run(args: AverageArgs) -> Result<ExitCode> {
    check(&args)?;
    setup::on_device(&args.machine, Averaging(&args))
}

/// Refuses flags that contradict each other, and files that do not exist.
fn check(args: &AverageArgs) -> Result<()> {
    let reading = args.read.file.of_columns().or(args.read.file.format.is_some().then_some("--format"));
    if let Some(flag) = reading.filter(|_| args.data.is_none()) {
        return Err(unreadable(anyhow!("{flag}: no file of texts is read without --data")));
    }
    args.read.file.check()?;
    refuse_twice(&args.files)?;
    last_resort::check_stdout()?;
    args.files.iter().try_for_each(|path| setup::check_task_file(path))?;
    args.data.iter().try_for_each(|path| setup::check_input(path))
}

/// The command, ready for its device.
struct Averaging<'a>(&'a AverageArgs);

impl Job for Averaging<'_> {
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode> {
        let Self(args) = self;
        let target = TaskTarget::check(&args.out)?;
        let read = |path: &PathBuf| Ok::<_, anyhow::Error>((path.clone(), TaskFile::read(path)?));
        let files: Vec<(PathBuf, TaskFile)> = args.files.iter().map(read).collect::<Result<_>>()?;
        let mean = artefacts::average(&files)?;
        // Scored first: a file that does not belong to the base leaves no mean behind.
        let scored = args.data.as_ref().map(|data| score(args, data, device, &files, &mean)).transpose()?;
        let written = target.write(&mean)?;
        if !args.machine.quiet {
            if let Some(scored) = &scored {
                scored.table(args).lines().iter().for_each(|line| report::say(format_args!("{line}")));
            }
            report::say(format_args!("wrote {}: the mean of {} task files", written.display(), files.len()));
        }
        let scores = |scored: &Scored| {
            let parts = scored.parts.iter().zip(&args.files);
            let part = |(scores, path): (&Vec<Score>, &PathBuf)| json!({"file": path.display().to_string(), "metrics": scores_as_json(scores)});
            json!({
                "data": scored.data, "rows": scored.rows, "files": parts.map(part).collect::<Vec<Value>>(),
                "mean": scores_as_json(&scored.mean),
            })
        };
        report::print(&json!({
            "command": "average",
            "files": args.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
            "task_file": written.display().to_string(),
            "kind": mean.info.kind.name(),
            "method": mean.info.method.to_string(),
            "scores": scored.as_ref().map(scores),
            // The mean alone is not computed there.
            "device": scored.as_ref().map(|_| args.machine.device.to_string()),
            "precision": scored.as_ref().map(|_| name_of(args.machine.precision())),
        }))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Refuses a file that is listed twice, under whatever names, which would count double.
fn refuse_twice(files: &[PathBuf]) -> Result<()> {
    let is_twice = |(place, file): &(usize, &PathBuf)| {
        files[..*place].iter().any(|other| other == *file || is_same_file(other, file))
    };
    match files.iter().enumerate().find(is_twice) {
        Some((_, file)) => Err(unreadable(anyhow!("{}: it is listed twice; name each task file once", file.display()))),
        None => Ok(()),
    }
}

/// The scores of the files and of their mean.
struct Scored {
    data: String,
    rows: usize,
    parts: Vec<Vec<Score>>,
    mean: Vec<Score>,
}

impl Scored {
    fn table(&self, args: &AverageArgs) -> Table {
        let metrics = self.mean.iter().map(|score| score.metric.to_string());
        let columns = std::iter::once("task file".to_owned()).chain(metrics).collect();
        let row = |name: String, scores: &[Score]| {
            std::iter::once(name).chain(scores.iter().map(|score| format!("{:.4}", score.value))).collect()
        };
        let parts = args.files.iter().zip(&self.parts);
        let mut rows: Vec<Vec<String>> = parts.map(|(path, scores)| row(path.display().to_string(), scores)).collect();
        rows.push(row("their mean".into(), &self.mean));
        Table { columns, rows }
    }
}

/// Scores each file and the mean on the same texts.
fn score<D: Backend>(
    args: &AverageArgs,
    data: &Path,
    device: &D,
    files: &[(PathBuf, TaskFile)],
    mean: &TaskFile,
) -> Result<Scored> {
    let info = &mean.info;
    let found = FoundTask::find(args.model.as_deref(), &args.files[0], args.machine.quiet)?;
    let base = Base::open(device, &found.dir)?;
    let preset: Option<GlueTask> = info.hyperparameters.task.as_ref().and_then(|task| task.parse().ok());
    let read = args.read.options(info.kind, None)?;
    let dataset = Dataset::read(data, &ReadOptions { task: preset, ..read })?;
    if !args.machine.quiet {
        report::say_found(&dataset);
        report::say_skipped(&dataset);
    }
    let score = |predictor: &Predictor<D>| -> Result<Vec<Score>> {
        Ok(predictor.evaluate(&dataset, &info.hyperparameters.metrics)?.scores)
    };
    let part = |(path, task): &(PathBuf, TaskFile)| score(&Predictor::new(&base, path, task.clone())?);
    let parts = files.iter().map(part).collect::<Result<_>>()?;
    let predictor = Predictor::new(&base, &args.out, mean.clone())?;
    let mean = score(&predictor)?;
    if !args.machine.quiet {
        report::say_cut(&predictor, None);
    }
    Ok(Scored { data: data.display().to_string(), rows: dataset.examples.len(), parts, mean })
}
