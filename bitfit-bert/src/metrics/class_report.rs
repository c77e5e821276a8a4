//! Precision, recall, F1 and support of each class, and the confusion matrix: scikit-learn's `classification_report`
//! and `confusion_matrix`.

use ndarray::Array2;

use super::f1;

/// How a class is predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScore {
    /// The share of the predictions of the class that are right; 0 where it is never predicted.
    pub precision: f64,
    /// The share of the rows of the class that are found; 0 where there are none.
    pub recall: f64,
    /// The harmonic mean of the two; 0 where one is 0.
    pub f1: f64,
    /// The number of rows of the class.
    pub support: usize,
}

impl ClassScore {
    /// From the number of rows that are found, predicted and there.
    pub fn new(hits: usize, predicted: usize, support: usize) -> Self {
        let share = |of: usize| if of == 0 { 0.0 } else { hits as f64 / of as f64 };
        let f1 = f1::of_counts(hits, predicted + support);
        Self { precision: share(predicted), recall: share(support), f1, support }
    }
}

/// How each of the classes is predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassReport {
    /// The classes, in their order.
    pub classes: Vec<ClassScore>,
    /// `[C, C]`: the number of rows of each class (rows) that are predicted as each (columns).
    pub confusion: Array2<usize>,
}

impl ClassReport {
    /// Compares classes, each below `classes`, row by row.
    pub fn new(predicted: &[usize], expected: &[usize], classes: usize) -> Self {
        let mut confusion = Array2::zeros((classes, classes));
        predicted.iter().zip(expected).for_each(|(&predicted, &expected)| confusion[[expected, predicted]] += 1);
        let score = |class: usize| {
            ClassScore::new(confusion[[class, class]], confusion.column(class).sum(), confusion.row(class).sum())
        };
        Self { classes: (0..classes).map(score).collect(), confusion }
    }

    /// The means over the classes that occur among the rows or the predictions, each counting alike.
    pub fn macro_average(&self) -> ClassScore {
        self.average(|class, score| if score.support + self.confusion.column(class).sum() > 0 { 1.0 } else { 0.0 })
    }

    /// The means over all classes, each counting by its rows.
    pub fn weighted_average(&self) -> ClassScore {
        self.average(|_, score| score.support as f64)
    }

    fn average(&self, weight: impl Fn(usize, &ClassScore) -> f64) -> ClassScore {
        let weights: Vec<f64> = self.classes.iter().enumerate().map(|(class, score)| weight(class, score)).collect();
        let total: f64 = weights.iter().sum();
        let mean = |value: fn(&ClassScore) -> f64| match total {
            0.0 => 0.0,
            total => {
                self.classes.iter().zip(&weights).map(|(score, weight)| weight * value(score)).sum::<f64>() / total
            }
        };
        ClassScore {
            precision: mean(|score| score.precision),
            recall: mean(|score| score.recall),
            f1: mean(|score| score.f1),
            support: self.classes.iter().map(|score| score.support).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;

    fn assert_is(score: ClassScore, precision: f64, recall: f64, f1: f64, support: usize) {
        for (found, expected) in [(score.precision, precision), (score.recall, recall), (score.f1, f1)] {
            assert!((found - expected).abs() < 1e-15, "{score:?}");
        }
        assert_eq!(score.support, support);
    }

    /// `classification_report(expected, predicted, zero_division=0)` and `confusion_matrix` of scikit-learn; the last
    /// class is never predicted, and the second never found.
    #[test]
    fn agrees_with_scikit_learn() {
        let expected: Vec<usize> = (0..40).map(|i| (i * 7 + i / 3) % 4).collect();
        let predicted: Vec<usize> = (0..40).map(|i| ((i * 5 + i / 2 + i / 7) % 4).min(2)).collect();
        let report = ClassReport::new(&predicted, &expected, 4);
        assert_is(report.classes[0], 0.1, 0.07692307692307693, 0.08695652173913043, 13);
        assert_is(report.classes[1], 0.0, 0.0, 0.0, 6);
        assert_is(report.classes[2], 0.38095238095238093, 0.5714285714285714, 0.45714285714285713, 14);
        assert_is(report.classes[3], 0.0, 0.0, 0.0, 7);
        assert_is(report.macro_average(), 0.12023809523809523, 0.16208791208791207, 0.1360248447204969, 40);
        assert_is(report.weighted_average(), 0.16583333333333333, 0.225, 0.18826086956521737, 40);
        assert_eq!(report.confusion, arr2(&[[1, 6, 6, 0], [2, 0, 4, 0], [4, 2, 8, 0], [3, 1, 3, 0]]));
    }

    #[test]
    fn a_class_that_occurs_nowhere_does_not_weigh_in() {
        let report = ClassReport::new(&[0, 2, 2, 2], &[0, 0, 2, 2], 3);
        assert!((report.macro_average().f1 - 0.733_333_333_333_333_4).abs() < 1e-12);
    }

    #[test]
    fn without_rows_everything_is_zero() {
        let report = ClassReport::new(&[], &[], 2);
        assert_is(report.macro_average(), 0.0, 0.0, 0.0, 0);
        assert_is(report.weighted_average(), 0.0, 0.0, 0.0, 0);
    }
}
