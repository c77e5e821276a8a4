//! `calibrate`: a task file whose probabilities and thresholds are fitted to labelled texts.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use bitfit_bert::TaskFile;
use bitfit_bert::calibrate::{Calibration, Fit, LabelThreshold, TEMPERATURES};
use bitfit_bert::data::{Dataset, Kind, ReadOptions};
use bitfit_bert::run::Table;
use bitfit_core::Backend;

use crate::args::CalibrateArgs;
use crate::last_resort;
use crate::output::{self, is_same_file};
use crate::plan::grouped;
use crate::report::{self, CalibrateReport, LabelReport, ReliabilityReport};
use crate::setup::{self, FoundTask, Job, Loaded};

/// Runs the command.
pub fn run(args: CalibrateArgs) -> Result<ExitCode> {
    setup::on_device(&args.machine, Fitting(&args))
}

/// The command, ready for its device.
struct Fitting<'a>(&'a CalibrateArgs);

impl Job for Fitting<'_> {
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode> {
        fit(self.0, device)
    }
}

fn fit<D: Backend>(args: &CalibrateArgs, device: &D) -> Result<ExitCode> {
    last_resort::check_stdout()?;
    [&args.task_file, &args.data].into_iter().try_for_each(|path| setup::check_input(path))?;
    if args.out.is_dir() {
        bail!("--out {}: it is a directory; name a file in it", args.out.display());
    }
    if is_same_file(&args.out, &args.data) {
        bail!("--out {}: it is the data, which would be overwritten; choose another file", args.out.display());
    }
    if args.out.exists() && !args.overwrite {
        bail!("--out {}: it is there already: choose another file, or replace it (--overwrite)", args.out.display());
    }
    if let Some(share) = args.min_accuracy.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
        bail!("--min-accuracy {share}: it is a share of answers, above 0 and at most 1");
    }
    let task = FoundTask::find(args.model.as_deref(), &args.task_file, args.machine.quiet)?;
    let kind = task.file.info.kind;
    if !Calibration::suits(kind) {
        let path = args.task_file.display();
        bail!(
            "{path}: a task of kind {kind} has no probabilities that can be calibrated; classify and multi-label have"
        );
    }
    if args.min_accuracy.is_some() && kind != Kind::Classify {
        bail!("--min-accuracy: a text of kind {kind} has any number of labels and is never rejected; leave it out");
    }
    // The task file itself may be replaced, and no file of the base.
    output::refuse_overwriting("--out", &args.out, Path::new(""), &task.dir)?;
    let mut calibrated: TaskFile = task.file.clone();
    let loaded = Loaded::open(device, task, &args.task_file, None)?;
    let read = args.read.labelled(kind, args.task, args.label.as_deref(), args.label_separator)?;
    let dataset = Dataset::read(&args.data, &ReadOptions { task: read.task.or(loaded.preset()), ..read })?;
    let fit = loaded.predictor.calibrate(&dataset, args.min_accuracy)?;
    calibrated.info.calibration = Some(fit.calibration.clone());
    calibrated.write(&args.out)?;
    let names = loaded.predictor.labels().map(|labels| labels.names().to_vec()).unwrap_or_default();
    if !args.machine.quiet {
        report::say_found(&dataset);
        report::say_skipped(&dataset);
        say(args, &fit, &names, dataset.examples.len());
    }
    let reliability = |of: &bitfit_bert::calibrate::Reliability| ReliabilityReport { ece: of.ece, loss: of.loss };
    let label = |(name, label): (&String, &LabelThreshold)| LabelReport {
        label: name.clone(),
        threshold: label.threshold,
        f1_before: label.f1_before,
        f1: label.f1,
        support: label.support,
    };
    report::print(&CalibrateReport {
        command: "calibrate",
        model: &loaded.model,
        task_file: args.out.display().to_string(),
        data: args.data.display().to_string(),
        rows: dataset.examples.len(),
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
    let (temperature, rows) = (fit.calibration.temperature, grouped(rows));
    report::say(format_args!("temperature  {temperature:.4}, fitted to {rows} rows"));
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
