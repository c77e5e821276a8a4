//! Gradient clipping by the global norm (Pascanu, Mikolov, Bengio: arXiv 1211.5063), as
//! `torch.nn.utils.clip_grad_norm_`.

use crate::{
    cpu::Isa,
    ops::adamw::{clip_factor, cpu},
};

/// The Euclidean norm of `grads`, summed in f64; bit-identical for any number of threads.
///
/// It is finite if and only if all elements are.
pub fn global_norm(grads: &[f32]) -> f64 {
    cpu::norm(Isa::selected(), grads)
}

/// Scales `grads` to the norm `max_norm` if their norm is larger, and returns the norm before clipping.
///
/// The factor is that of PyTorch, `min(1, max_norm / (norm + 10⁻⁶))`. With an infinite `max_norm` only the norm is
/// computed; one that is negative or NaN is treated as 0. If the norm is not finite, the gradient is not modified; the
/// caller can check the result and skip the step.
pub fn clip_grad_norm(grads: &mut [f32], max_norm: f32) -> f32 {
    let norm = global_norm(grads) as f32;
    if norm.is_finite() {
        let factor = clip_factor(norm, max_norm);
        if factor < 1.0 {
            grads.iter_mut().for_each(|g| *g *= factor);
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scales_as_pytorch_does() {
        // torch 2.15: g.grad = torch.tensor([3.0, -4.0, 12.0]); torch.nn.utils.clip_grad_norm_([g], max_norm); g.grad
        for (max_norm, expected) in [
            (6.5, [1.499_999_9, -1.999_999_9, 5.999_999_5]),
            (13.0, [2.999_999_8, -3.999_999_8, 11.999_999]),
            (f32::INFINITY, [3.0, -4.0, 12.0]),
        ] {
            let mut grads = [3.0, -4.0, 12.0];
            assert_eq!(clip_grad_norm(&mut grads, max_norm), 13.0);
            assert_eq!(grads, expected);
        }
    }

    #[test]
    fn a_norm_that_is_not_finite_is_returned_and_touches_nothing() {
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut grads = [1.0, poison, -3.0];
            assert!(!clip_grad_norm(&mut grads, 0.5).is_finite());
            assert_eq!(grads.map(f32::to_bits), [1.0, poison, -3.0].map(f32::to_bits));
        }
    }

    #[test]
    fn no_gradient_and_a_zero_gradient_have_norm_zero() {
        assert_eq!(clip_grad_norm(&mut [], 1.0), 0.0);
        let mut zeros = [0.0; 5];
        assert_eq!(clip_grad_norm(&mut zeros, 1.0), 0.0);
        assert_eq!(zeros, [0.0; 5]);
    }

    #[test]
    fn an_invalid_bound_counts_as_zero() {
        for max_norm in [-1.0, f32::NAN] {
            let mut grads = [1.0, -2.0];
            clip_grad_norm(&mut grads, max_norm);
            assert_eq!(grads, [0.0, 0.0]);
        }
    }

    proptest! {
        #[test]
        fn what_is_clipped_keeps_its_direction_and_obeys_the_bound(
            grads in prop::collection::vec(-1e6_f32..1e6, 0..200),
            max_norm in 1e-3_f32..1e7,
        ) {
            let before = grads.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let mut clipped = grads.clone();
            let norm = clip_grad_norm(&mut clipped, max_norm);
            prop_assert!((f64::from(norm) - before).abs() <= 1e-7 * before);
            prop_assert!(global_norm(&clipped) <= f64::from(max_norm) * (1.0 + 1e-6));
            if before < 0.99 * f64::from(max_norm) {
                prop_assert_eq!(&clipped, &grads);
            }
            let factor = (f64::from(max_norm) / (before + 1e-6)).min(1.0);
            for (&clipped, &g) in clipped.iter().zip(&grads) {
                prop_assert!((f64::from(clipped) - f64::from(g) * factor).abs() <= 1e-6 * f64::from(g).abs());
            }
        }

        #[test]
        fn the_norm_is_that_of_a_plain_sum_for_every_length(len in 0_usize..70_000, seed in any::<u32>()) {
            let grads = crate::backend::conformance::support::random(u64::from(seed), len);
            let plain = grads.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            prop_assert!((global_norm(&grads) - plain).abs() <= 1e-12 * plain);
        }
    }
}
