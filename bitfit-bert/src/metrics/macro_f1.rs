//! Macro F1 of several labels a row: the mean of the F1 of each label (`sklearn.metrics.f1_score` with
//! `average="macro"` and `zero_division=0`).

use ndarray::{ArrayView2, Axis};

use super::micro_f1::micro_f1;

/// The unweighted mean over all labels, 0 for no labels; a label that occurs on neither side counts as 0. Both matrices
/// are `[rows, C]`: whether the row has the label.
pub fn macro_f1(predicted: ArrayView2<'_, bool>, expected: ArrayView2<'_, bool>) -> f64 {
    let labels = predicted.axis_chunks_iter(Axis(1), 1).zip(expected.axis_chunks_iter(Axis(1), 1));
    let sum: f64 = labels.map(|(p, e)| micro_f1(p, e)).sum();
    sum / predicted.ncols().max(1) as f64
}
