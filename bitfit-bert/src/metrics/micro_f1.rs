//! Micro F1 of several labels a row: F1 over all decisions of all labels together (`sklearn.metrics.f1_score` with
//! `average="micro"` and `zero_division=0`).

use ndarray::{ArrayView2, Zip};

use super::f1;

/// `2 TP / (2 TP + FP + FN)` over all elements; 0 where that is 0/0. Both matrices are `[rows, C]`: whether the row has
/// the label.
pub fn micro_f1(predicted: ArrayView2<'_, bool>, expected: ArrayView2<'_, bool>) -> f64 {
    let (mut hits, mut occurrences) = (0_usize, 0_usize);
    Zip::from(predicted).and(expected).for_each(|&p, &e| {
        hits += usize::from(p && e);
        occurrences += usize::from(p) + usize::from(e);
    });
    f1::of_counts(hits, occurrences)
}
