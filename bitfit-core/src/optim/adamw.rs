//! [`SparseAdamW`]: AdamW on slices, for a trainer with its own tensors of which a few values are trainable.

use super::AdamW;
use crate::{
    Error, Result,
    cpu::Isa,
    ops::adamw::cpu::{self, Elements},
};

/// AdamW for a fixed number of trainable values. Its state is two f32 for each, and none for frozen ones.
///
/// The formula is that of PyTorch; see [`crate::ops::adamw`]. More than 65,536 values are split over threads, which
/// does not change the result.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseAdamW {
    hyper: AdamW,
    m: Vec<f32>,
    v: Vec<f32>,
    step: u64,
}

impl SparseAdamW {
    /// An optimizer of `len` values, before its first step.
    ///
    /// # Errors
    /// [`Error::Invalid`] as for [`AdamW::validate`].
    pub fn new(len: usize, hyper: AdamW) -> Result<Self> {
        Self::from_state(hyper, vec![0.0; len], vec![0.0; len], 0)
    }

    /// An optimizer that continues after `step` steps with the moments `m` and `v` of [`SparseAdamW::state`].
    ///
    /// # Errors
    /// [`Error::Shape`] if the moments differ in length; [`Error::Invalid`] as for [`AdamW::validate`], and for moments
    /// that cannot result from a step: not finite, or a negative second moment.
    pub fn from_state(hyper: AdamW, m: Vec<f32>, v: Vec<f32>, step: u64) -> Result<Self> {
        hyper.validate()?;
        check_state(m.len(), &m, &v, step)?;
        Ok(Self { hyper, m, v, step })
    }

    /// Updates `params` by one step with the gradient `grads`; both have the same order.
    ///
    /// A gradient that is not finite makes its parameter and moments not finite. The norm that
    /// [`clip_grad_norm`](super::clip_grad_norm) returns shows this before the step.
    ///
    /// # Errors
    /// [`Error::Shape`] if a slice does not have the optimizer's length; [`Error::Invalid`] for a learning rate that is
    /// negative or not finite. On an error nothing is changed.
    pub fn step(&mut self, lr: f32, params: &mut [f32], grads: &[f32]) -> Result<()> {
        for (what, found) in [("the slice of parameters", params.len()), ("the gradient", grads.len())] {
            if found != self.m.len() {
                return Err(Error::shape("adamw", what, &[self.m.len()], &[found]));
            }
        }
        let coefficients = self.hyper.coefficients(lr, self.step + 1)?;
        self.step += 1;
        let elements = Elements { params, grads, m: &mut self.m, v: &mut self.v };
        cpu::step(Isa::selected(), elements, 1.0, coefficients);
        Ok(())
    }

    /// The first moment, the second moment and the number of steps: the state that a checkpoint has to save besides the
    /// parameters.
    pub fn state(&self) -> (&[f32], &[f32], u64) {
        (&self.m, &self.v, self.step)
    }

    /// The hyper-parameters of the optimizer.
    pub fn hyper(&self) -> &AdamW {
        &self.hyper
    }

    /// The number of trainable values.
    pub fn len(&self) -> usize {
        self.m.len()
    }

    /// Whether there are no trainable values.
    pub fn is_empty(&self) -> bool {
        self.m.is_empty()
    }
}

/// Checks that the moments have `len` elements and can result from a step, and that the number of steps can be
/// increased.
pub(super) fn check_state(len: usize, m: &[f32], v: &[f32], step: u64) -> Result<()> {
    if step == u64::MAX {
        return Err(Error::invalid("adamw", format!("{step} steps cannot be continued")));
    }
    for (what, moment) in [("m", m), ("v", v)] {
        if moment.len() != len {
            return Err(Error::shape("adamw", what, &[len], &[moment.len()]));
        }
        let impossible = |value: &&f32| !value.is_finite() || (what == "v" && **value < 0.0);
        if let Some(value) = moment.iter().find(impossible) {
            return Err(Error::invalid("adamw", format!("{what} holds {value}, which cannot result from a step")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backend::conformance::support::*,
        ops::adamw::reference::{self, State},
    };

    #[test]
    fn the_first_step_is_the_learning_rate_against_the_gradients_sign() {
        let mut params = [1.0, 1.0, 1.0];
        SparseAdamW::new(3, AdamW::default()).unwrap().step(0.5, &mut params, &[3.0, -1e-3, 0.0]).unwrap();
        // By hand: m/(1-β₁) = g, √v/√(1-β₂) = |g|, so p = 1 - 0.5 g / (|g| + 10⁻⁸).
        assert_close("params", &params, &[0.5, 1.499_995, 1.0], 1e-7);
    }

    #[test]
    fn two_steps_are_those_computed_by_hand() {
        // β₁ = β₂ = 0.5 and g = 1 then 3: m = 0.5, 1.75 and v = 0.5, 4.75, corrected by 0.5 and 0.75 to 1, 7/3 and 1,
        // 19/3.
        let hyper = AdamW { beta1: 0.5, beta2: 0.5, eps: 0.0, weight_decay: 0.1 };
        let mut optimizer = SparseAdamW::new(1, hyper).unwrap();
        let mut params = [2.0];
        optimizer.step(0.25, &mut params, &[1.0]).unwrap();
        assert_close("first", &params, &[1.95 - 0.25], 1e-7);
        optimizer.step(0.25, &mut params, &[3.0]).unwrap();
        let second = 1.7 * 0.975 - 0.25 * (7.0 / 3.0) / (19.0_f64 / 3.0).sqrt();
        assert_close("second", &params, &[second], 2e-7);
        let (m, v, step) = optimizer.state();
        assert_eq!((m, v, step), (&[1.75][..], &[4.75][..], 2));
    }

    #[test]
    fn a_hundred_steps_stay_with_the_reference() {
        let hyper = AdamW { weight_decay: 0.01, ..AdamW::default() };
        let mut params = random(1, 100);
        let mut state = State { params: widen(&params), m: vec![0.0; 100], v: vec![0.0; 100] };
        let mut optimizer = SparseAdamW::new(100, hyper).unwrap();
        for t in 1..=100 {
            let grads = random(t + 1, 100);
            optimizer.step(1e-2, &mut params, &grads).unwrap();
            reference::adamw(&mut state, &widen(&grads), &hyper, f64::from(1e-2_f32), t, None);
        }
        assert_close("params", &params, &state.params, 3e-6);
    }

    #[test]
    fn a_restored_optimizer_goes_on_with_the_same_bits() {
        let mut params = random(1, 50);
        let mut optimizer = SparseAdamW::new(50, AdamW::default()).unwrap();
        optimizer.step(1e-3, &mut params, &random(2, 50)).unwrap();
        let (m, v, step) = optimizer.state();
        let mut restored = SparseAdamW::from_state(*optimizer.hyper(), m.to_vec(), v.to_vec(), step).unwrap();
        let mut again = params.clone();
        optimizer.step(1e-3, &mut params, &random(3, 50)).unwrap();
        restored.step(1e-3, &mut again, &random(3, 50)).unwrap();
        assert_eq!((again, restored), (params, optimizer));
    }

    #[test]
    fn a_learning_rate_of_zero_moves_the_moments_alone() {
        let mut params = random(1, 20);
        let before = params.clone();
        let mut optimizer = SparseAdamW::new(20, AdamW { weight_decay: 0.1, ..AdamW::default() }).unwrap();
        optimizer.step(0.0, &mut params, &random(2, 20)).unwrap();
        assert_eq!(params, before);
        assert!(optimizer.state().0.iter().all(|m| *m != 0.0));
    }

    #[test]
    fn a_gradient_that_is_not_finite_stays_with_its_own_scalar() {
        let mut params = random(1, 20);
        let mut clean = params.clone();
        let mut grads = random(2, 20);
        SparseAdamW::new(20, AdamW::default()).unwrap().step(1e-3, &mut clean, &grads).unwrap();
        grads[17] = f32::NAN;
        SparseAdamW::new(20, AdamW::default()).unwrap().step(1e-3, &mut params, &grads).unwrap();
        assert!(params[17].is_nan());
        (params[17], clean[17]) = (0.0, 0.0);
        assert_eq!(params, clean);
    }

    #[test]
    fn refused_arguments_change_nothing() {
        let mut optimizer = SparseAdamW::new(3, AdamW::default()).unwrap();
        let untouched = optimizer.clone();
        let mut params = [1.0, 2.0, 3.0];
        let short = optimizer.step(1e-3, &mut params, &[1.0, 1.0]).unwrap_err();
        assert_eq!(short.to_string(), "adamw: the gradient has shape [2], expected [3]");
        let negative = optimizer.step(-0.1, &mut params, &[1.0; 3]).unwrap_err().to_string();
        assert_eq!(negative, "adamw: lr is -0.1, expected a finite value that is not negative");
        assert!(matches!(optimizer.step(1e-3, &mut params[..2], &[1.0; 3]), Err(Error::Shape { .. })));
        assert!(matches!(optimizer.step(f32::INFINITY, &mut params, &[1.0; 3]), Err(Error::Invalid { .. })));
        assert_eq!((params, optimizer), ([1.0, 2.0, 3.0], untouched));
    }

    #[test]
    fn a_state_that_cannot_result_from_a_step_is_refused() {
        let from = |m: &[f32], v: &[f32]| SparseAdamW::from_state(AdamW::default(), m.to_vec(), v.to_vec(), 3);
        assert!(matches!(
            SparseAdamW::from_state(AdamW::default(), vec![], vec![], u64::MAX),
            Err(Error::Invalid { .. })
        ));
        assert!(from(&[-1.0, 2.0], &[0.0, 1.0]).is_ok());
        assert!(matches!(from(&[1.0], &[0.0, 1.0]), Err(Error::Shape { .. })));
        let message = from(&[1.0], &[-1.0]).unwrap_err().to_string();
        assert!(message.contains("v holds -1"), "{message}");
        assert!(from(&[f32::NAN], &[1.0]).is_err());
        assert!(SparseAdamW::new(1, AdamW { beta1: 2.0, ..AdamW::default() }).is_err());
    }
}
