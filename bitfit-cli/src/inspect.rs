//! `inspect`: what is in task files, and what they differ in.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use bitfit_bert::artefacts::{Contents, Differences, HeatMap, TensorSummary, heat_maps_svg};
use bitfit_bert::calibrate::Calibration;
use bitfit_bert::files::AtomicFile;
use bitfit_bert::model::Base;
use bitfit_bert::run::Table;
use bitfit_bert::task_file::TaskInfo;
use bitfit_bert::{TaskFile, hub};
use bitfit_core::Cpu;
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::last_resort;
use crate::output::{self, Input};
use crate::plan::grouped;
use crate::report;
use crate::setup;

/// Runs the command.
pub fn run(args: InspectArgs) -> Result<ExitCode> {
    let device = setup::on_cpu(None)?;
    last_resort::check_stdout()?;
    args.files.iter().try_for_each(|file| setup::check_task_file(file))?;
    let read = |path: &PathBuf| Ok::<_, anyhow::Error>((path.clone(), TaskFile::read(path)?));
    let files: Vec<(PathBuf, TaskFile)> = args.files.iter().map(read).collect::<Result<_>>()?;
    let dir = args.model.as_ref().map(|model| hub::resolve(model, args.quiet)).transpose()?;
    if let Some(svg) = &args.svg {
        let inputs: Vec<Input<'_>> = args.files.iter().map(|file| ("a task file", &**file)).collect();
        output::check_target("--svg", svg, &inputs)?;
        let recorded = files.iter().filter_map(|(_, file)| file.info.base_path.as_ref());
        recorded.chain(&dir).try_for_each(|dir| output::spare_model("--svg", svg, dir))?;
    }
    let base = dir.map(|dir| Base::open(&device, &dir)).transpose()?;
    let mut maps = Vec::with_capacity(files.len());
    let mut reports = Vec::with_capacity(files.len());
    for (path, task) in &files {
        let contents = Contents::of::<Cpu>(task, path, base.as_ref())?;
        let map = contents.heat_map(title(path, contents.is_change));
        if !args.quiet {
            say(path, task, &contents, &map);
        }
        reports.push(file_report(path, task, &contents, &map));
        maps.push(map);
    }
    let differences = if files.len() > 1 { Some(Differences::of::<Cpu>(&files, base.as_ref())?) } else { None };
    if let Some(differences) = &differences
        && !args.quiet
    {
        say_differences(&files, differences, base.is_some());
    }
    if let Some(svg) = &args.svg {
        let refuse = |error| anyhow!("--svg {error}");
        let mut file = AtomicFile::create(svg).map_err(refuse)?;
        file.write(heat_maps_svg(&maps).as_bytes()).map_err(refuse)?;
        file.finish().map_err(refuse)?;
    }
    report::print(&json!({
        "command": "inspect",
        "model": args.model,
        "figures": if base.is_some() { "changes" } else { "values" },
        "files": reports,
        "differences": differences.as_ref().map(differences_report),
        "svg": args.svg.as_ref().map(|svg| svg.display().to_string()),
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn title(path: &std::path::Path, is_change: bool) -> String {
    let what = if is_change { "Mean absolute change" } else { "Mean absolute value" };
    format!("{what} by kind and layer: {}", path.display())
}

/// Shows the contents of a file.
fn say(path: &std::path::Path, task: &TaskFile, contents: &Contents, map: &HeatMap) {
    let info = &task.info;
    let say = |name: &str, value: String| report::say(format_args!("{name:<9} {value}"));
    say("file", path.display().to_string());
    say("base", info.base.clone());
    say("kind", format!("{}, reads {}{}", info.kind, info.pooling, if info.pairs { ", pairs" } else { "" }));
    if let Some(labels) = &info.labels {
        say("labels", format!("{}: {}", labels.names().len(), shortened(labels.names())));
    }
    say("method", format!("{}, seed {}, {} steps", info.method, info.seed, grouped(info.hyperparameters.steps)));
    say("scores", scores(info));
    if let Some(calibration) = &info.calibration {
        say("answers", calibration_text(calibration, info.labels.as_ref().map_or(&[][..], |labels| labels.names())));
    }
    let what = if contents.is_change { "of the change" } else { "of the values" };
    let norm =
        |of_head: bool| format!("{} scalars, norm {:.4}", grouped(contents.scalars(of_head)), contents.norm(of_head));
    match contents.scalars(false) {
        0 => say("encoder", "nothing was trained".into()),
        _ => say("encoder", format!("{} {what}", norm(false))),
    }
    say("head", norm(true));
    let outside = contents.tensors.iter().filter(|tensor| tensor.layer.is_none());
    let row = |tensor: &TensorSummary| {
        vec![
            tensor.name.clone(),
            format!("{:?}", tensor.shape),
            tensor.part.to_owned(),
            format!("{:.3e}", tensor.norm),
            format!("{:.3e}", tensor.mean_absolute),
        ]
    };
    let columns = ["outside of the layers", "shape", "part", "norm", "mean absolute"].map(str::to_owned).to_vec();
    let table = Table { columns, rows: outside.map(row).collect() };
    table.lines().iter().chain(&map.lines()).for_each(|line| report::say(format_args!("{line}")));
}

/// The first labels.
fn shortened(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
    if names.len() > first.len() { format!("{}, …", first.join(", ")) } else { first.join(", ") }
}

/// What a task was calibrated to.
fn calibration_text(calibration: &Calibration, labels: &[String]) -> String {
    let mut text = format!("calibrated, temperature {:.4}", calibration.temperature);
    if let Some(least) = calibration.reject_below {
        text += &format!(", none below a probability of {least:.4}");
    }
    if let Some(thresholds) = &calibration.thresholds {
        let of_labels = labels.iter().zip(thresholds).map(|(label, threshold)| format!("{label} {threshold:.4}"));
        text += &format!(", from a probability of: {}", shortened(&of_labels.collect::<Vec<_>>()));
    }
    text
}

fn scores(info: &TaskInfo) -> String {
    let Some(best) = &info.best else { return "none".into() };
    let scores: Vec<String> = best.scores.iter().map(|(metric, value)| format!("{metric} {value:.4}")).collect();
    let scores = scores.join("  ");
    // A probe has no epochs.
    if best.epoch == 0 { scores } else { format!("{scores} (epoch {})", best.epoch) }
}

fn file_report(path: &std::path::Path, task: &TaskFile, contents: &Contents, map: &HeatMap) -> Value {
    let info = &task.info;
    let tensor = |tensor: &TensorSummary| {
        json!({
            "name": tensor.name, "kind": tensor.kind, "layer": tensor.layer, "head": tensor.is_head,
            "shape": tensor.shape, "part": tensor.part, "scalars": tensor.scalars, "norm": tensor.norm,
            "mean_absolute": tensor.mean_absolute,
        })
    };
    let rows = map.rows.iter().map(|row| (row.label.clone(), json!(row.cells)));
    json!({
        "file": path.display().to_string(),
        "base": info.base,
        "base_fingerprint": info.base_fingerprint,
        "kind": info.kind.name(),
        "labels": info.labels.as_ref().map(|labels| labels.names().to_vec()),
        "pairs": info.pairs,
        "pooling": info.pooling.name(),
        "method": info.method.to_string(),
        "seed": info.seed,
        "max_length": info.hyperparameters.max_length,
        "steps": info.hyperparameters.steps,
        "best": info.best.as_ref().map(|best| json!({"epoch": best.epoch, "scores": best.scores})),
        "calibration": info.calibration,
        "encoder": {"scalars": contents.scalars(false), "norm": contents.norm(false)},
        "head": {"scalars": contents.scalars(true), "norm": contents.norm(true)},
        "heat_map": rows.collect::<serde_json::Map<_, _>>(),
        "tensors": contents.tensors.iter().map(tensor).collect::<Vec<_>>(),
    })
}

/// Shows what files differ in.
fn say_differences(files: &[(PathBuf, TaskFile)], differences: &Differences, is_change: bool) {
    let names: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    let columns = std::iter::once("differs".to_owned()).chain(names.iter().cloned()).collect();
    let cell = |value: &Value| value.to_string().chars().take(40).collect::<String>();
    let row = |field: &bitfit_bert::artefacts::FieldDifference| {
        std::iter::once(field.field.clone()).chain(field.values.iter().map(cell)).collect()
    };
    let rows: Vec<Vec<String>> = differences.fields.iter().map(row).collect();
    Table { columns, rows }.lines().iter().for_each(|line| report::say(format_args!("{line}")));
    if !differences.not_shared.is_empty() {
        report::say(format_args!("not the same entries in all files: {}", shortened(&differences.not_shared)));
    }
    let what = if is_change { "cosine of the changes" } else { "cosine of the values" };
    for (part, cosines) in [("encoder", &differences.encoder), ("head", &differences.head)] {
        let columns = std::iter::once(format!("{what}, {part}")).chain(names.iter().cloned()).collect();
        let cell = |cosine: &Option<f64>| cosine.map_or_else(|| "-".into(), |cosine| format!("{cosine:.4}"));
        let rows = names.iter().zip(cosines);
        let rows = rows.map(|(name, row)| std::iter::once(name.clone()).chain(row.iter().map(cell)).collect());
        let table = Table { columns, rows: rows.collect() };
        table.lines().iter().for_each(|line| report::say(format_args!("{line}")));
    }
}

fn differences_report(differences: &Differences) -> Value {
    let fields = differences.fields.iter().map(|field| (field.field.clone(), json!(field.values)));
    json!({
        "fields": fields.collect::<serde_json::Map<_, _>>(),
        "tensors_not_shared": differences.not_shared,
        "cosines": {"encoder": differences.encoder, "head": differences.head},
    })
}
