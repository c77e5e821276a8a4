//! What a task answers on labelled texts, beyond its scores: how each class is predicted, how far probabilities can be
//! trusted, and the worst mistakes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bitfit_core::Backend;
use ndarray::Array2;

use super::{Answered, Evaluation, Predictor, Scored};
use crate::Result;
use crate::calibrate::Reliability;
use crate::data::{Dataset, Example};
use crate::heads::{Examples, Targets, argmax, is_given, logistic, softmax};
use crate::metrics::Metric;
use crate::metrics::class_report::{ClassReport, ClassScore};
use crate::train::Score;

/// The most mistakes that are listed.
pub const MISTAKES: usize = 20;

/// What a task answers on labelled texts.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The scores over all texts, those included that are rejected.
    pub scores: Vec<Score>,
    /// The texts that are answered; `None` for a task that rejects nothing. All else is of all texts.
    pub answered: Option<Answered>,
    /// The number of texts.
    pub rows: usize,
    /// The number of their tokens.
    pub tokens: usize,
    /// The names of the classes or labels; none for other tasks.
    pub names: Vec<String>,
    /// How each class or tag is predicted; `None` for other tasks.
    pub classes: Option<ClassReport>,
    /// How each label is predicted, where a text may have several; empty for other tasks.
    pub labels: Vec<ClassScore>,
    /// How far probabilities can be trusted; `None` for a task without.
    pub reliability: Option<Reliability>,
    /// The worst mistakes, the worst first; at most [`MISTAKES`].
    pub mistakes: Vec<Mistake>,
}

/// A wrong answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// The line of the file that the text begins on, from 1; the first, if the file has the text more than once.
    pub line: usize,
    /// How often the same mistake is made about the same text.
    pub times: usize,
    /// The text, and of a pair the second.
    pub texts: Vec<String>,
    /// What is right.
    pub expected: String,
    /// What was answered.
    pub answered: String,
    /// How wrong it is, by which mistakes are ordered: the probability of the wrong answer, or the distance of a score.
    pub weight: f64,
}

/// A mistake before its texts are copied: how wrong, which text, and what was expected and answered.
type Found = (f64, usize, String, String);

impl<D: Backend> Predictor<D> {
    /// Answers a labelled data set.
    ///
    /// # Errors
    /// As [`Predictor::evaluate`].
    pub fn analyse(&self, dataset: &Dataset, metrics: &[Metric]) -> Result<Analysis> {
        let (outputs, examples, tokens) = self.outputs(dataset)?;
        let Scored { evaluation, decided, logits } = self.scored(outputs, &examples, metrics, tokens)?;
        let Evaluation { scores, tokens, answered } = evaluation;
        let names = self.labels().map(|labels| labels.names().to_vec()).unwrap_or_default();
        let mut analysis = Analysis {
            scores,
            answered,
            rows: dataset.examples.len(),
            tokens,
            names,
            classes: None,
            labels: Vec::new(),
            reliability: None,
            mistakes: Vec::new(),
        };
        let found = match &examples.targets {
            Targets::Classes(expected) => analysis.of_classes(&logits, expected),
            Targets::Tags(expected) => analysis.of_tags(&logits, expected, &examples, dataset),
            Targets::Indicators(expected) => analysis.of_labels(&logits, &decided, expected),
            Targets::Scores(expected) => scores_apart(&logits, expected),
            Targets::Answers(_) | Targets::Spans(_) | Targets::Masked(_) => Vec::new(),
        };
        analysis.mistakes = worst(found, &dataset.examples);
        Ok(analysis)
    }
}

impl Analysis {
    fn of_classes(&mut self, logits: &Array2<f32>, expected: &[usize]) -> Vec<Found> {
        let predicted: Vec<usize> = logits.rows().into_iter().map(|row| argmax(row.iter().copied())).collect();
        self.classes = Some(ClassReport::new(&predicted, expected, self.names.len()));
        self.reliability = (!expected.is_empty()).then(|| Reliability::of_classes(logits, expected));
        let wrong =
            predicted.iter().zip(expected).enumerate().filter(|(_, (predicted, expected))| predicted != expected);
        let name = |class: usize| self.names[class].clone();
        wrong
            .map(|(row, (&predicted, &expected))| {
                let probability = softmax(logits.row(row))[predicted];
                let answered = match &self.answered {
                    Some(answered) if probability < answered.reject_below => format!("{} (rejected)", name(predicted)),
                    _ => name(predicted),
                };
                (f64::from(probability), row, name(expected), answered)
            })
            .collect()
    }

    fn of_tags(
        &mut self,
        logits: &Array2<f32>,
        expected: &[Vec<usize>],
        examples: &Examples,
        dataset: &Dataset,
    ) -> Vec<Found> {
        let (mut predicted, mut right, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for ((text, word), row) in examples.words().zip(logits.rows()) {
            let probabilities = softmax(row);
            let (tag, tagged) = (argmax(probabilities.iter().copied()), expected[text][word]);
            predicted.push(tag);
            right.push(tagged);
            if tag != tagged {
                let example = &dataset.examples[text];
                let word = &example.text[example.words[word].range.clone()];
                let tagged = format!("{word}: {}", self.names[tagged]);
                found.push((f64::from(probabilities[tag]), text, tagged, self.names[tag].clone()));
            }
        }
        self.classes = Some(ClassReport::new(&predicted, &right, self.names.len()));
        found
    }

    /// Labels are given from `decided` above 0, which holds the thresholds.
    fn of_labels(&mut self, logits: &Array2<f32>, decided: &Array2<f32>, expected: &Array2<f32>) -> Vec<Found> {
        let (given, has) = (decided.mapv(is_given), expected.mapv(|indicator| indicator == 1.0));
        let score = |label: usize| {
            let count = |holds: &dyn Fn(bool, bool) -> bool| {
                let rows = given.column(label).into_iter().zip(has.column(label));
                rows.filter(|(given, has)| holds(**given, **has)).count()
            };
            ClassScore::new(count(&|given, has| given && has), count(&|given, _| given), count(&|_, has| has))
        };
        self.labels = (0..self.names.len()).map(score).collect();
        let probabilities = logits.mapv(logistic);
        self.reliability = (!expected.is_empty()).then(|| Reliability::of_labels(logits, expected));
        let mut found = Vec::new();
        for ((row, label), &probability) in probabilities.indexed_iter() {
            let (given, has) = (given[[row, label]], has[[row, label]]);
            if given != has {
                let (name, weight) = (&self.names[label], if given { probability } else { 1.0 - probability });
                let [expected, answered] = [has, given].map(|is_there| match is_there {
                    true => name.clone(),
                    false => format!("not {name}"),
                });
                found.push((f64::from(weight), row, expected, answered));
            }
        }
        found
    }
}

/// The scores of a regression, all of which are more or less wrong.
fn scores_apart(outputs: &Array2<f32>, expected: &[f32]) -> Vec<Found> {
    let rows = outputs.column(0).into_iter().zip(expected).enumerate();
    rows.map(|(row, (&found, &expected))| {
        (f64::from((found - expected).abs()), row, format!("{expected}"), format!("{found:.3}"))
    })
    .collect()
}

/// The worst of what was found, of equal ones the first in the file. The same mistake about the same text is one.
fn worst(mut found: Vec<Found>, examples: &[Example]) -> Vec<Mistake> {
    found.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut listed = HashMap::new();
    for (weight, row, expected, answered) in found {
        let example = &examples[row];
        match listed.entry((&example.text, &example.pair, expected, answered)) {
            Entry::Occupied(place) => {
                let mistake: &mut Mistake = &mut mistakes[*place.get()];
                mistake.times += 1;
                mistake.line = mistake.line.min(example.line);
            }
            Entry::Vacant(place) if mistakes.len() < MISTAKES => {
                let texts = std::iter::once(&*example.text).chain(example.pair.as_deref()).map(str::to_owned).collect();
                let (_, _, expected, answered) = place.key().clone();
                mistakes.push(Mistake { line: example.line, times: 1, texts, expected, answered, weight });
                place.insert(mistakes.len() - 1);
            }
            Entry::Vacant(_) => {}
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_mistake_about_the_same_text_is_listed_once_and_counted() {
        let example = |(row, text): (usize, &str)| Example {
            text: text.into(),
            pair: None,
            label: None,
            words: Vec::new(),
            question: None,
            line: row + 2,
        };
        let texts = ["again", "once", "again", "again", "again"];
        let examples: Vec<Example> = texts.into_iter().enumerate().map(example).collect();
        let found = [(0.5, 4, "a"), (0.9, 1, "a"), (0.7, 2, "b"), (0.5, 3, "a"), (0.5, 0, "a")];
        let found = found.map(|(weight, row, right): (f64, usize, &str)| (weight, row, right.into(), "c".into()));
        let listed: Vec<_> = worst(found.into(), &examples)
            .into_iter()
            .map(|mistake| (mistake.texts.concat(), mistake.expected, mistake.line, mistake.times))
            .collect();
        let listed: Vec<_> =
            listed.iter().map(|(text, right, line, times)| (&**text, &**right, *line, *times)).collect();
        // Another label of the same text is another mistake.
        assert_eq!(listed, [("once", "a", 3, 1), ("again", "b", 4, 1), ("again", "a", 2, 3)]);

        let many: Vec<Example> = (0..60).map(|row| example((row, ["x", "y", "z"][row % 3]))).collect();
        let all = |right: fn(usize) -> String| {
            let found = (0..60).map(|row| (1.0, row, right(row), "c".into())).collect();
            worst(found, &many).iter().map(|mistake| mistake.times).collect::<Vec<_>>()
        };
        assert_eq!(all(|_| "a".into()), [20; 3]);
        assert_eq!(all(|row| row.to_string()), [1; MISTAKES]);
    }
}
