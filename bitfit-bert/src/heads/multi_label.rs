//! Several labels a text: one logit for each label, binary cross-entropy over their logistic functions.
//!
//! Reference implementation: `BertForSequenceClassification` of transformers with `problem_type`
//! "multi_label_classification".

use bitfit_core::ops::attention::Sequences;
use bitfit_core::{Backend, Tape, Var};
use ndarray::{Array2, ArrayView2};

use super::{Examples, Head, Prediction, Targets, foreign_targets};
use crate::Result;
use crate::data::{Dataset, Labels};
use crate::metrics::{Metric, Predictions};
use crate::tokenize::Encoding;

/// The default metrics of a task of several labels.
pub(super) const METRICS: &[Metric] = &[Metric::MicroF1, Metric::MacroF1, Metric::SubsetAccuracy];

/// The least probability of a label that a text is given.
pub const THRESHOLD: f32 = 0.5;

/// One logit for each label.
#[derive(Debug)]
pub(super) struct MultiLabel {
    labels: Labels,
}

impl MultiLabel {
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels }
    }
}

impl<D: Backend> Head<D> for MultiLabel {
    fn outputs(&self) -> usize {
        self.labels.len()
    }

    fn targets(&self, dataset: &Dataset) -> Result<Targets> {
        let rows = self.labels.encode_several(dataset)?;
        let mut indicators = Array2::zeros((rows.len(), self.labels.len()));
        for (row, labels) in rows.iter().enumerate() {
            labels.iter().for_each(|&label| indicators[[row, label]] = 1.0);
        }
        Ok(Targets::Indicators(indicators))
    }

    fn loss(&self, tape: &mut Tape<'_, D>, outputs: &Var<D>, targets: &Targets, _: &Sequences<D>) -> Result<Var<D>> {
        let Targets::Indicators(indicators) = targets else { return Err(foreign_targets("binary cross-entropy")) };
        let indicators = tape.workspace().tensor(indicators.view())?;
        Ok(tape.binary_cross_entropy(outputs, &indicators)?)
    }

    fn decode(&self, outputs: ArrayView2<'_, f32>, _: &[Encoding]) -> Prediction {
        let probabilities: Vec<f32> = outputs.row(0).iter().map(|&logit| logistic(logit)).collect();
        let labels = (0..probabilities.len()).filter(|&label| is_given(outputs[[0, label]])).collect();
        Prediction::Labels { labels, probabilities }
    }

    fn score(&self, metric: Metric, outputs: &Array2<f32>, examples: &Examples) -> Result<f64> {
        let Targets::Indicators(expected) = &examples.targets else { return Err(foreign_targets(metric.name())) };
        let predicted = outputs.mapv(is_given);
        let expected = expected.mapv(|indicator| indicator == 1.0);
        metric.compute(&Predictions::Labels { predicted: predicted.view(), expected: expected.view() })
    }
}

/// Whether a text is given a label of this logit.
pub(crate) fn is_given(logit: f32) -> bool {
    logistic(logit) >= THRESHOLD
}

/// `1 / (1 + exp(-z))`.
pub(crate) fn logistic(logit: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(logit)).exp())) as f32
}

#[cfg(test)]
mod tests {
    use bitfit_core::Cpu;
    use ndarray::arr2;

    use super::*;

    #[test]
    fn labels_of_half_a_probability_and_more_are_given() {
        let names = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let head = MultiLabel::new(Labels::from_names(names).unwrap());
        let decode = |logits: [f32; 4]| match Head::<Cpu>::decode(&head, arr2(&[logits]).view(), &[]) {
            Prediction::Labels { labels, probabilities } => (labels, probabilities),
            other => panic!("{other:?}"),
        };
        let (labels, probabilities) = decode([0.0, -0.1, 1e4, -1e4]);
        assert_eq!((labels, probabilities[0], &probabilities[2..]), (vec![0, 2], 0.5, &[1.0, 0.0][..]));
        assert!((probabilities[1] - 0.475_020_8).abs() < 1e-6, "{probabilities:?}");
        assert!(decode([-1.0, -2.0, -3.0, -0.5]).0.is_empty(), "a text may have none");
    }
}
