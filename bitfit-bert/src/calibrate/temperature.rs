//! The temperature by which logits are divided: the one under which the true classes are most likely.
//!
//! With `b = 1 / T`, the mean loss is convex in b, and its derivative is the mean over rows of `Σ p z - z[y]`; the root
//! is found by bisection.

use ndarray::ArrayView2;

/// The temperatures among which one is chosen. Where every answer is right, the likelihood grows without a bound as the
/// temperature falls.
pub const TEMPERATURES: [f32; 2] = [0.05, 20.0];

/// For one class a row.
pub(super) fn of_classes(logits: ArrayView2<'_, f32>, classes: &[usize]) -> f32 {
    bisect(|b| {
        let rows = logits.rows().into_iter().zip(classes);
        rows.map(|(row, &class)| {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let (mut sum, mut mean) = (0.0, 0.0);
            for &z in row {
                let weight = (b * f64::from(z - max)).exp();
                sum += weight;
                mean += weight * f64::from(z - max);
            }
            mean / sum - f64::from(row[class] - max)
        })
        .sum()
    })
}

/// For any number of labels a row; `indicators` are 1 where the row has the label.
pub(super) fn of_labels(logits: ArrayView2<'_, f32>, indicators: ArrayView2<'_, f32>) -> f32 {
    bisect(|b| {
        let element = |(&z, &t): (&f32, &f32)| {
            let z = f64::from(z);
            (1.0 / (1.0 + (-b * z).exp()) - f64::from(t)) * z
        };
        logits.iter().zip(&indicators).map(element).sum()
    })
}

/// The temperature where the derivative by its inverse, which grows with it, is zero.
fn bisect(derivative: impl Fn(f64) -> f64) -> f32 {
    let [coldest, hottest] = TEMPERATURES;
    let [mut low, mut high] = [hottest, coldest].map(|temperature| -f64::from(temperature).ln());
    if derivative(high.exp()) < 0.0 {
        return coldest;
    }
    if derivative(low.exp()) > 0.0 {
        return hottest;
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if derivative(middle.exp()) < 0.0 { low = middle } else { high = middle }
    }
    (-(low + high) / 2.0).exp() as f32
}
