//! Masked language modelling: one logit for each token of the vocabulary and each masked token, cross-entropy over
//! their softmax. The head is the checkpoint's own ([`crate::arch::MaskedLmNames`]), of which the biases train.
//!
//! The logits of an evaluation set would be tens of thousands of numbers for each masked token, so that a batch's are
//! reduced before they are kept: to the loss and whether the token is right, or to the most probable tokens.
//!
//! Reference implementation: `BertForMaskedLM` of transformers.

use bitfit_core::ops::attention::Sequences;
use bitfit_core::{Backend, Tape, Var};
use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

use super::classify::{argmax, class_loss};
use super::{Candidate, Examples, Head, Prediction, Targets, foreign_targets};
use crate::Result;
use crate::data::Dataset;
use crate::metrics::{Metric, Predictions};
use crate::tokenize::Encoding;

/// The default metrics.
pub(super) const METRICS: &[Metric] = &[Metric::Perplexity, Metric::Accuracy];

/// The number of tokens that a prediction has for each mask, where the vocabulary has as many.
pub const CANDIDATES: usize = 5;

/// What is kept of a row to score it: its loss, and 1 where its token is the most probable.
const SCORED: usize = 2;

/// One logit for each token of the vocabulary.
#[derive(Debug)]
pub(super) struct MaskedLm;

impl<D: Backend> Head<D> for MaskedLm {
    fn outputs(&self) -> usize {
        SCORED
    }

    /// The tokens are their own targets ([`super::Masking`]).
    fn targets(&self, _: &Dataset) -> Result<Targets> {
        Ok(Targets::Tags(Vec::new()))
    }

    fn loss(&self, tape: &mut Tape<'_, D>, outputs: &Var<D>, targets: &Targets, _: &Sequences<D>) -> Result<Var<D>> {
        class_loss(tape, outputs, targets)
    }

    fn keep(&self, outputs: Array2<f32>, targets: Option<&Targets>) -> Result<Array2<f32>> {
        let rows = 0..outputs.nrows();
        let (columns, kept): (usize, Vec<Vec<f32>>) = match targets {
            Some(Targets::Classes(tokens)) if tokens.len() == outputs.nrows() => {
                (SCORED, rows.into_par_iter().map(|row| scored(outputs.row(row), tokens[row]).to_vec()).collect())
            }
            Some(_) => return Err(foreign_targets("perplexity")),
            None => {
                let columns = 2 * CANDIDATES.min(outputs.ncols());
                (columns, rows.into_par_iter().map(|row| candidates(outputs.row(row))).collect())
            }
        };
        Ok(Array2::from_shape_vec((kept.len(), columns), kept.concat()).expect("each row has its columns"))
    }

    fn decode(&self, outputs: ArrayView2<'_, f32>, _: &[Encoding]) -> Prediction {
        let candidates = |row: ArrayView1<'_, f32>| {
            let pairs = row.iter().step_by(2).zip(row.iter().skip(1).step_by(2));
            // A whole number below 2^24.
            pairs.map(|(&token, &probability)| Candidate { token: token as u32, probability }).collect()
        };
        Prediction::Masks(outputs.rows().into_iter().map(candidates).collect())
    }

    fn score(&self, metric: Metric, outputs: &Array2<f32>, _: &Examples) -> Result<f64> {
        let losses = outputs.column(0).to_vec();
        let right = outputs.column(1).iter().filter(|&&is_right| is_right == 1.0).count();
        metric.compute(&Predictions::Tokens { losses: &losses, right })
    }
}

/// The greatest logit, and the sum of the exponentials of all less that.
fn exponentials(logits: ArrayView1<'_, f32>) -> (f32, f64) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (max, logits.iter().map(|&logit| f64::from((logit - max).exp())).sum())
}

/// The loss of a row against its token, and 1 where that is the most probable; NaN where the logits are not finite.
fn scored(logits: ArrayView1<'_, f32>, token: usize) -> [f32; SCORED] {
    let (max, sum) = exponentials(logits);
    let loss = sum.ln() - f64::from(logits[token] - max);
    let is_right = argmax(logits.iter().copied()) == token;
    [loss as f32, f32::from(u8::from(is_right))]
}

/// The number and the probability of each of the most probable tokens, the most probable first; of equal ones the
/// first.
fn candidates(logits: ArrayView1<'_, f32>) -> Vec<f32> {
    let (max, sum) = exponentials(logits);
    let count = CANDIDATES.min(logits.len());
    let mut best: Vec<(usize, f32)> = Vec::with_capacity(count + 1);
    for (token, &logit) in logits.iter().enumerate() {
        // NaN goes to the end, and shows in every probability.
        let place = best.iter().position(|&(_, other)| logit > other).unwrap_or(best.len());
        if place < count {
            best.insert(place, (token, logit));
            best.truncate(count);
        }
    }
    let probability = |logit: f32| (f64::from((logit - max).exp()) / sum) as f32;
    best.into_iter().flat_map(|(token, logit)| [token as f32, probability(logit)]).collect()
}

#[cfg(test)]
mod tests {
    use bitfit_core::Cpu;
    use ndarray::{arr1, arr2};

    use super::*;

    fn head() -> Box<dyn Head<Cpu>> {
        Box::new(MaskedLm)
    }

    #[test]
    fn a_batch_is_reduced_to_losses_and_hits() {
        let outputs = arr2(&[[0.0, 0.0, 0.0, 0.0], [1000.0, 0.0, 0.0, 1000.0]]);
        let kept = head().keep(outputs.clone(), Some(&Targets::Classes(vec![0, 3]))).unwrap();
        assert_eq!(kept, arr2(&[[4f32.ln(), 1.0], [2f32.ln(), 0.0]]));
        let scores = [Metric::Perplexity, Metric::Accuracy].map(|metric| {
            let examples = Examples::new(Vec::new(), Targets::Tags(Vec::new()));
            head().score(metric, &kept, &examples).unwrap()
        });
        assert!((scores[0] - 8f64.sqrt()).abs() < 1e-6 && scores[1] == 0.5, "{scores:?}");
        assert!(head().keep(outputs, Some(&Targets::Classes(vec![0]))).is_err());
    }

    #[test]
    fn a_prediction_has_the_most_probable_tokens_first() {
        let ln = |x: f32| x.ln();
        let outputs = arr2(&[[0.05, 0.3, 0.1, 0.3, 0.05, 0.2].map(ln)]);
        let kept = head().keep(outputs, None).unwrap();
        let Prediction::Masks(masks) = head().decode(kept.view(), &[]) else { panic!("not masks") };
        let tokens: Vec<u32> = masks[0].iter().map(|candidate| candidate.token).collect();
        assert_eq!(tokens, [1, 3, 5, 2, 0], "of equal ones the first");
        let probabilities = masks[0].iter().map(|candidate| candidate.probability);
        assert!(probabilities.zip([0.3, 0.3, 0.2, 0.1, 0.05]).all(|(p, expected)| (p - expected).abs() < 1e-6));
        assert_eq!(candidates(arr1(&[1.0, 2.0]).view()).len(), 4, "a vocabulary of two");
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for wrong in [f32::NAN, f32::INFINITY] {
            let outputs = arr2(&[[0.0, wrong, 1.0]]);
            for targets in [None, Some(Targets::Classes(vec![0])), Some(Targets::Classes(vec![1]))] {
                let kept = head().keep(outputs.clone(), targets.as_ref()).unwrap();
                assert!(kept.iter().any(|value| !value.is_finite()), "{wrong} {targets:?}");
            }
        }
    }
}
