//! Spearman's rho, the metric of the paper's STS-B figures: Pearson's r of the ranks, ties sharing their mean rank.

use super::pearson::correlation;

/// Spearman's rho of two columns of equal length, -1 to 1; 0 where it is undefined: a constant column, or a number that
/// is not finite (scipy returns NaN there).
pub fn spearman(x: &[f32], y: &[f32]) -> f64 {
    if x.iter().chain(y).any(|v| !v.is_finite()) {
        return 0.0;
    }
    correlation(&ranks(x), &ranks(y))
}

/// Ranks from 1; equal values share the mean of the ranks they span. `0.0` and `-0.0` are equal.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        // Ranks below+1 ..= below+n have the mean below + (n + 1) / 2.
        let rank = below as f64 + (tied.len() + 1) as f64 / 2.0;
        for &row in tied {
            ranks[row] = rank;
        }
        below += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rank of each value by comparing it with all others: the number of smaller ones, and half of the other equal
    /// ones.
    fn ranks_by_counting(values: &[f32]) -> Vec<f64> {
        let count = |test: &dyn Fn(f32) -> bool| values.iter().filter(|&&v| test(v)).count() as f64;
        values.iter().map(|&v| count(&|w| w < v) + (count(&|w| w == v) + 1.0) / 2.0).collect()
    }

    #[test]
    fn ties_share_their_mean_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(ranks(&[0.0, -0.0, -1.0]), [2.5, 2.5, 1.0]);
    }

    #[test]
    fn agrees_with_scipy() {
        let x: Vec<f32> = (0..30).map(|i| ((i * 37) % 101) as f32 / 8.0).collect();
        let y: Vec<f32> = (0..30).map(|i| ((i * 53) % 17) as f32 / 4.0 + ((i * 37) % 101) as f32 / 16.0).collect();
        assert!((spearman(&x, &y) - 0.858_292_017_043_593_5).abs() < 1e-12);
        let (x, y) = ([1.0, 2.0, 2.0, 3.0, 5.0, 5.0, 5.0, 8.0], [0.0, 1.0, 3.0, 3.0, 2.0, 4.0, 4.0, 9.0]);
        assert!((spearman(&x, &y) - 0.826_230_406_219_583_9).abs() < 1e-12);
    }

    #[test]
    fn undefined_is_zero() {
        assert_eq!(spearman(&[2.0; 4], &[1.0, 2.0, 3.0, 4.0]), 0.0);
        assert_eq!(spearman(&[1.0, f32::INFINITY], &[1.0, 2.0]), 0.0);
        assert_eq!(spearman(&[f32::NAN, 1.0], &[1.0, 2.0]), 0.0);
        assert_eq!(spearman(&[], &[]), 0.0);
    }

    proptest! {
        #[test]
        fn ranks_equal_the_counted_ones(values in prop::collection::vec(-6_i32..6, 0..60)) {
            let values: Vec<f32> = values.iter().map(|&v| v as f32 / 4.0).collect();
            prop_assert_eq!(ranks(&values), ranks_by_counting(&values));
        }

        #[test]
        fn without_ties_it_is_the_sum_of_squared_differences(
            x in Just((0..25).collect::<Vec<i32>>()).prop_shuffle(),
            y in Just((0..25).collect::<Vec<i32>>()).prop_shuffle(),
        ) {
            let n = 25.0;
            let d2: f64 = x.iter().zip(&y).map(|(a, b)| f64::from((a - b).pow(2))).sum();
            let float = |v: &[i32]| v.iter().map(|&v| v as f32).collect::<Vec<_>>();
            let rho = spearman(&float(&x), &float(&y));
            prop_assert!((rho - (1.0 - 6.0 * d2 / (n * (n * n - 1.0)))).abs() < 1e-9);
            // Only the order matters: an increasing function of a column does not change the result.
            let bent: Vec<f32> = x.iter().map(|&v| (v as f32).powi(3)).collect();
            prop_assert_eq!(spearman(&bent, &float(&y)), rho);
        }
    }
}
