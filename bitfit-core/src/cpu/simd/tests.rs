//! Every instruction set of this CPU compared with double precision.

use half::bf16;

use super::*;

/// How far `got` is from `want`, in units of the last place of `want` rounded to single precision.
fn ulps(got: f32, want: f64) -> f64 {
    if got.is_nan() {
        return f64::INFINITY;
    }
    let rounded = want as f32;
    if rounded.is_infinite() || got.is_infinite() {
        // Overflow may occur one rounding error early or late.
        return if got == rounded || want.abs() > 3.402e38 { 0.0 } else { f64::INFINITY };
    }
    let exponent = f64::from(rounded.abs().max(f32::MIN_POSITIVE)).log2().floor();
    (f64::from(got) - want).abs() / (exponent - 23.0).exp2()
}

/// erf in double precision: the Maclaurin series near zero, Lentz's continued fraction of erfc beyond.
fn erf(x: f64) -> f64 {
    if x.abs() < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    (1.0 - erfc(x.abs())).copysign(x)
}

/// erfc in double precision for `x >= 0`.
fn erfc(x: f64) -> f64 {
    if x < 2.5 {
        return 1.0 - erf(x);
    }
    let fraction = (1..=120).rev().fold(x, |f, k| x + f64::from(k) / 2.0 / f);
    (-x * x).exp() / (fraction * std::f64::consts::PI.sqrt())
}

/// Phi(z), the normal distribution, with its relative accuracy kept in the lower tail.
fn normal(z: f64) -> f64 {
    let tail = erfc(z.abs() / std::f64::consts::SQRT_2) / 2.0;
    if z < 0.0 { tail } else { 1.0 - tail }
}

/// Values over `low..=high`, dense and irregular, and those near zero on a logarithmic scale.
fn points(low: f32, high: f32) -> Vec<f32> {
    let n = 200_000;
    let even = (0..=n).map(|i| low + (high - low) * (i as f32 / n as f32));
    let small = (0..4000).flat_map(|i| {
        let x = (-(i as f32) / 100.0).exp2();
        [x, -x]
    });
    even.chain(small.filter(|x| (low..=high).contains(x))).collect()
}

fn worst(isa: Isa, x: &[f32], f: impl Fn(Isa, &[f32], &mut [f32]), exact: impl Fn(f64) -> f64) -> f64 {
    let mut y = vec![0.0; x.len()];
    f(isa, x, &mut y);
    x.iter().zip(&y).map(|(&x, &y)| ulps(y, exact(f64::from(x)))).fold(0.0, f64::max)
}

#[test]
fn exp_is_within_two_ulp_from_zero_to_infinity() {
    let mut x = points(-110.0, 95.0);
    x.extend([f32::MIN, f32::MAX, 0.0, -0.0, f32::NEG_INFINITY, f32::INFINITY]);
    for isa in Isa::supported() {
        let worst = worst(isa, &x, exp_slice, f64::exp);
        assert!(worst <= 2.0, "{isa}: {worst} ulp");
    }
}

#[test]
fn tanh_is_within_four_ulp() {
    let mut x = points(-12.0, 12.0);
    x.extend([f32::MIN, f32::MAX, -100.0, 100.0]);
    for isa in Isa::supported() {
        let worst = worst(isa, &x, tanh_slice, f64::tanh);
        assert!(worst <= 4.0, "{isa}: {worst} ulp");
    }
}

#[test]
fn the_tests_own_erf_has_the_published_values() {
    assert!((erf(0.5) - 0.520_499_877_813_046_5).abs() < 1e-15);
    assert!((erf(2.0) - 0.995_322_265_018_952_7).abs() < 1e-15);
    assert!((erfc(3.0) / 2.209_049_699_858_544e-5 - 1.0).abs() < 1e-12);
}

#[test]
fn gelu_and_its_derivative_are_exact_to_rounding() {
    let mut x = points(-20.0, 20.0);
    x.extend([-1e30, 1e30]);
    for isa in Isa::supported() {
        let (mut value, mut slope) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        gelu_slice(isa, &x, &mut value, Some(&mut slope));
        let mut alone = vec![0.0; x.len()];
        gelu_slice(isa, &x, &mut alone, None);
        assert_eq!(alone, value, "{isa}");
        for ((&x, &value), &slope) in x.iter().zip(&value).zip(&slope) {
            let z = f64::from(x);
            let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let bound = 2e-7 * z.abs().max(1.0);
            let (want, rate) = (z * normal(z), normal(z) + z * density);
            assert!((f64::from(value) - want).abs() <= bound, "{isa}: gelu({x}) = {value}, not {want}");
            assert!((f64::from(slope) - rate).abs() <= bound, "{isa}: gelu'({x}) = {slope}, not {rate}");
            // The lower tail keeps its leading digits, down to where the numbers become subnormal.
            if (-12.0..-1.0).contains(&x) {
                assert!((f64::from(value) / want - 1.0).abs() < 2e-5, "{isa}: gelu({x}) = {value}, not {want}");
            }
        }
    }
}

#[test]
fn nan_stays_nan() {
    for isa in Isa::supported() {
        let x = [f32::NAN; 3];
        for f in [exp_slice, tanh_slice, |l: Isa, x: &[f32], y: &mut [f32]| gelu_slice(l, x, y, None)] {
            let mut y = [0.0; 3];
            f(isa, &x, &mut y);
            assert!(y.iter().all(|y| y.is_nan()), "{isa}");
        }
    }
}

#[test]
fn bfloat16_rounds_to_nearest_even_in_any_length() {
    let values =
        [1.0f32, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -2.5, 3.3e38, f32::MAX, f32::INFINITY, 0.0, -0.0, 1e-30, 0.1];
    let nearest = |v: f32| {
        let bits = v.to_bits();
        let (low, high) = (bits & 0xffff, bits >> 16);
        bf16::from_bits((high + u32::from(low > 0x8000 || (low == 0x8000 && high & 1 == 1))) as u16)
    };
    for isa in Isa::supported() {
        for n in 0..=40 {
            let x: Vec<f32> = (0..n).map(|i| values[i % values.len()]).collect();
            let (mut bits, mut back) = (vec![bf16::ZERO; n], vec![0.0; n]);
            to_bf16_slice(isa, &x, &mut bits);
            assert_eq!(bits, x.iter().map(|&v| nearest(v)).collect::<Vec<_>>(), "{isa}");
            from_bf16_slice(isa, &bits, &mut back);
            assert!(back.iter().zip(&bits).all(|(v, b)| v.to_bits() == u32::from(b.to_bits()) << 16), "{isa}");
        }
        let mut nan = [bf16::ZERO];
        to_bf16_slice(isa, &[f32::from_bits(0x7f80_0001)], &mut nan);
        assert!(nan[0].is_nan(), "{isa}");
    }
}

/// Pairs of bfloat16 of two vectors, as bits.
struct Pairs<'a>(&'a [f32], &'a [f32]);
impl Kernel for Pairs<'_> {
    type Output = Vec<u32>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<u32> {
        let mut bits = vec![0.0; S::LANES];
        s.store(&mut bits, s.pair_bf16(s.load(self.0), s.load(self.1)));
        bits.into_iter().map(f32::to_bits).collect()
    }
}

#[test]
fn a_pair_of_bfloat16_holds_both_rounded_the_first_below() {
    let low: Vec<f32> = (0..16).map(|i| (i as f32 - 7.3) / 3.0).collect();
    let high: Vec<f32> = low.iter().map(|v| v * v - 1.7).collect();
    for isa in Isa::supported() {
        for (lane, bits) in dispatch(isa, Pairs(&low, &high)).into_iter().enumerate() {
            let [low, high] = [low[lane], high[lane]].map(|v| u32::from(bf16::from_f32(v).to_bits()));
            assert_eq!(bits, low | high << 16, "{isa}, lane {lane}");
        }
    }
}

/// Runs the operations that the tests above do not cover and returns their results.
struct Operations<'a>(&'a [f32]);
impl Kernel for Operations<'_> {
    type Output = [f32; 7];
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; 7] {
        let mut first = [0.0; 32];
        let mut out = [0.0; 7];
        let x = s.load_partial(self.0);
        out[0] = s.reduce_sum(x);
        out[1] = s.reduce_max(x);
        for (i, y) in [s.sqrt(s.abs(x)), s.round(x), s.fma(x, x, x), s.fnma(x, x, x), s.max(s.neg(x), s.splat(0.5))]
            .into_iter()
            .enumerate()
        {
            s.store_partial(&mut first[..1], y);
            assert_eq!(first[1], 0.0, "a partial store wrote past its slice");
            out[2 + i] = first[0];
        }
        out
    }
}

#[test]
fn arithmetic_agrees_between_the_sets() {
    for isa in Isa::supported() {
        let x = [-2.5, 1.0, 4.0, -1.0, 0.25, 7.0, -3.0];
        let got = dispatch(isa, Operations(&x));
        assert_eq!(got, [5.75, 7.0, 2.5f32.sqrt(), -2.0, 3.75, -8.75, 2.5], "{isa}");
    }
}

struct Transpose<'a>(&'a [f32], &'a mut [f32], usize);
impl Kernel for Transpose<'_> {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        s.transpose(self.0, self.2, self.1, self.2 + 1);
        S::LANES
    }
}

#[test]
fn a_transpose_changes_rows_and_columns_and_nothing_else() {
    let from: Vec<f32> = (0..16 * 20).map(|i| i as f32).collect();
    for isa in Isa::supported() {
        let mut to = vec![-1.0; 16 * 21];
        let lanes = dispatch(isa, Transpose(&from, &mut to, 20));
        assert_eq!(lanes, isa.lanes());
        for (at, &v) in to.iter().enumerate() {
            let (i, j) = (at / 21, at % 21);
            let want = if i < lanes && j < lanes { from[j * 20 + i] } else { -1.0 };
            assert_eq!(v, want, "{isa} at {i}, {j}");
        }
    }
}

/// The integers of some values, their sum, and the largest magnitude of the values and of them as bfloat16.
struct Bytes<'a>(&'a [f32], &'a mut [i8]);
impl Kernel for Bytes<'_> {
    type Output = (i32, [f32; 2]);
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (i32, [f32; 2]) {
        let Self(x, to) = self;
        let whole = x.len() / (4 * S::LANES) * 4 * S::LANES;
        for at in (0..whole).step_by(4 * S::LANES) {
            s.store_i8x4(&mut to[at..], [0, 1, 2, 3].map(|i| s.load(&x[at + i * S::LANES..])));
        }
        for at in (whole..x.len()).step_by(S::LANES) {
            s.store_i8(&mut to[at..x.len()], s.load_partial(&x[at..]));
        }
        for bytes in to[..x.len()].chunks(S::LANES) {
            let mut lanes = [1.0; 16];
            s.store(&mut lanes, s.load_i8(bytes));
            let want = bytes.iter().map(|&byte| f32::from(byte)).chain(std::iter::repeat(0.0));
            assert!(lanes[..S::LANES].iter().zip(want).all(|(&found, want)| found == want));
        }
        let mut most = s.zero();
        for x in x.chunks(S::LANES) {
            most = s.max_magnitude(most, s.abs(s.load_partial(x)));
        }
        let bf16: Vec<bf16> = x.iter().map(|&x| bf16::from_f32(x)).collect();
        let most = [most, s.max_magnitude_bf16(s.splat(0.25), &bf16)].map(|most| {
            let mut lanes = [0.0; 16];
            s.store(&mut lanes, most);
            lanes.iter().fold(0.0, |most: f32, &lane| if (most + lane).is_nan() { f32::NAN } else { lane.max(most) })
        });
        (s.sum_i8(to), most)
    }
}

#[test]
fn bytes_are_rounded_to_even_and_no_nan_is_lost() {
    for isa in Isa::supported() {
        for n in (0..70_usize).chain([127, 128, 129, 200, 256]) {
            let mut x: Vec<f32> = (0..n).map(|i| (i * 37 % 255) as f32 / 2.0 - 63.0).collect();
            let mut to = vec![0; n.next_multiple_of(64) + 64];
            let (sum, most) = dispatch(isa, Bytes(&x, &mut to));
            let want: Vec<i8> = x.iter().map(|x| x.round_ties_even() as i8).collect();
            assert_eq!(to[..n], want, "{isa}, {n}");
            assert!(to[n..].iter().all(|&byte| byte == 0), "{isa}, {n}: wrote past the end");
            assert_eq!(sum, want.iter().map(|&x| i32::from(x)).sum::<i32>(), "{isa}, {n}");
            let largest = x.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
            assert_eq!(most, [largest, largest.max(0.25)], "{isa}, {n}");
            for (at, wrong) in [(n / 3, f32::NAN), (n.saturating_sub(1), -f32::NAN), (0, f32::NEG_INFINITY)] {
                let Some(x) = x.get_mut(at) else { continue };
                *x = wrong;
            }
            let (_, most) = dispatch(isa, Bytes(&x, &mut to));
            let want = if n > 1 { f32::NAN } else { f32::INFINITY };
            assert!(n == 0 || most.iter().all(|most| most.to_bits() == want.to_bits()), "{isa}, {n}: {most:?}");
        }
    }
}
