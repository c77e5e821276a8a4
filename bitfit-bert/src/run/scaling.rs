//! Standardised targets of a regression. A run trains on `(score - mean) / deviation`, so that a head that begins near
//! zero, a rate and a clipped gradient suit scores of any size; what it writes answers in the scores' own units,
//! because the last layer takes the scaling up: `W · deviation` and `b · deviation + mean`.

use std::collections::HashMap;

use bitfit_core::HostTensor;

use crate::Result;
use crate::arch::Part;
use crate::heads::{Targets, TaskSpec};
use crate::model::Base;

/// The mean of a training set's scores, and their standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the set, above 0.
    pub deviation: f64,
}

impl Scaling {
    /// The scaling of scores; `None` for other targets, and for scores that are all the same.
    pub(super) fn of(targets: &Targets) -> Option<Self> {
        let Targets::Scores(scores) = targets else { return None };
        let count = scores.len() as f64;
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / count;
        let squares = scores.iter().map(|&score| (f64::from(score) - mean).powi(2)).sum::<f64>();
        let deviation = (squares / count).sqrt();
        (deviation > mean.abs() * 1e-6 && deviation.is_finite()).then_some(Self { mean, deviation })
    }

    /// The targets that a run trains on.
    pub(super) fn standardize(self, targets: &mut Targets) {
        if let Targets::Scores(scores) = targets {
            scores.iter_mut().for_each(|score| *score = ((f64::from(*score) - self.mean) / self.deviation) as f32);
        }
    }

    /// The last layer of a head in the scores' units, from one over standardised scores.
    pub(super) fn scale(self, layer: &LastLayer, tensors: &mut HashMap<String, HostTensor>) -> Result<()> {
        layer.map(tensors, |weight| weight * self.deviation, |bias| bias * self.deviation + self.mean)
    }

    /// The last layer of a head over standardised scores, from one in their units.
    pub(super) fn unscale(self, layer: &LastLayer, tensors: &mut HashMap<String, HostTensor>) -> Result<()> {
        layer.map(tensors, |weight| weight / self.deviation, |bias| (bias - self.mean) / self.deviation)
    }
}

/// The names of the weight and the bias of a head's last layer.
#[derive(Clone, Debug)]
pub(super) struct LastLayer([String; 2]);

impl LastLayer {
    /// The last layer of a task's head.
    pub(super) fn of<D: bitfit_core::Backend>(base: &Base<D>, spec: &TaskSpec) -> Self {
        Self([Part::Weight, Part::Bias].map(|part| base.architecture().classifier_name(spec.pooling, part)))
    }

    fn map(
        &self,
        tensors: &mut HashMap<String, HostTensor>,
        weight: impl Fn(f64) -> f64,
        bias: impl Fn(f64) -> f64,
    ) -> Result<()> {
        let changes: [&dyn Fn(f64) -> f64; 2] = [&weight, &bias];
        for (name, change) in self.0.iter().zip(changes) {
            if let Some(tensor) = tensors.get_mut(name) {
                let values = tensor.data().iter().map(|&value| change(f64::from(value)) as f32).collect();
                *tensor = HostTensor::new(tensor.shape().to_vec(), values)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_standardised_and_equal_ones_are_not() {
        let mut targets = Targets::Scores(vec![1950.0, 1970.0, 1990.0, 2010.0]);
        let scaling = Scaling::of(&targets).unwrap();
        assert_eq!(scaling, Scaling { mean: 1980.0, deviation: 500f64.sqrt() });
        scaling.standardize(&mut targets);
        let Targets::Scores(scores) = &targets else { unreachable!() };
        assert!((scores[0] + 1.341_640_8).abs() < 1e-6 && (scores[3] - 1.341_640_8).abs() < 1e-6, "{scores:?}");
        for equal in [vec![3.0; 5], vec![1e9, 1e9], Vec::new()] {
            assert_eq!(Scaling::of(&Targets::Scores(equal)), None);
        }
        assert_eq!(Scaling::of(&Targets::Classes(vec![0, 1])), None);
    }

    #[test]
    fn a_layer_goes_into_the_scores_units_and_back() {
        let layer = LastLayer(["w".into(), "b".into()]);
        let scaling = Scaling { mean: 100.0, deviation: 8.0 };
        let tensor = |shape: &[usize], values: &[f32]| HostTensor::new(shape.to_vec(), values.to_vec()).unwrap();
        let mut tensors: HashMap<String, HostTensor> =
            [("w", tensor(&[1, 2], &[0.5, -2.0])), ("b", tensor(&[1], &[0.25])), ("other", tensor(&[1], &[7.0]))]
                .into_iter()
                .map(|(name, tensor)| (name.to_owned(), tensor))
                .collect();
        scaling.scale(&layer, &mut tensors).unwrap();
        assert_eq!((tensors["w"].data(), tensors["b"].data()), (&[4.0, -16.0][..], &[102.0][..]));
        assert_eq!(tensors["other"].data(), [7.0]);
        scaling.unscale(&layer, &mut tensors).unwrap();
        assert_eq!((tensors["w"].data(), tensors["b"].data()), (&[0.5, -2.0][..], &[0.25][..]));
    }
}
