//! Thresholds of probabilities: below which a text is given no class, and from which on it is given a label.

use ndarray::{Array2, ArrayView1};

use super::error::confidences;
use crate::heads::THRESHOLD;

/// A threshold below which no class is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rejection {
    pub threshold: f32,
    /// The share of the rows that are answered.
    pub answered: f64,
    /// The share of these that are right.
    pub accuracy: f64,
}

/// The least threshold from which on at least `accuracy` of the rows are right; `None` if there is none.
pub(super) fn rejection(logits: &Array2<f32>, classes: &[usize], accuracy: f64) -> Option<Rejection> {
    let mut rows = confidences(logits, classes);
    rows.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let (mut right, mut best) = (0, None);
    for (place, &(threshold, is_right)) in rows.iter().enumerate() {
        right += usize::from(is_right);
        let answered = place + 1;
        // Rows of one probability are answered together.
        let is_last = rows.get(answered).is_none_or(|(next, _)| *next < threshold);
        let share = right as f64 / answered as f64;
        if is_last && share >= accuracy {
            best = Some(Rejection { threshold, answered: answered as f64 / rows.len() as f64, accuracy: share });
        }
    }
    best
}

/// The threshold of a label and what it reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelThreshold {
    /// The least probability with which the label is given.
    pub threshold: f32,
    /// F1 at [`THRESHOLD`].
    pub f1_before: f64,
    /// F1 at the threshold.
    pub f1: f64,
    /// The number of texts that have the label. Where there are none, the threshold stays [`THRESHOLD`].
    pub support: usize,
}

/// For each label the threshold of the greatest F1, half way to the next lower probability; `indicators` are 1 where
/// the row has the label.
pub(super) fn of_labels(probabilities: &Array2<f32>, indicators: &Array2<f32>) -> Vec<LabelThreshold> {
    let labels = probabilities.columns().into_iter().zip(indicators.columns());
    labels.map(|(probabilities, indicators)| of_label(probabilities, indicators)).collect()
}

fn of_label(probabilities: ArrayView1<'_, f32>, indicators: ArrayView1<'_, f32>) -> LabelThreshold {
    let mut rows: Vec<(f32, bool)> = probabilities.iter().zip(indicators).map(|(&p, &t)| (p, t == 1.0)).collect();
    rows.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let support = rows.iter().filter(|(_, has)| *has).count();
    // 2 TP / (given + support), 0 where nothing is given or there.
    let f1 = |hits: usize, given: usize| if hits == 0 { 0.0 } else { 2.0 * hits as f64 / (given + support) as f64 };
    let usual = rows.iter().filter(|(probability, _)| *probability >= THRESHOLD);
    let (given, hits) = usual.fold((0, 0), |(given, hits), (_, has)| (given + 1, hits + usize::from(*has)));
    let f1_before = f1(hits, given);
    let mut best = LabelThreshold { threshold: THRESHOLD, f1_before, f1: f1_before, support };
    let mut hits = 0;
    for (place, &(probability, has)) in rows.iter().enumerate() {
        hits += usize::from(has);
        let next = rows.get(place + 1).map_or(0.0, |(next, _)| *next);
        let found = f1(hits, place + 1);
        if next < probability && found > best.f1 {
            // Two floats that follow each other have nothing half way between them.
            let half = f32::midpoint(probability, next);
            let threshold = if half > next && half < 1.0 { half } else { probability };
            best = LabelThreshold { threshold, f1: found, ..best };
        }
    }
    best
}
