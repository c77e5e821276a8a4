//! L-BFGS: the minimum of a smooth convex function (Nocedal and Wright, Numerical Optimization, algorithm 7.4).

use std::collections::VecDeque;

/// Pairs of steps and changes of the gradient that approximate the second derivative.
const MEMORY: usize = 10;
/// The most iterations.
const ITERATIONS: usize = 300;
/// The greatest element of the gradient at which the minimum counts as reached.
const TOLERANCE: f64 = 1e-5;
/// The share of the decrease that the gradient promises, which a step must bring.
const SUFFICIENT: f64 = 1e-4;
/// Halvings of a step before the function counts as flat to rounding.
const HALVINGS: usize = 30;

/// The point of the minimum, from `x` on. `f` returns its value and writes its gradient.
pub(super) fn minimize(mut x: Vec<f64>, mut f: impl FnMut(&[f64], &mut [f64]) -> f64) -> Vec<f64> {
    let mut gradient = vec![0.0; x.len()];
    let mut value = f(&x, &mut gradient);
    let mut pairs: VecDeque<Pair> = VecDeque::new();
    for _ in 0..ITERATIONS {
        if gradient.iter().all(|g| g.abs() <= TOLERANCE) {
            break;
        }
        let mut direction = descent(&gradient, &pairs);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            // Rounding has spoilt the approximation.
            pairs.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = dot(&direction, &gradient);
        }
        let mut step = if pairs.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt().max(1.0) } else { 1.0 };
        let mut next_gradient = vec![0.0; x.len()];
        let next = (0..HALVINGS).find_map(|_| {
            let next: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            let next_value = f(&next, &mut next_gradient);
            let is_enough = next_value <= value + SUFFICIENT * step * slope;
            step /= 2.0;
            is_enough.then_some((next, next_value))
        });
        let Some((next, next_value)) = next else { break };
        let pair = Pair {
            step: next.iter().zip(&x).map(|(next, x)| next - x).collect(),
            change: next_gradient.iter().zip(&gradient).map(|(next, g)| next - g).collect(),
        };
        if dot(&pair.step, &pair.change) > 0.0 {
            pairs.push_back(pair);
            if pairs.len() > MEMORY {
                pairs.pop_front();
            }
        }
        (x, gradient, value) = (next, next_gradient, next_value);
    }
    x
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
}

/// The negative gradient times the approximated inverse of the second derivative.
fn descent(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut along = Vec::with_capacity(pairs.len());
    for Pair { step, change } in pairs.iter().rev() {
        let a = dot(step, &direction) / dot(step, change);
        add(&mut direction, -a, change);
        along.push(a);
    }
    if let Some(Pair { step, change }) = pairs.back() {
        let scale = dot(step, change) / dot(change, change);
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for (Pair { step, change }, a) in pairs.iter().zip(along.into_iter().rev()) {
        let b = dot(change, &direction) / dot(step, change);
        add(&mut direction, a - b, step);
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_of_a_badly_scaled_quadratic_is_found() {
        let scales = [1.0, 1e3, 1e-2, 30.0];
        let mut calls = 0;
        let found = minimize(vec![5.0; 4], |x, gradient| {
            calls += 1;
            for i in 0..4 {
                gradient[i] = scales[i] * (x[i] - i as f64);
            }
            (0..4).map(|i| scales[i] / 2.0 * (x[i] - i as f64).powi(2)).sum()
        });
        for (i, x) in found.iter().enumerate() {
            assert!((x - i as f64).abs() < 2e-3, "{found:?}");
        }
        assert!(calls < 100, "{calls}");
    }

    #[test]
    fn at_the_minimum_nothing_moves() {
        let found = minimize(vec![2.0], |x, gradient| {
            gradient[0] = x[0] - 2.0;
            (x[0] - 2.0).powi(2) / 2.0
        });
        assert_eq!(found, [2.0]);
    }
}
