//! The span of a context that answers a question: two logits for each token, whether the answer begins and whether it
//! ends there, each with a cross-entropy over the softmax of all tokens of its sequence. A question without an answer,
//! or with one that is not in a sequence, begins and ends at the sequence's first token.
//!
//! Reference implementation: the `…ForQuestionAnswering` classes of transformers for the loss, and its example
//! `run_qa.py` for sequences, targets and the choice of the answer; but the softmax is over a text's own tokens,
//! without padding. Devlin et al., arXiv 1810.04805, sections 4.2 and 4.3.

use std::ops::Range;
use std::sync::Arc;

use bitfit_core::ops::attention::Sequences;
use bitfit_core::{Backend, Tape, Var};
use ndarray::{Array2, ArrayView1, ArrayView2, s};
use serde::{Deserialize, Serialize};

use super::examples::by_text;
use super::{Examples, Head, Prediction, Targets, foreign_targets};
use crate::data::Dataset;
use crate::metrics::{Metric, Predictions};
use crate::tokenize::{Encoding, Window};
use crate::{Error, Result};

/// The default metrics of answers.
pub(super) const METRICS: &[Metric] = &[Metric::AnswerF1, Metric::ExactMatch];

/// The first and the last tokens that are paired to answers, the most probable of each sequence.
const BEST: usize = 20;
/// The longest answer in tokens.
const LONGEST: usize = 30;

/// How questions are asked and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanSettings {
    /// The number of tokens that two neighbouring sequences of a context have in common.
    pub stride: usize,
    /// Whether a context may have no answer, as in SQuAD 2.0. Otherwise there is always one.
    pub unanswerable: bool,
}

/// The tokens at which the answer begins and ends in a sequence without one.
pub const NO_ANSWER: [u32; 2] = [0, 0];

/// The default of [`SpanSettings::stride`].
pub const DEFAULT_STRIDE: usize = 128;

/// A question's right answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The context.
    pub context: Arc<str>,
    /// The bytes of the context that are right, the first of which is trained on; none where it has no answer.
    pub ranges: Vec<Range<usize>>,
}

/// The first and the last token of an answer.
#[derive(Debug)]
pub(super) struct Span {
    settings: SpanSettings,
}

impl Span {
    pub(super) fn new(settings: SpanSettings) -> Self {
        Self { settings }
    }

    /// The answer that the outputs `[R, 2]` of a question's sequences give.
    fn answer(&self, outputs: ArrayView2<'_, f32>, windows: &[&Window]) -> Candidate {
        let mut candidates = Vec::new();
        let mut none = f32::INFINITY;
        let mut first = 0;
        for window in windows {
            let rows = outputs.slice(s![first..first + window.tokens, ..]);
            first += window.tokens;
            none = none.min(rows[[0, 0]] + rows[[0, 1]]);
            candidates.extend(candidates_of(rows, window));
        }
        // Of equal scores, the one that is found first.
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        candidates.truncate(BEST);
        if self.settings.unanswerable || candidates.is_empty() {
            let score = if self.settings.unanswerable { none } else { 0.0 };
            candidates.push(Candidate { range: None, score, probability: 0.0 });
            candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        }
        let greatest = candidates[0].score;
        let weights: Vec<f64> = candidates.iter().map(|found| f64::from(found.score - greatest).exp()).collect();
        let probability = (weights[0] / weights.iter().sum::<f64>()) as f32;
        Candidate { probability, ..candidates.swap_remove(0) }
    }
}

/// A possible answer.
#[derive(Debug)]
struct Candidate {
    /// Its bytes in the context; `None` for no answer.
    range: Option<Range<usize>>,
    score: f32,
    /// Its share of the softmax over the scores of the best.
    probability: f32,
}

/// The answers in one sequence that begin and end at the most probable tokens.
fn candidates_of(rows: ArrayView2<'_, f32>, window: &Window) -> Vec<Candidate> {
    let [starts, ends] = [0, 1].map(|column| most_probable(rows.column(column)));
    let place = |token: usize| token.checked_sub(window.first).filter(|place| *place < window.offsets.len());
    let mut found = Vec::new();
    for &start in &starts {
        let Some(first) = place(start) else { continue };
        for &end in &ends {
            let Some(last) = place(end).filter(|&last| last >= first && last - first < LONGEST) else { continue };
            let range = window.offsets[first].start as usize..window.offsets[last].end as usize;
            let range = (range.start < range.end).then_some(range);
            let score = rows[[start, 0]] + rows[[end, 1]];
            found.extend(range.map(|range| Candidate { range: Some(range), score, probability: 0.0 }));
        }
    }
    found
}

/// The rows of the greatest values, the greatest first.
fn most_probable(values: ArrayView1<'_, f32>) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..values.len()).collect();
    rows.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    rows.truncate(BEST);
    rows
}

/// The tokens of a sequence at which the first right answer begins and ends; its first token twice where the answer is
/// not wholly in the sequence, or there is none.
pub(super) fn place(encoding: &Encoding, answers: &Answers) -> [u32; 2] {
    let (Some(window), Some(answer)) = (&encoding.window, answers.ranges.first()) else { return NO_ANSWER };
    let offsets = &window.offsets;
    let (start, end) = (answer.start as u32, answer.end as u32);
    let is_inside =
        offsets.first().is_some_and(|first| first.start <= start) && offsets.last().is_some_and(|last| last.end >= end);
    let first = offsets.iter().rposition(|token| token.start <= start);
    let last = offsets.iter().position(|token| token.end >= end);
    match (first, last) {
        (Some(first), Some(last)) if is_inside && first <= last => {
            [first, last].map(|token| (window.first + token) as u32)
        }
        _ => NO_ANSWER,
    }
}

impl<D: Backend> Head<D> for Span {
    fn outputs(&self) -> usize {
        2
    }

    fn targets(&self, dataset: &Dataset) -> Result<Targets> {
        let mut targets: Vec<Answers> = Vec::with_capacity(dataset.examples.len());
        for example in &dataset.examples {
            let context = example.pair.clone().unwrap_or_default();
            // Rows that repeat a context share its memory here.
            let context = targets.last().map(|last| &last.context).filter(|last| **last == context).unwrap_or(&context);
            let context = Arc::clone(context);
            let ranges = example.question.as_ref().and_then(|question| question.answers.clone());
            let ranges = ranges.ok_or_else(|| Error::DataRow {
                path: dataset.path.clone(),
                line: example.line,
                reason: "a question without answers".into(),
            })?;
            targets.push(Answers { context, ranges });
        }
        Ok(Targets::Answers(targets))
    }

    fn loss(
        &self,
        tape: &mut Tape<'_, D>,
        outputs: &Var<D>,
        targets: &Targets,
        sequences: &Sequences<D>,
    ) -> Result<Var<D>> {
        let Targets::Spans(spans) = targets else { return Err(foreign_targets("cross-entropy over a text")) };
        Ok(tape.sequence_cross_entropy(outputs, sequences, spans.as_flattened())?)
    }

    fn decode(&self, outputs: ArrayView2<'_, f32>, sequences: &[Encoding]) -> Prediction {
        let windows: Vec<&Window> = sequences.iter().filter_map(|sequence| sequence.window.as_ref()).collect();
        let Candidate { range, probability, .. } = self.answer(outputs, &windows);
        Prediction::Answer { range, probability }
    }

    fn score(&self, metric: Metric, outputs: &Array2<f32>, examples: &Examples) -> Result<f64> {
        let Targets::Answers(targets) = &examples.targets else { return Err(foreign_targets(metric.name())) };
        let (mut predicted, mut expected) = (Vec::with_capacity(targets.len()), Vec::with_capacity(targets.len()));
        let mut row = 0;
        for (target, sequences) in targets.iter().zip(by_text(&examples.texts, targets.len())) {
            let encodings = &examples.encodings[sequences];
            let windows: Vec<&Window> = encodings.iter().filter_map(|encoding| encoding.window.as_ref()).collect();
            let rows: usize = windows.iter().map(|window| window.tokens).sum();
            let range = self.answer(outputs.slice(s![row..row + rows, ..]), &windows).range;
            predicted.push(range.map_or("", |range| &target.context[range]));
            expected.push(target.ranges.iter().map(|range| &target.context[range.clone()]).collect());
            row += rows;
        }
        metric.compute(&Predictions::Answers { predicted: &predicted, expected: &expected })
    }
}

#[cfg(test)]
mod tests {
    use bitfit_core::Cpu;

    use super::*;

    /// A sequence of `[CLS] question [SEP]`, four tokens of the context "ab cd efg", and `[SEP]`.
    fn encoding() -> Encoding {
        let offsets = vec![0..2, 3..5, 6..7, 7..9];
        Encoding { window: Some(Window { tokens: 8, first: 3, offsets }), ..Encoding::default() }
    }

    fn answers(ranges: &[Range<usize>]) -> Answers {
        Answers { context: "ab cd efg".into(), ranges: ranges.to_vec() }
    }

    /// Outputs that choose two tokens, over others that are 0.
    fn outputs(starts: &[(usize, f32)], ends: &[(usize, f32)]) -> Array2<f32> {
        let mut outputs = Array2::zeros((8, 2));
        starts.iter().for_each(|&(row, value)| outputs[[row, 0]] = value);
        ends.iter().for_each(|&(row, value)| outputs[[row, 1]] = value);
        outputs
    }

    fn decode(outputs: &Array2<f32>, unanswerable: bool) -> (Option<Range<usize>>, f32) {
        let head = Span::new(SpanSettings { stride: 2, unanswerable });
        match Head::<Cpu>::decode(&head, outputs.view(), &[encoding()]) {
            Prediction::Answer { range, probability } => (range, probability),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_at_the_tokens_that_hold_it() {
        for (range, expected) in [(0..2, [3, 3]), (3..9, [4, 6]), (4..5, [4, 4]), (6..8, [5, 6]), (0..9, [3, 6])] {
            assert_eq!(place(&encoding(), &answers(&[range.clone(), 0..1])), expected, "{range:?}");
        }
        assert_eq!(place(&encoding(), &answers(&[])), [0, 0]);
        let mut part = encoding();
        part.window.as_mut().unwrap().offsets.pop();
        assert_eq!(place(&part, &answers(&[3..9, 0..2])), [0, 0], "its end is in another sequence");
    }

    #[test]
    fn the_answer_is_the_best_pair_of_a_first_and_a_last_token() {
        assert_eq!(decode(&outputs(&[(4, 3.0)], &[(6, 3.0)]), false).0, Some(3..9));
        // The end before the start, and tokens outside of the context, are no answers.
        assert_eq!(decode(&outputs(&[(5, 3.0), (1, 9.0)], &[(4, 3.0), (2, 9.0), (5, 1.0)]), false).0, Some(6..7));
        let unanswerable = outputs(&[(0, 5.0), (4, 3.0)], &[(0, 5.0), (6, 3.0)]);
        assert_eq!(decode(&unanswerable, false).0, Some(3..9));
        let (range, probability) = decode(&unanswerable, true);
        assert!(range.is_none() && probability > 0.9, "{probability}");
        assert_eq!(decode(&outputs(&[(4, 3.0)], &[(6, 3.0)]), true).0, Some(3..9));
    }

    #[test]
    fn that_there_is_no_answer_is_as_probable_as_the_least_probable_sequence_makes_it() {
        let head = Span::new(SpanSettings { stride: 2, unanswerable: true });
        let none = outputs(&[(0, 5.0)], &[(0, 5.0)]);
        let some = outputs(&[(4, 3.0)], &[(6, 3.0)]);
        let both = ndarray::concatenate(ndarray::Axis(0), &[none.view(), some.view()]).unwrap();
        let found = Head::<Cpu>::decode(&head, both.view(), &[encoding(), encoding()]);
        assert!(matches!(found, Prediction::Answer { range: Some(range), .. } if range == (3..9)));
    }
}
