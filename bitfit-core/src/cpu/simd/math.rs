//! exp, tanh and GELU on vectors, written once for every instruction set.
//!
//! The polynomials are minimax fits in the Remez sense of the forms given with each, made for this crate and rounded to
//! single precision. The tests check the stated bounds for every instruction set, against double precision.

use super::Simd;

/// `c[0] + c[1] x + c[2] x^2 + ...` by Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F32, c: [f32; N]) -> S::F32 {
    let mut p = s.splat(c[N - 1]);
    for &c in c[..N - 1].iter().rev() {
        p = s.fma(p, x, s.splat(c));
    }
    p
}

/// `e^x` within 2 ulp over every float: infinite above 88.73, through the subnormals to zero below -103.98, NaN for
/// NaN.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // e^x = 2^n e^r, |r| <= ln 2 / 2. Beyond the limits the result no longer depends on x; NaN is propagated, as the
    // second operand.
    let x = s.min(s.splat(90.0), s.max(s.splat(-105.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first so short that n times it is exact.
    let r = s.fnma(n, s.splat(0.693_359_4), x);
    let r = s.fnma(n, s.splat(-2.121_944_4e-4), r);
    // (e^r - 1 - r) / r^2
    let p = polynomial(s, r, [0.499_999_94, 0.166_665_2, 0.041_668_393, 0.008_368_781, 0.001_381_446_7]);
    let e = s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0));
    s.scale(e, n)
}

/// `tanh x` within 4 ulp.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let size = s.abs(x);
    // Near zero: x + x^3 p(x^2), an odd function without cancellation.
    let square = s.mul(x, x);
    let p = polynomial(
        s,
        square,
        [-0.333_333_28, 0.133_331_52, -0.053_939_942, 0.021_663_403, -0.008_085_626, 0.002_059_580_5],
    );
    let near = s.fma(s.mul(x, square), p, x);
    // Elsewhere: 1 - 2 / (e^2|x| + 1), which is 1 once the exponential is infinite.
    let e = exp(s, s.add(size, size));
    let far = s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(e, s.splat(1.0))));
    s.select(s.lt(size, s.splat(0.625)), near, s.copysign(far, x))
}

/// `Q(x) / phi(x)` over `sqrt(2 pi)`, that is `erfc(x / sqrt 2) / 2 * e^(x^2 / 2)`, for `x >= 0`: `Q` is the upper tail
/// of the normal distribution, `phi` its density. A polynomial in `1 / (1 + 0.35 x)`, relative error 4e-8 up to x =
/// 14.5.
#[inline(always)]
fn scaled_upper_tail<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let one = s.splat(1.0);
    let t = s.div(one, s.fma(s.splat(0.35), x, one));
    let p = polynomial(
        s,
        t,
        [
            0.139_621_3,
            0.139_863_52,
            0.119_821_3,
            0.105_552_435,
            -0.023_212_153,
            0.159_319_34,
            -0.255_838_63,
            0.144_030_7,
            -0.029_157_834,
        ],
    );
    s.mul(t, p)
}

/// The exact GELU `z Phi(z)` and its derivative `Phi(z) + z phi(z)`, each within 2e-7 max(1, |z|) of the true value
/// (Hendrycks and Gimpel 2016; `Phi` is the normal distribution, `phi` its density).
///
/// Both come from one exponential and one division. The lower tail is a product, not a difference, so that it keeps its
/// leading digits where `1 + erf` would lose them.
#[inline(always)]
pub fn gelu<S: Simd>(s: S, z: S::F32) -> (S::F32, S::F32) {
    // Beyond 12.8 the density is taken as zero: it is below 3e-36, and products with it would be subnormal, on which
    // some CPUs are a hundred times slower. And the square of z must not become infinity times zero.
    let limit = s.splat(12.8);
    let size = s.min(limit, s.abs(z));
    let density = s.select(s.lt(size, limit), exp(s, s.mul(s.splat(-0.5), s.mul(size, size))), s.zero());
    let tail = s.mul(density, scaled_upper_tail(s, size));
    let cdf = s.select(s.lt(z, s.zero()), tail, s.sub(s.splat(1.0), tail));
    let slope = s.mul(s.mul(s.copysign(size, z), s.splat(0.398_942_3)), density);
    (s.mul(z, cdf), s.add(cdf, slope))
}
