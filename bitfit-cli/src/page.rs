//! `--report`: the page of a run or of an evaluation, and its table of classes on the terminal.

use std::path::{self, Path, PathBuf};

use anyhow::{Result, bail};
use bitfit_bert::artefacts::Contents;
use bitfit_bert::data::Kind;
use bitfit_bert::infer::Analysis;
use bitfit_bert::report::{Course, Report, class_table};
use bitfit_bert::task_file::TaskInfo;
use bitfit_bert::{Method, Predictor, TaskFile};
use bitfit_core::Backend;

use crate::output::{self, FILES, Input};
use crate::plan::grouped;
use crate::report;

/// The most classes whose table is printed on the terminal.
const CLASSES: usize = 40;

/// Refuses a page in the place of something else: a directory, one of the `inputs`, or a file of a run; and one in a
/// directory that is not there or cannot be written.
pub fn check(path: Option<&PathBuf>, inputs: &[Input<'_>], directories: &[PathBuf]) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    // One place has several names, such as ./out and out, also before it is there.
    let absolute = |path: &Path| path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (place, directories) = (absolute(path), directories.iter().map(|directory| absolute(directory)));
    let directories: Vec<PathBuf> = directories.collect();
    let mut written = directories.iter().flat_map(|directory| FILES.map(|name| directory.join(name)));
    if written.any(|file| file == place) {
        bail!("--report {}: it is a file of the run, which would be overwritten; choose another file", path.display());
    }
    // The directory of the run is made with it.
    let is_new = |parent: &Path| !parent.exists() && directories.iter().any(|directory| directory == parent);
    if place.parent().is_some_and(is_new) { Ok(()) } else { output::check_target("--report", path, inputs) }
}

/// A page that is to be written.
pub struct Page<'a> {
    /// Where.
    pub path: &'a Path,
    /// The task file.
    pub task_file: &'a Path,
    /// The log of its run.
    pub log: Option<&'a Path>,
    /// The texts that were answered, if any, and where they came from.
    pub analysis: Option<(&'a Path, Analysis)>,
    /// What it was trained on.
    pub data: Vec<(String, String)>,
    /// Further facts.
    pub facts: Vec<(String, String)>,
    pub quiet: bool,
}

impl Page<'_> {
    /// Writes the page, and prints its table of classes.
    pub fn write<D: Backend>(self, predictor: &Predictor<D>) -> Result<()> {
        let Self { path, task_file, log, analysis, mut data, facts, quiet } = self;
        let task = TaskFile::read(task_file)?;
        let contents = Contents::of(&task, task_file, Some(predictor.base()))?;
        let movement = contents.heat_map("mean absolute change by kind and layer".into());
        let mut all = facts_of(&task.info);
        let [base, head] = [false, true].map(|of_head| contents.scalars(of_head));
        let trained =
            format!("{} ({} of the base, {} of the head)", grouped(base + head), grouped(base), grouped(head));
        all.push(("trained scalars".into(), trained));
        all.extend(facts);
        all.push(("program".into(), format!("bitfit {}", env!("CARGO_PKG_VERSION"))));
        if let Some((path, analysis)) = &analysis {
            data.push(("evaluation set".into(), path.display().to_string()));
            data.push(("rows evaluated".into(), grouped(analysis.rows)));
        }
        if let Some(labels) = &task.info.labels {
            let what = match task.info.kind {
                Kind::MultiLabel => "labels",
                Kind::Tag => "tags",
                _ => "classes",
            };
            data.push((what.into(), grouped(labels.names().len())));
        }
        if !quiet
            && let Some(table) = analysis.as_ref().and_then(|(_, analysis)| class_table(analysis))
            && table.rows.len() <= CLASSES
        {
            table.lines().iter().for_each(|line| report::say(format_args!("{line}")));
        }
        let page = Report {
            title: title(&task.info, task_file),
            data,
            facts: all,
            course: log.map(|log| Course::read(log, task.info.best.as_ref())).transpose()?.unwrap_or_default(),
            analysis: analysis.map(|(data, analysis)| (data.display().to_string(), analysis)),
            movement: Some(movement),
        };
        page.write(path)?;
        if !quiet {
            report::say(format_args!("report: {}", path.display()));
        }
        Ok(())
    }
}

fn title(info: &TaskInfo, task_file: &Path) -> String {
    let task = info.hyperparameters.task.as_ref().map_or_else(|| info.kind.to_string(), Clone::clone);
    format!("{task}: {}", task_file.display())
}

/// What the header of a task file says of its training.
fn facts_of(info: &TaskInfo) -> Vec<(String, String)> {
    let training = &info.hyperparameters;
    let batch = match (training.batch_size, training.batch_tokens) {
        (Some(size), _) => format!("{size} texts"),
        (None, Some(tokens)) => format!("{tokens} tokens"),
        (None, None) => "unknown".into(),
    };
    let mut rate = format!("{}, {}", training.learning_rate, training.schedule);
    training.learning_rates.iter().for_each(|(group, value)| rate += &format!("; {group} {value}"));
    let mut facts = vec![
        ("base model", info.base.clone()),
        ("kind", info.kind.to_string()),
        ("read-out", info.pooling.to_string()),
        ("method", info.method.to_string()),
        ("maximum length", format!("{} tokens", training.max_length)),
        ("seed", info.seed.to_string()),
        ("trained on", format!("{}, {}", training.device, training.precision)),
    ];
    let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    let has_steps = info.method != Method::Probe;
    add("learning rate", has_steps.then_some(rate));
    add("epochs", has_steps.then(|| format!("{} ({} steps)", training.epochs, grouped(training.steps))));
    add("batch", has_steps.then_some(batch));
    add("warm-up", (training.warmup > 0.0).then(|| training.warmup.to_string()));
    add("layer-wise decay of the rate", training.layer_decay.map(|decay| decay.to_string()));
    add("weight decay", (training.weight_decay > 0.0).then(|| training.weight_decay.to_string()));
    add("dropout", training.dropout.map(|dropout| dropout.to_string()));
    add("texts computed at a time", training.micro_batch.map(|texts| texts.to_string()));
    add("logical shards of a batch", training.shards.map(|shards| shards.to_string()));
    add("class weights", training.class_weights.as_ref().map(|weights| format!("{weights:?}")));
    add("label smoothing", training.label_smoothing.map(|share| share.to_string()));
    add("exponent of the focal loss", training.focal_gamma.map(|gamma| gamma.to_string()));
    add("patience", training.patience.map(|patience| format!("{patience} evaluations")));
    add("limit", training.limit.map(|limit| format!("{limit} texts")));
    if let Some(best) = info.best.as_ref().filter(|_| has_steps) {
        let step = best.step.map(|step| format!(", step {step}")).unwrap_or_default();
        let kept = format!("epoch {}{step}, the best on the evaluation set, whose scores it flatters", best.epoch);
        facts.push(("kept", kept));
    }
    if let Some(calibration) = &info.calibration {
        facts.push(("temperature", calibration.temperature.to_string()));
        if let Some(least) = calibration.reject_below {
            facts.push(("rejects", format!("below a probability of {least}")));
        }
    }
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
