//! `calibrate`: a task file whose probabilities and thresholds are fitted to labelled texts, or to out-of-fold answers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use bitfit_bert::TaskFile;
use bitfit_bert::calibrate::{Calibration, Fit, LabelThreshold, OutOfFold, Reliability, TEMPERATURES};
use bitfit_bert::data::{Dataset, Kind, ReadOptions};
use bitfit_bert::run::Table;
use bitfit_core::Backend;

use crate::args::{CalibrateArgs, unreadable};
use crate::last_resort;
use crate::output;
use crate::plan::{grouped, rows_text};
use crate::report::{self, CalibrateReport, LabelReport, ReliabilityReport};
use crate::setup::{self, FoundTask, Job, Loaded};

/// Runs the command.
pub fn run(args: CalibrateArgs) -> Result<ExitCode> {
    match (&args.data, &args.out_of_fold) {
        (Some(data), _) => {
            check(&args, data)?;
            setup::on_device(&args.machine, Fitting { args: &args, data })
        }
        (None, Some(answers)) => fit_to_answers(&args, answers),
        (None, None) => bail!("--data or --out-of-fold is required"),
    }
}

/// The command, ready for its device.
struct Fitting<'a> {
    args: &'a CalibrateArgs,
    data: &'a Path,
}

impl Job for Fitting<'_> {
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode> {
        fit_to_texts(self.args, self.data, device)
    }
}

/// Fits to the outputs for labelled texts.
fn fit_to_texts<D: Backend>(args: &CalibrateArgs, data: &Path, device: &D) -> Result<ExitCode> {
    let task = FoundTask::find(args.model.as_deref(), &args.task_file, args.machine.quiet)?;
    let kind = task.file.info.kind;
    check_kind(args, kind)?;
    // The task file itself may be replaced, and no file of the base.
    output::spare_model("--out", &args.out, &task.dir)?;
    let file = task.file.clone();
    let loaded = Loaded::open(device, task, &args.task_file, None)?;
    let task = loaded.preset(args.task, &args.task_file)?;
    let read = args.read.options(kind, args.task)?;
    let dataset = Dataset::read(data, &ReadOptions { task, ..read })?;
    let fit = loaded.predictor.calibrate(&dataset, args.min_accuracy)?;
    if !args.machine.quiet {
        report::say_found(&dataset);
        report::say_skipped(&dataset);
        report::say_cut(&loaded.predictor, None);
    }
    finish(args, file, &loaded.model, dataset.examples.len(), &fit)
}

/// Fits to out-of-fold answers, for which no model is run.
fn fit_to_answers(args: &CalibrateArgs, answers: &Path) -> Result<ExitCode> {
    check(args, answers)?;
    let file = TaskFile::read(&args.task_file)?;
    check_kind(args, file.info.kind)?;
    if let Some(dir) = &file.info.base_path {
        output::spare_model("--out", &args.out, dir)?;
    }
    let OutOfFold { outputs, targets } = OutOfFold::read(answers, &file.info)?;
    let fit = Fit::new(&outputs, &targets, args.min_accuracy)?;
    let model = file.info.base.clone();
    finish(args, file, &model, targets.len(), &fit)
}

/// Refuses flags that contradict each other, inputs that do not exist, and an output in the place of something else.
fn check(args: &CalibrateArgs, data: &Path) -> Result<()> {
    args.read.file.check()?;
    if let Some(share) = args.min_accuracy.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
        return Err(unreadable(anyhow!("--min-accuracy {share}: it is a share of answers, above 0 and at most 1")));
    }
    last_resort::check_stdout()?;
    setup::check_task_file(&args.task_file)?;
    setup::check_input(data)?;
    output::check_target("--out", &args.out, &[("the data", data)])?;
    if args.out.exists() && !args.overwrite {
        bail!("--out {}: it is there already: choose another file, or replace it (--overwrite)", args.out.display());
    }
    Ok(())
}

/// Refuses a kind of task without probabilities, and a least accuracy where nothing is rejected.
fn check_kind(args: &CalibrateArgs, kind: Kind) -> Result<()> {
    if !Calibration::suits(kind) {
        let path = args.task_file.display();
        bail!(
            "{path}: a task of kind {kind} has no probabilities that can be calibrated; classify and multi-label have"
        );
    }
    if args.min_accuracy.is_some() && kind != Kind::Classify {
        bail!("--min-accuracy: a text of kind {kind} has any number of labels and is never rejected; leave it out");
    }
    Ok(())
}

/// Writes the task file with what was fitted, and reports it.
fn finish(args: &CalibrateArgs, mut file: TaskFile, model: &str, rows: usize, fit: &Fit) -> Result<ExitCode> {
    file.info.calibration = Some(fit.calibration.clone());
    file.write(&args.out)?;
    let names = file.info.labels.as_ref().map(|labels| labels.names().to_vec()).unwrap_or_default();
    if !args.machine.quiet {
        say(args, fit, &names, rows);
    }
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let reliability = |of: &Reliability| ReliabilityReport { ece: of.ece, loss: of.loss };
    let label = |(name, label): (&String, &LabelThreshold)| LabelReport {
        label: name.clone(),
        threshold: label.threshold,
        f1_before: label.f1_before,
        f1: label.f1,
        support: label.support,
    };
    report::print(&CalibrateReport {
        command: "calibrate",
        model,
        task_file: args.out.display().to_string(),
        data: path(&args.data),
        out_of_fold: path(&args.out_of_fold),
        rows,
        temperature: fit.calibration.temperature,
        before: reliability(&fit.before),
        after: reliability(&fit.after),
        reject_below: fit.calibration.reject_below,
        answered: fit.answered.map(|(answered, _)| answered),
        accuracy: fit.answered.map(|(_, accuracy)| accuracy),
        labels: names.iter().zip(&fit.labels).map(label).collect(),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Shows what was fitted.
fn say(args: &CalibrateArgs, fit: &Fit, names: &[String], rows: usize) {
    let (temperature, rows) = (fit.calibration.temperature, rows_text(rows));
    report::say(format_args!("temperature  {temperature:.4}, fitted to {rows}"));
    let (before, after) = (&fit.before, &fit.after);
    report::say(format_args!(
        "error        {:.4} before, {:.4} after (expected calibration error)",
        before.ece, after.ece
    ));
    report::say(format_args!("loss         {:.4} before, {:.4} after", before.loss, after.loss));
    if let (Some(threshold), Some((answered, accuracy))) = (fit.calibration.reject_below, fit.answered) {
        report::say(format_args!(
            "answers      from a probability of {threshold:.4} on: {:.1} % of the rows, {:.1} % of them right",
            answered * 100.0,
            accuracy * 100.0
        ));
    }
    if !fit.labels.is_empty() {
        let columns = ["label", "threshold", "f1", "f1 at 0.5", "texts"].map(str::to_owned).to_vec();
        let row = |(name, label): (&String, &LabelThreshold)| {
            let f1 = [label.f1, label.f1_before].map(|f1| format!("{f1:.4}"));
            [name.clone(), format!("{:.4}", label.threshold)]
                .into_iter()
                .chain(f1)
                .chain([grouped(label.support)])
                .collect()
        };
        let table = Table { columns, rows: names.iter().zip(&fit.labels).map(row).collect() };
        table.lines().iter().for_each(|line| report::say(format_args!("{line}")));
    }
    if [TEMPERATURES[0], TEMPERATURES[1]].contains(&temperature) {
        report::say(format_args!("note: that is the end of the range: the answers are all right, or tell nothing"));
    }
    report::say(format_args!("written: {}", args.out.display()));
}
