//! Means and deviations of the scores of several runs.

use std::fmt;

use crate::metrics::Metric;
use crate::train::Score;

/// The mean of a metric over runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanScore {
    /// The metric.
    pub metric: Metric,
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the sample, with n - 1 in the divisor; `None` for a single run.
    pub deviation: Option<f64>,
}

/// The mean with the deviation of its sample, where there is one: `0.8271 ± 0.0060`; with four decimals if no precision
/// is given.
impl fmt::Display for MeanScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(4);
        write!(f, "{:.places$}", self.mean)?;
        self.deviation.map_or(Ok(()), |deviation| write!(f, " ± {deviation:.places$}"))
    }
}

/// The means of the scores of runs, each of which has the metrics of the first; none without a run.
pub fn mean_scores(runs: &[&[Score]]) -> Vec<MeanScore> {
    let metrics = runs.first().map_or(&[][..], |first| first);
    let means = metrics.iter().map(|&Score { metric, .. }| {
        let scores = runs.iter().flat_map(|run| run.iter()).filter(|score| score.metric == metric);
        let values: Vec<f64> = scores.map(|score| score.value).collect();
        MeanScore { metric, mean: mean(&values), deviation: deviation(&values) }
    });
    means.collect()
}

/// The arithmetic mean; NaN of nothing. Of equal values it is that value, which a rounded sum would miss.
pub(super) fn mean(values: &[f64]) -> f64 {
    match values {
        [first, others @ ..] if others.iter().all(|other| other == first) => *first,
        _ => values.iter().sum::<f64>() / values.len() as f64,
    }
}

/// The standard deviation of a sample, of equal values 0; `None` for less than two values.
pub(super) fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        // statistics.stdev([0.7, 0.8, 0.85, 0.95]) of Python 3.12 is 0.10408329997330664.
        let expected = 0.104_083_299_973_306_64;
        assert!((deviation(&[0.7, 0.8, 0.85, 0.95]).unwrap() - expected).abs() < 1e-15);
        assert_eq!((deviation(&[2.0, 4.0]), deviation(&[3.0, 3.0])), (Some(2f64.sqrt()), Some(0.0)));
        assert_eq!((deviation(&[3.0]), deviation(&[])), (None, None));
    }

    #[test]
    fn equal_values_are_their_mean_and_do_not_deviate() {
        for (value, count) in [(0.95, 3), (0.1, 7), (1.0 / 3.0, 11)] {
            let values = vec![value; count];
            assert_eq!((mean(&values), deviation(&values)), (value, Some(0.0)));
        }
        assert!(mean(&[]).is_nan() && mean(&[f64::NAN, 0.5]).is_nan());
    }

    #[test]
    fn every_metric_has_its_mean() {
        let scores = |accuracy, f1| {
            [Score { metric: Metric::Accuracy, value: accuracy }, Score { metric: Metric::F1, value: f1 }]
        };
        let (first, second) = (scores(0.5, 0.25), scores(1.0, 0.75));
        let means = mean_scores(&[&first, &second]);
        assert_eq!(
            means.iter().map(|mean| (mean.metric, mean.mean)).collect::<Vec<_>>(),
            [(Metric::Accuracy, 0.75), (Metric::F1, 0.5)]
        );
        assert_eq!(mean_scores(&[&first])[1], MeanScore { metric: Metric::F1, mean: 0.25, deviation: None });
        assert!(mean_scores(&[]).is_empty());
    }
}
