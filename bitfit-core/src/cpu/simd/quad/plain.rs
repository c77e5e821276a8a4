//! Four lanes as plain floats, for targets without SSE2 and NEON.

#![cfg_attr(test, allow(dead_code, reason = "compared with the target's own instructions in tests"))]

/// Adding and subtracting 1.5 * 2^23 leaves no fraction bits, so the sum is rounded to a whole number.
const ROUNDER: f32 = 12_582_912.0;

pub type Quad = [f32; 4];
pub type Mask = [bool; 4];

fn map(a: Quad, f: impl Fn(f32) -> f32) -> Quad {
    a.map(f)
}

fn zip([a0, a1, a2, a3]: Quad, [b0, b1, b2, b3]: Quad, f: impl Fn(f32, f32) -> f32) -> Quad {
    [f(a0, b0), f(a1, b1), f(a2, b2), f(a3, b3)]
}

pub fn splat(v: f32) -> Quad {
    [v; 4]
}
pub fn load(from: &[f32; 4]) -> Quad {
    *from
}
pub fn store(v: Quad) -> [f32; 4] {
    v
}
pub fn add(a: Quad, b: Quad) -> Quad {
    zip(a, b, |a, b| a + b)
}
pub fn sub(a: Quad, b: Quad) -> Quad {
    zip(a, b, |a, b| a - b)
}
pub fn mul(a: Quad, b: Quad) -> Quad {
    zip(a, b, |a, b| a * b)
}
pub fn div(a: Quad, b: Quad) -> Quad {
    zip(a, b, |a, b| a / b)
}
pub fn fma(a: Quad, b: Quad, c: Quad) -> Quad {
    // Not `f32::mul_add`: without an instruction for it that is a call into libm.
    add(mul(a, b), c)
}
pub fn neg(a: Quad) -> Quad {
    map(a, |a| -a)
}
pub fn abs(a: Quad) -> Quad {
    map(a, f32::abs)
}
pub fn copysign(a: Quad, sign: Quad) -> Quad {
    zip(a, sign, f32::copysign)
}
pub fn sqrt(a: Quad) -> Quad {
    map(a, f32::sqrt)
}
pub fn max(a: Quad, b: Quad) -> Quad {
    zip(a, b, |a, b| if a > b { a } else { b })
}
pub fn min(a: Quad, b: Quad) -> Quad {
    zip(a, b, |a, b| if a < b { a } else { b })
}
pub fn round(a: Quad) -> Quad {
    map(a, |a| (a + ROUNDER) - ROUNDER)
}
/// 2^n for whole n in -126..=127.
pub fn power_of_two(n: Quad) -> Quad {
    map(n, |n| {
        // The low bits of n + ROUNDER are n itself.
        let n = (n + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits());
        f32::from_bits(n.wrapping_add(127) << 23)
    })
}
/// The first of each lane's pair of bfloat16, converted to f32.
pub fn low_bf16(a: Quad) -> Quad {
    map(a, |a| f32::from_bits(a.to_bits() << 16))
}
/// The second of each lane's pair of bfloat16, converted to f32.
pub fn high_bf16(a: Quad) -> Quad {
    map(a, |a| f32::from_bits(a.to_bits() & 0xffff_0000))
}
pub fn lt([a0, a1, a2, a3]: Quad, [b0, b1, b2, b3]: Quad) -> Mask {
    [a0 < b0, a1 < b1, a2 < b2, a3 < b3]
}
pub fn select(mask: Mask, yes: Quad, no: Quad) -> Quad {
    std::array::from_fn(|i| if mask[i] { yes[i] } else { no[i] })
}

#[cfg(test)]
mod tests {
    use super::super as target;
    use super::*;

    #[test]
    fn the_targets_own_instructions_agree() {
        let values = [0.0, -0.0, 1.5, -2.5, 3.5, 1e-40, -7.25e8, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let same = |got: Quad, want: Quad, what: &str| {
            for (got, want) in got.into_iter().zip(want) {
                assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{what}: {got}, not {want}");
            }
        };
        for &x in &values {
            for &y in &values {
                let (a, b) = ([x, y, 0.5, -4.0], [y, x, 0.25, -4.0]);
                let (ta, tb) = (target::load(&a), target::load(&b));
                macro_rules! check {
                    ($($f:ident($($arg:ident / $t:ident),+);)+) => {$(
                        same(target::store(target::$f($($t),+)), $f($($arg),+), concat!(stringify!($f), " of ", stringify!($($arg),+)));
                    )+};
                }
                check! {
                    add(a / ta, b / tb); sub(a / ta, b / tb); mul(a / ta, b / tb); div(a / ta, b / tb);
                    neg(a / ta); abs(a / ta); sqrt(a / ta); copysign(a / ta, b / tb);
                    max(a / ta, b / tb); min(a / ta, b / tb); low_bf16(a / ta); high_bf16(a / ta);
                }
                let chosen = target::select(target::lt(ta, tb), ta, tb);
                same(target::store(chosen), select(lt(a, b), a, b), "select");
            }
        }
        for n in -126..=127 {
            let n = [n as f32, 0.0, 1.0, -1.0];
            same(target::store(target::power_of_two(target::load(&n))), power_of_two(n), "power_of_two");
            assert_eq!(power_of_two(n), n.map(f32::exp2));
            let x = n.map(|n| n / 4.0);
            assert_eq!(target::store(target::round(target::load(&x))), x.map(f32::round_ties_even));
            assert_eq!(round(x), x.map(f32::round_ties_even));
        }
    }
}
