//! What a reproduction checks before its first run: the settings, the files of its tasks, and what each run is made
//! from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bitfit_core::Backend;

use crate::data::Dataset;
use crate::methods::Method;
use crate::model::Base;
use crate::presets::GlueTask;
use crate::run::compare::check_methods;
use crate::run::run_record::{Origin, origin_of_base, origin_of_options};
use crate::run::seeds::check_seeds;
use crate::run::{MethodChoice, RUN_RECORD};
use crate::settings::{Setting, check};
use crate::train::BatchSize;
use crate::{Error, Result};

use super::files::{self, LeftOut};
use super::grid::{Grid, GridResult, GridRun, GridTask, Length, ScoredSet, SetSource};
use super::{Data, PaperTable, ReproduceOptions, SQUAD_POINTS};

impl ReproduceOptions {
    /// Refuses settings that are impossible or not the table's, whatever the base and the data are.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first of them.
    pub fn validate(&self, table: PaperTable) -> Result<()> {
        length(table, self)?;
        let methods = self.methods(table);
        check_methods(&methods)?;
        if let Some(probe) = methods.iter().find(|choice| choice.method == Method::Probe) {
            let reason = "a probe has no learning rate to search, and the paper has none: see compare";
            check(Setting::Methods, &probe.name, false, reason)?;
        }
        check_seeds(&self.seeds, true)?;
        if let BatchSize::Tokens(size) = self.common.training.batch_size {
            check(Setting::BatchTokens, size, false, "the paper's batches are of a number of texts")?;
        }
        methods.iter().try_for_each(|choice| check_rates(&self.rates.of(choice)))?;
        check_tasks(table, &self.tasks)
    }

    /// The methods that are run.
    pub(super) fn methods(&self, table: PaperTable) -> Vec<MethodChoice> {
        if self.methods.is_empty() { table.methods() } else { self.methods.clone() }
    }
}

/// What is known of a file before it is tokenised.
pub(super) struct FileFacts {
    pub(super) texts: usize,
    pub(super) hash: String,
}

/// The facts of all files by their paths.
pub(super) type Facts = BTreeMap<PathBuf, FileFacts>;

/// The tasks of a table in the data directory, and what is left out.
pub(super) fn tasks(table: PaperTable, options: &ReproduceOptions) -> Result<(Vec<GridTask>, Vec<LeftOut>)> {
    let data = table.description().data;
    let mut found = match data {
        Data::Glue | Data::GlueWithTrainingScores => files::glue_tasks(&options.data, &options.tasks)?,
        Data::Tagging => (vec![files::tagging_task(&options.data)?], Vec::new()),
        Data::Squad => (vec![files::squad_task(&options.data)?], Vec::new()),
    };
    if data == Data::GlueWithTrainingScores {
        for task in &mut found.0 {
            let title = format!("{}, training texts", task.glue.map_or("", files::glue_title));
            task.sets.truncate(1);
            task.sets.push(ScoredSet { name: "train".into(), title, source: SetSource::TrainingTexts });
        }
        found.1.retain(|left_out| left_out.name.parse::<GlueTask>().is_ok());
    }
    Ok(found)
}

/// How long the runs of a table are.
pub(super) fn length(table: PaperTable, options: &ReproduceOptions) -> Result<Length> {
    for (setting, count) in [(Setting::Epochs, options.epochs), (Setting::Steps, options.steps)] {
        count.map_or(Ok(()), |count| check(setting, count, count > 0, "it must be at least 1"))?;
    }
    let sizes = || options.sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    Ok(match table.description().length {
        Length::Epochs(epochs) => {
            let reason = "only the table squad-size is of training sets of several sizes, by steps";
            options.steps.map_or(Ok(()), |steps| check(Setting::Steps, steps, false, reason))?;
            check(Setting::Sizes, sizes(), options.sizes.is_empty(), reason)?;
            Length::Epochs(options.epochs.unwrap_or(epochs))
        }
        Length::Steps { at_least, epochs } => {
            let limit = options.common.training.limit;
            let reason = "the table squad-size has sizes of its own: list them instead";
            limit.map_or(Ok(()), |limit| check(Setting::Limit, limit, false, reason))?;
            check(Setting::Sizes, sizes(), !options.sizes.contains(&0), "a size must be at least 1")?;
            let (at_least, epochs) = (options.steps.unwrap_or(at_least), options.epochs.unwrap_or(epochs));
            Length::Steps { at_least, epochs }
        }
    })
}

/// Refuses tasks that the table does not have.
fn check_tasks(table: PaperTable, tasks: &[GlueTask]) -> Result<()> {
    let is_glue = matches!(table.description().data, Data::Glue | Data::GlueWithTrainingScores);
    let list = || tasks.iter().map(|task| task.name()).collect::<Vec<_>>().join(",");
    check(Setting::Tasks, list(), is_glue || tasks.is_empty(), "only tables of GLUE have several tasks")?;
    let is_left_out = tasks.iter().copied().find(|&task| !files::is_in_paper(task));
    is_left_out.map_or(Ok(()), |task| check(Setting::Tasks, task.name(), false, "the paper leaves it out"))
}

/// Refuses rates that are impossible or listed twice.
fn check_rates(rates: &[f32]) -> Result<()> {
    let list = || rates.iter().map(|rate| format!("{rate:e}")).collect::<Vec<_>>().join(",");
    check(Setting::Rates, list(), !rates.is_empty(), "there must be at least one")?;
    let are_sound = rates.iter().all(|rate| rate.is_finite() && *rate > 0.0);
    check(Setting::Rates, list(), are_sound, "a rate must be a number above 0")?;
    let is_twice = rates.iter().enumerate().any(|(place, rate)| rates[..place].contains(rate));
    check(Setting::Rates, list(), !is_twice, "one of them is listed twice")
}

/// Reads the files of all tasks, so that what is wrong with one is reported before the first run.
pub(super) fn read(grid: &Grid) -> Result<Facts> {
    let mut facts = BTreeMap::new();
    for (place, task) in grid.tasks.iter().enumerate() {
        let options = grid.options(&GridRun { task: place, method: 0, rate: 1.0, seed: 0 }, 1);
        let further = task.sets.iter().filter_map(|set| match &set.source {
            SetSource::File(path) => Some(path),
            SetSource::Evaluation | SetSource::TrainingTexts => None,
        });
        for path in std::iter::once(&task.train).chain(&task.eval).chain(further) {
            let dataset = Dataset::read(path, &options.read)?;
            task.glue.map_or(Ok(()), |task| task.check_labels(&dataset))?;
            facts.insert(path.clone(), FileFacts { texts: dataset.examples.len(), hash: hash(path)? });
        }
    }
    Ok(facts)
}

/// Puts a task of each size in the place of the task with the whole training set, and that at the end.
pub(super) fn sized(grid: &mut Grid, sizes: &[usize], facts: &Facts, left_out: &mut Vec<LeftOut>) -> Result<()> {
    let usual: Vec<usize> = SQUAD_POINTS.iter().filter_map(|point| point.rows).collect();
    let is_usual = sizes.is_empty();
    let mut sizes = if is_usual { usual } else { sizes.to_vec() };
    sizes.sort_unstable();
    sizes.dedup();
    let whole = grid.tasks[0].clone();
    let texts = facts[&whole.train].texts;
    let too_large = sizes
        .iter()
        .filter(|&&size| size > texts)
        .map(|size| LeftOut { name: size.to_string(), reason: format!("the training set has {texts} questions") });
    left_out.extend(too_large);
    let task = |size: &usize| GridTask { name: format!("squad-{size}"), texts: Some(*size), ..whole.clone() };
    grid.tasks = sizes.iter().filter(|&&size| size <= texts).map(task).collect();
    if is_usual {
        grid.tasks.push(GridTask { name: "squad-all".into(), ..whole });
    }
    let list = || sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    check(Setting::Sizes, list(), !grid.tasks.is_empty(), "the training set has fewer questions than the least of them")
}

/// What a run is made from.
pub(super) fn origin<D: Backend>(base: &Base<D>, grid: &Grid, run: &GridRun, facts: &Facts) -> Result<Origin> {
    let (task, options) = (&grid.tasks[run.task], grid.options(run, 1));
    let mut origin = origin_of_base(base, options.kind)?;
    origin.extend(origin_of_options(&grid.methods[run.method].name, &options));
    let hash = |path: &PathBuf| facts[path].hash.clone();
    let further = [
        ("epochs", grid.length.text()),
        ("training file", hash(&task.train)),
        ("evaluation file", task.eval.as_ref().map_or_else(|| "none".into(), hash)),
        ("texts", task.texts.map_or_else(|| "all".into(), |texts| texts.to_string())),
        ("read-out", options.pooling(base)?.0.to_string()),
        ("maximum length", options.max_length.map_or_else(|| "default".into(), |length| length.to_string())),
        ("seed", run.seed.to_string()),
    ];
    origin.extend(further.map(|(name, value)| (name.to_owned(), value)));
    Ok(origin)
}

/// Refuses a run that was scored on another file than that of the set.
pub(super) fn check_scored(directory: &Path, result: &GridResult, sets: &[ScoredSet], facts: &Facts) -> Result<()> {
    for set in sets {
        if let (SetSource::File(path), Some(scores)) = (&set.source, result.further.get(&set.name))
            && scores.file != facts[path].hash
        {
            let reason = format!("the run there was scored on another file than {}", path.display());
            return Err(Error::RunRecord { path: directory.join(RUN_RECORD), reason });
        }
    }
    Ok(())
}

/// A hash over the bytes of a file.
pub(super) fn hash(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).map_err(Error::io(path))?;
    io::copy(&mut file, &mut hasher).map_err(Error::io(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}
