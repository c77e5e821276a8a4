//! Classification: one logit for each class, cross-entropy over their softmax.
//!
//! Reference implementation: `BertForSequenceClassification` of transformers with `problem_type`
//! "single_label_classification".

use bitfit_core::ops::attention::Sequences;
use bitfit_core::ops::weighted_cross_entropy::ClassWeighting;
use bitfit_core::{Backend, Indices, Tape, Var};
use ndarray::{Array2, ArrayView1, ArrayView2};

use super::{Examples, Head, Prediction, Targets, foreign_targets};
use crate::Result;
use crate::data::{Dataset, Labels};
use crate::metrics::{Metric, Predictions};
use crate::tokenize::Encoding;

/// The default metrics of a classification.
pub(super) const METRICS: &[Metric] = &[Metric::Accuracy, Metric::F1];

/// One logit for each label.
#[derive(Debug)]
pub(super) struct Classify {
    labels: Labels,
}

impl Classify {
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels }
    }
}

impl<D: Backend> Head<D> for Classify {
    fn outputs(&self) -> usize {
        self.labels.len()
    }

    fn targets(&self, dataset: &Dataset) -> Result<Targets> {
        Ok(Targets::Classes(self.labels.encode(dataset)?))
    }

    fn loss(&self, tape: &mut Tape<'_, D>, outputs: &Var<D>, targets: &Targets, _: &Sequences<D>) -> Result<Var<D>> {
        class_loss(tape, outputs, targets)
    }

    fn weighted_loss(
        &self,
        tape: &mut Tape<'_, D>,
        outputs: &Var<D>,
        targets: &Targets,
        weighting: &ClassWeighting,
        total: Option<f64>,
    ) -> Result<Var<D>> {
        weighted_class_loss(tape, outputs, targets, weighting, total)
    }

    fn decode(&self, outputs: ArrayView2<'_, f32>, _: &[Encoding]) -> Prediction {
        let probabilities = softmax(outputs.row(0));
        Prediction::Class { class: argmax(probabilities.iter().copied()), probabilities, is_rejected: false }
    }

    fn score(&self, metric: Metric, outputs: &Array2<f32>, examples: &Examples) -> Result<f64> {
        let Targets::Classes(expected) = &examples.targets else { return Err(foreign_targets(metric.name())) };
        let predicted: Vec<usize> = outputs.rows().into_iter().map(|row| argmax(row.iter().copied())).collect();
        metric.compute(&Predictions::Classes { predicted: &predicted, expected, classes: self.labels.len() })
    }
}

/// The mean cross-entropy `[1, 1]` of the softmax of each row of `outputs` `[R, C]` against its class.
///
/// # Errors
/// [`crate::Error::Metric`] for targets that are not classes.
pub(super) fn class_loss<D: Backend>(tape: &mut Tape<'_, D>, outputs: &Var<D>, targets: &Targets) -> Result<Var<D>> {
    let classes = classes_of(targets)?;
    let classes = Indices::new(tape.device(), &classes)?;
    Ok(tape.cross_entropy(outputs, &classes)?)
}

/// The cross-entropy `[1, 1]` of the softmax of each row of `outputs` `[R, C]` against its class, where classes do not
/// count alike; with the `total` of a batch, the share of these rows of its loss.
///
/// # Errors
/// As [`class_loss`].
pub(super) fn weighted_class_loss<D: Backend>(
    tape: &mut Tape<'_, D>,
    outputs: &Var<D>,
    targets: &Targets,
    weighting: &ClassWeighting,
    total: Option<f64>,
) -> Result<Var<D>> {
    let classes = classes_of(targets)?;
    Ok(match total {
        None => tape.weighted_cross_entropy(outputs, &classes, weighting)?,
        Some(total) => tape.weighted_cross_entropy_of_part(outputs, &classes, weighting, total)?,
    })
}

/// The class of each row.
fn classes_of(targets: &Targets) -> Result<Vec<u32>> {
    let Targets::Classes(classes) = targets else { return Err(foreign_targets("cross-entropy")) };
    Ok(classes.iter().map(|&class| class as u32).collect())
}

/// The index of the greatest value, the first one if several are equal.
pub(crate) fn argmax(values: impl IntoIterator<Item = f32>) -> usize {
    let mut values = values.into_iter().enumerate();
    let Some(first) = values.next() else { return 0 };
    values.fold(first, |best, value| if value.1 > best.1 { value } else { best }).0
}

pub(crate) fn softmax(logits: ArrayView1<'_, f32>) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - max).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| (e / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::arr1;

    use super::*;

    #[test]
    fn of_equal_values_the_first_is_the_greatest() {
        assert_eq!([argmax([0.0, 2.0, 2.0]), argmax([1.0]), argmax([-3.0, -4.0]), argmax([])], [1, 0, 0, 0]);
    }

    #[test]
    fn softmax_of_large_logits_is_finite_and_sums_to_one() {
        let probabilities = softmax(arr1(&[1000.0, 1000.0, -1000.0]).view());
        assert_eq!(probabilities, [0.5, 0.5, 0.0]);
    }
}
