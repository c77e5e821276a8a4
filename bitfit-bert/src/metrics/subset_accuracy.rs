//! Subset accuracy: the share of rows whose labels are all right, and no other (`sklearn.metrics.accuracy_score` of
//! label indicator matrices).

use ndarray::ArrayView2;

/// `right / rows`, 0 for no rows. Both matrices are `[rows, C]`: whether the row has the label.
pub fn subset_accuracy(predicted: ArrayView2<'_, bool>, expected: ArrayView2<'_, bool>) -> f64 {
    let right = predicted.rows().into_iter().zip(expected.rows()).filter(|(p, e)| p == e).count();
    right as f64 / predicted.nrows().max(1) as f64
}
