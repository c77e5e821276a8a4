//! Accuracy: the share of rows whose class is right.

/// `right / rows`, 0 for no rows. Both slices have one class per row and the same length.
pub fn accuracy(predicted: &[usize], expected: &[usize]) -> f64 {
    let right = predicted.iter().zip(expected).filter(|(p, e)| p == e).count();
    right as f64 / predicted.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_right_ones() {
        assert_eq!(accuracy(&[0, 1, 2, 1], &[0, 1, 1, 1]), 0.75);
        assert_eq!(accuracy(&[0], &[1]), 0.0);
        assert_eq!(accuracy(&[], &[]), 0.0);
    }
}
