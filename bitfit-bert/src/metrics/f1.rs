//! F1: the harmonic mean of precision and recall, `2 TP / (2 TP + FP + FN)`; 0 where that is 0/0.

/// F1 of class 1, the positive one (GLUE's F1 for MRPC and QQP). Every other class counts as negative.
pub fn binary(predicted: &[usize], expected: &[usize]) -> f64 {
    let counts = counts(predicted, expected, 2);
    of_counts(counts[1].0, counts[1].1)
}

/// The unweighted mean of the F1 of each class that occurs among the predictions or the truths: scikit-learn's
/// `f1_score(average="macro")`. A class that occurs in neither has no F1 and is left out.
pub fn macro_average(predicted: &[usize], expected: &[usize], classes: usize) -> f64 {
    let (mut sum, mut present) = (0.0, 0_usize);
    for (hits, occurrences) in counts(predicted, expected, classes).into_iter().filter(|counts| counts.1 > 0) {
        sum += of_counts(hits, occurrences);
        present += 1;
    }
    sum / present.max(1) as f64
}

/// F1 from the number of hits (TP) and that of occurrences on both sides together (2 TP + FP + FN).
pub(super) fn of_counts(hits: usize, occurrences: usize) -> f64 {
    if occurrences == 0 { 0.0 } else { 2.0 * hits as f64 / occurrences as f64 }
}

/// The hits and the occurrences on both sides of each class below `classes`.
fn counts(predicted: &[usize], expected: &[usize], classes: usize) -> Vec<(usize, usize)> {
    // The last is that of all classes behind.
    let mut counts = vec![(0, 0); classes + 1];
    for (&predicted, &expected) in predicted.iter().zip(expected) {
        counts[predicted.min(classes)].1 += 1;
        counts[expected.min(classes)].1 += 1;
        counts[expected.min(classes)].0 += usize::from(predicted == expected);
    }
    counts.truncate(classes);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_positive_class_is_class_one() {
        // TP 2, FP 1, FN 1.
        assert_eq!(binary(&[1, 1, 1, 0, 0], &[1, 1, 0, 1, 0]), 4.0 / 6.0);
        assert_eq!(binary(&[0, 0], &[0, 0]), 0.0);
        assert_eq!(binary(&[0, 0], &[1, 1]), 0.0);
    }

    #[test]
    fn agrees_with_scikit_learn() {
        let expected: Vec<usize> = (0..40).map(|i| usize::from((i * 7 + i / 3) % 5 > 1)).collect();
        let predicted: Vec<usize> = (0..40).map(|i| usize::from((i * 7 + i / 4) % 5 > 1)).collect();
        assert!((binary(&predicted, &expected) - 0.541_666_666_666_666_6).abs() < 1e-12);
        assert!((macro_average(&predicted, &expected, 2) - 0.427_083_333_333_333_3).abs() < 1e-12);
        let expected: Vec<usize> = (0..40).map(|i| (i * 7 + i / 3) % 4).collect();
        let predicted: Vec<usize> = (0..40).map(|i| (i * 5 + i / 2 + i / 7) % 4).collect();
        assert!((macro_average(&predicted, &expected, 4) - 0.135_011_441_647_597_26).abs() < 1e-12);
    }

    #[test]
    fn a_class_behind_those_that_are_averaged_does_not_weigh_in() {
        assert_eq!(macro_average(&[0, 1, 2], &[0, 0, 2], 2), (2.0 / 3.0 + 0.0) / 2.0);
        assert_eq!(binary(&[1, 7], &[1, 1]), 2.0 / 3.0);
    }

    #[test]
    fn a_class_that_occurs_nowhere_does_not_weigh_in() {
        assert!((macro_average(&[0, 2, 2, 2], &[0, 0, 2, 2], 3) - 0.733_333_333_333_333_4).abs() < 1e-12);
        // Predicted once but never true: an F1 of 0 that counts in the mean.
        assert!((macro_average(&[0, 1, 2, 2], &[0, 0, 2, 2], 3) - 0.555_555_555_555_555_5).abs() < 1e-12);
    }
}
