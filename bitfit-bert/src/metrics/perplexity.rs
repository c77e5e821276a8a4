//! Perplexity: the exponential of the mean loss over all masked tokens. Of a model that knows nothing of a vocabulary
//! of V it is V; of one that is always right and sure it is 1.

/// `exp(mean of the losses)`, 1 for none; never infinite.
pub fn perplexity(losses: &[f32]) -> f64 {
    let sum: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
    (sum / losses.len().max(1) as f64).exp().min(f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_geometric_mean_of_the_inverse_probabilities() {
        assert!((perplexity(&[2f32.ln(), 8f32.ln()]) - 4.0).abs() < 1e-6);
        assert_eq!(perplexity(&[0.0]), 1.0);
        assert_eq!(perplexity(&[1e30]), f64::MAX);
    }
}
