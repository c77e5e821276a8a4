//! Cross-validation: the training set is cut into folds, and for each a run trains on the others and is evaluated on
//! it, so that every row can be answered by a model that has not seen it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitfit_core::{Backend, Random};

use crate::data::Kind;
use crate::heads::Targets;
use crate::model::Base;
use crate::settings::{Setting, check};
use crate::train::{BestEpoch, StopReason};
use crate::{Error, Result};

use super::finetune::{Finetune, Finished, HandedOn, check_options};
use super::options::FinetuneOptions;
use super::out_of_fold::{OutOfFoldAnswer, answer};
use super::output_dir::{OutputDir, check_output};
use super::plan::Plan;
use super::seeds::{RunEvents, RunNumber};
use super::several;
use super::statistics::MeanScore;
use super::task_data::TaskData;

/// The beginning of the name of the directory of a fold.
pub(super) const FOLD: &str = "fold-";

/// The stream of the seed that deals the rows.
const STREAM: u32 = u32::MAX - 1;

/// Runs over the folds of a training set that are ready to start: everything is read, but nothing is written yet.
#[derive(Debug)]
pub struct FoldRuns<D: Backend> {
    base: Base<D>,
    data: TaskData,
    options: FinetuneOptions,
    /// The fold of each text.
    folds: Vec<usize>,
    count: usize,
    first: Finetune<D>,
}

/// The run that answers a fold.
#[derive(Debug)]
pub struct FoldRun {
    /// The number of the fold, from 0.
    pub fold: usize,
    /// The texts of the fold, by their places in the training set.
    pub rows: Vec<usize>,
    /// What was reached.
    pub finished: Finished,
}

impl FoldRun {
    /// The epoch that the task file holds.
    pub fn best(&self) -> Option<&BestEpoch> {
        self.finished.report.state.best.as_ref()
    }
}

/// The results of the runs.
#[derive(Debug)]
pub struct FinishedFolds {
    /// The runs that were made, in the order of the folds; the last may have been stopped.
    pub runs: Vec<FoldRun>,
    /// The number of texts that were dealt to the folds.
    pub rows: usize,
    /// The file of the answers; `None` where the runs, or the answering of their rows, was stopped.
    pub answers: Option<PathBuf>,
    /// The file of the rows whose label is likely to be wrong; `None` where there are none.
    pub suspects: Option<PathBuf>,
}

impl FinishedFolds {
    /// The means of the scores over the runs that came to their end.
    pub fn means(&self) -> Vec<MeanScore> {
        several::means(self.runs.iter().map(|run| &run.finished))
    }

    /// How the last run ended, or else the first one that diverged; stopped where there are no answers.
    pub fn stop(&self) -> StopReason {
        if self.answers.is_none() {
            return StopReason::Stopped;
        }
        several::stop(self.runs.iter().map(|run| &run.finished))
    }
}

/// The directory of a fold's files in the output directory of all.
pub fn fold_directory(out: &Path, fold: usize) -> PathBuf {
    out.join(format!("{FOLD}{fold}"))
}

/// Refuses a cross-validation that is impossible whatever the base and the data are.
///
/// # Errors
/// [`crate::Error::Setting`] with the setting.
pub fn check_folds(options: &FinetuneOptions, count: usize) -> Result<()> {
    check(Setting::Folds, count, count >= 2, "there must be at least two")?;
    let reason = "each fold is the evaluation set of a run, so that there is no other";
    check(Setting::Folds, count, options.eval.is_none(), reason)?;
    let reason = "masked language modelling has no labels to hold out";
    check(Setting::Kind, options.kind, options.kind != Kind::MaskedLm, reason)?;
    let reason = "the rows of a fold are chosen from all: leave the limit out";
    options.training.limit.map_or(Ok(()), |limit| check(Setting::Limit, limit, false, reason))
}

impl<D: Backend> FoldRuns<D> {
    /// Reads the training set for runs over `base`, and deals its texts to `count` folds by the seed: of each class as
    /// many to each fold as to any other, or one more.
    ///
    /// # Errors
    /// As [`Finetune::prepare`]; [`crate::Error::Setting`] for fewer than two folds or more than texts, for an
    /// evaluation set, and for a kind of task without labels.
    pub fn prepare(base: &Base<D>, mut options: FinetuneOptions, count: usize) -> Result<Self> {
        check_folds(&options, count)?;
        check_output(&options.out, options.earlier)?;
        let directories: Vec<PathBuf> = (0..count).map(|fold| fold_directory(&options.out, fold)).collect();
        directories.iter().try_for_each(|directory| check_output(directory, options.earlier))?;
        several::check_begun(&options, &directories)?;
        let data = TaskData::read(base, &options)?;
        // What is evaluated is a part of it.
        options.eval = Some(options.train.clone());
        check_options(base, &options)?;
        let texts = data.training_set.examples.len();
        check(Setting::Folds, count, count <= texts, "the training set has fewer texts")?;
        let folds = deal(&data.train.targets, texts, count, options.training.seed);
        let first = of_fold(base, &data, &options, &folds, 0)?;
        Ok(Self { base: base.clone(), data, options, folds, count, first })
    }

    /// The plan of the first run. Those of the others differ in the rows.
    pub fn plan(&self) -> &Plan {
        self.first.plan()
    }

    /// Makes the runs, each into its own directory ([`fold_directory`]). A run that diverges does not keep the next
    /// from being made; one that is stopped is the last. Where runs are resumed, those that came to their end are not
    /// made again.
    ///
    /// Unless they were stopped, the rows of each fold are then answered by its model: the answers go into
    /// [`OUT_OF_FOLD`](super::OUT_OF_FOLD) in the output directory, each as the line that `line` makes of it, without
    /// its end, and the rows whose label is likely to be wrong into [`SUSPECTS`](super::SUSPECTS).
    ///
    /// # Errors
    /// As [`Finetune::run`]; every error of [`Predictor`](crate::Predictor) and of `line`.
    pub fn run<E: From<Error>>(
        self,
        events: &mut dyn RunEvents,
        line: &dyn Fn(&OutOfFoldAnswer<'_, D>) -> std::result::Result<String, E>,
    ) -> std::result::Result<FinishedFolds, E> {
        let Self { base, data, options, folds, count, first } = self;
        let _claimed = OutputDir::claim(&options.out, options.earlier)?;
        let mut first = Some(first);
        let mut runs = Vec::new();
        for fold in 0..count {
            let run = first.take().map_or_else(|| of_fold(&base, &data, &options, &folds, fold), Ok)?;
            let directory = fold_directory(&options.out, fold);
            let (name, seed) = (format!("fold {fold}"), options.training.seed);
            let number = RunNumber { method: Some(&name), seed, number: fold + 1, of: count };
            // Probes and outputs of frozen stages are of other rows in each fold.
            let finished = several::make(run, &options, &directory, &number, &mut HandedOn::default(), &mut *events)?;
            let is_stopped = finished.report.stop == StopReason::Stopped;
            let rows = (0..folds.len()).filter(|&row| folds[row] == fold).collect();
            runs.push(FoldRun { fold, rows, finished });
            if is_stopped {
                return Ok(FinishedFolds { runs, rows: folds.len(), answers: None, suspects: None });
            }
        }
        let rows = (&data.training_set.examples[..], &data.train.targets);
        let files = answer(&options.out, &base, &runs, rows, (&|| events.should_stop(), line))?;
        let (answers, suspects) = files.map_or((None, None), |files| (Some(files.answers), files.suspects));
        Ok(FinishedFolds { runs, rows: folds.len(), answers, suspects })
    }
}

/// The run that trains on all folds but one, which it is evaluated on.
fn of_fold<D: Backend>(
    base: &Base<D>,
    data: &TaskData,
    options: &FinetuneOptions,
    folds: &[usize],
    fold: usize,
) -> Result<Finetune<D>> {
    let options = several::options_in(options, fold_directory(&options.out, fold));
    let part = |is_held_out: bool| -> Vec<usize> {
        (0..folds.len()).filter(|&text| (folds[text] == fold) == is_held_out).collect()
    };
    Finetune::over(base, &Arc::new(data.part(&part(false), &part(true))), options)
}

/// The fold of each of so many texts: the texts of each class, or all where there are no classes, in a random order to
/// one fold after the other.
fn deal(targets: &Targets, texts: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    match targets {
        Targets::Classes(classes) => {
            groups.resize(classes.iter().max().map_or(0, |class| class + 1), Vec::new());
            classes.iter().enumerate().for_each(|(text, &class)| groups[class].push(text));
        }
        _ => groups.push((0..texts).collect()),
    }
    let mut random = Random::new(seed, STREAM);
    let mut folds = vec![0; texts];
    let mut next = 0;
    for mut group in groups {
        random.shuffle(&mut group);
        for text in group {
            folds[text] = next % count;
            next += 1;
        }
    }
    folds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_dealt_evenly_and_by_the_seed() {
        let classes: Vec<usize> =
            (0..103).map(|text| usize::from(text % 10 == 0) + usize::from(text % 25 == 0)).collect();
        let folds = |seed| deal(&Targets::Classes(classes.clone()), 103, 5, seed);
        for class in 0..3 {
            let rows = |fold: usize| (0..103).filter(|&text| classes[text] == class && folds(7)[text] == fold).count();
            let counts: Vec<usize> = (0..5).map(rows).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{class}: {counts:?}");
        }
        assert_eq!(folds(7), folds(7));
        assert_ne!(folds(7), folds(8));
        let scores = deal(&Targets::Scores(vec![0.0; 11]), 11, 4, 0);
        let counts: Vec<usize> = (0..4).map(|fold| scores.iter().filter(|&&of| of == fold).count()).collect();
        assert_eq!(counts, [3, 3, 3, 2]);
    }
}
