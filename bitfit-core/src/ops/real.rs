//! [`Real`]: the float types of the references, f64 to check gradients by finite differences and f32 to check fast
//! paths.

use ndarray::NdFloat;

/// A float type with the functions that the references need.
pub trait Real: NdFloat {
    /// Converts a constant.
    fn of(value: f64) -> Self;
    /// The error function `2/√π ∫₀ˣ exp(-t²) dt`, accurate to f64.
    fn erf(self) -> Self;

    /// The exact GELU and its derivative: `z Φ(z)` and `Φ(z) + z φ(z)` (Hendrycks and Gimpel, arXiv 1606.08415).
    fn gelu(self) -> (Self, Self) {
        let half = Self::of(0.5);
        let phi = half * (Self::one() + (self * Self::of(std::f64::consts::FRAC_1_SQRT_2)).erf());
        let density = (-half * self * self).exp()
            * Self::of(0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
        (self * phi, phi + self * density)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn erf(self) -> Self {
        let x = self.abs();
        if x.is_nan() {
            return self;
        }
        let value = if x < 3.0 { erf_series(x) } else { 1.0 - erfc_fraction(x) };
        value.copysign(self)
    }
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }

    fn erf(self) -> Self {
        Real::erf(f64::from(self)) as f32
    }
}

/// Maclaurin's series in the form without cancellation: `2/√π exp(-x²) Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!` (Abramowitz, Stegun
/// 7.1.6).
fn erf_series(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    let mut n = 0.0;
    while term > sum * 1e-17 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// The continued fraction of the complement (Abramowitz, Stegun 7.1.14), evaluated from its far end; for `x >= 3`.
fn erfc_fraction(x: f64) -> f64 {
    let tail = (1..=60).rev().fold(0.0, |tail, n| f64::from(n) / 2.0 / (x + tail));
    0.5 * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() / (x + tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_agrees_with_the_published_table() {
        // Abramowitz and Stegun, table 7.1, and erf(3), erf(4) from the NIST handbook.
        let table: [(f64, f64); 6] = [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (3.0, 0.999_977_909_503_001_4),
            (4.0, 0.999_999_984_582_742_1),
        ];
        for (x, expected) in table {
            let found = Real::erf(x);
            assert!((found - expected).abs() < 1e-15, "erf({x}) = {found}");
            assert_eq!(Real::erf(-x), -found);
        }
        assert!((erf_series(3.0) - (1.0 - erfc_fraction(3.0))).abs() < 1e-15);
        assert!(Real::erf(f64::NAN).is_nan() && Real::erf(f64::INFINITY) == 1.0);
    }
}
