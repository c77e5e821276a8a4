//! Matthews correlation, CoLA's metric, in the form for any number of classes (Gorodkin 2004;
//! `sklearn.metrics.matthews_corrcoef`).
//!
//! With s rows, c of them right, class k predicted `p_k` times and true `t_k` times:
//!
//! ```text
//! mcc = (c s - sum_k p_k t_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2))
//! ```

/// The correlation, -1 to 1; 0 where one side holds a single class (the formula is 0/0 there). Both slices have one
/// class per row, each below `classes`, and the same length; a row with a class out of range is left out.
pub fn matthews(predicted: &[usize], expected: &[usize], classes: usize) -> f64 {
    let (mut rows, mut right) = (0_i128, 0_i128);
    let mut counts = vec![(0_i128, 0_i128); classes];
    for (&p, &e) in predicted.iter().zip(expected).filter(|&(&p, &e)| p < classes && e < classes) {
        rows += 1;
        right += i128::from(p == e);
        counts[p].0 += 1;
        counts[e].1 += 1;
    }
    // Integers up to here, so that a side with a single class gives exactly 0.
    let covariance = right * rows - counts.iter().map(|(p, t)| p * t).sum::<i128>();
    let predicted_variance = rows * rows - counts.iter().map(|(p, _)| p * p).sum::<i128>();
    let expected_variance = rows * rows - counts.iter().map(|(_, t)| t * t).sum::<i128>();
    if predicted_variance == 0 || expected_variance == 0 {
        return 0.0;
    }
    let scale = (predicted_variance as f64).sqrt() * (expected_variance as f64).sqrt();
    (covariance as f64 / scale).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By definition: the correlation of the one-hot matrices, `cov(P, T) / sqrt(cov(P, P) cov(T, T))`, each covariance
    /// summed over the classes.
    fn by_definition(predicted: &[usize], expected: &[usize], classes: usize) -> f64 {
        let n = predicted.len() as f64;
        let covariance = |a: &[usize], b: &[usize]| -> f64 {
            (0..classes)
                .map(|k| {
                    let hot = |xs: &[usize], i: usize| f64::from(u8::from(xs[i] == k));
                    let mean = |xs: &[usize]| (0..xs.len()).map(|i| hot(xs, i)).sum::<f64>() / n;
                    let (ma, mb) = (mean(a), mean(b));
                    (0..a.len()).map(|i| (hot(a, i) - ma) * (hot(b, i) - mb)).sum::<f64>()
                })
                .sum()
        };
        let scale = covariance(predicted, predicted) * covariance(expected, expected);
        if scale < 1e-12 { 0.0 } else { covariance(predicted, expected) / scale.sqrt() }
    }

    #[test]
    fn two_classes_by_hand() {
        // TP 3, TN 2, FP 1, FN 2: (6 - 2) / sqrt(4 * 5 * 3 * 4).
        let predicted = [1, 1, 1, 0, 0, 1, 0, 0];
        let expected = [1, 1, 1, 0, 0, 0, 1, 1];
        assert!((matthews(&predicted, &expected, 2) - 4.0 / 240_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn agrees_with_scikit_learn() {
        let expected: Vec<usize> = (0..40).map(|i| (i * 7 + i / 3) % 4).collect();
        let predicted: Vec<usize> = (0..40).map(|i| (i * 5 + i / 2 + i / 7) % 4).collect();
        assert!((matthews(&predicted, &expected, 4) + 0.131_422_473_646_150_7).abs() < 1e-12);
        let expected: Vec<usize> = (0..40).map(|i| usize::from((i * 7 + i / 3) % 5 > 1)).collect();
        let predicted: Vec<usize> = (0..40).map(|i| usize::from((i * 7 + i / 4) % 5 > 1)).collect();
        assert!((matthews(&predicted, &expected, 2) + 0.145_833_333_333_333_3).abs() < 1e-12);
        assert!((matthews(&[0, 1, 2, 2], &[0, 0, 2, 2], 3) - 0.670_820_393_249_936_9).abs() < 1e-12);
    }

    #[test]
    fn one_sided_predictions_score_nothing() {
        assert_eq!(matthews(&[1, 1, 1], &[1, 0, 1], 2), 0.0);
        assert_eq!(matthews(&[1, 0, 1], &[1, 1, 1], 2), 0.0);
        assert_eq!(matthews(&[], &[], 2), 0.0);
    }

    proptest! {
        #[test]
        fn equals_the_definition(rows in prop::collection::vec((0_usize..5, 0_usize..5), 1..60), classes in 5_usize..7) {
            let (predicted, expected): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
            let (fast, slow) = (matthews(&predicted, &expected, classes), by_definition(&predicted, &expected, classes));
            prop_assert!((fast - slow).abs() < 1e-9, "{fast} {slow}");
            prop_assert_eq!(fast, matthews(&expected, &predicted, classes));
        }
    }
}
