//! Scores of predictions against a labelled set, the way GLUE and the BitFit paper report them.
//!
//! All arithmetic is f64. Greater is better for every metric but perplexity ([`Metric::is_better`]). A value is
//! always finite: where a formula is 0/0 (one class only, a constant column) the result is 0, as in scikit-learn for F1
//! and Matthews. For the correlations scipy returns NaN, which JSON cannot represent and comparisons cannot rank, so
//! they are 0 too.

pub mod accuracy;
pub mod answers;
pub mod class_report;
pub mod entity_f1;
pub mod f1;
pub mod macro_f1;
pub mod matthews;
pub mod micro_f1;
pub mod pearson;
pub mod perplexity;
pub mod spearman;
pub mod subset_accuracy;

use ndarray::ArrayView2;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::{Error, Result, UnknownName};

/// A score of predictions; greater is better for each but perplexity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case", parse_err_ty = UnknownName, parse_err_fn = unknown)]
pub enum Metric {
    /// The share of right classes, tags or masked tokens, 0 to 1 ([`accuracy`]).
    Accuracy,
    /// F1 of class 1 where there are two classes, otherwise macro F1; 0 to 1 ([`f1`]).
    F1,
    /// F1 of whole entities, where tags mark entities; 0 to 1 ([`entity_f1`]).
    EntityF1,
    /// Matthews correlation, -1 to 1 ([`matthews`]).
    Matthews,
    /// Pearson's r, -1 to 1 ([`pearson`]).
    Pearson,
    /// Spearman's rho, -1 to 1 ([`spearman`]).
    Spearman,
    /// Micro F1 of several labels a row, 0 to 1 ([`micro_f1`]).
    #[strum(serialize = "micro-f1")]
    MicroF1,
    /// Macro F1 of several labels a row, 0 to 1 ([`macro_f1`]).
    #[strum(serialize = "macro-f1")]
    MacroF1,
    /// The share of rows whose several labels are all right, 0 to 1 ([`subset_accuracy`]).
    #[strum(serialize = "subset-accuracy")]
    SubsetAccuracy,
    /// The share of questions whose answer is one of the right ones, 0 to 1 ([`answers`]).
    #[strum(serialize = "exact-match")]
    ExactMatch,
    /// The mean F1 of the words of answers, 0 to 1 ([`answers`]).
    #[strum(serialize = "answer-f1")]
    AnswerF1,
    /// The exponential of the mean loss over masked tokens, 1 or more; lower is better ([`perplexity`]).
    Perplexity,
}

/// Predictions with the expected values, row by row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Predictions<'a> {
    /// Class indices, each below `classes`.
    Classes {
        /// The model's class of each row.
        predicted: &'a [usize],
        /// The true class of each row.
        expected: &'a [usize],
        /// The number of classes of the model, C, whether or not they occur here.
        classes: usize,
    },
    /// Tags of words, sentence by sentence.
    Tags {
        /// The model's tags of each sentence.
        predicted: &'a [Vec<&'a str>],
        /// The true tags of each sentence.
        expected: &'a [Vec<&'a str>],
    },
    /// Scores of a regression.
    Scores {
        /// The model's score of each row.
        predicted: &'a [f32],
        /// The true score of each row.
        expected: &'a [f32],
    },
    /// Any of C labels a row, as matrices `[rows, C]`.
    Labels {
        /// Whether the model gives the row the label.
        predicted: ArrayView2<'a, bool>,
        /// Whether the row has the label.
        expected: ArrayView2<'a, bool>,
    },
    /// Answers to questions.
    Answers {
        /// The model's answer to each question; empty for none.
        predicted: &'a [&'a str],
        /// The right answers of each question; none where there is none in its context.
        expected: &'a [Vec<&'a str>],
    },
    /// Masked tokens.
    Tokens {
        /// The cross-entropy of each.
        losses: &'a [f32],
        /// The number of those that the model predicts.
        right: usize,
    },
}

/// What predictions are, for messages.
const CLASSES: &str = "classes";
const SCORES: &str = "the scores of a regression";
const LABELS: &str = "several labels a row";
const TAGS: &str = "the tags of words";
const ANSWERS: &str = "answers to questions";
const TOKENS: &str = "masked tokens";

impl Predictions<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Classes { .. } => CLASSES,
            Self::Scores { .. } => SCORES,
            Self::Labels { .. } => LABELS,
            Self::Tags { .. } => TAGS,
            Self::Answers { .. } => ANSWERS,
            Self::Tokens { .. } => TOKENS,
        }
    }
}

impl Metric {
    /// Every metric.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name in reports, logs and task files, which [`FromStr`](std::str::FromStr) reads.
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// Whether one value of the metric is better than another.
    pub fn is_better(&self, value: f64, than: f64) -> bool {
        if *self == Self::Perplexity { value < than } else { value > than }
    }

    /// The score, always finite. The correlations are 0 where either column is constant or holds a number that is not
    /// finite, as the outputs of a model that has diverged are.
    ///
    /// # Errors
    /// [`Error::Metric`] if there are no rows, the two sides differ in length, a class is out of range, or the metric
    /// does not apply: accuracy, F1 and Matthews score classes; Pearson and Spearman score regressions; micro and macro
    /// F1 and subset accuracy score several labels; the F1 of entities scores tags; exact match and the F1 of answers
    /// score answers; perplexity and accuracy score masked tokens.
    pub fn compute(&self, predictions: &Predictions) -> Result<f64> {
        let refuse = |reason: String| Err(Error::Metric { metric: self.name(), reason });
        let (rows, truths) = match predictions {
            Predictions::Classes { predicted, expected, .. } => (predicted.len(), expected.len()),
            Predictions::Tags { predicted, expected } => {
                let words = |sentences: &[Vec<&str>]| sentences.iter().map(Vec::len).sum();
                (words(predicted), words(expected))
            }
            Predictions::Scores { predicted, expected } => (predicted.len(), expected.len()),
            Predictions::Labels { predicted, expected } => (predicted.nrows(), expected.nrows()),
            Predictions::Answers { predicted, expected } => (predicted.len(), expected.len()),
            Predictions::Tokens { losses, .. } => (losses.len(), losses.len()),
        };
        if rows != truths {
            return refuse(format!("{rows} predictions for {truths} rows"));
        }
        if rows == 0 {
            return refuse("there are no rows to score".into());
        }
        match (self, *predictions) {
            (Self::Accuracy | Self::F1 | Self::Matthews, Predictions::Classes { predicted, expected, classes }) => {
                if let Some(class) = predicted.iter().chain(expected).find(|&&class| class >= classes) {
                    return refuse(format!("class {class} of a model with {classes} classes"));
                }
                Ok(match self {
                    Self::Accuracy => accuracy::accuracy(predicted, expected),
                    Self::Matthews => matthews::matthews(predicted, expected, classes),
                    _ if classes == 2 => f1::binary(predicted, expected),
                    _ => f1::macro_average(predicted, expected, classes),
                })
            }
            (Self::Pearson, Predictions::Scores { predicted, expected }) => Ok(pearson::pearson(predicted, expected)),
            (Self::Spearman, Predictions::Scores { predicted, expected }) => {
                Ok(spearman::spearman(predicted, expected))
            }
            (Self::EntityF1, Predictions::Tags { predicted, expected }) => {
                Ok(entity_f1::entity_f1(predicted, expected))
            }
            (Self::MicroF1 | Self::MacroF1 | Self::SubsetAccuracy, Predictions::Labels { predicted, expected }) => {
                if predicted.ncols() != expected.ncols() {
                    return refuse(format!("{} labels of a model with {}", expected.ncols(), predicted.ncols()));
                }
                Ok(match self {
                    Self::MicroF1 => micro_f1::micro_f1(predicted, expected),
                    Self::MacroF1 => macro_f1::macro_f1(predicted, expected),
                    _ => subset_accuracy::subset_accuracy(predicted, expected),
                })
            }
            (Self::ExactMatch, Predictions::Answers { predicted, expected }) => {
                Ok(answers::exact_match(predicted, expected))
            }
            (Self::AnswerF1, Predictions::Answers { predicted, expected }) => {
                Ok(answers::answer_f1(predicted, expected))
            }
            (Self::Perplexity, Predictions::Tokens { losses, .. }) => Ok(perplexity::perplexity(losses)),
            (Self::Accuracy, Predictions::Tokens { losses, right }) => Ok(right as f64 / losses.len() as f64),
            (_, predictions) => refuse(format!("expected {}, found {}", self.scores(), predictions.name())),
        }
    }

    /// What the metric scores.
    fn scores(&self) -> &'static str {
        match self {
            Self::Accuracy | Self::F1 | Self::Matthews => CLASSES,
            Self::EntityF1 => TAGS,
            Self::Pearson | Self::Spearman => SCORES,
            Self::MicroF1 | Self::MacroF1 | Self::SubsetAccuracy => LABELS,
            Self::ExactMatch | Self::AnswerF1 => ANSWERS,
            Self::Perplexity => TOKENS,
        }
    }
}

fn unknown(name: &str) -> UnknownName {
    UnknownName { what: "metric", name: name.into(), known: Metric::ALL.iter().map(Metric::name).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes<'a>(predicted: &'a [usize], expected: &'a [usize], classes: usize) -> Predictions<'a> {
        Predictions::Classes { predicted, expected, classes }
    }

    fn problem(metric: Metric, predictions: &Predictions) -> String {
        metric.compute(predictions).unwrap_err().to_string()
    }

    #[test]
    fn names_round_trip() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse(), Ok(*metric));
        }
        let error = "recall".parse::<Metric>().unwrap_err();
        assert!(error.to_string().starts_with("there is no metric \"recall\"; expected accuracy, f1,"), "{error}");
    }

    #[test]
    fn of_perplexity_alone_the_lower_value_is_better() {
        for metric in Metric::ALL {
            assert_eq!(metric.is_better(1.0, 2.0), *metric == Metric::Perplexity, "{metric}");
            assert!(!metric.is_better(1.0, 1.0), "{metric}");
        }
        let tokens = Predictions::Tokens { losses: &[0.0, 0.0, 0.0, 0.0], right: 3 };
        assert_eq!(Metric::Accuracy.compute(&tokens).unwrap(), 0.75);
        assert_eq!(Metric::Perplexity.compute(&tokens).unwrap(), 1.0);
        assert!(problem(Metric::F1, &tokens).contains("expected classes, found masked tokens"));
        assert!(problem(Metric::Perplexity, &classes(&[0], &[0], 1)).contains("expected masked tokens, found classes"));
    }

    #[test]
    fn f1_is_binary_for_two_classes_and_macro_for_more() {
        let (predicted, expected) = ([1, 1, 0, 0], [1, 0, 0, 0]);
        let binary = Metric::F1.compute(&classes(&predicted, &expected, 2)).unwrap();
        let averaged = Metric::F1.compute(&classes(&predicted, &expected, 3)).unwrap();
        assert_eq!(binary, 2.0 / 3.0);
        assert_eq!(averaged, (2.0 / 3.0 + 0.8) / 2.0);
    }

    #[test]
    fn input_that_cannot_be_scored_is_refused() {
        assert!(problem(Metric::Accuracy, &classes(&[], &[], 2)).contains("no rows"));
        assert!(problem(Metric::Accuracy, &classes(&[0, 1], &[0], 2)).contains("2 predictions for 1 rows"));
        assert!(problem(Metric::Matthews, &classes(&[0, 7], &[0, 1], 3)).contains("class 7"));
        assert!(problem(Metric::F1, &classes(&[0, 1], &[0, 2], 2)).contains("class 2"));
        let scores = Predictions::Scores { predicted: &[1.0], expected: &[1.0] };
        assert!(problem(Metric::Matthews, &scores).contains("matthews"));
        assert!(problem(Metric::Pearson, &classes(&[0], &[0], 1)).contains("regression"));
        assert!(
            problem(Metric::MicroF1, &classes(&[0], &[0], 1)).contains("expected several labels a row, found classes")
        );
        let matrix = |rows: usize, columns| ndarray::Array2::from_elem((rows, columns), true);
        for (rows, columns, words) in [(2, 2, "1 predictions for 2 rows"), (1, 3, "3 labels of a model with 2")] {
            let (predicted, expected) = (matrix(1, 2), matrix(rows, columns));
            let labels = Predictions::Labels { predicted: predicted.view(), expected: expected.view() };
            assert!(problem(Metric::MacroF1, &labels).contains(words));
            assert!(
                problem(Metric::F1, &Predictions::Labels { expected: predicted.view(), predicted: predicted.view() })
                    .contains("expected classes")
            );
        }
    }

    /// On cases that `tests/goldens/multi_label_metrics.py` computed.
    #[test]
    fn the_metrics_of_several_labels_are_scikit_learns() {
        let golden = include_str!("../../tests/goldens/multi_label_metrics.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() > 8);
        for case in cases {
            let matrix = |key: &str| {
                let rows = case[key].as_array().unwrap();
                let columns = rows[0].as_array().unwrap().len();
                let values = rows.iter().flat_map(|row| row.as_array().unwrap()).map(|value| value == 1);
                ndarray::Array2::from_shape_vec((rows.len(), columns), values.collect()).unwrap()
            };
            let (predicted, expected) = (matrix("predicted"), matrix("expected"));
            let labels = Predictions::Labels { predicted: predicted.view(), expected: expected.view() };
            for metric in [Metric::MicroF1, Metric::MacroF1, Metric::SubsetAccuracy] {
                let (found, golden) = (metric.compute(&labels).unwrap(), case[metric.name()].as_f64().unwrap());
                assert!((found - golden).abs() < 1e-12, "{}: {metric} {found} {golden}", case["name"]);
            }
        }
    }

    #[test]
    fn no_metric_ever_answers_nan() {
        for values in [[f32::NAN, 1.0, 2.0], [f32::INFINITY, 0.0, 1.0], [3.0; 3], [f32::MAX, f32::MIN, 0.0]] {
            for metric in [Metric::Pearson, Metric::Spearman] {
                for (predicted, expected) in [(values, [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], values)] {
                    let got =
                        metric.compute(&Predictions::Scores { predicted: &predicted, expected: &expected }).unwrap();
                    assert!(got.is_finite(), "{metric} {values:?}");
                }
            }
        }
        for metric in [Metric::Accuracy, Metric::F1, Metric::Matthews] {
            assert!(metric.compute(&classes(&[0], &[0], 1)).unwrap().is_finite());
            assert!(metric.compute(&classes(&[0, 0], &[1, 1], 2)).unwrap().is_finite());
        }
    }
}
