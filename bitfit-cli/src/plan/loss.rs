//! How classes count in the loss of a plan, and when a run is evaluated and ends.

use bitfit_bert::train::TrainOptions;
use bitfit_core::ops::weighted_cross_entropy::ClassWeighting;

use super::grouped;

/// The loss where classes do not count alike.
pub fn weighted(weighting: &ClassWeighting, labels: &[String]) -> String {
    let ClassWeighting { weights, label_smoothing, focal_gamma } = weighting;
    let mut parts = vec!["cross-entropy".to_owned()];
    let mut sorted: Vec<(f32, &String)> = weights.iter().copied().zip(labels).collect();
    sorted.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    if let [(lowest, least), .., (highest, most)] = sorted[..]
        && lowest != highest
    {
        parts.push(format!("classes weighted, from {lowest:.3} ({least}) to {highest:.3} ({most})"));
    }
    if *label_smoothing > 0.0 {
        parts.push(format!("label smoothing {label_smoothing}"));
    }
    if *focal_gamma > 0.0 {
        parts.push(format!("focal exponent {focal_gamma}"));
    }
    parts.join("; ")
}

/// Evaluations within epochs, and an early end.
pub fn evaluations(training: &TrainOptions) -> Option<String> {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{} {what}s", grouped(count)),
    };
    let every = training.eval_every.map(|steps| format!("an evaluation every {}", counted(steps, "step")));
    let patience =
        training.patience.map(|count| format!("ends after {} without a better score", counted(count, "evaluation")));
    let parts: Vec<String> = every.into_iter().chain(patience).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_from_the_usual_is_said() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let of = |weights: [f32; 2], label_smoothing, focal_gamma| {
            weighted(&ClassWeighting { weights: weights.into(), label_smoothing, focal_gamma }, &labels)
        };
        assert_eq!(
            of([2.0, 0.5], 0.0, 2.0),
            "cross-entropy; classes weighted, from 0.500 (b) to 2.000 (a); focal exponent 2"
        );
        assert_eq!(of([1.0, 1.0], 0.1, 0.0), "cross-entropy; label smoothing 0.1");
        let training = TrainOptions { eval_every: Some(1), patience: Some(3), ..TrainOptions::default() };
        assert_eq!(
            evaluations(&training).as_deref(),
            Some("an evaluation every 1 step; ends after 3 evaluations without a better score")
        );
        assert_eq!(evaluations(&TrainOptions::default()), None);
    }
}
