//! The probe: a linear head over the pooled rows of the frozen base, fitted to its optimum. It is the baseline that
//! costs one pass over the texts: what a fine-tuning run does not beat, it need not be made for.
//!
//! ```text
//! pooled rows [N, H] -> Probe::fit (standardized rows, L-BFGS, L2 chosen on held-out rows) -> weight [C, H], bias [C]
//! ```
//!
//! Classes: logistic regression, the mean cross-entropy of the softmax plus λ/2 ‖W‖². Scores: ridge regression, half
//! the mean squared error plus λ/2 ‖w‖². Several labels a text: a logistic regression for each label against the rest,
//! all with one λ. The bias is not penalized, and the rows are centred and divided by their root mean square first, so
//! that λ means the same for every base.
//!
//! λ is the one of 10⁻¹, 10⁻¹·⁵, … 10⁻⁵ with the least loss on every fifth row, fitted on the others, from the
//! strongest on until two in a row are worse; the head is then fitted on all rows. With fewer than [`FEWEST_ROWS`] rows
//! it is 10⁻². Of more than [`MOST_ROWS`] rows so many choose it, evenly spread, and for all of them it is then smaller
//! by the ratio of the numbers, so that the penalty weighs as much against the sum of the losses.

mod lbfgs;
mod objective;

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::heads::Targets;
use objective::Objective;

/// Rows below which none is held out.
pub const FEWEST_ROWS: usize = 20;
/// Rows that choose λ, at most: more would cost much and change little.
pub const MOST_ROWS: usize = 25_000;
/// Of so many rows one is held out.
const HELD_OUT: usize = 5;
/// λ where it is not chosen.
const USUAL_STRENGTH: f64 = 1e-2;

/// A linear head over pooled rows.
#[derive(Clone, Debug)]
pub struct Probe {
    /// `[C, H]`.
    pub weight: Array2<f32>,
    /// `[C]`.
    pub bias: Array1<f32>,
    /// λ of the penalty that was chosen.
    pub strength: f64,
}

impl Probe {
    /// Fits a head of `outputs` outputs to rows `[N, H]` and their targets. The result does not depend on the number of
    /// threads.
    ///
    /// # Panics
    /// When there is not one class or score for each row, or a class is not below `outputs`.
    pub fn fit(rows: ArrayView2<'_, f32>, targets: &Targets, outputs: usize) -> Self {
        assert_eq!(rows.nrows(), targets.len(), "one target for each row");
        let standard = Standard::of(rows);
        let rows = standard.apply(rows);
        let strength = choose(rows.view(), targets, outputs);
        let (weight, bias) = Objective::new(rows.view(), targets, outputs).minimum(strength, None);
        let (weight, bias) = standard.undo(weight, bias);
        Self { weight, bias, strength }
    }

    /// The head's outputs `[N, C]` for rows `[N, H]`.
    pub fn outputs(&self, rows: ArrayView2<'_, f32>) -> Array2<f32> {
        rows.dot(&self.weight.t()) + &self.bias
    }
}

/// λ: see the head of this file.
fn choose(rows: ArrayView2<'_, f32>, targets: &Targets, outputs: usize) -> f64 {
    if rows.nrows() < FEWEST_ROWS {
        return USUAL_STRENGTH;
    }
    let count = rows.nrows().min(MOST_ROWS);
    let choosing = (0..count).map(|place| (place, place * rows.nrows() / count));
    let (held_out, fitted): (Vec<_>, Vec<_>) = choosing.partition(|(place, _)| place % HELD_OUT == 0);
    let [held_out, fitted] = [held_out, fitted].map(|part| part.into_iter().map(|(_, row)| row).collect::<Vec<_>>());
    let part = |numbers: &[usize]| (rows.select(Axis(0), numbers), targets.select(numbers));
    let ((train_rows, train_targets), (test_rows, test_targets)) = (part(&fitted), part(&held_out));
    let train = Objective::new(train_rows.view(), &train_targets, outputs);
    let test = Objective::new(test_rows.view(), &test_targets, outputs);
    let (mut best, mut worse, mut last) = ((f64::INFINITY, USUAL_STRENGTH), 0, None);
    for half_decade in 2..=10 {
        let strength = 10f64.powf(-f64::from(half_decade) / 2.0);
        let found = train.minimum(strength, last.as_ref());
        let loss = test.loss(&found);
        if loss < best.0 {
            (best, worse) = ((loss, strength), 0);
        } else {
            worse += 1;
        }
        if worse == 2 {
            break;
        }
        last = Some(found);
    }
    best.1 * count as f64 / rows.nrows() as f64
}

/// How rows were centred and scaled.
struct Standard {
    mean: Array1<f32>,
    scale: f32,
}

impl Standard {
    fn of(rows: ArrayView2<'_, f32>) -> Self {
        let mean = rows.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(rows.ncols()));
        let squares = rows
            .rows()
            .into_iter()
            .map(|row| row.iter().zip(&mean).map(|(x, mean)| f64::from(x - mean).powi(2)).sum::<f64>());
        let mean_square = squares.sum::<f64>() / (rows.len().max(1) as f64);
        let scale = if mean_square > 0.0 { (1.0 / mean_square.sqrt()) as f32 } else { 1.0 };
        Self { mean, scale }
    }

    fn apply(&self, rows: ArrayView2<'_, f32>) -> Array2<f32> {
        (&rows - &self.mean) * self.scale
    }

    /// The head over the rows as they were.
    fn undo(&self, weight: Array2<f64>, bias: Array1<f64>) -> (Array2<f32>, Array1<f32>) {
        let weight = weight * f64::from(self.scale);
        let bias = bias - weight.dot(&self.mean.mapv(f64::from));
        (weight.mapv(|value| value as f32), bias.mapv(|value| value as f32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows around one centre for each class, far from zero, as pooled rows are.
    fn blobs(rows: usize, classes: usize) -> (Array2<f32>, Targets) {
        let noise = |i: usize| ((i as f32 * 0.618).fract() - 0.5) * 0.8;
        let class = |row: usize| row * 7 % classes;
        let x = Array2::from_shape_fn((rows, 6), |(row, column)| {
            5.0 + f32::from(u8::from(class(row) == column)) + noise(row * 6 + column)
        });
        (x, Targets::Classes((0..rows).map(class).collect()))
    }

    fn accuracy(outputs: &Array2<f32>, targets: &Targets) -> f64 {
        let Targets::Classes(classes) = targets else { unreachable!() };
        let right = outputs
            .rows()
            .into_iter()
            .zip(classes)
            .filter(|(row, class)| row.iter().all(|value| *value <= row[**class]));
        right.count() as f64 / classes.len() as f64
    }

    #[test]
    fn classes_that_a_line_separates_are_told_apart() {
        for (rows, classes) in [(120, 2), (300, 5), (12, 3)] {
            let (x, targets) = blobs(rows, classes);
            let probe = Probe::fit(x.view(), &targets, classes);
            assert!(accuracy(&probe.outputs(x.view()), &targets) > 0.98, "{rows} rows");
        }
    }

    #[test]
    fn a_line_is_found_by_ridge_regression() {
        let (x, _) = blobs(200, 2);
        let line = |row: ndarray::ArrayView1<'_, f32>| 3.0 * row[0] - 2.0 * row[4] + 7.0;
        let scores: Vec<f32> = x.rows().into_iter().map(line).collect();
        let probe = Probe::fit(x.view(), &Targets::Scores(scores.clone()), 1);
        for (found, expected) in probe.outputs(x.view()).iter().zip(&scores) {
            assert!((found - expected).abs() < 1e-2, "{found} {expected}");
        }
    }

    #[test]
    fn several_labels_are_as_many_logistic_regressions() {
        let (x, targets) = blobs(240, 3);
        let Targets::Classes(classes) = &targets else { unreachable!() };
        // The last label is that of two classes, so that rows have none, one or two.
        let has = |row: usize, label: usize| classes[row] == label || (label == 2 && classes[row] == 1);
        let indicators = Array2::from_shape_fn((240, 3), |(row, label)| f32::from(u8::from(has(row, label))));
        let probe = Probe::fit(x.view(), &Targets::Indicators(indicators.clone()), 3);
        let outputs = probe.outputs(x.view());
        let right = outputs.iter().zip(&indicators).filter(|(output, is)| (**output >= 0.0) == (**is == 1.0)).count();
        assert!(right as f64 > 0.98 * 720.0, "{right} of 720");
        // Alone, a label has the head that it has among others with the same penalty.
        let standard = Standard::of(x.view());
        let rows = standard.apply(x.view());
        let of = |indicators: Array2<f32>| {
            let (targets, outputs) = (Targets::Indicators(indicators.clone()), indicators.ncols());
            Objective::new(rows.view(), &targets, outputs).minimum(1e-2, None)
        };
        let (together, alone) = (of(indicators.clone()), of(indicators.select(Axis(1), &[2])));
        for (found, expected) in alone.0.row(0).iter().zip(together.0.row(2)) {
            assert!((found - expected).abs() < 2e-2, "{found} {expected}");
        }
    }

    #[test]
    fn the_same_rows_give_the_same_bits_with_any_number_of_threads() {
        let (x, targets) = blobs(3000, 3);
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Probe::fit(x.view(), &targets, 3).weight)
        };
        assert_eq!(fit(1), fit(3));
    }

    #[test]
    fn rows_that_are_all_alike_give_the_classes_shares() {
        let x = Array2::from_elem((40, 3), 2.5);
        let classes = (0..40).map(|row| usize::from(row % 4 == 0)).collect();
        let probe = Probe::fit(x.view(), &Targets::Classes(classes), 2);
        let outputs = probe.outputs(x.view());
        assert!((outputs[[0, 0]] - outputs[[0, 1]] - 3f32.ln()).abs() < 1e-3, "{outputs}");
    }
}
