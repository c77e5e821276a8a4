//! Pearson's r, one of STS-B's two metrics: `cov(x, y) / sqrt(var(x) var(y))`, in two passes (means first).

/// Pearson's r of two columns of equal length, -1 to 1; 0 where it is undefined: a constant column, or a number that is
/// not finite (scipy returns NaN there).
pub fn pearson(x: &[f32], y: &[f32]) -> f64 {
    let as_f64 = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    correlation(&as_f64(x), &as_f64(y))
}

/// Pearson's r of two columns of f64; Spearman's rho is that of the ranks.
pub(super) fn correlation(x: &[f64], y: &[f64]) -> f64 {
    // Whether a column is constant is decided by its values, not by its variance: the mean of n equal numbers may have
    // a rounding error, and a variance of 1e-33 would then result in a correlation.
    let varies = |values: &[f64]| values.windows(2).any(|pair| pair[0] != pair[1]);
    if !varies(x) || !varies(y) || x.iter().chain(y).any(|v| !v.is_finite()) {
        return 0.0;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (&a, &b) in x.iter().zip(y) {
        let (dx, dy) = (a - mx, b - my);
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    let scale = xx.sqrt() * yy.sqrt();
    if scale > 0.0 { (xy / scale).clamp(-1.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        // Deviations (-1, 0, 1) and (-1, -1, 2): 3 / sqrt(2 * 6).
        assert!((pearson(&[1.0, 2.0, 3.0], &[1.0, 1.0, 4.0]) - 3.0 / 12_f64.sqrt()).abs() < 1e-15);
        assert!((pearson(&[1.0, 2.0, 3.0], &[6.0, 4.0, 2.0]) + 1.0).abs() < 1e-15);
    }

    #[test]
    fn agrees_with_scipy() {
        let x: Vec<f32> = (0..30).map(|i| ((i * 37) % 101) as f32 / 8.0).collect();
        let y: Vec<f32> = (0..30).map(|i| ((i * 53) % 17) as f32 / 4.0 + ((i * 37) % 101) as f32 / 16.0).collect();
        assert!((pearson(&x, &y) - 0.861_241_292_706_520_5).abs() < 1e-12);
        let (x, y) = ([1.0, 2.0, 2.0, 3.0, 5.0, 5.0, 5.0, 8.0], [0.0, 1.0, 3.0, 3.0, 2.0, 4.0, 4.0, 9.0]);
        assert!((pearson(&x, &y) - 0.877_731_754_436_639_2).abs() < 1e-12);
    }

    #[test]
    fn undefined_is_zero() {
        let rising: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        // 0.1 has no exact binary representation, so the mean of a thousand of them differs from it.
        assert_eq!(pearson(&[0.1; 1000], &rising), 0.0);
        assert_eq!(pearson(&rising, &[0.1; 1000]), 0.0);
        assert_eq!(pearson(&[1.0, f32::NAN, 2.0], &[1.0, 2.0, 3.0]), 0.0);
        assert_eq!(pearson(&[1.0], &[2.0]), 0.0);
        assert_eq!(pearson(&[], &[]), 0.0);
    }

    proptest! {
        #[test]
        fn is_symmetric_and_blind_to_scale_and_shift(rows in prop::collection::vec((-8_i32..8, -8_i32..8), 2..40)) {
            let (x, y): (Vec<f32>, Vec<f32>) = rows.iter().map(|&(a, b)| (a as f32, b as f32)).unzip();
            let r = pearson(&x, &y);
            let moved: Vec<f32> = x.iter().map(|v| 4.0 * v + 32.0).collect();
            prop_assert!((pearson(&moved, &y) - r).abs() < 1e-9);
            prop_assert!((pearson(&y, &x) - r).abs() < 1e-12);
            // Another formula: sums of products over all pairs of rows.
            let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
            for &(a, b) in &rows {
                for &(c, d) in &rows {
                    xy += f64::from((a - c) * (b - d));
                    xx += f64::from((a - c).pow(2));
                    yy += f64::from((b - d).pow(2));
                }
            }
            let pairs = if xx * yy == 0.0 { 0.0 } else { xy / (xx * yy).sqrt() };
            prop_assert!((pairs - r).abs() < 1e-9, "{pairs} {r}");
        }
    }
}
