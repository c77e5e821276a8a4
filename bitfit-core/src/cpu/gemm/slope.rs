//! The derivative of the GELU as forward keeps it for backward: [`Slope`].

use bytemuck::{Pod, Zeroable};

use crate::{
    cpu::{Float, simd::Simd},
    ops::feed_forward::DERIVATIVE_STEP,
};

/// A type that holds a value of gelu'.
pub trait Slope: Copy + Send + Sync {
    /// Loads the first `min(from.len(), LANES)` values; the remaining lanes are unspecified.
    fn load<S: Simd>(s: S, from: &[Self]) -> S::F32;
    /// Stores the first `min(to.len(), LANES)` lanes, rounded to this type.
    fn store<S: Simd>(s: S, to: &mut [Self], slopes: S::F32);
}

impl Slope for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32]) -> S::F32 {
        Float::load(s, from)
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, to: &mut [f32], slopes: S::F32) {
        Float::store(s, to, slopes);
    }
}

/// A value of gelu' in steps of [`DERIVATIVE_STEP`]: the number of steps from 0.5. As gelu' is between -0.129 and
/// 1.129, it is within ±126. A NaN is stored as any number: gelu(z) is NaN too, and so is the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct SlopeCode(i8);

/// The slope of code 0, which lets the codes of all slopes fit a byte.
const MIDDLE: f32 = 0.5;

impl Slope for SlopeCode {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[SlopeCode]) -> S::F32 {
        let steps = s.add(s.load_i8(bytemuck::cast_slice(from)), s.splat(MIDDLE / DERIVATIVE_STEP));
        s.mul(steps, s.splat(DERIVATIVE_STEP))
    }

    #[inline(always)]
    fn store<S: Simd>(s: S, to: &mut [SlopeCode], slopes: S::F32) {
        let steps = s.mul(slopes, s.splat(1.0 / DERIVATIVE_STEP));
        s.store_i8(bytemuck::cast_slice_mut(to), s.sub(steps, s.splat(MIDDLE / DERIVATIVE_STEP)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::{Isa, Kernel, dispatch, gelu_slice};

    struct RoundTrip<'a>(&'a mut [f32]);

    impl Kernel for RoundTrip<'_> {
        type Output = Vec<i8>;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<i8> {
            let mut codes = vec![SlopeCode(0); self.0.len()];
            for (slopes, codes) in self.0.chunks_mut(S::LANES).zip(codes.chunks_mut(S::LANES)) {
                SlopeCode::store(s, codes, s.load_partial(slopes));
                s.store_partial(slopes, SlopeCode::load(s, codes));
            }
            codes.into_iter().map(|code| code.0).collect()
        }
    }

    #[test]
    fn every_slope_of_the_gelu_has_a_code_within_half_a_step() {
        // Its least and its greatest value are at z = -√2 and √2; far away it is 0 and 1.
        let mut z: Vec<f32> = (-6000..=6000).map(|i| i as f32 / 1000.0).collect();
        z.extend([-std::f32::consts::SQRT_2, std::f32::consts::SQRT_2, -1e30, 1e30, -0.0]);
        for isa in Isa::supported() {
            let (mut values, mut slopes) = (vec![0.0; z.len()], vec![0.0; z.len()]);
            gelu_slice(isa, &z, &mut values, Some(&mut slopes));
            let mut found = slopes.clone();
            let codes = dispatch(isa, RoundTrip(&mut found));
            for ((&slope, found), code) in slopes.iter().zip(found).zip(codes) {
                assert!((slope - found).abs() <= DERIVATIVE_STEP / 2.0 + 1e-6, "{isa}: {slope} as {found}");
                assert!(code.abs() <= 126, "{isa}: {slope} as {code}");
            }
            let mut exact = [0.0, 0.5, 1.0];
            dispatch(isa, RoundTrip(&mut exact));
            assert_eq!(exact, [0.0, 0.5, 1.0], "{isa}");
        }
    }
}
