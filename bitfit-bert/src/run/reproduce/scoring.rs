//! The scores of finished runs on sets other than that of their own evaluations.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bitfit_core::Backend;

use crate::data::Dataset;
use crate::infer::Predictor;
use crate::model::Base;
use crate::run::FinetuneOptions;
use crate::run::save::TASK_FILE;
use crate::run::task_data::TaskData;
use crate::train::Batches;
use crate::{Error, Result};

use super::grid::{FurtherScores, ScoredSet, SetSource};
use super::prepare::hash;

/// The files of further sets, each read once for all runs of a task.
#[derive(Default)]
pub(super) struct ScoredFiles(BTreeMap<PathBuf, (Dataset, String)>);

impl ScoredFiles {
    /// The scores of a finished run's task on a set.
    pub(super) fn score<D: Backend>(
        &mut self,
        base: &Base<D>,
        data: &TaskData,
        options: &FinetuneOptions,
        set: &ScoredSet,
    ) -> Result<FurtherScores> {
        let task_file = options.out.join(TASK_FILE);
        if !task_file.is_file() {
            let reason = format!(
                "it is not there, but the run is to be scored on {}: remove the directory {} to make the run again",
                set.title,
                options.out.display()
            );
            return Err(Error::TaskFile { path: task_file, reason });
        }
        let predictor = Predictor::open(base, &task_file)?;
        let (scores, file) = match &set.source {
            SetSource::File(path) => {
                if !self.0.contains_key(path) {
                    self.0.insert(path.clone(), (Dataset::read(path, &options.read)?, hash(path)?));
                }
                let (dataset, hash) = &self.0[path];
                (predictor.evaluate(dataset, &options.metrics)?.scores, hash.clone())
            }
            SetSource::TrainingTexts | SetSource::Evaluation => {
                let rows = Batches::new(data.train.lengths(), &options.training).row_numbers();
                let mut texts: Vec<usize> = rows.into_iter().map(|row| data.train.texts[row]).collect();
                texts.sort_unstable();
                texts.dedup();
                let examples = texts.into_iter().map(|text| data.training_set.examples[text].clone());
                let dataset = Dataset { examples: examples.collect(), ..data.training_set.clone() };
                (predictor.evaluate(&dataset, &options.metrics)?.scores, "texts of the training set".into())
            }
        };
        let scores = scores.iter().map(|score| (score.metric.name().to_owned(), score.value)).collect();
        Ok(FurtherScores { file, scores })
    }
}
