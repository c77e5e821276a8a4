//! What a probe minimizes: the mean loss over rows plus the penalty, and its gradient. Rows are taken in fixed blocks
//! whose sums are added in their order, so that the result does not depend on the number of threads.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

use super::lbfgs;
use crate::heads::Targets;

/// Rows in a block.
const BLOCK: usize = 512;

/// A head's weight `[C, H]` and bias `[C]`.
pub(super) type Head = (Array2<f64>, Array1<f64>);

/// A data set and the loss of a head on it.
pub(super) struct Objective<'a> {
    rows: ArrayView2<'a, f32>,
    targets: &'a Targets,
    outputs: usize,
}

/// The sums over a block of rows.
struct Sums {
    loss: f64,
    weight: Array2<f32>,
    bias: Array1<f64>,
}

impl<'a> Objective<'a> {
    pub(super) fn new(rows: ArrayView2<'a, f32>, targets: &'a Targets, outputs: usize) -> Self {
        Self { rows, targets, outputs }
    }

    /// The head with the least loss and penalty, from `start` on or from zero.
    pub(super) fn minimum(&self, strength: f64, start: Option<&Head>) -> Head {
        let columns = self.rows.ncols();
        let size = self.outputs * columns;
        let first = match start {
            Some((weight, bias)) => weight.iter().chain(bias).copied().collect(),
            None => vec![0.0; size + self.outputs],
        };
        let found = lbfgs::minimize(first, |at, gradient| {
            let (weight, bias) = at.split_at(size);
            let head = ArrayView2::from_shape((self.outputs, columns), weight).expect("the sizes agree");
            let bias = Array1::from(bias.to_vec());
            let sums = self.sums(&head.mapv(|value| value as f32), &bias, true);
            let count = self.rows.nrows().max(1) as f64;
            let penalty: f64 = weight.iter().map(|value| value * value).sum::<f64>() * strength / 2.0;
            let of_weight = sums.iter().map(|sums| &sums.weight);
            gradient.fill(0.0);
            let (to_weight, to_bias) = gradient.split_at_mut(size);
            for block in of_weight {
                to_weight.iter_mut().zip(block).for_each(|(to, from)| *to += f64::from(*from));
            }
            to_weight.iter_mut().zip(weight).for_each(|(to, value)| *to = *to / count + strength * value);
            for (to, of_bias) in to_bias.iter_mut().enumerate() {
                *of_bias = sums.iter().map(|sums| sums.bias[to]).sum::<f64>() / count;
            }
            sums.iter().map(|sums| sums.loss).sum::<f64>() / count + penalty
        });
        let (weight, bias) = found.split_at(size);
        let weight = Array2::from_shape_vec((self.outputs, columns), weight.to_vec()).expect("the sizes agree");
        (weight, Array1::from(bias.to_vec()))
    }

    /// The mean loss of a head, without penalty.
    pub(super) fn loss(&self, (weight, bias): &Head) -> f64 {
        let sums = self.sums(&weight.mapv(|value| value as f32), bias, false);
        sums.iter().map(|sums| sums.loss).sum::<f64>() / self.rows.nrows().max(1) as f64
    }

    /// The sums of each block, in their order; those of the gradient are zero unless asked for.
    fn sums(&self, weight: &Array2<f32>, bias: &Array1<f64>, with_gradient: bool) -> Vec<Sums> {
        let blocks: Vec<usize> = (0..self.rows.nrows()).step_by(BLOCK).collect();
        let block = |first: usize| {
            let rows = self.rows.slice(s![first..self.rows.nrows().min(first + BLOCK), ..]);
            let mut outputs = rows.dot(&weight.t());
            let mut sums = Sums { loss: 0.0, weight: Array2::zeros((0, 0)), bias: Array1::zeros(self.outputs) };
            for (number, mut row) in outputs.axis_iter_mut(Axis(0)).enumerate() {
                let values: Vec<f64> = row.iter().zip(bias).map(|(value, bias)| f64::from(*value) + bias).collect();
                let slope = match self.targets {
                    Targets::Classes(classes) => cross_entropy(values, classes[first + number], &mut sums.loss),
                    Targets::Scores(scores) => squared_error(&values, scores[first + number], &mut sums.loss),
                    Targets::Indicators(indicators) => {
                        binary_cross_entropy(values, indicators.row(first + number), &mut sums.loss)
                    }
                    Targets::Tags(_) | Targets::Masked(_) | Targets::Answers(_) | Targets::Spans(_) => {
                        unreachable!("a target of a row is a class, a score or several labels")
                    }
                };
                for ((to, slope), of_bias) in row.iter_mut().zip(slope).zip(&mut sums.bias) {
                    *to = slope as f32;
                    *of_bias += slope;
                }
            }
            if with_gradient {
                sums.weight = outputs.t().dot(&rows);
            }
            sums
        };
        blocks.into_par_iter().map(block).collect()
    }
}

/// Adds a row's loss; returns its gradient by the outputs.
fn cross_entropy(mut values: Vec<f64>, class: usize, loss: &mut f64) -> Vec<f64> {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = values.iter().map(|value| (value - max).exp()).sum();
    let lse = max + sum.ln();
    *loss += lse - values[class];
    values.iter_mut().for_each(|value| *value = (*value - lse).exp());
    values[class] -= 1.0;
    values
}

fn squared_error(values: &[f64], score: f32, loss: &mut f64) -> Vec<f64> {
    let error = values[0] - f64::from(score);
    *loss += error * error / 2.0;
    vec![error]
}

/// The sum over the outputs, so that each is a logistic regression of its own, with the same penalty.
fn binary_cross_entropy(mut values: Vec<f64>, targets: ArrayView1<'_, f32>, loss: &mut f64) -> Vec<f64> {
    for (value, target) in values.iter_mut().zip(targets) {
        let target = f64::from(*target);
        *loss += value.max(0.0) - *value * target + (-value.abs()).exp().ln_1p();
        *value = 1.0 / (1.0 + (-*value).exp()) - target;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_minimum_no_direction_leads_down() {
        let rows = Array2::from_shape_fn((60, 3), |(row, column)| ((row * 3 + column) as f32 * 0.7).sin());
        let classes = Targets::Classes((0..60).map(|row| row * row % 3).collect());
        let scores = Targets::Scores((0..60).map(|row| (row as f32 * 0.3).cos()).collect());
        let indicators = Targets::Indicators(Array2::from_shape_fn((60, 3), |(row, label)| {
            f32::from(u8::from(row * (label + 2) % 5 == 1))
        }));
        for (targets, outputs) in [(&classes, 3), (&scores, 1), (&indicators, 3)] {
            let objective = Objective::new(rows.view(), targets, outputs);
            let (weight, bias) = objective.minimum(1e-3, None);
            let value = |head: &Head| objective.loss(head) + 5e-4 * head.0.iter().map(|w| w * w).sum::<f64>();
            let least = value(&(weight.clone(), bias.clone()));
            for (i, by) in [(0, 1e-2), (1, -1e-2), (2, 1e-2)] {
                let mut other = (weight.clone(), bias.clone());
                other.0[[0, i]] += by;
                assert!(value(&other) > least, "weight {i}");
            }
            let mut other = (weight, bias);
            other.1[0] += 1e-2;
            assert!(value(&other) > least - 1e-9, "bias");
        }
    }
}
