//! Tagging of words: one logit for each tag and word, cross-entropy over their softmax. A word is read at its first
//! token.
//!
//! Reference implementation: `BertForTokenClassification` of transformers, with the labels of all but the first token
//! of a word ignored, as its example `run_ner.py` sets them.

use bitfit_core::ops::attention::Sequences;
use bitfit_core::ops::weighted_cross_entropy::ClassWeighting;
use bitfit_core::{Backend, Tape, Var};
use ndarray::{Array2, ArrayView2};

use super::classify::{argmax, class_loss, softmax, weighted_class_loss};
use super::{Examples, Head, Prediction, Targets, WordTag, foreign_targets};
use crate::Result;
use crate::data::{Dataset, Labels};
use crate::metrics::entity_f1::mark_entities;
use crate::metrics::{Metric, Predictions};
use crate::tokenize::Encoding;

/// The default metrics of these tags: of entities where they mark some.
pub(super) fn metrics(labels: &Labels) -> &'static [Metric] {
    match mark_entities(labels.names().iter().map(String::as_str)) {
        true => &[Metric::EntityF1, Metric::Accuracy],
        false => &[Metric::Accuracy],
    }
}

/// One logit for each tag.
#[derive(Debug)]
pub(super) struct Tag {
    labels: Labels,
}

impl Tag {
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels }
    }
}

impl<D: Backend> Head<D> for Tag {
    fn outputs(&self) -> usize {
        self.labels.len()
    }

    fn targets(&self, dataset: &Dataset) -> Result<Targets> {
        Ok(Targets::Tags(self.labels.encode_words(dataset)?))
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

    fn decode(&self, outputs: ArrayView2<'_, f32>, sequences: &[Encoding]) -> Prediction {
        let words = sequences.iter().flat_map(|sequence| &sequence.read);
        let tag = |(read, row): (&crate::tokenize::ReadToken, _)| {
            let probabilities = softmax(row);
            let tag = argmax(probabilities.iter().copied());
            WordTag { word: read.word, tag, probability: probabilities[tag] }
        };
        Prediction::Tags(words.zip(outputs.rows()).map(tag).collect())
    }

    fn score(&self, metric: Metric, outputs: &Array2<f32>, examples: &Examples) -> Result<f64> {
        let Targets::Tags(all) = &examples.targets else { return Err(foreign_targets(metric.name())) };
        let mut sentences: [Vec<Vec<usize>>; 2] = [vec![Vec::new(); all.len()], vec![Vec::new(); all.len()]];
        for ((text, word), row) in examples.words().zip(outputs.rows()) {
            sentences[0][text].push(argmax(row.iter().copied()));
            sentences[1][text].push(all[text][word]);
        }
        if metric == Metric::EntityF1 {
            let name = |tag: &usize| self.labels.name(*tag).unwrap_or_default();
            let [predicted, expected] = sentences.map(|sentences| {
                sentences.iter().map(|tags| tags.iter().map(name).collect()).collect::<Vec<Vec<&str>>>()
            });
            return metric.compute(&Predictions::Tags { predicted: &predicted, expected: &expected });
        }
        let [predicted, expected] = sentences.map(|sentences| sentences.concat());
        let classes = self.labels.len();
        metric.compute(&Predictions::Classes { predicted: &predicted, expected: &expected, classes })
    }
}
