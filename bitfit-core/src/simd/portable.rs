//! Eight lanes in plain Rust: the set every target has, and what NEON gets.

use half::bf16;

use super::Simd;

/// The instruction set of plain Rust.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

/// Adding and taking away 1.5 * 2^23 leaves no fraction bits, so the sum is rounded to a whole number.
const ROUNDER: f32 = 12_582_912.0;

type V = [f32; 8];

#[inline(always)]
fn map(a: V, f: impl Fn(f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i]))
}

#[inline(always)]
fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// 2^n for whole n in -126..=127.
#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    // The low bits of n + ROUNDER are n itself; no float to integer conversion, which saturates and does not vectorise.
    let n = (n + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits());
    f32::from_bits(n.wrapping_add(127) << 23)
}

impl Simd for Portable {
    type F32 = V;
    type Mask = [bool; 8];
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, v: f32) -> V {
        [v; 8]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> V {
        *from.first_chunk().expect("a full vector")
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], v: V) {
        *to.first_chunk_mut().expect("a full vector") = v;
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> V {
        std::array::from_fn(|i| from.get(i).copied().unwrap_or(0.0))
    }
    #[inline(always)]
    fn store_partial(self, to: &mut [f32], v: V) {
        to.iter_mut().zip(v).for_each(|(to, v)| *to = v);
    }
    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> V {
        std::array::from_fn(|i| from.get(i).map_or(0.0, |v| v.to_f32()))
    }
    #[inline(always)]
    fn store_bf16(self, to: &mut [bf16], v: V) {
        to.iter_mut().zip(v).for_each(|(to, v)| *to = bf16::from_f32(v));
    }

    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: V, b: V, c: V) -> V {
        // Not f32::mul_add: without the instruction that is a call into libm.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn fnma(self, a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| c[i] - a[i] * b[i])
    }
    #[inline(always)]
    fn neg(self, a: V) -> V {
        map(a, |a| -a)
    }
    #[inline(always)]
    fn abs(self, a: V) -> V {
        map(a, f32::abs)
    }
    #[inline(always)]
    fn sqrt(self, a: V) -> V {
        map(a, f32::sqrt)
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn copysign(self, a: V, sign: V) -> V {
        zip(a, sign, f32::copysign)
    }
    #[inline(always)]
    fn round(self, a: V) -> V {
        map(a, |a| (a + ROUNDER) - ROUNDER)
    }
    #[inline(always)]
    fn scale(self, a: V, n: V) -> V {
        // Two factors, since 2^n itself may be neither finite nor normal.
        zip(a, n, |a, n| {
            let half = (n * 0.5 + ROUNDER) - ROUNDER;
            a * power_of_two(half) * power_of_two(n - half)
        })
    }

    #[inline(always)]
    fn dot_bf16(self, a: V, b: V, c: V) -> V {
        let low = |v: f32| f32::from_bits(v.to_bits() << 16);
        let high = |v: f32| f32::from_bits(v.to_bits() & 0xffff_0000);
        std::array::from_fn(|i| (c[i] + high(a[i]) * high(b[i])) + low(a[i]) * low(b[i]))
    }

    #[inline(always)]
    fn lt(self, a: V, b: V) -> [bool; 8] {
        std::array::from_fn(|i| a[i] < b[i])
    }
    #[inline(always)]
    fn select(self, mask: [bool; 8], yes: V, no: V) -> V {
        std::array::from_fn(|i| if mask[i] { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn reduce_sum(self, a: V) -> f32 {
        let b: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
        (b[0] + b[2]) + (b[1] + b[3])
    }
    #[inline(always)]
    fn reduce_max(self, a: V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, |m, v| if v > m { v } else { m })
    }
}
