//! Regression: one score for a text, the mean squared error.
//!
//! Reference implementation: `BertForSequenceClassification` of transformers with `problem_type` "regression".

use bitfit_core::ops::attention::Sequences;
use bitfit_core::{Backend, Tape, Var};
use ndarray::{Array2, ArrayView2};

use super::{Examples, Head, Prediction, Targets, foreign_targets};
use crate::Result;
use crate::data::Dataset;
use crate::metrics::{Metric, Predictions};
use crate::tokenize::Encoding;

/// The default metrics of a regression.
pub(super) const METRICS: &[Metric] = &[Metric::Spearman, Metric::Pearson];

/// The head of a regression: one score.
#[derive(Debug)]
pub(super) struct Regress;

impl<D: Backend> Head<D> for Regress {
    fn outputs(&self) -> usize {
        1
    }

    fn targets(&self, dataset: &Dataset) -> Result<Targets> {
        Ok(Targets::Scores(dataset.scores()?))
    }

    fn loss(&self, tape: &mut Tape<'_, D>, outputs: &Var<D>, targets: &Targets, _: &Sequences<D>) -> Result<Var<D>> {
        let Targets::Scores(scores) = targets else { return Err(foreign_targets("squared error")) };
        let scores = ArrayView2::from_shape((scores.len(), 1), scores).expect("one column");
        let scores = tape.workspace().tensor(scores)?;
        Ok(tape.mse(outputs, &scores)?)
    }

    fn decode(&self, outputs: ArrayView2<'_, f32>, _: &[Encoding]) -> Prediction {
        Prediction::Score(outputs[[0, 0]])
    }

    fn score(&self, metric: Metric, outputs: &Array2<f32>, examples: &Examples) -> Result<f64> {
        let Targets::Scores(expected) = &examples.targets else { return Err(foreign_targets(metric.name())) };
        let predicted = outputs.column(0).to_vec();
        metric.compute(&Predictions::Scores { predicted: &predicted, expected })
    }
}
