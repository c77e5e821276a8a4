//! F1: the harmonic mean of precision and recall, `2 TP / (2 TP + FP + FN)`; 0 where that is 0/0.

/// F1 of class 1, the positive one (GLUE's F1 for MRPC and QQP). Every other class counts as negative.
pub fn binary(predicted: &[usize], expected: &[usize]) -> f64 {
    of_class(predicted, expected, 1).unwrap_or(0.0)
}

/// The unweighted mean of the F1 of each class that occurs among the predictions or the truths: scikit-learn's
/// `f1_score(average="macro")`. A class that occurs in neither has no F1 and is left out.
pub fn macro_average(predicted: &[usize], expected: &[usize], classes: usize) -> f64 {
    let (mut sum, mut present) = (0.0, 0_usize);
    for f1 in (0..classes).filter_map(|class| of_class(predicted, expected, class)) {
        sum += f1;
        present += 1;
    }
    sum / present.max(1) as f64
}

/// F1 of one class against the rest; `None` if it occurs on neither side.
fn of_class(predicted: &[usize], expected: &[usize], class: usize) -> Option<f64> {
    let (mut hits, mut occurrences) = (0_usize, 0_usize);
    for (&p, &e) in predicted.iter().zip(expected) {
        hits += usize::from(p == class && e == class);
        occurrences += usize::from(p == class) + usize::from(e == class);
    }
    // Occurrences on both sides together are 2 TP + FP + FN.
    (occurrences > 0).then(|| 2.0 * hits as f64 / occurrences as f64)
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
    fn a_class_that_occurs_nowhere_does_not_weigh_in() {
        assert!((macro_average(&[0, 2, 2, 2], &[0, 0, 2, 2], 3) - 0.733_333_333_333_333_4).abs() < 1e-12);
        // Predicted once but never true: an F1 of 0 that counts in the mean.
        assert!((macro_average(&[0, 1, 2, 2], &[0, 0, 2, 2], 3) - 0.555_555_555_555_555_5).abs() < 1e-12);
    }
}
